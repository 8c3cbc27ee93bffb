"""`Traffic`: the log of decisions, outcomes and feedback, from which routers learn."""

from __future__ import annotations

import math
import secrets
import time as clock
import weakref
from functools import partial
from multiprocessing.context import get_spawning_popen
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary

from tryage.core.validation import check_bools, check_integer, check_number, require_extra
from tryage.errors import InputError
from tryage.files import replace_file
from tryage.locks import ForkSafeLock
from tryage.traffic.records import (
    DecisionRecord,
    Event,
    Feedback,
    LoggedFeedback,
    Outcome,
    Snapshot,
)
from tryage.traffic.rows import (
    ENCODING_ERRORS,
    checked_feedback_row,
    checked_key,
    decision_row,
    event_row,
    outcome_row,
)
from tryage.traffic.spending import SpendingLedger
from tryage.traffic.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tryage.traffic.database import Database

_PAGE = 1_000  # decisions that are read at a time
_FLUSH_TIMEOUT = 2.0  # seconds for which a reader waits for what this process has just recorded

# What is queued, and counted in `lost`. "spending" asks only to store what its ledger holds.
_DECISIONS, _OUTCOMES, _SPENDING = "decisions", "outcomes", "spending"
_Item: TypeAlias = tuple[str, tuple[Any, ...]]

LOST = "lost"  # the kind of events that count lost records by what they are


