"""Files on this machine: the folder of Tryage, and one file that is never half written."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

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
