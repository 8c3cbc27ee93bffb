"""The file of the catalogue: its tables, migrations, connections, transactions and errors."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tryage.errors import CatalogueError, LibraryError
from tryage.files import home_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CACHE_KIB = 32_768  # with less, filling a large catalogue waits for pages of its indexes

APPLICATION_ID = 0x54525947  # "TRYG": distinguishes a catalogue from another program's SQLite file

BUSY_TIMEOUT = 10.0  # seconds to wait for another process's transaction

RESYNC_HINT = "Move it away and run `tryage hub sync`, which makes a new one."

# Step i migrates a file from version i to i + 1, so a new file and an old one take the same steps.
#
# models     one row per `_id`, with resolved columns, for searches and libraries. `own` and
#            `resolved` are digests: of the record, and of what derived models may inherit.
# records    the record as `Model.to_dict` wrote it, compressed; a separate table, so that `models`
#            stays narrow.
# beside     facts that do not come from the record: 'scan' by `_id`, 'served' and 'leaderboard' by
#            name.
# tags       the text of each tag; `tagged` links tags and models.
# lineage    the declared bases of each model; `parent` is the row of the base, if there is one.
# former     names that a model had before.
# arrivals   what a sync has fetched and not yet published.
# state      the state of an interrupted sync, and when the last complete one began.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE models (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL COLLATE NOCASE, author TEXT, task TEXT, license TEXT,
        parameters REAL, active_parameters REAL, released INTEGER, security REAL,
        input_price REAL, output_price REAL, latency REAL, context_length INTEGER,
        capabilities TEXT, downloads REAL, likes REAL, gated TEXT,
        provider TEXT, modified REAL, seen REAL NOT NULL, sha TEXT, disabled INTEGER NOT NULL,
        gone REAL, live INTEGER NOT NULL AS (gone IS NULL AND NOT disabled) STORED,
        own BLOB NOT NULL, resolved BLOB
    );
    CREATE INDEX names ON models (name);
    CREATE INDEX by_author ON models (author, downloads DESC, name) WHERE live = 1;
    CREATE INDEX by_task ON models
        (task, downloads DESC, name, license, parameters, released, gated) WHERE live = 1;
    CREATE INDEX by_downloads ON models
        (downloads DESC, name, license, parameters, released, gated) WHERE live = 1;
    CREATE INDEX by_likes ON models
        (likes DESC, name, task, license, parameters, released, gated) WHERE live = 1;
    CREATE INDEX by_released ON models
        (released DESC, name, task, license, parameters, gated) WHERE live = 1;
    CREATE INDEX by_modified ON models
        (modified DESC, name, task, license, parameters, released, gated) WHERE live = 1;
    CREATE INDEX by_parameters ON models
        (parameters, name, task, license, released, gated) WHERE live = 1;
    CREATE INDEX by_served ON models (downloads DESC, name)
        WHERE live = 1 AND provider IS NOT NULL;
    CREATE TABLE records (model INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE beside (
        kind TEXT NOT NULL, owner TEXT NOT NULL, sha TEXT, data TEXT NOT NULL,
        PRIMARY KEY (kind, owner)
    ) WITHOUT ROWID;
    CREATE TABLE tags (id INTEGER PRIMARY KEY, tag TEXT NOT NULL UNIQUE);
    CREATE TABLE tagged (
        tag INTEGER NOT NULL, model INTEGER NOT NULL, PRIMARY KEY (tag, model)
    ) WITHOUT ROWID;
    CREATE TABLE lineage (
        child INTEGER NOT NULL, place INTEGER NOT NULL, name TEXT NOT NULL COLLATE NOCASE,
        key TEXT, parent INTEGER, PRIMARY KEY (child, place)
    ) WITHOUT ROWID;
    CREATE INDEX parents ON lineage (parent) WHERE parent IS NOT NULL;
    CREATE INDEX base_names ON lineage (name);
    CREATE INDEX base_keys ON lineage (key) WHERE key IS NOT NULL;
    CREATE TABLE former (
        name TEXT PRIMARY KEY COLLATE NOCASE, model INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE arrivals (
        run TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT, sha TEXT,
        downloads REAL, seen REAL NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, kind, key)
    );
    CREATE INDEX arrived ON arrivals (name);
    CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    # No record has an empty digest, so the next record of each model writes its relations.
    """
    ALTER TABLE lineage ADD COLUMN relation TEXT;
    UPDATE models SET own = x'';
    """,
)

# --- opening --------------------------------------------------------------------------------


def default_path() -> Path:
    """Return the default path: in `TRYAGE_HOME`, else in the platform's cache folder."""
    return home_folder() / "catalogue.sqlite"


def connect(path: Path) -> sqlite3.Connection:
    """Open a catalogue; create or migrate it first if it can be written.

    One thread uses the connection; another one may only close it.

    Raises:
        CatalogueError: it cannot be opened, is another program's file, or has a newer version.
    """
    with wrap_sqlite_errors(path):
        _make_folder(path)
        try:
            database = _open(path, "rwc")
            _migrate(database, path)
        except sqlite3.OperationalError as error:
            if path.exists() and is_read_only_error(error):
                return _open_read_only(path)
            raise
        return database


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogueError(
            f"The folder {path.parent} for the catalogue cannot be created: {error.strerror}. Give "
            "another one with --catalogue or TRYAGE_HOME."
        ) from error


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,  # transactions are explicit: one writes a page and its cursor
        check_same_thread=False,
    )


