"""The installed package: imports are light, exports exist, missing extras are named in errors."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import tryage
from tryage.errors import MissingExtraError, TryageError
from tryage.files import parse_toml

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "transformers",
    "langchain",
    "langchain_core",
    "llama_index",
    "sklearn",
    "scipy",
    "pyarrow",
    "matplotlib",
    "plotly",
    "onnxruntime",
    "huggingface_hub",
    "httpx",
    "pandas",
    "textstat",
    "opentelemetry",
)


NOT_FOR_USERS = {"demo", "dev"}

# Packages that import their public names when they are first used.
LAZY_PACKAGES = (
    "tryage.core",
    "tryage.hub",
    "tryage.models",
    "tryage.perception",
    "tryage.learning.training",
    "tryage.scoring",
    "tryage.learning.evaluation",
    "tryage.learning.cotraining",
    "tryage.learning.plots",
    "tryage.learning.traffic_report",
    "tryage.telemetry",
    "tryage.traffic",
    "tryage.simulation",
    "tryage.policies",
    "tryage.config",
    "tryage.chat",
    "tryage.tools",
    "tryage.testing",
)


def modules_after(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the names of all modules it loaded."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import tryage",
        "from tryage import Router",
        "from tryage import Decision, Expert, Library, Preferences, QTable, Router",
        "import tryage.cli",
        "from tryage.scoring import CausalLM, GenerationMeasurer, MaskedLM, score",
        "from tryage.testing import LocalHub; LocalHub()",
    ],
)
def test_importing_loads_nothing_heavy(code):
    assert modules_after(code) & set(HEAVY) == set()


@pytest.mark.parametrize(
    ("package", "framework", "foreign"),
    [
        ("tryage_langchain", "langchain_core", {"langchain", "llama_index"}),
        ("tryage_llamaindex", "llama_index.core", {"langchain_core"}),
    ],
)
def test_importing_an_integration_loads_neither_torch_nor_another_framework(
    package, framework, foreign
):
    pytest.importorskip(framework)
    assert modules_after(f"import {package}") & (foreign | {"torch", "transformers"}) == set()


def test_a_router_of_names_needs_no_pydantic():
    code = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from tryage import Router; Router.from_models(['gpt-5.4'], default='gpt-5.4')"
    )
    assert "tryage.chat.configured" in modules_after(code)


def test_importing_tryage_loads_no_other_module_of_it_and_few_of_the_standard_library():
    loaded = modules_after("import tryage") - modules_after("")
    assert {name for name in loaded if name.startswith("tryage")} == {"tryage"}
    assert "numpy" not in loaded
    assert len(loaded) < 60  # typing and the modules that it imports


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_importing_a_package_loads_none_of_its_modules(package):
    parts = package.split(".")
    parents = {".".join(parts[: i + 1]) for i in range(len(parts))}
    loaded = modules_after(f"import {package}") - modules_after("")
    assert {name for name in loaded if name.startswith("tryage")} == parents | {
        "tryage.core",
        "tryage.core.lazy",
    }
    assert "numpy" not in loaded


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_every_exported_name_of_a_package_exists(package):
    if package in ("tryage.learning.training", "tryage.learning.cotraining"):
        pytest.importorskip("torch")
    module = importlib.import_module(package)
    assert module.__all__
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_package_with_lazy_exports_is_checked():
    heads = (ROOT / "shared").rglob("__init__.py")
    lazy = {head.parent for head in heads if "lazy_exports(" in head.read_text("utf-8")}
    names = {".".join(folder.relative_to(ROOT / "shared").parts) for folder in lazy}
    assert names == set(LAZY_PACKAGES)


def test_a_decision_loads_nothing_heavy_and_no_framework():
    code = (
        "from tryage.testing import demo_library, demo_perception\n"
        "from tryage import Router\n"
        "Router(demo_perception(), demo_library()).route('def f(x):').explain()"
    )
    assert modules_after(code) & set(HEAVY) == set()


def test_the_listed_names_of_tryage_can_be_imported():
    assert sorted(tryage.__all__) == ["Decision", "Expert", "Library", "Preferences", "QTable",
                                      "Router", "like"]  # fmt: skip
    for name in tryage.__all__:
        assert getattr(tryage, name).__name__ == name


@pytest.mark.parametrize(
    ("package", "needs"),
    [("tryage_langchain", "langchain_core"), ("tryage_llamaindex", "llama_index.core")],
)
def test_the_listed_names_of_an_integration_can_be_imported(package, needs):
    pytest.importorskip(needs)
    module = importlib.import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name).__name__ == name


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"Rooter.*Router"):
        _ = tryage.Rooter


@pytest.mark.parametrize(
    ("package", "absent", "extra"),
    [
        ("tryage_langchain", "langchain_core", "langchain"),
        ("tryage_llamaindex", "llama_index.core", "llamaindex"),
    ],
)
def test_an_integration_without_its_framework_names_the_command_that_installs_it(
    package, absent, extra, monkeypatch
):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(
        "tryage.core.validation.find_spec", lambda name: None if name == absent else find_spec(name)
    )
    with pytest.raises(MissingExtraError) as raised:
        importlib.import_module(package)
    assert str(raised.value) == (
        f"{absent} is not installed. Install it with: pip install 'tryage[{extra}]'"
    )
    assert isinstance(raised.value, (ImportError, TryageError))


def test_every_extra_that_a_message_names_exists():
    metadata = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = metadata.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    assert {
        "onnx",
        "evaluate",
        "train",
        "langchain",
        "agents",
        "llamaindex",
        "all",
        "dev",
    } <= extras


def test_the_extra_of_the_server_brings_what_its_page_uses():
    project = parse_toml((ROOT / "pyproject.toml").read_text("utf-8"), "pyproject.toml")["project"]
    (own, *_) = project["optional-dependencies"]["server"]
    assert own == "tryage[agents,config,traffic]"  # its models, a file of settings, and a log


def test_the_source_folders_are_not_packages():
    assert not (ROOT / "shared" / "__init__.py").exists()
    assert not (ROOT / "src" / "__init__.py").exists()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """Build the wheel and return the names of its files."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as built:
        return set(built.namelist())


