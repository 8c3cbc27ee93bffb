"""SQLite for the catalogue: transactions, and what its errors mean to people."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tryage.errors import CatalogueError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 10.0  # seconds to wait for another writer's transaction
RESYNC = "Move it away and run `tryage hub sync`, which makes a new one."


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write everything inside, or nothing; one writer at a time."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # a full disk has rolled it back already
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


@contextmanager
def snapshot(database: sqlite3.Connection) -> Iterator[None]:
    """Read one state of the file, whatever is written meanwhile."""
    database.execute("BEGIN")
    try:
        yield
    finally:
        if database.in_transaction:
            database.execute("COMMIT")


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Say in words of people what SQLite reports about the file.

    Raises:
        CatalogueError: instead of sqlite3.Error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise CatalogueError(_explain(path, error)) from error


def _explain(path: Path, error: sqlite3.Error) -> str:
    said = str(error)
    if "locked" in said or "busy" in said:
        return (
            f"The catalogue {path} is being written by another process: waited {PATIENCE:.0f} s. "
            "Try again when it has finished; reading goes on meanwhile."
        )
    if "full" in said:
        return (
            f"The disk is full: nothing of this step was written to {path}. Make room, try again."
        )
    if isinstance(error, sqlite3.OperationalError) and is_read_only(error):
        return (
            f"The catalogue {path} cannot be written ({said}). Give a folder that can be, with "
            "--catalogue or TRYAGE_HOME."
        )
    if "not a database" in said or "malformed" in said or "encrypted" in said:
        return f"The catalogue {path} is damaged ({said}). {RESYNC}"
    return f"The catalogue {path} cannot be used: {said}. {RESYNC}"


def is_read_only(error: sqlite3.OperationalError) -> bool:
    """Return whether an error says that the file, or its folder, cannot be written."""
    return any(word in str(error) for word in ("readonly", "unable to open", "read-only"))
