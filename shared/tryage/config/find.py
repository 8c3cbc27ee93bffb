"""Where the file of settings is: given, in `TRYAGE_CONFIG`, or beside the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tryage.errors import ConfigError, ConfigProblem, InputError
from tryage.files import folder_exists, parse_toml, path_exists, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_VARIABLE = "TRYAGE_CONFIG"
"""The variable of the environment that holds the path of the file."""

CONFIG_FILE = "tryage.toml"

PROJECT_FILE = "pyproject.toml"
"""The other file that may hold the settings, in the table `[tool.tryage]`."""


def find_config(
    path: str | Path | None = None,
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Path:
    """Return the file of settings.

    Without a `path` it is what `TRYAGE_CONFIG` says, else `tryage.toml` in the working `folder` or
    the nearest of its parents, else a `pyproject.toml` there with a table `[tool.tryage]`.

    Raises:
        ConfigError: there is none; the message says where it was looked for.
        InputError: the path is no path.
    """
    if path is not None:
        if not isinstance(path, (str, Path)):
            raise InputError(f"path is a {type(path).__name__}; expected the path of a file.")
        return _existing(Path(path), "")
    if given := environment.get(CONFIG_VARIABLE):
        return _existing(Path(given), f" {CONFIG_VARIABLE} says so.")
    start = Path.cwd() if folder is None else folder
    folders = [start, *start.parents]
    files = [one / CONFIG_FILE for one in folders]
    projects = [one / PROJECT_FILE for one in folders]
    found = next((one for one in files if one.is_file()), None)
    found = found or next((one for one in projects if one.is_file() and _is_meant(one)), None)
    if found is None:
        raise _problem(
            start / CONFIG_FILE,
            f"there are no settings. Looked for {CONFIG_FILE}, then for [tool.tryage] in "
            f"{PROJECT_FILE}, in {start} and its parents. Write the file, name it with --config or "
            f"from_config(path), or set {CONFIG_VARIABLE}.",
        )
    return found


def is_project_file(path: Path) -> bool:
    """Tell whether the settings are in a table of a `pyproject.toml`."""
    return path.name == PROJECT_FILE


def _existing(path: Path, reason: str) -> Path:
    path = path.expanduser()
    if folder_exists(path):
        hint = f" Did you mean {path / CONFIG_FILE}?" if (path / CONFIG_FILE).is_file() else ""
        raise _problem(path, f"this is a folder; expected a file in TOML.{reason}{hint}")
    if not path_exists(path):
        raise _problem(path, f"there is no such file.{reason} Write it, or correct the path.")
    return path.absolute()


def _is_meant(path: Path) -> bool:
    """Tell whether a project has settings; a file that cannot be read is not ours."""
    try:
        tool = parse_toml(read_text(path), str(path)).get("tool")
    except InputError:
        return False
    return isinstance(tool, dict) and "tryage" in tool


def _problem(path: Path, message: str) -> ConfigError:
    return ConfigError.of(ConfigProblem(str(path), None, "", message))