def _open_read_only(path: Path) -> sqlite3.Connection:
    """Open a catalogue that cannot be written, such as one in a container image."""
    database = _open(path, "ro")
    try:
        _check_version(database, path)
    except sqlite3.OperationalError:  # WAL writes next to the file, unless it is immutable
        database = _open(path, "ro&immutable=1")
        _check_version(database, path)
    return database


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    """Run the missing migrations; a file that is up to date is not written."""
    database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    if _check_version(database, path) == len(MIGRATIONS):
        database.execute("PRAGMA synchronous = NORMAL")
        return
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")  # with WAL, a killed process loses nothing
    with transaction(database):
        version = _check_version(database, path)  # another process may have been quicker
        for step in MIGRATIONS[version:]:
            for statement in filter(str.strip, step.split(";")):
                database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _check_version(database: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file.

    Raises:
        CatalogueError: it is another program's file, or has a newer version.
    """
    # In this order: another process may be making the tables, and commits all three at once.
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if tables and application != APPLICATION_ID:
        raise CatalogueError(
            f"{path} is an SQLite file of another program, not a catalogue of Tryage. Give another "
            "path with --catalogue or TRYAGE_HOME."
        )
    if version > len(MIGRATIONS):
        raise CatalogueError(
            f"The catalogue {path} has version {version}; this Tryage knows versions up to "
            f"{len(MIGRATIONS)}. Upgrade Tryage, or give another path with --catalogue or "
            "TRYAGE_HOME."
        )
    return int(version)


# --- transactions and errors ----------------------------------------------------------------


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Write everything in the block, or nothing; one writer at a time."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if database.in_transaction:  # SQLite has already rolled back if the disk is full
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


@contextmanager
def read_transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Read one snapshot of the file, even if another process writes to it."""
    database.execute("BEGIN")
    try:
        yield
    finally:
        if database.in_transaction:
            database.execute("COMMIT")


@contextmanager
def wrap_sqlite_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into messages that say what to do.

    Raises:
        CatalogueError: instead of sqlite3.Error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise CatalogueError(_describe_sqlite_error(path, error)) from error


@contextmanager
def damaged_values() -> Iterator[None]:
    """Let a stored value of the wrong type or shape be what SQLite raises for a damaged file.

    `wrap_sqlite_errors` outside of it names the file.

    Raises:
        sqlite3.DatabaseError: a value cannot be read.
    """
    try:
        yield
    except (CatalogueError, LibraryError):  # no model fits: that is no damage
        raise
    except _DAMAGED_VALUE_ERRORS as error:
        raise sqlite3.DatabaseError(
            f"malformed record: {type(error).__name__}: {error!s:.100}"
        ) from error


def _describe_sqlite_error(path: Path, error: sqlite3.Error) -> str:
    message = str(error)
    if "locked" in message or "busy" in message:
        return (
            f"The catalogue {path} is being written by another process: waited "
            f"{BUSY_TIMEOUT:.0f} s. Try again when it has finished; reading goes on meanwhile."
        )
    if "full" in message:
        return (
            f"The disk is full: nothing of this step was written to {path}. Make room, try again."
        )
    if isinstance(error, sqlite3.OperationalError) and is_read_only_error(error):
        return (
            f"The catalogue {path} cannot be written ({message}). Give a writable folder with "
            "--catalogue or TRYAGE_HOME."
        )
    if "not a database" in message or "malformed" in message or "encrypted" in message:
        return f"The catalogue {path} is damaged ({message}). {RESYNC_HINT}"
    return f"The catalogue {path} cannot be used: {message}. {RESYNC_HINT}"


def is_read_only_error(error: sqlite3.OperationalError) -> bool:
    """Return whether an error says that the file, or its folder, cannot be written."""
    return any(word in str(error) for word in ("readonly", "unable to open", "read-only"))


# What reading a value of the wrong type or shape raises.
_DAMAGED_VALUE_ERRORS = (
    zlib.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


# --- lookups for reading and writing --------------------------------------------------------


def find_row(database: sqlite3.Connection, key: str | None, name: str) -> int | None:
    """Return the row of a model by `_id`, by name (ignoring case), or by a former name."""
    (row,) = database.execute(_FIND_ROW, (key, name, name, name)).fetchone()
    return None if row is None else int(row)


def load_state(database: sqlite3.Connection, name: str) -> Any:  # noqa: ANN401 - any JSON
    """Return a stored value, or None."""
    row = database.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    with damaged_values():
        return None if row is None else json.loads(row[0])


def save_state(database: sqlite3.Connection, values: Mapping[str, Any]) -> None:
    """Store values as JSON; None deletes one."""
    for name, value in values.items():
        if value is None:
            database.execute("DELETE FROM state WHERE name = ?", (name,))
        else:
            row = (name, json.dumps(value))
            database.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", row)


_FIND_ROW = """
SELECT COALESCE(
    (SELECT id FROM models WHERE key = ?),
    (SELECT id FROM models WHERE name = ?
     ORDER BY name = ? COLLATE BINARY DESC, gone IS NULL DESC, seen DESC, key LIMIT 1),
    (SELECT model FROM former WHERE name = ?)
)"""
