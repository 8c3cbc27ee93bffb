"""`Catalogue`: facts about the Hub's models in a local SQLite file, and its rows as a library."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.library import Library
from tryage.core.validation import did_you_mean
from tryage.errors import InputError, LibraryError
from tryage.hub import catalog_schema
from tryage.hub.catalog_query import SELECTIVE_TAG_LIMIT, CatalogRow, Query, build_select
from tryage.hub.catalog_resolve import InheritanceResolver
from tryage.hub.catalog_write import CatalogWriter, ChangeCounts
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from tryage.hub.model import Model

ROWS_PER_CHUNK = 20_000  # rows that are turned into columns at a time

NAMES_PER_PART = 2_000  # names of the catalogue that are compared for each part of a name

NUMERIC_COLUMNS = (
    "parameters", "active_parameters", "released", "security", "input_price", "output_price",
    "latency", "context_length", "downloads",
)  # fmt: skip

# A model's declared bases, one per line: relation, blank, name; names contain no blanks.
BASES_SQL = """(SELECT group_concat(IFNULL(relation, '') || ' ' || name, char(10)) FROM (
    SELECT relation, name FROM lineage WHERE child = models.id ORDER BY place))"""


class Catalogue:
    """The facts about the Hub's models, in one SQLite file.

    Any number of threads and processes read it at any time, and one writes at a time. The file is
    opened at its first use. The default path is `catalogue.sqlite` in `TRYAGE_HOME`, else in the
    platform's cache folder. Every method that uses the file raises CatalogueError when it cannot be
    read or written, is damaged, or has a newer version.

    Raises:
        InputError: `path` is not a path.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        if path is not None and (not isinstance(path, (str, Path)) or not str(path)):
            raise InputError(f"path must be the path of a catalogue, got {path!r:.80}.")
        self.path = catalog_schema.default_path() if path is None else Path(path)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._write_lock = ForkSafeLock()

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection; after a fork, a new one."""
        process_connection: tuple[int, sqlite3.Connection] | None = getattr(
            self._local, "process_connection", None
        )
        if process_connection is None or process_connection[0] != os.getpid():
            process_connection = os.getpid(), catalog_schema.connect(self.path)
            self._local.process_connection = process_connection
            with self._lock:
                self._connections.append(process_connection[1])
        return process_connection[1]

    # --- writing ----------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write everything in the block, or nothing.

        Threads wait for each other without a limit of time: SQLite's own waiting polls, so that one
        of several busy threads may never have its turn. Another process is waited for as long as
        `BUSY_TIMEOUT` says.
        """
        with self._write_lock, catalog_schema.wrap_sqlite_errors(self.path):
            database = self.connection()
            with catalog_schema.transaction(database):
                yield database

    def put(
        self, models: Iterable[Model], former_names: Mapping[str, str] | None = None
    ) -> ChangeCounts:
        """Write models by their `_id`, all or none, and update their descendants.

        A newer record in the catalogue stays. `former_names` maps an earlier name of a model to its
        `_id`. Returns how many models were new, changed, renamed and deleted.
        """
        with self.transaction() as database:
            writer = CatalogWriter(database)
            for model in models:
                writer.write_model(model)
            for name, key in (former_names or {}).items():
                writer.add_alias(name, key)
            return writer.propagate()

    # --- reading ----------------------------------------------------------------------------

    def get(self, name: str) -> Model | None:
        """Return a model with all its facts by name, former name or `_id`; None if unknown.

        Every fact has its source, which also names the base that it is inherited from. A model that
        is deleted from the Hub is found here, but not by `search`.
        """
        if not isinstance(name, str):
            raise InputError(f"name must be a string such as 'org/name', got {name!r:.80}.")
        database = self.connection()
        with (
            catalog_schema.wrap_sqlite_errors(self.path),
            catalog_schema.read_transaction(database),
        ):
            row = catalog_schema.find_row(database, name, name)
            if row is None:
                return None
            model = InheritanceResolver(database).resolve(row)
            with catalog_schema.damaged_values():
                model.check_types()
            return model

    def deleted_at(self, name: str) -> datetime | None:
        """Return the time from which a model counts as deleted from the Hub; None if it is not."""
        database = self.connection()
        with catalog_schema.wrap_sqlite_errors(self.path):
            row = catalog_schema.find_row(database, name, name)
            deletion = database.execute("SELECT gone FROM models WHERE id = ?", (row,)).fetchone()
        return None if deletion is None or deletion[0] is None else _to_datetime(deletion[0])

    def search(self, query: Query | None = None) -> list[CatalogRow]:
        """Return the models that fit, in the order of `query.sort`; all models by default."""
        rows = [CatalogRow(*row) for row in self._rows(query or Query(), CatalogRow._fields)]
        with catalog_schema.wrap_sqlite_errors(self.path), catalog_schema.damaged_values():
            for row in rows:
                row.check_types()
        return rows

    def count(self, query: Query | None = None) -> int:
        """Return how many models fit, ignoring the limit of the query."""
        ((count,),) = self._rows(replace(query or Query(), limit=None), ("count(*)",))
        return int(count)

    def __len__(self) -> int:
        """Return how many models there are, without deleted and disabled ones."""
        with catalog_schema.wrap_sqlite_errors(self.path):
            (count,) = (
                self.connection().execute("SELECT count(*) FROM models WHERE live = 1").fetchone()
            )
            return int(count)

    def __bool__(self) -> bool:
        """Return True, also for an empty catalogue."""
        return True

    def library(self, query: Query | None = None) -> Library:
        """Return the models that fit as a library of columns, without an object for each model.

        `metadata["hub"]["bases"]` has the base models and their relations; models with the same
        bases share that dict. `get(name)` has the source of each value. Of names that differ only
        in case, the first in the order of the query is kept.

        Raises:
            LibraryError: no model fits.
        """
        rows = self._rows(
            query or Query(), ("name", "license", "capabilities", BASES_SQL, *NUMERIC_COLUMNS)
        )
        with catalog_schema.wrap_sqlite_errors(self.path), catalog_schema.damaged_values():
            return rows_to_library(rows)

    def suggest_names(self, name: str) -> str:
        """Return " Did you mean a, b?" with the most similar names, or ""."""
        owner, _, short_name = name.rpartition("/")
        parts = [part for part in (short_name[:4], short_name[-4:], owner) if len(part) > 2]
        similar_names: dict[str, None] = {}
        for part in parts or [name]:
            query = Query(search=part if part.strip() else None, limit=NAMES_PER_PART)
            similar_names.update(dict.fromkeys(row[0] for row in self._rows(query, ("name",))))
        return did_you_mean(name, list(similar_names)[:5_000])

    def distinct_values(self, column: str) -> list[str]:
        """Return the distinct values of `task`, `license`, `author`, or `tag`."""
        sql = _DISTINCT_VALUES_SQL.get(column)
        if sql is None:
            raise InputError(
                f"column must be one of {', '.join(_DISTINCT_VALUES_SQL)}; got {column!r:.80}."
            )
        with catalog_schema.wrap_sqlite_errors(self.path):
            return [row[0] for row in self.connection().execute(sql)]

    def unknown_rows(self, query: Query, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return columns of the models that would fit if what is unknown about them were so."""
        return list(self._rows(query, columns, unknown=True))

    def _rows(
        self, query: Query, columns: Sequence[str], *, unknown: bool = False
    ) -> Iterator[tuple[Any, ...]]:
        database = self.connection()
        with catalog_schema.wrap_sqlite_errors(self.path):
            selective_tag = next(
                (tag for tag in query.tags if self._is_selective(database, tag)), None
            )
            yield from database.execute(
                *build_select(query, columns, selective_tag, unknown=unknown)
            )

    def _is_selective(self, database: sqlite3.Connection, tag: str) -> bool:
        (count,) = database.execute(_COUNT_TAG_SQL, (tag, SELECTIVE_TAG_LIMIT + 1)).fetchone()
        return bool(count <= SELECTIVE_TAG_LIMIT)

    # --- state ------------------------------------------------------------------------------

    @property
    def synced_at(self) -> datetime | None:
        """When the last complete sync began (UTC); None when there was none."""
        seconds = self.get_state("synced")
        with catalog_schema.wrap_sqlite_errors(self.path), catalog_schema.damaged_values():
            return None if seconds is None else _to_datetime(seconds)

    def age(self, now: datetime | None = None) -> timedelta | None:
        """Return the time since the last complete sync began, at least zero; None without one."""
        synced_at = self.synced_at
        if synced_at is None:
            return None
        return max((now or datetime.now(timezone.utc)) - synced_at, timedelta(0))

    def get_state(self, name: str) -> Any:  # noqa: ANN401 - any JSON
        """Return a stored value, or None."""
        with catalog_schema.wrap_sqlite_errors(self.path):
            return catalog_schema.load_state(self.connection(), name)

    def set_state(self, values: Mapping[str, Any]) -> None:
        """Store JSON values by name, in one transaction; None deletes one."""
        with self.transaction() as database:
            catalog_schema.save_state(database, values)

    # --- closing ----------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file in every thread; the next use opens it again."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()
        self._local = threading.local()

    def __enter__(self) -> Self:
        """Return the catalogue; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def __repr__(self) -> str:
        """Return the class and the path."""
        return f"Catalogue({str(self.path)!r})"


def explain_no_match(catalogue: Catalogue, query: Query) -> str:
    """Return a sentence for each word of the query that no model of the catalogue has, or ""."""
    sentences = []
    for column, words in (
        ("task", (query.task,)),
        ("tag", query.tags),
        ("license", query.license),
        ("author", (query.author,)),
    ):
        for word in filter(None, words):
            values = catalogue.distinct_values(column)
            if word not in values:
                sentences.append(
                    f" No model has the {column} {word!r:.80}.{did_you_mean(word, values)}"
                )
    return "".join(sentences)


def rows_to_library(rows: Iterator[tuple[Any, ...]]) -> Library:
    """Return the library of rows of name, license, capabilities, bases and `NUMERIC_COLUMNS`.

    Bases are lines of `BASES_SQL`. Of names that differ only in case, the first is kept.

    Raises:
        LibraryError: there is no row.
    """
    names: list[str] = []
    licenses: list[str | None] = []
    capabilities: list[frozenset[str] | None] = []
    metadata: list[dict[str, Any] | None] = []
    parts: list[list[np.ndarray[Any, Any]]] = [[] for _ in NUMERIC_COLUMNS]
    word_sets, base_metadata = _WordSetCache(), _BaseMetadataCache()
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        name, license_, capability_words, bases, *columns = zip(*chunk, strict=True)
        names += name
        licenses += license_
        capabilities += map(word_sets.__getitem__, capability_words)
        metadata += map(base_metadata.__getitem__, bases)
        for part, column in zip(parts, columns, strict=True):
            part.append(np.array(column, dtype=np.float64))
    if not names:
        raise LibraryError(
            "No model of the catalogue fits. Ask for less, or fill it with: tryage hub sync"
        )
    numbers = {
        field: np.concatenate(part) for field, part in zip(NUMERIC_COLUMNS, parts, strict=True)
    }
    words = {"license": licenses, "capabilities": capabilities, "metadata": metadata}
    return _deduplicate_names(names, {**numbers, **words})


class _WordSetCache(dict[str | None, "frozenset[str] | None"]):
    """Words separated by blanks -> set; there are few different texts, so each is split once."""

    def __missing__(self, text: str | None) -> frozenset[str] | None:
        words = None if text is None else frozenset(text.split())
        self[text] = words
        return words


class _BaseMetadataCache(dict[str | None, "dict[str, Any] | None"]):
    """Lines of `BASES_SQL` -> metadata; many models share their bases, so each is built once."""

    def __missing__(self, text: str | None) -> dict[str, Any] | None:
        lines = [] if text is None else [line.partition(" ") for line in text.split("\n")]
        bases = [
            {"name": name, "relation": relation} if relation else {"name": name}
            for relation, _, name in lines
        ]
        metadata = {"hub": {"bases": bases}} if bases else None
        self[text] = metadata
        return metadata


def _deduplicate_names(names: list[str], columns: dict[str, Any]) -> Library:
    """Build the library; of names that differ only in case, keep the first."""
    if len({name.casefold() for name in names}) == len(names):
        return Library.from_columns(names, **columns)
    row_by_name: dict[str, int] = {}
    for i, name in enumerate(names):
        row_by_name.setdefault(name.casefold(), i)
    rows = list(row_by_name.values())
    unique_columns = {
        field: column[rows] if isinstance(column, np.ndarray) else [column[i] for i in rows]
        for field, column in columns.items()
    }
    return Library.from_columns([names[i] for i in rows], **unique_columns)


def _to_datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


# --- SQL ------------------------------------------------------------------------------------

_DISTINCT_VALUES_SQL: Mapping[str, str] = {
    "task": "SELECT DISTINCT task FROM models WHERE task IS NOT NULL",
    "license": "SELECT DISTINCT license FROM models WHERE license IS NOT NULL",
    "author": "SELECT DISTINCT author FROM models WHERE author IS NOT NULL",
    "tag": "SELECT tag FROM tags",
}

_COUNT_TAG_SQL = """
SELECT count(*) FROM (
    SELECT 1 FROM tagged WHERE tag = (SELECT id FROM tags WHERE tag = ?) LIMIT ?
)"""
