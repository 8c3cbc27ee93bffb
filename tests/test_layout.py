"""The layout of the project: every test file is named after a source file, and files stay few."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
SOURCES = (ROOT / "shared", ROOT / "src")

# Test files about the project as a whole.
PROJECT_TESTS = {
    TESTS / f"test_{subject}.py"
    for subject in (
        "audit",
        "clocks",
        "demo",
        "docs",
        "layout",
        "packaging",
        "ray_serve_example",
        "release",
        "site",
        "site_browser",
        "site_notebooks",
        "traffic_example",
    )
}

# Source folders of test folders with another name; all others are in shared/tryage.
OTHER_ROOTS = {
    "langchain": ROOT / "src" / "tryage_langchain",
    "llamaindex": ROOT / "src" / "tryage_llamaindex",
    "litellm": ROOT / "src" / "tryage_litellm",
    "server": ROOT / "src" / "tryage_server",
    "playground": ROOT / "src" / "tryage_playground",
    "benchmarks": ROOT / "benchmarks",
}

# Test files for the code in an `__init__`.
TESTS_OF_HEADS = {"tests/cli/test_app.py": "shared/tryage/cli/__init__.py"}

# Source files without a test file of their name, with the reason.
UNTESTED = {
    "shared/tryage/core/arrays.py": "declares type aliases only",
    "shared/tryage/traffic/schema.py": "declares tables; test_migrate.py compares them",
    "shared/tryage/traffic/migrations/env.py": "Alembic runs it; tests/traffic/test_migrate.py",
    "shared/tryage/traffic/migrations/versions/v0001_first_tables.py": "as env.py",
    "shared/tryage/traffic/migrations/versions/v0002_spending.py": "as env.py",
    "shared/tryage/traffic/migrations/versions/v0003_users.py": "as env.py",
    "shared/tryage/router_sources.py": "tests/test_router_pretrained.py and tests/hub test it",
    "shared/tryage/__main__.py": "runs the command; tests/cli/test_app.py tests it",
}

MAX_TOP_ENTRIES = 27
MAX_FILES = 473
MAX_LINES = 600


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def module_files() -> list[Path]:
    """Return the source files of the packages without their `__init__`."""
    return [path for path in python_files(*SOURCES) if path.name != "__init__.py"]


def room_of(test: Path) -> Path:
    """Return the source folder that a test file belongs to."""
    first, *rest = (*test.relative_to(TESTS).parent.parts, "")
    root = OTHER_ROOTS.get(first, ROOT / "shared" / "tryage" / first)
    return root.joinpath(*rest)


def named_source(test: Path) -> Path | None:
    """Return the source file that `test_<file>[_aspect].py` names: the one of the longest name."""
    if relative(test) in TESTS_OF_HEADS:
        return ROOT / TESTS_OF_HEADS[relative(test)]
    subject = test.stem.removeprefix("test_") + "_"
    files = [path for path in room_of(test).glob("*.py") if path.name != "__init__.py"]
    matching = [path for path in files if subject.startswith(path.stem.lstrip("_") + "_")]
    return max(matching, key=lambda path: len(path.stem), default=None)


def all_test_files() -> list[Path]:
    return sorted({*TESTS.rglob("test_*.py")} - PROJECT_TESTS)


def report(problems: list[str]) -> str:
    return "\n  ".join([f"{len(problems)} problems:", *sorted(problems)])


def test_every_test_file_is_named_after_a_source_file_of_its_room():
    problems = [
        f"{relative(test)}: no file of {relative(room_of(test))} is named so"
        for test in all_test_files()
        if named_source(test) is None
    ]
    assert not problems, report(problems)


def test_every_source_file_has_a_test_file_of_its_name():
    tested = {named_source(test) for test in all_test_files()}
    problems = [
        f"{relative(path)}: no test file is named after it"
        for path in module_files()
        if path not in tested and relative(path) not in UNTESTED
    ]
    assert not problems, report(problems)


def test_the_exceptions_are_still_needed():
    tested = {named_source(test) for test in all_test_files()}
    problems = [f"{path}: not there" for path in TESTS_OF_HEADS if not (ROOT / path).exists()]
    problems += [f"{path}: not there" for path in UNTESTED if not (ROOT / path).exists()]
    problems += [f"{path}: has a test file" for path in UNTESTED if ROOT / path in tested]
    assert not problems, report(problems)


def test_the_top_of_the_package_has_few_entries():
    entries = {path.name for path in (ROOT / "shared" / "tryage").iterdir()} - {"__pycache__"}
    assert len(entries) <= MAX_TOP_ENTRIES, sorted(entries)


def test_the_packages_have_few_files():
    assert len(python_files(*SOURCES)) <= MAX_FILES


def test_no_file_is_too_long():
    lengths = {
        relative(path): len(path.read_text("utf-8").splitlines())
        for path in python_files(*SOURCES, TESTS, ROOT / "benchmarks", ROOT / "examples")
    }
    problems = [f"{path}: {length} lines" for path, length in lengths.items() if length > MAX_LINES]
    assert not problems, report(problems)


@pytest.mark.parametrize(
    "package",
    [
        "tryage",
        "tryage_langchain",
        "tryage_llamaindex",
        "tryage_litellm",
        "tryage_server",
        "tryage_playground",
    ],
)
def test_every_import_names_the_module_that_defines_the_name(package):
    """A package's `__init__` exports names for users; inside, it would make import cycles."""
    root = next(folder / package for folder in SOURCES if (folder / package).exists())
    problems = [
        f"{relative(path)}: from {module} import {name}"
        for path in python_files(root)
        for module, name in imported_names(path)
        if is_package(module) and not is_module(f"{module}.{name}")
    ]
    assert not problems, report(problems)


def imported_names(path: Path) -> list[tuple[str, str]]:
    tree = ast.parse(path.read_text("utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [(node.module or "", alias.name) for node in imports for alias in node.names]


def is_package(module: str) -> bool:
    return any((root.joinpath(*module.split(".")) / "__init__.py").exists() for root in SOURCES)


def is_module(module: str) -> bool:
    paths = [root.joinpath(*module.split(".")) for root in SOURCES]
    return any(path.with_suffix(".py").exists() or path.is_dir() for path in paths)
