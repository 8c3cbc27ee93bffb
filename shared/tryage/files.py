"""Files on this machine: the folder of Tryage, and one file that is never half written."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def home_folder() -> Path:
    """Return the folder for what Tryage keeps: `TRYAGE_HOME`, else in the platform's cache."""
    tryage_home = os.environ.get("TRYAGE_HOME")
    if tryage_home:
        return Path(tryage_home).expanduser()
    if sys.platform == "win32":
        local_app_data = os.environ.get("LOCALAPPDATA")
        return (
            Path(local_app_data) if local_app_data else Path.home() / "AppData" / "Local"
        ) / "tryage"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tryage"
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "tryage"


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes `path` at the end of the block.

    It is in the same folder, which is made. An error leaves the file as it was. What is no regular
    file, such as `/dev/stdout`, is written itself.
    """
    if path.exists() and not path.is_file():  # a device or a pipe has no old content to keep
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial_path
        sync_to_disk(partial_path)
        partial_path.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial_path.unlink()


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, without the byte order mark that editors of Windows write.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8: {error}.") from error
    except ValueError as error:  # a zero byte in the path
        raise InputError(f"{str(path)!r:.80} is no path: {error}.") from error


def parse_toml(text: str, place: str) -> dict[str, Any]:
    """Return the tables of a text in TOML; `place` is where it is from, for the message.

    Raises:
        InputError: it is no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]  # Python 3.10 alone
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise InputError(f"{place} is TOML that is nested too deeply.") from error
    except ValueError as error:  # also a number of thousands of digits, which is no TOMLDecodeError
        raise InputError(f"{place} is not TOML: {error}.") from error
    return tables


def path_exists(path: Path) -> bool:
    """Tell whether there is something at a path; `Path.exists` raises where a name is too long."""
    return os.path.exists(path)  # noqa: PTH110 - as said above


def folder_exists(path: Path) -> bool:
    """Tell whether a path is a folder; a name that no folder can have is none."""
    return os.path.isdir(path)  # noqa: PTH112 - as above


def write_text(path: Path, text: str) -> None:
    """Write a text file; a stop leaves the old one or the new one."""
    with replace_file(path) as partial_path:
        partial_path.write_text(text, "utf-8")


def sync_to_disk(path: Path) -> None:
    """Wait until a file or the entries of a folder are on the disk; Windows cannot open folders."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
