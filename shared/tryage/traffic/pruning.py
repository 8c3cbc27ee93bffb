"""Delete what is old, or what belongs to one key, from the log; small parts at a time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tryage.traffic.reads import belongs_to
from tryage.traffic.schema import (
    CHARGES,
    DECISIONS,
    EVENTS,
    FEEDBACK,
    OUTCOMES,
    PURSES,
    SNAPSHOTS,
)

if TYPE_CHECKING:
    from tryage.traffic.database import Database

_PART = 2_000  # decisions of a transaction: others may write after each
_MAX_IDS = 500  # of a statement: SQLite before 3.32 takes 999 values


def prune(database: Database, cutoff: float, key: str | None) -> Counter[str]:
    """Delete all from before a time, or only what belongs to a key; return the numbers deleted.

    A key is a thread or a user, in its stored form.

    Of each router's snapshots the last one stays, whenever it was made, and so does what a budget
    has spent in a period that still goes on. A budget without periods forgets a key with its last
    request.

    Raises:
        TrafficError: the store fails, or its file still holds what was deleted because another
            program reads it; what was deleted before stays deleted.
    """
    deleted: Counter[str] = Counter()
    condition = DECISIONS.c.time < cutoff
    if key is not None:
        condition &= belongs_to(key)
    while True:
        with database.write(is_durable=True) as connection:
            part = _delete_decisions(connection, condition)
        deleted += part
        if part["decisions"] < _PART:
            break
    with database.write(is_durable=True) as connection:
        if key is None:
            deleted += _delete_others(connection, cutoff)
        deleted += _delete_spending(connection, cutoff, key)
    if key is None:
        database.shrink()
    else:  # somebody wants to be forgotten
        database.erase()
    return deleted


def _delete_decisions(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Counter[str]:
    """Delete some decisions with what came of them."""
    found = sa.select(DECISIONS.c.id).where(condition).order_by(DECISIONS.c.time).limit(_PART)
    ids = list(connection.execute(found).scalars())
    counts: Counter[str] = Counter()
    for name, column in (
        ("feedback", FEEDBACK.c.decision_id),
        ("outcomes", OUTCOMES.c.decision_id),
        ("charges", CHARGES.c.decision_id),
        ("decisions", DECISIONS.c.id),
    ):
        for start in range(0, len(ids), _MAX_IDS):
            some = ids[start : start + _MAX_IDS]
            done = connection.execute(sa.delete(column.table).where(column.in_(some)))
            counts[name] += done.rowcount
    return counts


def _delete_others(connection: sa.Connection, cutoff: float) -> Counter[str]:
    """Delete what belongs to no decision of the log: it was lost, or never came."""
    newest = (
        sa.select(SNAPSHOTS.c.router, sa.func.max(SNAPSHOTS.c.sequence).label("sequence"))
        .group_by(SNAPSHOTS.c.router)
        .subquery()
    )
    is_newest = sa.exists().where(
        newest.c.router == SNAPSHOTS.c.router, newest.c.sequence == SNAPSHOTS.c.sequence
    )
    statements = {
        "outcomes": sa.delete(OUTCOMES).where(
            OUTCOMES.c.time < cutoff, ~_has_decision(OUTCOMES.c.decision_id)
        ),
        "feedback": sa.delete(FEEDBACK).where(
            FEEDBACK.c.time < cutoff, ~_has_decision(FEEDBACK.c.decision_id)
        ),
        "events": sa.delete(EVENTS).where(EVENTS.c.time < cutoff),
        "snapshots": sa.delete(SNAPSHOTS).where(SNAPSHOTS.c.time < cutoff, ~is_newest),
    }
    return Counter(
        {name: connection.execute(statement).rowcount for name, statement in statements.items()}
    )


def _delete_spending(connection: sa.Connection, cutoff: float, key: str | None) -> Counter[str]:
    """Delete what budgets have spent, but not of periods that last until after the cutoff."""
    old_charge, old_purse = CHARGES.c.time < cutoff, PURSES.c.end < cutoff
    if key is not None:
        old_charge &= CHARGES.c.key == key
        old_purse = (PURSES.c.key == key) & (old_purse | (PURSES.c.end.is_(None) & ~_has_charge()))
    # In this order: a purse without an end goes when its last charge is gone.
    return Counter(
        {
            "charges": connection.execute(sa.delete(CHARGES).where(old_charge)).rowcount,
            "purses": connection.execute(sa.delete(PURSES).where(old_purse)).rowcount,
        }
    )


def _has_charge() -> sa.ColumnElement[bool]:
    return sa.exists().where(CHARGES.c.budget == PURSES.c.budget, CHARGES.c.key == PURSES.c.key)


def _has_decision(decision_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return sa.exists().where(DECISIONS.c.id == decision_id)
