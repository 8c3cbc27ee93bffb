"""One file of settings: its tables, and in which line each of its keys is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.config.find import is_project_file
from tryage.config.positions import key_lines, line_of
from tryage.errors import ConfigError, ConfigProblem, InputError
from tryage.files import parse_toml, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tryage.config.positions import KeyPath

_PROJECT_TABLE = ("tool", "tryage")


@dataclass(frozen=True)
class Document:
    """The settings of one file.

    `tables` are those of the settings alone, `prefix` is where they are in the file, and `lines`
    are those of the whole file.
    """

    path: Path
    tables: Mapping[str, Any]
    lines: dict[KeyPath, int]
    prefix: KeyPath = ()

    def problem(self, place: KeyPath, message: str) -> ConfigProblem:
        """Return a problem with the line of its key; an empty place is the whole file."""
        line = line_of(self.lines, (*self.prefix, *place))
        return ConfigProblem(str(self.path), line, key_text(place), message)


def read_document(path: Path) -> Document:
    """Read a file in TOML; of a `pyproject.toml`, the table `[tool.tryage]`.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    try:
        text = read_text(path)
        tables = parse_toml(text, "the file")
    except (InputError, RecursionError) as error:
        raise ConfigError.of(_unreadable(path, error)) from error
    prefix = _PROJECT_TABLE if is_project_file(path) else ()
    for name in prefix:
        tables = tables.get(name, {}) if isinstance(tables, dict) else {}
    return Document(path, tables if isinstance(tables, dict) else {}, key_lines(text), prefix)


def key_text(place: KeyPath) -> str:
    """Return a place as it is written in code: models[1].input_price."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in place]
    return "".join(parts).removeprefix(".")


def _unreadable(path: Path, error: Exception) -> ConfigProblem:
    if isinstance(error, RecursionError):
        return ConfigProblem(str(path), None, "", "the file is nested too deeply.")
    cause = error.__cause__
    line = getattr(cause, "lineno", None) or _line_in(str(cause))
    message = str(error).removeprefix(f"{path} ")
    hint = " Texts need quotes, and tables brackets." if line is not None else ""
    return ConfigProblem(str(path), line, "", f"{message}{hint}")


def _line_in(message: str) -> int | None:
    """Return the line that a message of `tomllib` names; before Python 3.14 errors hold no line."""
    _, found, rest = message.partition("(at line ")
    digits = rest.partition(",")[0]
    return int(digits) if found and digits.isdigit() else None
