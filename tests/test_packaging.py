"""The installed package: imports are light, exports exist, missing extras are named in errors."""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


# Builds a wheel and an sdist in the folder of the first argument, and prints as JSON which files
# ran, and what started a process or opened a connection.
BUILD = """
import json, sys
ran, reached = set(), []

def watch(event, arguments):
    if event == "exec":
        ran.add(getattr(arguments[0], "co_filename", ""))
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"):
        reached.append(f"{event} {arguments}")

sys.addaudithook(watch)
from hatchling.build import build_sdist, build_wheel
build_wheel(sys.argv[1])
build_sdist(sys.argv[1])
print(json.dumps([sorted(ran), reached]))
"""


class Built(NamedTuple):
    """What a build made, and what happened meanwhile."""

    wheel: set[str]
    sdist: set[str]
    entry_points: str
    ran: list[str]
    reached: list[str]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    """Build the wheel and the sdist."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-c", BUILD, str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    ran, reached = json.loads(done.stdout.splitlines()[-1])
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as file:
        wheel = set(file.namelist())
        entry_points = file.read(next(one for one in wheel if one.endswith("entry_points.txt")))
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        sdist = {name.partition("/")[2] for name in archive.getnames()}
    return Built(wheel, sdist, entry_points.decode(), ran, reached)


@pytest.fixture
def wheel(built) -> set[str]:
    """The names of the files of the wheel."""
    return built.wheel


def test_a_build_runs_no_code_of_the_checkout_no_other_program_and_no_request(built):
    assert any("hatchling" in name for name in built.ran)
    ours = [name for name in built.ran if name.startswith(f"{ROOT}/")]
    assert [name for name in ours if not name.startswith(sys.prefix)] == []  # .venv/ may be there
    assert built.reached == []


def test_a_build_needs_hatchling_alone_and_has_no_hooks():
    project = parse_toml((ROOT / "pyproject.toml").read_text("utf-8"), "pyproject.toml")
    (backend,) = project["build-system"]["requires"]
    assert backend.startswith("hatchling>=")
    assert set(project["build-system"]) == {"requires", "build-backend"}  # no backend-path
    build = project["tool"]["hatch"]["build"]
    assert "hooks" not in build
    assert not any("hooks" in target for target in build["targets"].values())


def test_an_installed_wheel_runs_nothing_when_python_starts(wheel):
    assert not [name for name in wheel if name.endswith(".pth") or ".data/" in name]
    assert not [
        name for name in wheel if Path(name).name in ("sitecustomize.py", "usercustomize.py")
    ]


def test_the_entry_points_are_the_command_and_an_instrumentation_that_must_be_asked_for(built):
    assert re.findall(r"^\[(.+)\]$", built.entry_points, re.MULTILINE) == [
        "console_scripts",
        "opentelemetry_instrumentor",
    ]


def test_the_sdist_has_no_script_of_an_install(built):
    assert "pyproject.toml" in built.sdist
    assert not {"setup.py", "setup.cfg", "hatch_build.py"} & built.sdist


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


def names_on_the_page(part: str) -> set[str]:
    """Return the packages in the first column of the tables of a part of the page."""
    cells = re.findall(r"^\| ([a-z][^|]+) \|", part, re.MULTILINE)
    return {name for cell in cells for name in cell.split(", ")} - {"package"}


@pytest.fixture(scope="module")
def parts_of_the_page() -> tuple[str, str]:
    """The page about dependencies without, and only, the part about what these bring."""
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    before, brought, after = re.split(r"^### What these bring|^## Extras", page, flags=re.MULTILINE)
    return before + after, brought


def test_each_dependency_has_its_reason_on_the_page_and_no_other_package(parts_of_the_page):
    project = parse_toml((ROOT / "pyproject.toml").read_text("utf-8"), "pyproject.toml")["project"]
    extras = {n: p for n, p in project["optional-dependencies"].items() if n not in NOT_FOR_USERS}
    requirements = [*project["dependencies"], *itertools.chain(*extras.values())]
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements} - {"tryage"}
    assert names_on_the_page(parts_of_the_page[0]) == names


def test_each_package_that_the_base_install_brings_is_on_the_page(parts_of_the_page):
    project = parse_toml((ROOT / "pyproject.toml").read_text("utf-8"), "pyproject.toml")["project"]
    direct = {re.split(r"[^\w.-]", requirement)[0] for requirement in project["dependencies"]}
    installed = brought_by(project["dependencies"])
    pins = (ROOT / "constraints.txt").read_text("utf-8")
    if not all(
        f"\n{name}=={importlib.metadata.version(name)}" in pins for name in installed & direct
    ):
        pytest.skip("other versions are installed than the page is about")
    brought = installed - direct
    assert brought - names_on_the_page(parts_of_the_page[1]) == set()
    only_on_old_pythons = {"exceptiongroup"}
    assert names_on_the_page(parts_of_the_page[1]) - brought <= only_on_old_pythons


def brought_by(requirements: list[str]) -> set[str]:
    """Return all packages that an install of requirements brings to this Python."""
    found, waiting = set[str](), [Requirement(one) for one in requirements]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(text) for text in importlib.metadata.requires(name) or ()]
    return found