class Traffic:
    """The log of what routers decide, what came of it, and what was said about it.

    Decisions and outcomes are queued, and a thread writes them: recording takes microseconds, never
    waits, and never fails a call. When the queue is full, or the store fails for long, records are
    `lost` and counted. Feedback is stored when `add_feedback` returns. Threads, processes and
    machines may share a log; a child of a fork connects anew.

    `spending` is what budgets have spent.

    Feedback and events have numbers in one sequence: each reader sees the same entries in the same
    order, without gaps.

    Args:
        url: "sqlite:///tryage.db", a file that the processes of one machine may share, or
            "postgresql+psycopg://user@host/database".
        keep_prompts: Whether the texts of prompts are kept.
        queue_size: How many records may wait to be written.
        flush_interval: Seconds for which records are gathered before they are written.
        timeout: Seconds to wait for another process's transaction, and for a server.
        create: Whether to make the log if there is none yet.

    Raises:
        InputError: the URL is of neither kind, or a number is out of its range.
        TrafficError: the store is of a newer version of Tryage or of another program, or there is
            none. A store that cannot be reached now is no error: records wait for it.
        MissingExtraError: SQLAlchemy, Alembic or the driver of the database is not installed.
    """

    def __init__(  # noqa: PLR0913 - settings with defaults
        self,
        url: str = "sqlite:///tryage.db",
        *,
        keep_prompts: bool = False,
        queue_size: int = 10_000,
        flush_interval: float = 1.0,
        timeout: float = 5.0,
        create: bool = True,
    ) -> None:
        require_extra("sqlalchemy", "traffic")
        require_extra("alembic", "traffic")
        from tryage.traffic.database import Database, parse_url
        from tryage.traffic.spending_store import StoredSpending

        check_bools(keep_prompts=keep_prompts, create=create)
        check_number("queue_size", queue_size, 1)
        check_number("flush_interval", flush_interval)
        check_number("timeout", timeout)
        self._keep_prompts = keep_prompts
        self._arguments = (url, keep_prompts, queue_size, flush_interval, timeout, create)
        self._database = Database(parse_url(url), timeout, create=create)
        batch_writer = _BatchWriter(self._database)
        self._writer = Writer(
            batch_writer.write,
            itemgetter(0),
            queue_size=queue_size,
            interval=flush_interval,
            store_lost=partial(_store_lost, self._database),
        )
        self.spending = batch_writer.spending = SpendingLedger(
            StoredSpending(self._database), partial(self._writer.put, (_SPENDING, ()))
        )
        self._finalizer = weakref.finalize(self, _shut_down, self._writer, self._database)
        self._open()

    def record_decision(self, record: DecisionRecord) -> None:
        """Queue a decision; this neither waits nor raises."""
        try:
            row = decision_row(record, keep_prompt=self._keep_prompts)
        except ENCODING_ERRORS as error:
            self._writer.lose([(_DECISIONS, ())], f"a decision has a wrong value: {error}")
        else:
            self._writer.put((_DECISIONS, row))

    def record_outcome(self, outcome: Outcome) -> None:
        """Queue the outcome of a decision, which replaces an earlier one; as `record_decision`."""
        try:
            row = outcome_row(outcome)
        except ENCODING_ERRORS as error:
            self._writer.lose([(_OUTCOMES, ())], f"an outcome has a wrong value: {error}")
        else:
            self._writer.put((_OUTCOMES, row))

    def add_feedback(self, feedback: Feedback) -> bool:
        """Store feedback; return False if its id was there already, which changes nothing.

        It gets its number in the log when its decision is there, whichever comes first.

        Raises:
            InputError: the score is not from 0 to 1, or a field has a value of another type.
            TrafficError: the store fails.
        """
        from tryage.traffic import writes

        row = checked_feedback_row(feedback)
        self._writer.flush(_FLUSH_TIMEOUT)
        with self._database.write(is_durable=True) as connection:
            is_new = writes.insert_feedback(connection, row)
            writes.number_feedback(connection)
        return is_new

    def feedback_after(self, sequence: int, limit: int = _PAGE) -> list[LoggedFeedback]:
        """Return feedback with higher numbers, the first ones in order, with their decisions.

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        self._number_feedback()
        with self._database.read() as connection:
            return reads.feedback_after(connection, sequence, limit)

    def events_after(self, sequence: int, limit: int = _PAGE) -> list[Event]:
        """Return events with higher numbers, the first ones in order.

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        with self._database.read() as connection:
            return reads.events_after(connection, sequence, limit)

    def log_after(self, sequence: int, limit: int = _PAGE) -> list[LoggedFeedback | Event]:
        """Return feedback and events with higher numbers, the first ones in order.

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        self._number_feedback()
        with self._database.read() as connection:
            entries: list[LoggedFeedback | Event] = [
                *reads.feedback_after(connection, sequence, limit),
                *reads.events_after(connection, sequence, limit),
            ]
        return sorted(entries, key=lambda entry: entry.sequence)[:limit]

    def last_sequence(self) -> int:
        """Return the number of the last entry of the log; 0 for an empty one.

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        with self._database.read() as connection:
            return reads.last_sequence(connection)

    def sequence_at(self, time: float) -> int:
        """Return the number of the last entry at a time, in seconds since 1970 (UTC).

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        check_number("time", time)
        with self._database.read() as connection:
            return reads.sequence_at(connection, time, clock.time())

    def add_event(
        self,
        kind: str,
        values: Mapping[str, Any],
        expert: str | None = None,
        *,
        event_id: str | None = None,
    ) -> int:
        """Store an event and return its number in the log.

        Where several processes notice the same, they give the same `event_id`: it is stored once,
        and all get its number.

        Raises:
            InputError: the values are not plain JSON.
            TrafficError: the store fails.
        """
        from tryage.traffic import writes

        event = Event(0, event_id or secrets.token_hex(8), clock.time(), kind, values, expert)
        try:
            row = event_row(event)
        except (TypeError, ValueError) as error:
            raise InputError(f"The values of an event are plain JSON; {error}.") from error
        with self._database.write(is_durable=True) as connection:
            return writes.insert_event(connection, row)

    def save_snapshot(self, router: str, sequence: int, data: bytes) -> None:
        """Store what a router has learned up to a number of the log.

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import writes

        with self._database.write(is_durable=True) as connection:
            writes.insert_snapshot(connection, Snapshot(router, sequence, clock.time(), data))

    def latest_snapshot(self, router: str, at_or_before: int | None = None) -> Snapshot | None:
        """Return the snapshot of a router with the highest number, at most `at_or_before`.

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        with self._database.read() as connection:
            return reads.latest_snapshot(connection, router, at_or_before)

    def decisions(
        self,
        since: float | None = None,
        until: float | None = None,
        *,
        key: str | None = None,
        last: int | None = None,
    ) -> Iterator[tuple[DecisionRecord, Outcome | None, list[Feedback]]]:
        """Yield decisions in the order of their times, with what came of them.

        Args:
            since: Only decisions from this time on, in seconds since 1970 (UTC).
            until: Only decisions before this time.
            key: Only decisions of one thread or user.
            last: Only the last so many, and those of the same time as the first of them.

        Raises:
            InputError: a number is out of range, or the key no text.
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        for name, time in (("since", since), ("until", until)):
            if time is not None:
                check_number(name, time, -math.inf)  # the store compares anything, without an error
        self._writer.flush(_FLUSH_TIMEOUT)
        condition, after = reads.decision_condition(since, until, checked_key(key)), None
        if last is not None:
            with self._database.read() as connection:
                condition = reads.last_decisions(
                    connection, condition, check_integer("last", last, 1)
                )
        while True:
            with self._database.read() as connection:
                page = reads.decision_page(connection, condition, after, _PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1][0].time, page[-1][0].id

    def has_decision(self, decision_id: str) -> bool:
        """Tell whether a decision is in the log.

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        with self._database.read() as connection:
            return reads.has_decision(connection, decision_id)

    def counts(self) -> dict[str, Any]:
        """Return how many records of each kind the log holds, and when its decisions were made.

        "pending_feedback" counts feedback whose decision is not there, the oldest of the time
        "first_pending". "first" and "last" are the times of decisions. Times are in seconds since
        1970 (UTC), None where there is none.

        Raises:
            TrafficError: the store fails.
        """
        from tryage.traffic import reads

        self._writer.flush(_FLUSH_TIMEOUT)
        with self._database.read() as connection:
            return reads.count_rows(connection)

    def prune(self, days: float, *, key: str | None = None) -> dict[str, int]:
        """Delete what is older than so many days, and return how many records of each kind.

        With a `key`, only decisions of that thread or user, and what came of them; 0 days mean all
        of them. What was learned from deleted feedback stays in the last snapshot of each router;
        `undo` and `learned_since` do not reach further back than the log.

        Raises:
            InputError: the days are not a number of 0 or more, or the key is no text.
            TrafficError: the store fails, or another program reads the file of the log, which then
                still holds what was deleted; what was deleted before stays deleted.
        """
        from tryage.traffic.pruning import prune

        cutoff = clock.time() - 86_400 * check_number("days", days)
        self._writer.flush(_FLUSH_TIMEOUT)
        return dict(prune(self._database, cutoff, checked_key(key)))

    def export(self, path: str | Path, *, key: str | None = None) -> int:
        """Write all decisions with what came of them as JSON lines, and return their number.

        What budgets have spent comes next. With a `key`, only what belongs to that thread or user;
        without one, events are added.

        Raises:
            InputError: the key is no text.
            TrafficError: the store fails; a file that was there stays as it was.
        """
        from tryage.traffic import reads
        from tryage.traffic.export import to_json_lines

        n_decisions = 0
        with (
            replace_file(Path(path)) as partial_path,
            partial_path.open("w", encoding="utf-8") as file,
            self._database.read() as connection,
        ):
            spending = reads.spending_rows(connection, checked_key(key))
            events = self._events() if key is None else ()
            for line in to_json_lines(self.decisions(key=key), spending, events):
                file.write(line + "\n")
                n_decisions += line.startswith('{"decision"')
        return n_decisions

    def _events(self) -> Iterator[Event]:
        last = 0
        while page := self.events_after(last):
            yield from page
            last = page[-1].sequence

    def call_every(self, seconds: float, function: Callable[[], object]) -> Callable[[], None]:
        """Call a function from the background thread in intervals; return what ends that.

        Raises:
            InputError: the seconds are not above zero.
        """
        check_number("seconds", seconds, 1e-3)
        return self._writer.call_every(seconds, function)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called: what is recorded is lost."""
        return self._writer.is_closed

    @property
    def lost(self) -> dict[str, int]:
        """The numbers of records that this process could not store, by what they are."""
        return dict(self._writer.lost)

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Wait until what was recorded is stored; return False if the store fails or is slow."""
        return self._writer.flush(timeout)

    def close(self, timeout: float | None = 10.0) -> None:
        """Store what was recorded, and close the store; what is recorded later is lost."""
        self._writer.close(timeout)
        self._database.close()

    def __enter__(self) -> Traffic:
        """Return the log itself; the end of the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the log."""
        self.close()

    def __repr__(self) -> str:
        """Show the URL without the password."""
        return f"Traffic({self._database.describe()!r})"

    def __copy__(self) -> Traffic:
        """Return the log itself: a copy of a router writes to the same one."""
        return self

    def __deepcopy__(self, _memo: object) -> Traffic:
        """Return the log itself: a copy of a router writes to the same one."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the URL without its password, and the settings; what is queued stays here.

        Where a log with the same settings is open, a pickle loads as that. Else the password is
        that of the process that loads it, in PGPASSWORD or ~/.pgpass. Only a process that this one
        starts with `multiprocessing` gets the password, as it gets the key of its own connections.
        """
        if get_spawning_popen() is not None:
            return _open_shared, self._arguments
        pickled = _pickled_arguments(self._arguments)
        if pickled != self._arguments:
            _OPEN_LOGS.setdefault(pickled, self)
        return _open_shared, pickled

    def _open(self) -> None:
        """Open the store now, so that a wrong one is noticed; one that is out of reach may wait."""
        from tryage.traffic.database import StoreUnreachableError

        try:
            self._database.open()
        except StoreUnreachableError as error:
            self._writer.warn(f"{error}. Records wait until it can be reached.")

    def _number_feedback(self) -> None:
        """Give numbers to feedback that came before its decision."""
        from tryage.traffic import writes

        with self._database.read() as connection:
            is_needed = writes.has_numberable_feedback(connection)
        if is_needed:
            with self._database.write(is_durable=True) as connection:
                writes.number_feedback(connection)


# Logs that `open_traffic` and pickles have opened, by their arguments.
_OPEN_LOGS: WeakValueDictionary[tuple[Any, ...], Traffic] = WeakValueDictionary()
_OPEN_LOCK = ForkSafeLock()
_DEFAULTS = {
    "keep_prompts": False,
    "queue_size": 10_000,
    "flush_interval": 1.0,
    "timeout": 5.0,
    "create": True,
}


def open_traffic(
    value: str | Traffic | None,
    **settings: Any,  # noqa: ANN401 - those of Traffic
) -> Traffic | None:
    """Return the log that an argument means: one itself, or its URL; None stays None.

    The same URL with the same `settings`, those of `Traffic`, gives the same log within a process,
    with one queue and one thread.

    Raises:
        InputError, TrafficError, MissingExtraError: as in `Traffic`.
    """
    if value is None or isinstance(value, Traffic):
        return value
    if not isinstance(value, str):
        raise InputError(
            f'traffic is a Traffic or a URL such as "sqlite:///tryage.db", got '
            f"{type(value).__name__}."
        )
    return _open_shared(value, *(_DEFAULTS | settings).values())


def check_traffic(traffic: Traffic) -> None:
    """Raise if a value is no log.

    Raises:
        InputError: it is not.
    """
    if not isinstance(traffic, Traffic):
        raise InputError(
            f"traffic is a {type(traffic).__name__}; expected a Traffic: that of a router with a "
            'log, router.traffic, or Traffic("sqlite:///tryage.db").'
        )


class _BatchWriter:
    """Writes batches of rows, each in one transaction; an item is the name of a table and a row."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.spending: SpendingLedger | None = None

    def write(self, items: Sequence[_Item]) -> list[_Item]:
        """Store rows and return those that do not fit the tables.

        Raises:
            TrafficError: the store fails, and nothing was stored.
        """
        from tryage.traffic.database import RowError

        try:
            self._insert(items)
        except RowError:
            if len(items) == 1:
                return list(items)
            half = len(items) // 2
            return self.write(items[:half]) + self.write(items[half:])
        return []

    def _insert(self, items: Sequence[_Item]) -> None:
        from tryage.traffic import writes

        decisions = [row for name, row in items if name == _DECISIONS]
        outcomes = [row for name, row in items if name == _OUTCOMES]
        if decisions or outcomes:
            with self._database.write(is_durable=False) as connection:
                writes.insert_decisions(connection, decisions)
                writes.upsert_outcomes(connection, outcomes)
                writes.number_feedback(connection)
        if self.spending is not None and any(name == _SPENDING for name, _ in items):
            self.spending.sync()


