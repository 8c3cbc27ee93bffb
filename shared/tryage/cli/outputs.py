"""Check that a command can write its results, before it starts to work."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.errors import InputError
from tryage.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROBE = b"\0" * 4096  # one block: a full disk refuses it


def check_output_folder(path: Path | None) -> Path | None:
    """Return the path of a folder that can be written, or made; nothing is left behind.

    The callback of an option: it runs before the command.

    Raises:
        InputError: the path is a file, or its folder or its disk cannot be written.
    """
    if path is not None:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; give the path of a folder to write to.")
        _check_writable(path)
    return path


def check_output_file(path: Path | None) -> Path | None:
    """Return the path of a file that can be written; nothing is left behind.

    The callback of an option: it runs before the command.

    Raises:
        InputError: the path is a folder, or its folder or its disk cannot be written.
    """
    if path is not None:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the path of a file to write to.")
        _check_writable(path)
    return path


def check_picture_file(path: Path | None) -> Path | None:
    """Do what `check_output_file` does, for a picture.

    Raises:
        InputError: as in `check_output_file`, or the suffix is not that of a picture.
        MissingExtraError: matplotlib, or plotly for .html, is not installed.
    """
    if path is not None:
        from tryage.learning.charts.pictures import check_picture_path

        check_picture_path(path)
    return check_output_file(path)


def _check_writable(path: Path) -> None:
    """Write a temporary file where the path, or the folders above it, will be."""
    folder = next(folder for folder in _folders_above(path) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_PROBE)
            file.flush()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be written: {reason} ({folder}).") from error


def _folders_above(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield path
    yield from path.absolute().parents


def write_json(path: Path, data: object) -> None:
    """Write JSON to a file, and make the folders above it."""
    write_text(path, json.dumps(data, indent=1) + "\n")


def describe_os_error(error: OSError) -> str:
    """Return what a file operation could not do, in one line, with the name of the file."""
    names: list[Any] = [name for name in (error.filename, error.filename2) if name is not None]
    reason = error.strerror or str(error) or type(error).__name__
    return f"{' and '.join(map(str, names))}: {reason}" if names else reason
