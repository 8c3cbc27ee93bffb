"""Write the pages of the documentation site from the files of the checkout.

The site has the layout of the checkout: a page of `docs/` stays in `docs/`, so that every link
between pages holds as it is. Beside the pages come the files that they link to: pictures as they
are, sources and folders as pages of their own. What GitHub renders and Markdown does not is
translated: equations become MathML, which needs no script, and notebooks become Markdown.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is shown although no page links to it.
PATTERNS = (
    "*.md",
    "docs/*.md",
    "docs/notebooks/*.ipynb",
    "benchmarks/**/README.md",
    "shared/**/README.md",
)
PICTURES = {".png", ".svg", ".gif", ".jpg", ".webp"}
LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml", ".sh": "bash", ".yml": "yaml"}

_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_INLINE_MATH = re.compile(r"\$`([^`]+)`\$")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})(.*)")
_NOT_FOUND_BY_SEARCH = "---\nsearch:\n  exclude: true\n---\n\n"


def write_pages(root: Path, target: Path) -> list[Path]:
    """Write all pages of a checkout into a folder, and return the files that they show."""
    waiting = sorted({path for pattern in PATTERNS for path in root.glob(pattern)})
    taken: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in taken:
            continue
        taken.add(path)
        place = target / page_of(path, root)
        place.parent.mkdir(parents=True, exist_ok=True)
        waiting += write_page(path, root, place)
    return sorted(taken)


def write_page(path: Path, root: Path, place: Path) -> list[Path]:
    """Write the page of one file, and return the files that it links to."""
    if path.suffix.lower() in PICTURES:
        shutil.copyfile(path, place)
        return []
    if path.suffix == ".md":
        text = path.read_text("utf-8")
    elif path.suffix == ".ipynb":
        shutil.copyfile(path, place.with_suffix(".ipynb"))
        text = notebook_page(path)
    else:
        place.write_text(_NOT_FOUND_BY_SEARCH + source_page(path, root), "utf-8")
        return []
    lines, linked = [], []
    for line, is_code in with_code(text):
        if not is_code:
            linked += linked_files(line, path)
        lines.append(line if is_code else rewrite_links(inline_math(line), path, root))
    place.write_text(block_math("\n".join(lines)) + "\n", "utf-8")
    return linked


def page_of(path: Path, root: Path) -> Path:
    """Return where the page of a file or folder stands, from the top of the site.

    Folders and files whose names begin with a dot lose it: a site does not show hidden files.
    """
    parts = [part.lstrip(".") for part in path.relative_to(root).parts]
    page = Path(*parts)
    if path.is_dir():
        return page / ("README.md" if (path / "README.md").exists() else "index.md")
    if path.suffix == ".md" or path.suffix.lower() in PICTURES:
        return page
    return page.with_suffix(".md") if path.suffix == ".ipynb" else page.with_name(f"{page.name}.md")


def with_code(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line of Markdown, and whether it belongs to a fenced block of code."""
    fence = ""
    for line in text.splitlines():
        found = _FENCE.fullmatch(line)
        if fence:
            yield line, True
            if found and found[1].startswith(fence) and not found[2].strip():
                fence = ""
        else:
            fence = found[1] if found else ""
            yield line, bool(fence)


def linked_files(line: str, page: Path) -> list[Path]:
    """Return the files and folders of the checkout that a line of a page links to."""
    targets = (target for _, target, _ in _LINK.findall(line) if "://" not in target)
    paths = (Path(os.path.normpath(page.parent / target)) for target in targets)
    return [path / "README.md" if (path / "README.md").exists() else path for path in paths]


def rewrite_links(line: str, page: Path, root: Path) -> str:
    """Let the links of a line point to the pages of what they name."""

    def rewrite(found: re.Match[str]) -> str:
        before, target, after = found.groups()
        path = Path(os.path.normpath(page.parent / target))
        if "://" in target or not path.exists():
            return found[0]
        here = page_of(page, root).parent
        return f"{before}{os.path.relpath(page_of(path, root), here)}{after}"

    return _LINK.sub(rewrite, line)


def inline_math(line: str) -> str:
    """Turn the equations of a line, $`...`$, into MathML."""
    return _INLINE_MATH.sub(lambda found: mathml(found[1], "inline"), line)


def block_math(text: str) -> str:
    """Turn fences of the language `math` into MathML."""

    def block(found: re.Match[str]) -> str:
        return f'<div class="math" tabindex="0">{mathml(found[1], "block")}</div>'

    return re.sub(r"^```math\n(.*?)\n```$", block, text, flags=re.MULTILINE | re.DOTALL)


def mathml(latex: str, display: str) -> str:
    """Return LaTeX as MathML on one line, without the signs that Markdown would read."""
    from latex2mathml.converter import convert as to_mathml

    written = to_mathml(latex, display=display).replace("\n", "")
    return re.sub(r"[*_`|\[\]]", lambda sign: f"&#{ord(sign[0])};", written)


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown: its texts, its code, and what the code printed."""
    parts = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
            parts += [f"```text\n{printed}\n```" for printed in outputs(cell)]
    title, _, rest = "\n\n".join(parts).partition("\n")
    notebook = f'<a href="{path.name}" download>{path.name}</a>'
    return f"{title}\n\nThis page is a notebook: {notebook}.\n{rest}"


def outputs(cell: dict) -> list[str]:
    """Return the texts that a cell of code has left in its notebook."""
    texts = []
    for output in cell["outputs"]:
        written = output.get("text") or output.get("data", {}).get("text/plain", "")
        texts.append("".join(written).rstrip("\n"))
    return [text for text in texts if text]


def source_page(path: Path, root: Path) -> str:
    """Return the page of a source file, or of a folder with the subject of each of its files."""
    title = f"# {path.relative_to(root)}\n\n"
    if path.is_dir():
        return title + "\n".join(["| file | subject |", "|---|---|", *folder_rows(path)]) + "\n"
    language = LANGUAGES.get(path.suffix, "text")
    return f"{title}~~~~~~{language}\n{path.read_text('utf-8').rstrip()}\n~~~~~~\n"


def folder_rows(folder: Path) -> list[str]:
    """Return a row of a table for each Python file of a folder, with its first sentence."""
    rows = []
    for path in sorted(folder.glob("*.py")):
        described = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        subject = described.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{path.name}` | {subject} |")
    return rows
