"""One file of settings: its tables, and in which line each of its keys is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.config.find import is_project_file
from tryage.config.positions import key_lines, line_of
from tryage.errors import ConfigError, ConfigProblem, InputError
from tryage.files import parse_toml, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from tryage.config.positions import KeyPath

Overrides: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Keys of tables that replace those of a file."""

_PROJECT_TABLE = ("tool", "tryage")

_MAX_LEVELS = 50  # of tables and lists in each other; what reads them goes down level by level


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

    def replaced(self, overrides: Overrides) -> Document:
        """Return the document with other keys in some tables; None takes one out.

        Raises:
            InputError: the overrides are no tables, or replace keys of an array of tables.
        """
        tables = dict(self.tables)
        for name, words in _checked_overrides(overrides, tables):
            table = tables.get(name, {})
            if words and isinstance(table, dict):
                joined = {**table, **words}
                tables[name] = {key: value for key, value in joined.items() if value is not None}
        return replace(self, tables=tables)

    def problem(self, place: KeyPath, message: str) -> ConfigProblem:
        """Return a problem with the line of its key; an empty place is the whole file."""
        line = line_of(self.lines, (*self.prefix, *place))
        return ConfigProblem(str(self.path), line, key_text(place), message)


def _checked_overrides(
    overrides: Overrides, tables: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, words in overrides.items() if isinstance(overrides, Mapping) else [("", overrides)]:
        if not isinstance(words, Mapping):
            raise InputError(
                f'overrides have {words!r:.60}; expected tables, such as {{"preferences": '
                '{"answer_value": 1.0}}.'
            )
        if isinstance(tables.get(name), list):
            raise InputError(
                f"overrides replace keys of one table, and {name} is an array of tables: write "
                "another file for it."
            )
        yield name, words


def read_document(path: Path) -> Document:
    """Read a file in TOML; of a `pyproject.toml`, the table `[tool.tryage]`.

    A file named .json has the same in JSON, whose keys have no lines; a list there is `models`.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    if path.suffix.lower() == ".json":
        return Document(path, _checked_levels(path, _read_json(path)), {})
    try:
        text = read_text(path)
        tables: Any = parse_toml(text, "the file")
    except InputError as error:
        raise ConfigError.of(_unreadable(path, error)) from error
    tables = _checked_levels(path, tables)
    prefix = _PROJECT_TABLE if is_project_file(path) else ()
    for name in prefix:
        tables = tables.get(name) if isinstance(tables, dict) else None
    if not isinstance(tables, dict):
        message = f"it has no table [{'.'.join(prefix)}]; write one, or name another file."
        raise ConfigError.of(ConfigProblem(str(path), None, "", message))
    return Document(path, tables, key_lines(text), prefix)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(read_text(path))
    except (InputError, ValueError, RecursionError) as error:
        message = f"the file is not JSON: {error}."
        raise ConfigError.of(ConfigProblem(str(path), None, "", message)) from error
    if not isinstance(value, (dict, list)):
        message = f"got {type(value).__name__}; expected an object, or a list of models."
        raise ConfigError.of(ConfigProblem(str(path), None, "", message))
    return value if isinstance(value, dict) else {"models": value}


def _checked_levels(path: Path, tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tables unless they are nested so deeply that reading them would fail."""
    level: list[Any] = [tables]
    for _ in range(_MAX_LEVELS):
        parts = [one.values() if isinstance(one, Mapping) else one for one in level]
        level = [one for part in parts for one in part if isinstance(one, (Mapping, list))]
        if not level:
            return tables
    message = f"it has more than {_MAX_LEVELS} levels of tables and lists; write them flat."
    raise ConfigError.of(ConfigProblem(str(path), None, "", message))


def key_text(place: KeyPath) -> str:
    """Return a place as it is written in code: models[1].input_price."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in place]
    return "".join(parts).removeprefix(".")


def _unreadable(path: Path, error: InputError) -> ConfigProblem:
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
