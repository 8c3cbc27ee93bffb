"""All pages keep their word: examples run, commands and files exist, the grammar is ours."""

from __future__ import annotations

import ast
import itertools
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tryage import Router
from tryage.cli import app
from tryage.core import Exploration, constraints, flags
from tryage.core.presets import PRESETS
from tryage.files import parse_toml
from tryage.perception.encoder import BUNDLED_TRANSFORMER
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.telemetry import uninstrument
from tryage.testing import LocalHub
from tryage.traffic.feedback_model import NOISE_FACTORS

ROOT = Path(__file__).resolve().parents[1]
_SITE = runpy.run_path(str(ROOT / ".ci" / "docs" / "pages.py"))
PAGES = sorted(
    path for shown in _SITE["PATTERNS"] for path in ROOT.glob(shown) if path.suffix == ".md"
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SHOWN_RESULT = re.compile(r"^ *print\(.*\)(?:  |\n *)# (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text("utf-8").replace("<this repository>", str(BUNDLED_FOLDER))
    return [code for kind, code in _BLOCK.findall(text) if kind == language]


def name(page: Path) -> str:
    """Return the name of a page in the tests."""
    path = page.relative_to(ROOT).as_posix()
    return page.name if path in (page.name, f"docs/{page.name}") else path


def with_blocks(language: str) -> list:
    return [pytest.param(p, id=name(p)) for p in PAGES if blocks(p, language)]


def commands(program: str) -> list[list[str]]:
    """Return the words of every line in a shell block that runs a program."""
    lines = (line for page in PAGES for code in blocks(page, "bash") for line in code.splitlines())
    stages = (stage for line in lines for stage in line.split("  #")[0].split(" | "))
    split = [shlex.split(stage) for stage in stages if stage.strip().startswith(f"{program} ")]
    return [words[1:] for words in split]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with a few models and an empty catalogue: all that the examples can reach."""
    families = ("Qwen/Qwen2.5-7B-Instruct", "google/gemma-2-2b-it", "HuggingFaceTB/SmolLM3-3B")
    names = [*families, *(f"org/chat-{i}" for i in range(60))]
    monkeypatch.setenv("TRYAGE_HOME", str(tmp_path / "home"))
    with LocalHub() as running, running.patched(tmp_path / "cache"):
        running.load(
            {
                "id": name,
                "pipeline_tag": "text-generation",
                "downloads": 10_000 - place,
                "createdAt": "2025-05-01T00:00:00.000Z",
                "tags": ["license:apache-2.0", "en"],
                "safetensors": {"total": (place + 1) * 10**8},
            }
            for place, name in enumerate(names)
        )
        yield running


@pytest.mark.parametrize("page", with_blocks("python"))
@pytest.mark.usefixtures("hub")
def test_the_examples_of_a_page_run_and_print_what_stands_behind(
    page, tmp_path, monkeypatch, capsys
):
    codes = blocks(page, "python")
    if "from_pretrained()" in "".join(codes) and not (BUNDLED_FOLDER / "router.json").exists():
        pytest.skip("the bundled router has not been built")
    more = {"cotraining.md": "transformers", "playground.md": "python_multipart"}.get(page.name)
    for needed in ("langchain_core", "llama_index.core", "sklearn", "pyarrow", "textstat", more):
        if needed is not None:
            pytest.importorskip(needed)
    monkeypatch.chdir(tmp_path)  # examples write files
    names: dict[str, object] = {"__name__": page.stem}
    for number, code in enumerate(codes, start=1):
        exec(compile(code, f"{page.name}, example {number}", "exec"), names)  # noqa: S102 - ours
    uninstrument()  # the page about it has switched telemetry on
    printed = " ".join(capsys.readouterr().out.split())
    for comment in _SHOWN_RESULT.findall("".join(codes)):
        for part in comment.split("..."):
            assert part.strip(" .") in printed, comment


def test_every_tryage_command_shown_exists_with_its_options():
    shown = commands("tryage")
    assert len({words[0] for words in shown}) >= 7
    for words in shown:
        path = (
            words[:2] if words[0] in ("config", "hub", "models", "plot", "traffic") else words[:1]
        )
        done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
        assert done.exit_code == 0, words
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", done.stdout))
        for word in words[1:]:
            if word.startswith("-") and word != "-":
                assert word.split("=")[0] in known, words


def test_every_requirement_and_weight_shown_is_understood():
    from tryage.cli.options import parse_preferences

    for words in commands("tryage"):
        pairs = list(itertools.pairwise(words))
        weights = [value for option, value in pairs if option == "--weight"]
        required = [value for option, value in pairs if option == "--require"]
        parse_preferences(weights, required)


def test_every_make_target_shown_exists():
    text = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert {"install", "test", "lint", "format", "evaluate", "demo", "clean", "help"} <= targets
    assert {words[0] for words in commands("make")} <= targets


@pytest.mark.parametrize("page", [pytest.param(page, id=name(page)) for page in PAGES])
def test_every_script_shown_exists(page):
    for script in re.findall(
        r"(?<![\w/.])((?:benchmarks|examples)/[\w/]+\.py)", page.read_text("utf-8")
    ):
        assert (ROOT / script).exists(), script


@pytest.mark.parametrize("page", [pytest.param(page, id=name(page)) for page in PAGES])
def test_every_link_to_a_file_resolves(page):
    for target in _LINK.findall(page.read_text("utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_the_page_on_flags_holds_the_grammar_of_the_code():
    written = (ROOT / "docs" / "flags.md").read_text("utf-8")
    shown, *_ = _BLOCK.findall(written[written.index("## Grammar") :])
    described = flags.__doc__ or ""
    grammar = [line[4:] for line in described.splitlines() if line.startswith("    ")]
    assert shown[1].rstrip("\n").splitlines() == grammar


def test_every_flag_shown_on_its_page_is_valid():
    table = [
        line
        for line in (ROOT / "docs" / "flags.md").read_text("utf-8").splitlines()
        if line.startswith("| `[")
    ]
    assert len(table) >= 9
    for line in table:
        flag = line.split("`")[1].replace("\\|", "|")
        assert flags.extract_flags(flag, strict=True).text == "", flag


README = ROOT / "README.md"


def test_the_readme_is_short_and_starts_with_what_it_is_for():
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 150
    order = [line for line in lines if line.startswith(("# ", "## ", "make ", "pip ", "```python"))]
    assert order[0] == "# Tryage"
    assert order[2].startswith("pip install")
    assert [line.split()[1] for line in order[3:5]] == ["demo", "test"]
    assert order[5] == "```python"
    assert lines.index("```python") < 25  # on the first screen


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
@pytest.mark.usefixtures("hub")
def test_each_example_of_the_readme_runs_alone(number, tmp_path, monkeypatch):
    pytest.importorskip("langchain_core")
    pytest.importorskip("llama_index.core")
    monkeypatch.chdir(tmp_path)
    code = blocks(README, "python")[number]
    exec(compile(code, f"README.md, example {number + 1}", "exec"), {"__name__": "readme"})  # noqa: S102 - ours


def test_the_first_example_of_the_readme_prints_what_stands_below_it(capsys):
    (shown,) = blocks(README, "text")
    exec(compile(blocks(README, "python")[0], "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - ours
    assert capsys.readouterr().out == shown


def test_the_readme_says_how_many_models_the_bundled_router_knows_and_which_is_the_newest():
    library = Router.from_pretrained().library
    newest = library.names[int(np.nanargmax(library.column("released")))]
    text = README.read_text("utf-8")
    assert f"{len(library)} models" in text
    assert f"the newest is {newest} " in text


def test_every_public_name_listed_in_the_api_page_exists():
    from importlib import import_module
    from importlib.util import find_spec

    listed = (ROOT / "docs" / "api.md").read_text("utf-8")
    for module, names in re.findall(r"^\| `(tryage[\w.]*)` \| (.+) \|$", listed, re.MULTILINE):
        if module.startswith(("tryage_langchain", "tryage_llamaindex")):
            pytest.importorskip("langchain_core")
            pytest.importorskip("llama_index.core")
        if module == "tryage_litellm" and find_spec("litellm") is None:
            continue  # it has a lane of its own
        home = import_module(module)
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(home, name), f"{module}.{name}"


def test_every_page_is_listed_in_the_readme():
    listed = README.read_text("utf-8")
    missing = [
        page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in listed
    ]
    assert missing == []


def test_every_extra_of_the_package_is_on_the_page_about_extras():
    tables = parse_toml((ROOT / "pyproject.toml").read_text("utf-8"), "pyproject.toml")
    extras = set(tables["project"]["optional-dependencies"])
    page = (ROOT / "docs" / "extras.md").read_text("utf-8")
    assert [name for name in sorted(extras) if f"`{name}`" not in page] == []


def test_every_part_of_the_command_is_on_its_page():
    page = (ROOT / "docs" / "command.md").read_text("utf-8")
    parts = get_command(app).commands
    assert [name for name in parts if f"`{name}`" not in page] == []


def test_the_sizes_of_what_ships_are_those_on_the_disk():
    page = (ROOT / "docs" / "extras.md").read_text("utf-8")
    for folder, words in (
        (BUNDLED_FOLDER, "bundled router ({} MB)"),
        (BUNDLED_FOLDER.parents[1] / "tools" / "bundled", "tool ranker ({} MB)"),
        (BUNDLED_TRANSFORMER, "encoder ({} MB)"),
    ):
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        assert words.format(round(size / 1e6)) in page


def rows(name: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table behind a heading of a page."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    table = re.search(r"(?:^\|.*\n)+", text[text.index(heading) :], re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.split(" | ")] for line in table[0].splitlines()[2:]]


def test_the_page_about_exploration_shows_the_default_settings():
    shown = dict(re.findall(r"`(\w+)=([^`]+)`", str(rows("exploration.md", "## Exploration"))))
    defaults = Exploration()
    assert len(shown) >= 4
    for name, value in shown.items():
        assert getattr(defaults, name) == ast.literal_eval(value), name


def test_the_page_about_learning_shows_how_far_each_kind_of_feedback_is_believed():
    shown = {
        kind: float(factor)
        for kinds, factor, *_ in rows("learning.md", "## How far feedback is believed")
        for kind in re.findall(r"`(\w+)`", kinds)
    }
    assert shown == NOISE_FACTORS


def test_the_page_about_preferences_shows_the_scales_of_constraints():
    shown = {name: ends for name, *ends in rows("preferences.md", "## Weights")}
    for name, scale in {
        "| `size`": constraints.SIZE_SCALE,
        "| `latency`": constraints.LATENCY_SCALE,
        "| `verbosity`": constraints.ANSWER_LENGTH_SCALE,
        "| `cost`, `switching`": constraints.COST_SCALE,
    }.items():
        low, high = (
            float(re.findall(r"[\d.e,]+", end)[0].replace(",", "")) for end in shown[name][:2]
        )
        assert (low, high) == scale, name
    for name, keywords in PRESETS.items():
        said = ", ".join(f"{key}={value:g}" for key, value in keywords.items())
        assert f"`Preferences({said})`" in (ROOT / "docs" / "preferences.md").read_text("utf-8"), (
            name
        )


def test_every_row_of_the_threat_model_has_a_test_that_is_there():
    page = ROOT / "docs" / "security.md"
    model = page.read_text("utf-8").split("## Threat model\n")[1].split("\n## ")[0]
    tables = [part for part in model.split("### ")[1:] if "| they try |" in part]
    assert len(tables) >= 8
    for table in tables:
        rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
        assert rows, table[:40]
        for row in rows:
            links = [link for link in _LINK.findall(row.rsplit(" | ", 1)[1]) if "/tests/" in link]
            assert links, f"no test: {row}"
            missing = [link for link in links if not (page.parent / link).is_file()]
            assert missing == [], row
