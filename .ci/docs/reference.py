"""Write the reference of the site: public names from `docs/api.md`, commands from typer."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ROW = re.compile(r"^\| (`[^|]+) \| (.*) \|$")
_NAME = re.compile(r"`([A-Za-z_][\w.]*)`")
_TOP = "| from `tryage` |"


def public_names(api: str) -> dict[str, list[str]]:
    """Return the modules of the page of public names, each with its names; none means all of them.

    Args:
        api: the text of `docs/api.md`: tables of a module and its names, and one of the names that
            come from `tryage` itself.
    """
    modules: dict[str, list[str]] = {}
    in_top = False
    for line in api.splitlines():
        in_top = line.startswith(_TOP) or (in_top and line.startswith("|"))
        row = _ROW.match(line)
        if row and in_top:
            modules.setdefault("tryage", []).extend(_NAME.findall(row[1]))
        elif row:
            (module,) = _NAME.findall(row[1])
            names = [] if row[2].startswith("every ") else _NAME.findall(row[2])
            modules.setdefault(module, []).extend(names)
    return modules


def write_reference(api: str, folder: Path) -> None:
    """Write a page for every module of the page of public names, and one for the commands."""
    folder.mkdir(parents=True, exist_ok=True)
    for module, names in public_names(api).items():
        (folder / f"{module}.md").write_text(module_page(module, names), "utf-8")
    (folder / "command-line.md").write_text(command_page(), "utf-8")


def module_page(module: str, names: list[str]) -> str:
    """Return the page of a module, which mkdocstrings fills."""
    if not names:
        return f"# {module}\n\n::: {module}\n    options:\n      show_root_heading: false\n"
    entries = (f"::: {module}.{name}\n" for name in names)
    return f"# {module}\n\n" + "\n".join(entries)


def command_page() -> str:
    """Return the page of the command `tryage`: every command with its arguments and options."""
    words = ["-m", "typer", "tryage.cli", "utils", "docs", "--name", "tryage", "--title"]
    command = [sys.executable, *words, "Command line"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return re.sub(r"^(\* `.*`: )(.*)", _plain, done.stdout, flags=re.MULTILINE)


def _plain(option: re.Match[str]) -> str:
    """Return the line of an option with its text free of what Markdown would read as HTML.

    Some versions of typer escape all that HTML may, others only a part.
    """
    name, text = map(html.unescape, option.groups())
    return name + text.replace("<", "&lt;").replace("[[", "\\[\\[")
