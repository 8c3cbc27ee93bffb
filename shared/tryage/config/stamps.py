"""Whether files have changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

FileStamp: TypeAlias = tuple[int, int, str]
"""When a file was changed, in nanoseconds, its size, and a digest of a small one."""

_MAX_READ = 1 << 20  # bytes; of a larger file, the time and the size count


def file_stamp(path: Path) -> FileStamp | None:
    """Return what changes whenever a file does, None if it cannot be read.

    Two versions of a small file are told apart even if both were written within the resolution of
    the clock.
    """
    try:
        status = path.stat()
        content = path.read_bytes() if status.st_size <= _MAX_READ else b""
    except OSError:
        return None
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return status.st_mtime_ns, status.st_size, digest


def file_stamps(paths: tuple[Path, ...]) -> dict[Path, FileStamp | None]:
    """Return the stamps of files by their paths."""
    return {path: file_stamp(path) for path in paths}
