"""The documentation site shows every page, and its check finds what is wrong with it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def load(name: str):
    """Import a script of the site, which is in no package."""
    spec = importlib.util.spec_from_file_location(
        f"docs_{name}", ROOT / ".ci" / "docs" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages, reference, check = (load(name) for name in ("pages", "reference", "check"))


def navigation() -> list[str]:
    """Return the pages of the navigation in order."""

    def entries(node):
        if isinstance(node, str):
            return [node]
        children = node.values() if isinstance(node, dict) else node
        return [page for child in children for page in entries(child)]

    return entries(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])


def shown_files() -> list[Path]:
    return [path for pattern in pages.PATTERNS for path in ROOT.glob(pattern)]


def test_the_navigation_lists_every_page_once_and_no_page_that_is_not_there():
    api = (ROOT / "docs" / "api.md").read_text("utf-8")
    modules = [f"docs/reference/{name}.md" for name in reference.public_names(api)]
    shown = [pages.page_of(path, ROOT).as_posix() for path in shown_files()]
    every = [*shown, *modules, "docs/reference/command-line.md", "LICENSE.md", "NOTICE.md"]
    assert sorted(navigation()) == sorted(every)


def test_every_page_names_the_version_at_its_foot():
    import tryage

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert config["copyright"].startswith(f"Tryage {tryage.__version__},")


def test_a_page_and_the_files_that_it_links_to_are_written_and_its_links_lead_to_them(tmp_path):
    root = tmp_path / "checkout"
    (root / "docs").mkdir(parents=True)
    (root / ".ci").mkdir()
    (root / "src" / "room").mkdir(parents=True)
    (root / "docs" / "front.png").write_bytes(b"picture")
    (root / ".ci" / "run").write_text("make test\n")
    (root / "src" / "room" / "a.py").write_text('"""Adds | joins."""\n')
    (root / "README.md").write_text(
        "[a](src/room/a.py#L3) [room](src/room) ![front](docs/front.png) [run](.ci/run)\n"
        "[outside](https://a.example/b) [part](docs/b.md#c)\n\n```\n[a](src/room/a.py)\n```\n"
    )
    (root / "docs" / "b.md").write_text("# B\n[up](../README.md) [a](../src/room/a.py)\n")
    site = tmp_path / "site"

    pages.write_pages(root, site)

    assert (site / "README.md").read_text() == (
        "[a](src/room/a.py.md#L3) [room](src/room/index.md) ![front](docs/front.png) "
        "[run](ci/run.md)\n"
        "[outside](https://a.example/b) [part](docs/b.md#c)\n\n```\n[a](src/room/a.py)\n```\n"
    )
    assert (
        site / "docs" / "b.md"
    ).read_text() == "# B\n[up](../README.md) [a](../src/room/a.py.md)\n"
    assert (site / "docs" / "front.png").read_bytes() == b"picture"
    assert '~~~~~~python\n"""Adds | joins."""' in (site / "src" / "room" / "a.py.md").read_text()
    assert "| `a.py` | Adds \\| joins. |" in (site / "src" / "room" / "index.md").read_text()
    assert "~~~~~~text\nmake test\n" in (site / "ci" / "run.md").read_text()


def test_sources_are_not_found_by_search(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    pages.write_page(tmp_path / "a.py", tmp_path, tmp_path / "a.py.md")
    assert yaml.safe_load((tmp_path / "a.py.md").read_text().split("---")[1]) == {
        "search": {"exclude": True}
    }


def test_equations_become_mathml_and_dollars_stay_dollars(tmp_path):
    pytest.importorskip("latex2mathml")
    page = tmp_path / "README.md"
    page.write_text(
        "It costs $0.05, or $`x_i \\text{ *_}`$, not $1.\n\n"
        "```math\n\\frac{a}{b}\n```\n\n```\n$`x`$\n```\n"
    )
    pages.write_page(page, tmp_path, tmp_path / "written.md")
    written = (tmp_path / "written.md").read_text()
    assert written.startswith("It costs $0.05, or <math")
    assert "<msub><mi>x</mi><mi>i</mi></msub>" in written
    assert "&#42;&#95;</mtext>" in written  # an asterisk would begin emphasis
    assert '<div class="math" tabindex="0"><math' in written
    assert "<mfrac>" in written
    assert ", not $1.\n" in written
    assert "```\n$`x`$\n```" in written


def test_a_notebook_becomes_a_page_with_its_texts_code_and_what_it_printed(tmp_path):
    nbformat = pytest.importorskip("nbformat")

    cell = nbformat.v4.new_code_cell("print('routed')")
    cell.outputs = [nbformat.v4.new_output("stream", text="routed\n")]
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Own data\nText."), cell]
    )
    nbformat.write(book, tmp_path / "own.ipynb")
    pages.write_page(tmp_path / "own.ipynb", tmp_path, tmp_path / "out.md")
    written = (tmp_path / "out.md").read_text()
    assert written.startswith(
        '# Own data\n\nThis page is a notebook: <a href="own.ipynb" download>'
    )
    assert "Text.\n\n```python\nprint('routed')\n```\n\n```text\nrouted\n```" in written
    assert (tmp_path / "out.ipynb").exists()


def test_public_names_are_read_from_the_tables_of_their_page():
    api = (
        "| from `tryage` | |\n|---|---|\n| `Router` | `route` |\n| `Expert`, `Library` | what |\n\n"
        "| module | |\n|---|---|\n| `tryage.errors` | every error, below `TryageError` |\n"
        "| `tryage.onboarding` | `config.OnboardingConfig`, which `router.onboard()` takes |\n"
    )
    assert reference.public_names(api) == {
        "tryage": ["Router", "Expert", "Library"],
        "tryage.errors": [],
        "tryage.onboarding": ["config.OnboardingConfig"],
    }


def test_the_page_of_the_commands_has_every_command_and_no_html_of_its_own():
    import typer.main

    from tryage.cli import app

    written = reference.command_page()
    for name in typer.main.get_command(app).commands:
        assert f"## `tryage {name}`" in written
    assert "'size&lt;3B'" in written


@pytest.fixture
def site(tmp_path):
    """A site of two pages without a fault."""
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="sub/b.html#part">b</a><a href="#top">up</a>'
        '<a href="https://a.example">outside</a><a href="mailto:a@a.example">post</a>'
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.html").write_text(
        '<h2 id="part">B</h2><a href="../a.html">a</a><link rel="stylesheet" href="../s.css">'
        '<link rel="canonical" href="https://a.example"><img src="data:image/png;base64,AA">'
    )
    (tmp_path / "s.css").write_text("a { background: url(data:image/svg+xml;utf8,x) }")
    return tmp_path


def test_a_site_without_faults_has_none(site):
    assert check.site_faults(site) == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="c.html">c</a>', "new.html leads to c.html, which is not there"),
        ('<a href="a.html#no">c</a>', "new.html leads to a.html#no, a page without that anchor"),
        ('<a href="#no">c</a>', "new.html leads to #no, a page without that anchor"),
        ('<img src="no.png">', "new.html leads to no.png, which is not there"),
        ('<script src="https://a.example/b.js"></script>', "new.html loads https://a.example/b.js"),
        ('<img src="//a.example/b.png">', "new.html loads //a.example/b.png"),
        ('<link rel="stylesheet" href="https://f.example">', "new.html loads https://f.example"),
        ('<p style="background: url(https://a.example)">', "new.html loads https://a.example"),
    ],
)
def test_a_dead_link_and_a_file_from_outside_are_faults(site, html, fault):
    (site / "new.html").write_text(html)
    assert check.site_faults(site) == [fault]


def test_a_style_sheet_that_loads_a_font_from_outside_is_a_fault(site):
    (site / "s.css").write_text(
        "@import 'https://f.example/f.css'; @font-face { src: url(f.woff) }"
    )
    assert check.site_faults(site) == ["s.css loads https://f.example/f.css"]
