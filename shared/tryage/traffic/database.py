"""The database of the log: connections, transactions and errors of SQLite and PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import exc

from tryage.core.redaction import describe_error, is_secret
from tryage.core.validation import require_extra
from tryage.errors import InputError, TrafficError
from tryage.files import folder_exists
from tryage.locks import ForkBarrier, ForkSafeLock
from tryage.traffic.migrate import current_version, migrate
from tryage.traffic.schema import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXAMPLES = '"sqlite:///tryage.db" or "postgresql+psycopg://user@host/database"'
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}
_NOT_WRITABLE = (
    "; SQLite writes beside the file also to read it: copy the file to a folder that can be written"
)
_SQLITE_ADVICE = {
    "disk is full": "; make room on its disk",
    "unable to open database file": _NOT_WRITABLE,
    "readonly database": _NOT_WRITABLE,
}
_POOL_SIZE = 5  # the writer, feedback and readers; more connections are closed after use
_CACHE_KIB = 16_384

# Engines of the parent of a fork. A child must not even close them: it would end the parent's
# sessions, and SQLite would let go of locks.
_ENGINES_OF_PARENTS: list[sa.Engine] = []


class RowError(TrafficError):
    """A row does not fit its table; the store is well."""


class StoreUnreachableError(TrafficError):
    """The store cannot be opened, read or written now: it is locked, full, down or not allowed."""


class Database:
    """A database that is opened, and migrated to the newest tables, when it is first used.

    Threads may share it, and a child of a fork opens its own connections. SQLite keeps its locks by
    process: where a connection is open at a fork, the child believes that it holds the locks of its
    parent, and takes none. So a fork waits for transactions, and closes all connections to a file.

    Args:
        url: As SQLAlchemy writes it; `parse_url` checks it.
        timeout: Seconds to wait for another process's transaction, and for a server.
        create: Whether to make the tables if there are none.
    """

    def __init__(self, url: sa.URL, timeout: float, *, create: bool = True) -> None:
        self.url, self._create = url, create
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._timeout = timeout
        self._lock, self._write_lock = ForkSafeLock(), ForkSafeLock()
        self._writing_thread: int | None = None
        self._barrier = ForkBarrier(self._prepare_fork)
        self._engine: sa.Engine | None = None
        self._process = os.getpid()
        self._is_migrated = False
        self._migrated_file: tuple[int, int] | None = None

    def open(self) -> None:
        """Connect, and make or migrate the tables.

        Raises:
            TrafficError: the store is of a newer version of Tryage, or of another program.
            StoreUnreachableError: it cannot be reached now.
        """
        with self._use():
            self._open()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Yield a connection that sees one state of the database until the block ends.

        Raises:
            TrafficError: the database cannot be opened or read.
        """
        with self._use():
            options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            with self._open().connect() as raw:
                connection = raw.execution_options(**options)
                with connection.begin():
                    yield connection

    @contextmanager
    def write(self, *, is_durable: bool) -> Iterator[sa.Connection]:
        """Yield a connection whose changes are committed together at the end of the block.

        In SQLite no other transaction writes meanwhile: threads wait for each other without a limit
        of time, another process for the timeout. What `is_durable` survives a loss of power,
        anything else a crash of the process.

        Raises:
            TrafficError: the database cannot be opened or written.
        """
        with self._turn_to_write(), self._use(), self._open().connect() as raw:
            if self.is_sqlite:
                level = "FULL" if is_durable else "NORMAL"
                _execute_outside(raw, f"PRAGMA synchronous={level}")
            connection = raw.execution_options(tryage_writes=True)
            with connection.begin():
                yield connection

    def shrink(self) -> None:
        """Give the space of deleted rows back; in PostgreSQL its own process does that.

        Raises:
            TrafficError: the store fails.
        """
        if self.is_sqlite:
            self._rewrite("PRAGMA incremental_vacuum")

    def erase(self) -> None:
        """Write a file of SQLite anew, without what deleted rows have left in it.

        `secure_delete` overwrites a row where it was last. Copies of it can be in the unused part
        of pages from which SQLite has moved it.

        Raises:
            TrafficError: the store fails, or another connection reads what the file held before.
        """
        if self.is_sqlite and not self._rewrite("VACUUM"):
            raise TrafficError(
                f"The rows are deleted, but the file of the log at {self.describe()} still holds "
                "what they were, because another program reads it. Do the same again."
            )

    def _rewrite(self, statement: str) -> bool:
        """Let SQLite order its file; tell whether nobody was reading an older state of it."""
        with self._turn_to_write(), self._use(), self._open().connect() as connection:
            _execute_outside(connection, statement)
            ((is_busy, *_),) = _execute_outside(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
        return not is_busy

    def _prepare_fork(self) -> None:
        engine = self._engine
        if self.is_sqlite and engine is not None and self._process == os.getpid():
            engine.dispose()

    def close(self) -> None:
        """Close all connections; the database opens again when it is used."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None and self._process == os.getpid():
            engine.dispose()

    def describe(self) -> str:
        """Return the URL without the password."""
        return describe_url(self.url)

    def _open(self) -> sa.Engine:
        """Return the engine of this process, after the tables were migrated."""
        with self._lock:
            if self._engine is not None and self._process != os.getpid():
                _ENGINES_OF_PARENTS.append(self._engine)
                self._engine = None
            if self._is_migrated and self.is_sqlite and self._file_id() != self._migrated_file:
                self._forget_file()
            if self._engine is None:
                self._engine, self._process = self._make_engine(), os.getpid()
            if not self._is_migrated:
                self._migrate(self._engine)
                self._is_migrated, self._migrated_file = True, self._file_id()
            return self._engine

    def _file_id(self) -> tuple[int, int] | None:
        """Return what tells a file of SQLite from another one at the same path."""
        if not self.is_sqlite:
            return None
        try:
            status = Path(self.url.database or "").stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _forget_file(self) -> None:
        """Close a file that was deleted or replaced: what is written into it nobody can read."""
        if self._engine is not None:
            self._engine.dispose()
        self._engine, self._is_migrated = None, False

    def _make_engine(self) -> sa.Engine:
        if self.is_sqlite:
            arguments: dict[str, Any] = {
                "timeout": self._timeout,
                "check_same_thread": False,
                "cached_statements": 16,  # those that insert many rows are large
            }
        else:
            arguments = {"connect_timeout": max(2, round(self._timeout))}
        engine = sa.create_engine(
            self.url,
            connect_args=arguments,
            pool_size=_POOL_SIZE,
            pool_pre_ping=not self.is_sqlite,  # a server may have been restarted
            hide_parameters=True,
        )
        if self.is_sqlite:
            sa.event.listen(engine, "connect", self._set_pragmas)
            sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _set_pragmas(self, connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
        """Prepare a new connection to SQLite.

        Its driver begins transactions by rules of its own; without a level it leaves that to us.
        """
        connection.isolation_level = None
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # counts for an empty file only
        self._set_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA secure_delete=ON")  # deleted texts leave no traces
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")

    def _set_wal(self, connection: Any) -> None:  # noqa: ANN401 - the driver's
        """Switch to the write-ahead log, for which SQLite itself does not wait for others."""
        deadline = time.monotonic() + self._timeout
        while not _has_set_wal(connection, is_last_try=time.monotonic() > deadline):
            time.sleep(0.02)

    def _no_log(self) -> str:
        """Say that there is no log, and how there will be one."""
        return (
            f"There is no log of traffic at {self.describe()}. Name another one, or let a router "
            "or a chat model write it, with traffic=, and decide something."
        )

    def _migrate(self, engine: sa.Engine) -> None:
        """Make or migrate the tables; of many processes that open a database, one does it."""
        if self.is_sqlite and not self._create and not Path(self.url.database or "").exists():
            raise TrafficError(self._no_log())
        with engine.connect() as connection, connection.begin():
            version = current_version(connection)
        if version == VERSION:
            return
        if version is None and not self._create:
            raise TrafficError(self._no_log())
        with engine.connect() as raw:
            connection = raw.execution_options(tryage_writes=True)
            with connection.begin():
                migrate(connection, self.describe())

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """Let one thread after the other write: SQLite polls, so a busy one might never succeed.

        A finalizer may write in the middle of a transaction of its thread, and must not wait.
        """
        thread = threading.get_ident()
        if not self.is_sqlite or self._writing_thread == thread:
            yield
            return
        with self._write_lock:
            self._writing_thread = thread
            try:
                yield
            finally:
                self._writing_thread = None

    @contextmanager
    def _use(self) -> Iterator[None]:
        """Keep forks away from a file, and raise our own errors."""
        try:
            with self._barrier.block() if self.is_sqlite else nullcontext():
                yield
        except TrafficError:
            raise
        except (exc.DataError, exc.IntegrityError, OverflowError) as error:
            raise RowError(self._message(error)) from None
        except (exc.OperationalError, exc.TimeoutError, OSError) as error:
            raise StoreUnreachableError(self._message(error)) from None
        except (exc.NoResultFound, UnicodeError) as error:  # what a damaged file leads to
            raise TrafficError(self._message(error)) from None
        except exc.DBAPIError as error:  # other errors of SQLAlchemy are mistakes in this program
            raise TrafficError(self._message(error)) from None

    def _message(self, error: Exception) -> str:
        """Return a sentence about an error without the password."""
        cause = getattr(error, "orig", None) or error
        words = describe_error(cause, self.url.password)
        advice = next((one for word, one in _SQLITE_ADVICE.items() if word in words), "")
        return f"The log of traffic at {self.describe()} fails: {words}{advice}"


def parse_url(url: str) -> sa.URL:
    """Return the URL of a database with its driver, and the path of a file in full.

    Raises:
        InputError: it is not the URL of a file of SQLite or of a server of PostgreSQL.
        MissingExtraError: the driver is not installed.
    """
    if not isinstance(url, str):
        raise InputError(f"traffic is a URL such as {_EXAMPLES}, got {type(url).__name__}.")
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        raise InputError(
            f"traffic is a URL such as {_EXAMPLES}; got something without a scheme. "
            "The URL of a file is sqlite:/// and its path."
        ) from None
    except ValueError:
        raise InputError(
            f"traffic is a URL such as {_EXAMPLES}; got one whose port is no number."
        ) from None
    if "@" in (parsed.host or ""):  # so the host begins with the end of the password
        raise InputError(
            f"traffic is a URL such as {_EXAMPLES}; got one with two @. Write that of a password "
            "as %40."
        )
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise InputError(f"traffic is a URL such as {_EXAMPLES}, got one of {backend!r}.")
    parsed = parsed.set(drivername=_DRIVERS[backend])
    if backend != "sqlite":
        require_extra("psycopg", "postgres")
        return parsed
    if parsed.database in (None, "", ":memory:"):
        raise InputError(f"A log of traffic needs a file, such as {_EXAMPLES}.")
    path = Path(parsed.database or "").expanduser().absolute()
    if not folder_exists(path.parent):
        raise InputError(
            f"The folder {path.parent} of the log of traffic is missing: make it first."
        )
    return parsed.set(database=str(path))


def describe_url(url: sa.URL) -> str:
    """Return a URL without the password and without options, which may hold another one."""
    return url.set(query={}).render_as_string(hide_password=True)


def without_password(url: str) -> str:
    """Return the URL of a database without the password, also in its query."""
    parsed = sa.make_url(url)
    names = [name for name in parsed.query if is_secret(name, "")]
    plain = parsed._replace(password=None).difference_update_query(names)
    return url if plain == parsed else plain.render_as_string(hide_password=False)


def _execute_outside(connection: sa.Connection, statement: str) -> list[tuple[Any, ...]]:
    """Execute a statement outside of a transaction, which SQLAlchemy would begin; return rows."""
    driver_connection: Any = connection.connection.dbapi_connection
    rows: list[tuple[Any, ...]] = driver_connection.execute(statement).fetchall()
    return rows


def _has_set_wal(connection: Any, *, is_last_try: bool) -> bool:  # noqa: ANN401 - the driver's
    """Tell whether a connection uses the write-ahead log now; False if others lock the file."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if is_last_try or "locked" not in str(error):
            raise
        return False
    return True


def _begin_sqlite(connection: sa.Connection) -> None:
    """Begin a transaction; one that writes waits for others now, not in its middle."""
    writes = connection.get_execution_options().get("tryage_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
