"""What is written into the log: decisions, outcomes, feedback, events and snapshots."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tryage.traffic.schema import COUNTERS, DECISIONS, EVENTS, FEEDBACK, OUTCOMES, SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.traffic.records import Snapshot
    from tryage.traffic.rows import Row

_LOG = COUNTERS.c.name == "log"
_MAX_NUMBERED = 1_000  # at a time, so that no transaction is long


def insert_decisions(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Insert decisions; one that is there already stays as it is."""
    connection.execute(_insert(connection, DECISIONS).on_conflict_do_nothing(), rows)


def upsert_outcomes(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Insert outcomes; a second one for a decision replaces the first."""
    insert = _insert(connection, OUTCOMES)
    others = {
        column.name: insert.excluded[column.name]
        for column in OUTCOMES.columns
        if not column.primary_key
    }
    connection.execute(
        insert.on_conflict_do_update(index_elements=["decision_id"], set_=others), rows
    )


def insert_feedback(connection: sa.Connection, row: Row) -> bool:
    """Insert feedback without a number; return False if its id is there already."""
    insert = _insert(connection, FEEDBACK).on_conflict_do_nothing(index_elements=["id"])
    options = {"preserve_rowcount": True}  # which SQLAlchemy drops otherwise for PostgreSQL
    return connection.execute(insert, row, execution_options=options).rowcount > 0


def has_decision(connection: sa.Connection, decision_id: str) -> bool:
    """Tell whether a decision is in the log."""
    query = sa.select(DECISIONS.c.id).where(DECISIONS.c.id == decision_id)
    return connection.execute(query).first() is not None


def has_numberable_feedback(connection: sa.Connection) -> bool:
    """Tell whether feedback without a number could get one: its decision is there."""
    return connection.execute(_numberable().limit(1)).first() is not None


def number_feedback(connection: sa.Connection) -> None:
    """Give feedback whose decision is there the next numbers, and settle whom it is about."""
    if not has_numberable_feedback(connection):
        return
    last = _lock_counter(connection)
    pending = connection.execute(
        _numberable().order_by(FEEDBACK.c.time, FEEDBACK.c.id).limit(_MAX_NUMBERED)
    ).all()
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
    connection.execute(_insert(connection, SNAPSHOTS).on_conflict_do_nothing(), row)


def _insert(connection: sa.Connection, table: sa.Table) -> Any:  # noqa: ANN401 - one of two classes with the same methods
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table)


def _numberable() -> sa.Select[Any]:
    """Select feedback without a number whose decision is there, and whom it is about."""
    answerer = sa.func.coalesce(FEEDBACK.c.expert, OUTCOMES.c.served_by, DECISIONS.c.chosen)
    return (
        sa.select(FEEDBACK.c.id, answerer.label("answerer"))
        .join(DECISIONS, DECISIONS.c.id == FEEDBACK.c.decision_id)
        .outerjoin(OUTCOMES, OUTCOMES.c.decision_id == FEEDBACK.c.decision_id)
        .where(FEEDBACK.c.sequence.is_(None))
    )


def _lock_counter(connection: sa.Connection) -> int:
    """Return the last number of the log; nobody else draws one until the transaction ends."""
    query = sa.select(COUNTERS.c.value).where(_LOG).with_for_update()
    return int(connection.execute(query).scalar_one())


def _set_counter(connection: sa.Connection, value: int) -> None:
    connection.execute(sa.update(COUNTERS).where(_LOG).values(value=value))
