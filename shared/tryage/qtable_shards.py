"""A Q-table as a folder: finished Parquet shards, and the journal of the shard being written.

A row is in the journal as soon as it is measured, so a process that is killed loses none. A full
journal becomes a shard of the same name; while both are there the shard counts, so no row counts
twice.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import uuid
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tryage.errors import QTableError
from tryage.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    from typing_extensions import Self

SHARD, JOURNAL, PARTIAL, LOCK = ".parquet", ".journal", ".partial", ".lock"
TEXTS = ("prompt_id", "prompt", "expert", "category", "source", "method", "output")
NUMBERS = (
    "loss",
    "loss_per_char",
    "bits_per_byte",
    "score",
    "output_tokens",
    "latency",
    "cost",
    "scoring_cost",
    "readability",
)


class ShardWriter:
    """Writes rows of one expert; several writers may share a folder.

    `rows` is how many a shard holds.
    """

    def __init__(self, folder: Path, expert: str, rows: int = 4096) -> None:
        readable = re.sub(r"[^\w.-]+", "-", expert)[:60]
        self._stem = f"{readable}-{uuid.uuid4().hex[:12]}"
        self._folder, self._rows = folder, rows
        self._shards = self._written = 0
        self._journal: Any = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Hand one row to the operating system: from then on a killed process does not lose it."""
        if self._journal is None:
            self._journal = self._path().open("w", encoding="utf-8")
        self._journal.write(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n")
        self._journal.flush()
        self._written += 1
        if self._written >= self._rows:
            self.close()

    def close(self) -> None:
        """Make a shard of what is in the journal."""
        if self._journal is not None:
            self._journal.close()
            _finish(self._path())
            self._journal, self._written, self._shards = None, 0, self._shards + 1

    def _path(self) -> Path:
        return self._folder / f"{self._stem}-{self._shards:05d}{JOURNAL}"

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what was written, whatever happened."""
        self.close()


def read_rows(folder: Path) -> pa.Table:
    """Return all rows of a folder, also those of journals that a killed process left.

    Raises:
        QTableError: there is none, or a shard cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    require("pyarrow", "score")
    import pyarrow as pa

    journals = sorted(folder.glob(f"*{JOURNAL}"))  # first: one may become a shard meanwhile
    shards = sorted(folder.glob(f"*{SHARD}"))
    ended = {path.stem for path in shards}
    parts = [_read_shard(path) for path in shards]
    parts += [_read_either(path) for path in journals if path.stem not in ended]
    if not parts:
        raise QTableError(f"{folder} holds no shard (*{SHARD}); measure some: tryage score")
    return pa.concat_tables(parts, promote_options="permissive")


def recover(folder: Path) -> None:
    """Make shards of the journals that a killed process left; call it with the lock held."""
    for path in folder.glob(f"*{PARTIAL}"):
        path.unlink()
    for path in sorted(folder.glob(f"*{JOURNAL}")):
        if path.with_suffix(SHARD).exists():
            path.unlink()
        else:
            _finish(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder alone; the lock ends with its process, also when that is killed.

    Raises:
        QTableError: another process measures into it.
    """
    with closing(sqlite3.connect(folder / LOCK, timeout=0.0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise QTableError(
                f"{folder} is being written by another process. Wait until it has finished, or "
                "stop it: what it has measured is kept."
            ) from error
        yield


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [(name, pa.string()) for name in TEXTS] + [(name, pa.float64()) for name in NUMBERS]
    )


def _finish(journal: Path) -> None:
    """Turn a journal into a shard: whole under its name, or not there."""
    from pyarrow import parquet

    rows, partial = _read_journal(journal), journal.with_suffix(PARTIAL)
    if len(rows):
        with partial.open("wb") as file:
            parquet.write_table(rows, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(journal.with_suffix(SHARD))
    journal.unlink()


def _read_either(journal: Path) -> pa.Table:
    try:
        return _read_journal(journal)
    except FileNotFoundError:  # its writer has just made a shard of it
        return _read_shard(journal.with_suffix(SHARD))


def _read_journal(path: Path) -> pa.Table:
    import pyarrow as pa

    lines = path.read_bytes().split(b"\n")[:-1]  # what is behind the last newline was cut off
    try:
        return pa.Table.from_pylist([json.loads(line) for line in lines], schema=_schema())
    except (ValueError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise QTableError(f"{path} is damaged: {error}. Mend or remove it.") from error


def _read_shard(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise QTableError(f"{path} cannot be read as Parquet: {error}. Remove it.") from error
