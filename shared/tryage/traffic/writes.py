"""What is written into the log: decisions, outcomes, feedback, events and snapshots."""

from __future__ import annotations

import re
import sqlite3
import time
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect

from tryage.traffic.rows import readable_row
from tryage.traffic.schema import COUNTERS, DECISIONS, EVENTS, FEEDBACK, OUTCOMES, SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.traffic.records import Snapshot
    from tryage.traffic.rows import Row

_LOG = COUNTERS.c.name == "log"
_MAX_NUMBERED = 1_000  # at a time, so that no transaction is long
_MAX_ROWS = 1_024  # of a statement
_MAX_VALUES_OF_OLD_SQLITE = 999  # in a statement, before 3.32
_DIALECTS: dict[str, Any] = {"sqlite": sqlite_dialect, "postgresql": postgresql}

# Feedback without a number whose decision is there, and whom it is about. These are made once:
# to make a statement takes longer than to run it.
_ANY_NUMBERABLE = (
    sa.select(FEEDBACK.c.id)
    .join(DECISIONS, DECISIONS.c.id == FEEDBACK.c.decision_id)
    .where(FEEDBACK.c.sequence.is_(None))
    .limit(1)
)
_NEXT_NUMBERABLE = (
    sa.select(
        FEEDBACK.c.id,
        sa.func.coalesce(FEEDBACK.c.expert, OUTCOMES.c.served_by, DECISIONS.c.chosen).label(
            "answerer"
        ),
    )
    .join(DECISIONS, DECISIONS.c.id == FEEDBACK.c.decision_id)
    .outerjoin(OUTCOMES, OUTCOMES.c.decision_id == FEEDBACK.c.decision_id)
    .where(FEEDBACK.c.sequence.is_(None))
    .order_by(FEEDBACK.c.time, FEEDBACK.c.id)
    .limit(_MAX_NUMBERED)
)


def insert_decisions(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert decisions; one that is there already stays as it is."""
    _insert_many(connection, DECISIONS, rows)


def upsert_outcomes(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert outcomes; a later one for a decision replaces the one before."""
    last_rows = {row[0]: row for row in rows}  # a statement may change a row only once
    _insert_many(connection, OUTCOMES, list(last_rows.values()))


def insert_feedback(connection: sa.Connection, row: Row) -> bool:
    """Insert feedback without a number; return False if its id is there already."""
    insert = _insert(connection.dialect.name, FEEDBACK).on_conflict_do_nothing(
        index_elements=["id"]
    )
    options = {"preserve_rowcount": True}  # which SQLAlchemy drops otherwise for PostgreSQL
    return connection.execute(insert, row, execution_options=options).rowcount > 0


def has_numberable_feedback(connection: sa.Connection) -> bool:
    """Tell whether feedback without a number could get one: its decision is there."""
    return connection.execute(_ANY_NUMBERABLE).first() is not None


def number_feedback(connection: sa.Connection) -> None:
    """Give feedback whose decision is there the next numbers, and settle whom it is about."""
    if not has_numberable_feedback(connection):
        return
    last = _lock_counter(connection)
    pending = connection.execute(_NEXT_NUMBERABLE).all()
    if not pending:  # another process was faster
        return
    now = time.time()
    connection.execute(
        sa.update(FEEDBACK)
        .where(FEEDBACK.c.id == sa.bindparam("feedback_id"))
        .values(sequence=sa.bindparam("number"), answered_by=sa.bindparam("answerer"), logged=now),
        [
            {"feedback_id": row.id, "number": last + i, "answerer": row.answerer}
            for i, row in enumerate(pending, 1)
        ],
    )
    _set_counter(connection, last + len(pending))


def insert_event(connection: sa.Connection, row: Row) -> int:
    """Insert an event with the next number and return it; of one that is there, its number."""
    last = _lock_counter(connection)
    found = connection.execute(
        sa.select(EVENTS.c.sequence).where(EVENTS.c.id == row["id"])
    ).scalar()
    if found is not None:
        return int(found)
    connection.execute(sa.insert(EVENTS), {**row, "sequence": last + 1})
    _set_counter(connection, last + 1)
    return last + 1


def insert_snapshot(connection: sa.Connection, snapshot: Snapshot) -> None:
    """Insert a snapshot; one of the same router and number stays as it is."""
    row = {
        "router": snapshot.router,
        "sequence": snapshot.sequence,
        "time": snapshot.time,
        "data": snapshot.data,
    }
    connection.execute(_insert(connection.dialect.name, SNAPSHOTS).on_conflict_do_nothing(), row)


def _insert_many(
    connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows with few statements.

    A statement gives Python's lock to other threads and takes it again. Each time a call may wait
    for it, so many rows with few statements slow fewer calls than many statements would.
    """
    start = 0
    while start < len(rows):
        n_rows = _statement_size(connection.dialect.name, table, len(rows) - start)
        head, values, tail = _insert_statement(connection.dialect.name, table)
        sql = f"{head}{', '.join([values] * n_rows)}{tail}"
        parameters = tuple(chain.from_iterable(rows[start : start + n_rows]))
        connection.exec_driver_sql(sql, parameters)
        start += n_rows


def _statement_size(dialect: str, table: sa.Table, n_rows: int) -> int:
    """Return how many of the next rows one statement inserts.

    In PostgreSQL it is a power of two, because its driver parses each new statement in Python.
    """
    if dialect == "sqlite":
        is_old = sqlite3.sqlite_version_info < (3, 32)
        return min(n_rows, _MAX_VALUES_OF_OLD_SQLITE // len(table.columns) if is_old else _MAX_ROWS)
    return 1 << (min(n_rows, _MAX_ROWS).bit_length() - 1)


@cache
def _insert_statement(dialect: str, table: sa.Table) -> tuple[str, str, str]:
    """Return the statement that inserts rows: before them, one row, and after them."""
    one_row = _insert(dialect, table).values(dict.fromkeys(table.columns.keys()))
    if table is OUTCOMES:
        key = OUTCOMES.c.decision_id
        others = {one.name: one_row.excluded[one.name] for one in OUTCOMES.c if one is not key}
        one_row = one_row.on_conflict_do_update(index_elements=[key], set_=others)
    else:
        one_row = one_row.on_conflict_do_nothing()
    style = "qmark" if dialect == "sqlite" else "format"
    sql = str(one_row.compile(dialect=_DIALECTS[dialect].dialect(paramstyle=style)))
    head, values, tail = re.split(r"VALUES (\(.*?\)) (?=ON CONFLICT)", sql, maxsplit=1)
    return f"{head}VALUES ", values, f" {tail}"


def _insert(dialect: str, table: sa.Table) -> Any:  # noqa: ANN401 - classes with the same methods
    return _DIALECTS[dialect].insert(table)


def _lock_counter(connection: sa.Connection) -> int:
    """Return the last number of the log; nobody else draws one until the transaction ends."""
    query = sa.select(COUNTERS.c.value).where(_LOG).with_for_update()
    value = connection.execute(query).scalar_one()
    with readable_row("counter", "log", "tryage_counters"):
        return int(value)


def _set_counter(connection: sa.Connection, value: int) -> None:
    connection.execute(sa.update(COUNTERS).where(_LOG).values(value=value))
