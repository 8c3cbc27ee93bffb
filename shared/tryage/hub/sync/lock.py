"""One sync at a time: a lock that ends with its process, also when that is killed."""

from __future__ import annotations

import os
import platform
import sqlite3
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tryage.errors import CatalogueError
from tryage.hub.catalogue import storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.hub.catalogue.keeping import Catalogue

NOTE = "writer"


@contextmanager
def held(catalogue: Catalogue) -> Iterator[None]:
    """Hold the catalogue's lock; who holds it is noted for whoever comes meanwhile.

    The lock is one on an SQLite file beside the catalogue, because that works on every platform
    and is free again when its holder dies; the note alone locks nothing.

    Raises:
        CatalogueError: somebody else holds it.
    """
    catalogue.database()  # makes the folder
    with storage.guarded(catalogue.path):
        lock = sqlite3.connect(
            f"{catalogue.path}.lock", timeout=0.0, isolation_level=None, check_same_thread=False
        )
        try:
            _take(lock, catalogue)
            catalogue.store({NOTE: _me()})
            yield
            catalogue.store({NOTE: None})
        finally:
            lock.close()


def _take(lock: sqlite3.Connection, catalogue: Catalogue) -> None:
    try:
        lock.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise CatalogueError(
            f"The catalogue {catalogue.path} is being synced by {_who(catalogue.state(NOTE))}. "
            "Wait until that has finished, or stop it: what it has fetched is kept. Searching and "
            "routing go on meanwhile."
        ) from error


def _me() -> dict[str, str | int]:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"process": os.getpid(), "machine": platform.node(), "since": since}


def _who(note: dict[str, str | int] | None) -> str:
    if note is None:
        return "another process"
    return f"process {note['process']} on {note['machine']} since {note['since']}"