def _shut_down(writer: Writer, database: Database) -> None:
    """Store what is queued when the log is no longer used, or the process ends."""
    writer.close(_FLUSH_TIMEOUT)
    database.close()


def _store_lost(database: Database, counts: Mapping[str, int]) -> None:
    """Store how many records were lost as an event, so that reports of all processes know it."""
    from tryage.traffic import writes

    event = Event(0, secrets.token_hex(8), clock.time(), LOST, counts)
    with database.write(is_durable=False) as connection:
        writes.insert_event(connection, event_row(event))


def _open_shared(*arguments: Any) -> Traffic:  # noqa: ANN401 - those of Traffic, in their order
    """Return the log of this process with these settings; open one if there is none."""
    with _OPEN_LOCK:
        log = _OPEN_LOGS.get(arguments)
        if log is None or log.is_closed:
            url, keep_prompts, queue_size, flush_interval, timeout, create = arguments
            log = Traffic(
                url,
                keep_prompts=keep_prompts,
                queue_size=queue_size,
                flush_interval=flush_interval,
                timeout=timeout,
                create=create,
            )
            _OPEN_LOGS[arguments] = _OPEN_LOGS[_pickled_arguments(arguments)] = log
        return log


def _pickled_arguments(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a log as a pickle has them."""
    from tryage.traffic.database import without_password

    url, *settings = arguments
    return without_password(url), *settings