def test_the_wheel_holds_the_five_packages_typed_and_nothing_else(wheel):
    info = f"tryage-{tryage.__version__}.dist-info"
    integrations = ("langchain", "litellm", "llamaindex", "playground", "server")
    packages = {"tryage", *(f"tryage_{name}" for name in integrations)}
    assert {name.split("/")[0] for name in wheel} == {*packages, info}
    for package in packages:
        assert f"{package}/py.typed" in wheel
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= wheel


def test_the_wheel_holds_the_page_of_the_playground(wheel):
    for name in ("static/htmx.min.js", "static/playground.css", "templates/page.html.jinja"):
        assert f"tryage_playground/{name}" in wheel


def test_the_wheel_holds_the_facts_about_models(wheel):
    assert "tryage/models/snapshot.json.gz" in wheel


def test_the_wheel_holds_the_fakes_and_the_local_hub_for_tests_of_users(wheel):
    assert "tryage/testing/fakes.py" in wheel
    assert "tryage/testing/hub/local.py" in wheel


def test_the_wheel_holds_every_source_file_and_no_build_products(wheel):
    for folder in (ROOT / "shared", ROOT / "src"):
        sources = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
        assert sources <= wheel
    assert not [name for name in wheel if "__pycache__" in name or name.endswith((".pyc", ".pkl"))]


def test_each_dependency_has_its_reason_on_the_page_and_no_other_package():
    project = parse_toml((ROOT / "pyproject.toml").read_text("utf-8"), "pyproject.toml")["project"]
    extras = {n: p for n, p in project["optional-dependencies"].items() if n not in NOT_FOR_USERS}
    requirements = [*project["dependencies"], *itertools.chain(*extras.values())]
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements} - {"tryage"}
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    cells = re.findall(r"^\| ([a-z][^|]+) \|", page, re.MULTILINE)
    assert {name for cell in cells for name in cell.split(", ")} - {"package"} == names
