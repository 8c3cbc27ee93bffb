"""Write folders so that a stop at any moment leaves the old ones or the new ones, never a mixture.

A folder has one file, its header, that lists the SHA-256 digests of all others; the rename of the
header is the moment at which the new files are valid. Files are written in three steps:

1. All of them into a scratch folder in the folder. A stop here, or a full disk, changes nothing.
2. Data files are renamed to `.<name>.<digest>` beside their places, then the header to its place.
3. Data files are renamed to their places.

A stop in step 3 is noticed by the digests, and reading the folder finishes the step.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tryage.errors import PersistenceError
from tryage.files import check_regular_file, describe_write_error, sync_to_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DIGESTS_KEY = "sha256"  # the key of the header that maps the path of each file to its digest

MAX_HEADER_BYTES = 2**28  # that of a library of 100,000 models is a third of it

_SCRATCH_PREFIX = ".saving-"

_DIGEST_LENGTH = 16  # hexadecimal digits of a digest that are in the name of a waiting file

_CHUNK_BYTES = 2**20


# --- a folder -------------------------------------------------------------------------------


def replace_folder(folder: Path, header_name: str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder whose header is `header_name`; other files in it stay.

    Raises:
        PersistenceError: a file cannot be written; everything is as it was before.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder), _scratch_folder(folder) as scratch:
            write(scratch)
            _publish(folder, scratch, header_name)
    except OSError as error:
        if isinstance(error, PersistenceError):
            raise
        raise PersistenceError(
            f"{folder} was not saved, and what it held is unchanged: {describe_write_error(error)}."
        ) from error


def _publish(folder: Path, scratch: Path, header_name: str) -> None:
    """Move the files from the scratch folder to their places; the header makes them valid."""
    old_names = _old_names(folder / header_name)
    digests = _digest_files(scratch, header_name)
    if outside := [name for name in digests if not _is_in_folder(folder, name)]:
        raise PersistenceError(
            f"{folder} was not saved: {(folder / outside[0]).parent} is a link to another folder. "
            "Remove the link."
        )
    header = _read_header(scratch / header_name)
    text = json.dumps({**header, DIGESTS_KEY: digests}, indent=1) + "\n"
    (scratch / header_name).write_text(text, "utf-8")
    for name in (*_other_files(scratch, digests), header_name, *digests):
        sync_to_disk(scratch / name)
    for name, digest in digests.items():
        waiting_path = _waiting_path(folder, name, digest)
        waiting_path.parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).replace(waiting_path)
    (scratch / header_name).replace(folder / header_name)
    sync_to_disk(folder)
    _finish(folder, digests)
    for name in _other_files(scratch, digests):
        (scratch / name).replace(folder / name)
    _remove_stale(folder, old_names - digests.keys())


def _old_names(header_path: Path) -> set[str]:
    """Return the files of the save before; none if its header is damaged."""
    try:
        return set(_digests(_read_header(header_path)))
    except PersistenceError:
        return set()


def _digest_files(folder: Path, header_name: str) -> dict[str, str]:
    """Return the digest of each file but the header and the model card, which people edit."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): _digest(path) or ""
        for path in paths
        if path.name != header_name and path.suffix != ".md"
    }


def _other_files(scratch: Path, digests: Mapping[str, str]) -> list[str]:
    """Return the files without a digest that are left in the scratch folder: the model card."""
    return [path.name for path in scratch.glob("*.md") if path.name not in digests]


@contextmanager
def checked_folder(folder: Path, header_name: str) -> Iterator[None]:
    """Check the files of a folder against its header; no process saves to it during the block.

    It finishes a save that was stopped. Folders of older versions have no digests.

    Raises:
        PersistenceError: a file is missing or belongs to another save.
    """
    with _locked(folder, shared=True):
        is_whole = not _wrong_files(folder, header_name)
        if is_whole:
            yield
    if is_whole:
        return
    with suppress(OSError), _locked(folder):
        _finish(folder, _digests(_read_header(folder / header_name)))
    with _locked(folder, shared=True):
        if wrong_names := _wrong_files(folder, header_name):
            raise PersistenceError(
                f"{folder / wrong_names[0]} is missing, or does not belong to the other files of "
                f"{folder}: its digest is not the one in {header_name}. Save again, or copy all "
                "files together."
            )
        yield


def _wrong_files(folder: Path, header_name: str) -> list[str]:
    digests = _digests(_read_header(folder / header_name))
    return [name for name, digest in digests.items() if _digest(folder / name) != digest]


def _finish(folder: Path, digests: Mapping[str, str]) -> None:
    """Rename the files that wait for it to their places."""
    for name, digest in digests.items():
        waiting_path = _waiting_path(folder, name, digest)
        if waiting_path.exists() and _is_in_folder(folder, name):
            waiting_path.replace(folder / name)


def _waiting_path(folder: Path, name: str, digest: str) -> Path:
    path = folder / name
    return path.with_name(f".{path.name}.{digest[:_DIGEST_LENGTH]}")


def _remove_stale(folder: Path, old_names: set[str]) -> None:
    """Remove files of the save before, and what stopped saves have left."""
    for name in old_names:
        if _is_in_folder(folder, name):
            (folder / name).unlink(missing_ok=True)
    for path in folder.rglob(".*"):
        if _is_waiting(path):
            path.unlink(missing_ok=True)
    for path in folder.glob(f"{_SCRATCH_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def _is_waiting(path: Path) -> bool:
    digest = path.suffix[1:]
    return len(digest) == _DIGEST_LENGTH and set(digest) <= set("0123456789abcdef")


def _digests(header: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of a header; {} for a folder of an older version.

    Raises:
        PersistenceError: they are not names of files in the folder with digests.
    """
    digests = header.get(DIGESTS_KEY, {})
    if not isinstance(digests, dict) or not all(
        isinstance(digest, str) and _is_inside(name) for name, digest in digests.items()
    ):
        raise PersistenceError(f"the header of a saved folder is damaged: {DIGESTS_KEY!r}")
    return digests


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    has_odd_character = "\\" in name or "\0" in name
    return (
        bool(name) and not has_odd_character and not path.is_absolute() and ".." not in path.parts
    )


def _is_in_folder(folder: Path, name: str) -> bool:
    """Return whether no link of a folder leads to another place for a file of it."""
    return (folder / name).parent.resolve().is_relative_to(folder.resolve())


def _read_header(path: Path) -> dict[str, Any]:
    """Return the header as it is; {} if there is none that can be read."""
    try:
        check_regular_file(path, MAX_HEADER_BYTES)
        header = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, None if there is none that can be read."""
    digest = hashlib.sha256()
    try:
        check_regular_file(path)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()


# --- the file system ------------------------------------------------------------------------


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a folder in the folder, so that a rename moves no data; remove it at the end."""
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=folder))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Let one process save to a folder, or with `shared` several read it, at a time.

    Windows and some network disks have no locks of folders, and go without.
    """
    handle = None
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):  # no folder, or no locks on this disk
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
