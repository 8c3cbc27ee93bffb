"""Files on this machine: the folder of Tryage, one file that is never half written, scratch."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.errors import FileWriteError, InputError, TryageError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Why a file could not be written, and what to do. Other errors are no matter of the disk.
_NO_ROOM = "make room on the disk, and try again"
_NOT_ALLOWED = "give a place that can be written"
_WRITE_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _NOT_ALLOWED),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG), _NOT_ALLOWED),
    errno.EIO: "look after the disk",
}

# Another process may not yet have locked what it has just made.
_YOUNG_SECONDS = 60.0

# Where nothing can be locked, scratch files of this age are left over.
_OLD_SECONDS = 86_400.0


def home_folder() -> Path:
    """Return the folder for what Tryage keeps: `TRYAGE_HOME`, else in the platform's cache."""
    tryage_home = os.environ.get("TRYAGE_HOME")
    if tryage_home:
        return Path(tryage_home).expanduser()
    if sys.platform == "win32":
        local_app_data = os.environ.get("LOCALAPPDATA")
        return (
            Path(local_app_data) if local_app_data else _user_home() / "AppData" / "Local"
        ) / "tryage"
    if sys.platform == "darwin":
        return _user_home() / "Library" / "Caches" / "tryage"
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else _user_home() / ".cache") / "tryage"


def _user_home() -> Path:
    """Return the home of the user, or the root, which is not written, for one without a home."""
    try:
        return Path.home()
    except RuntimeError:  # such as an account of a container that is only a number
        return Path(os.sep)


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which becomes `path` at the end of the block.

    It is in the same folder, which is made. An error leaves the file as it was. What is no regular
    file, such as `/dev/stdout`, is written itself. What killed processes have left is removed.

    Raises:
        FileWriteError: the disk is full or read-only, or the folder cannot be made or written.
    """
    if path.exists() and not path.is_file():  # a device or a pipe has no old content to keep
        yield path
        return
    with explain_write_errors(path, "It is as it was before."):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path.parent, f".{glob.escape(path.name)}.*.partial")
        partial_path = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
        with _locked_file(partial_path):
            yield partial_path
            sync_to_disk(partial_path)
            partial_path.replace(path)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder, and remove it at the end, with those that killed processes left.

    The folder above it is locked, so that what is done in it may lock it, too.

    Raises:
        FileWriteError: there is no folder for temporary files that can be written.
    """
    try:
        root = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise FileWriteError(
            "No folder for temporary files can be written: set TMPDIR to one that can."
        ) from error
    with explain_write_errors(root, "Or set TMPDIR to another folder."):
        _remove_left_over(root, f"{prefix}*")
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
    handle = _lock(folder)
    try:
        inner = folder / "files"
        inner.mkdir()
        yield inner
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def explain_write_errors(path: Path, consequence: str) -> Iterator[None]:
    """Let the error of a full or a read-only disk say what to do; others stay as they are.

    Args:
        path: What is written.
        consequence: A sentence that says what is left, and how to go on.

    Raises:
        FileWriteError: instead of such an error.
    """
    try:
        yield
    except TryageError:
        raise
    except OSError as error:
        if error.errno not in _WRITE_ADVICE:
            raise
        raise FileWriteError(
            f"{path} cannot be written: {describe_write_error(error)}. {consequence}"
        ) from error


def describe_write_error(error: OSError) -> str:
    """Return why a file could not be written and, if that is known, what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    advice = _WRITE_ADVICE.get(error.errno or 0)
    return reason if advice is None else f"{reason}; {advice}"


# --- what a killed process leaves -----------------------------------------------------------


@contextmanager
def _locked_file(path: Path) -> Iterator[None]:
    """Make an empty file that this process locks, and remove it at the end if it is there."""
    path.touch()
    handle = _lock(path)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
        with suppress(FileNotFoundError):
            path.unlink()


def _remove_left_over(folder: Path, pattern: str) -> None:
    """Remove files and folders whose process has ended without it, such as by a kill."""
    for path in folder.glob(pattern):
        with suppress(OSError):  # another process removes it, or it belongs to another user
            if _is_left_over(path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def _is_left_over(path: Path) -> bool:
    """Tell whether no process locks what was not made just now; a clock may have gone back."""
    age = abs(time.time() - path.lstat().st_mtime)
    if age < _YOUNG_SECONDS:
        return False
    handle = _lock(path)
    if handle is None:
        return age > _OLD_SECONDS and not _has_locks()
    os.close(handle)
    return True


def _lock(path: Path) -> int | None:
    """Lock a file or a folder until its handle is closed or the process ends.

    None where another process has locked it, and on systems and disks without locks.
    """
    if not _has_locks():
        return None
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _has_locks() -> bool:
    return sys.platform != "win32"


def check_regular_file(path: Path, max_bytes: int | None = None) -> None:
    """Raise unless a path, or what a link there leads to, is a file that can be read to its end.

    A pipe would wait for a writer, and a device such as `/dev/zero` has no end.

    Raises:
        OSError: it is missing, is no regular file, or is larger than `max_bytes`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is no regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise OSError(f"{path} has {status.st_size:,} bytes, more than {max_bytes:,}")


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
