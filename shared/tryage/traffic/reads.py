"""What is read from the log: feedback and events in their order, decisions, and snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from tryage.traffic.records import (
    DecisionRecord,
    Event,
    Feedback,
    LoggedFeedback,
    Outcome,
    Snapshot,
)
from tryage.traffic.rows import (
    decision_record,
    event_record,
    feedback_record,
    logged_feedback_record,
    outcome_record,
    readable_row,
)
from tryage.traffic.schema import (
    CHARGES,
    COUNTERS,
    DECISIONS,
    EVENTS,
    FEEDBACK,
    OUTCOMES,
    PURSES,
    SNAPSHOTS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import RowMapping

LoggedDecision: TypeAlias = tuple[DecisionRecord, Outcome | None, list[Feedback]]

_PREFIX = "decisions."  # of the columns of a decision in a row that has others as well


def last_sequence(connection: sa.Connection) -> int:
    """Return the last number that feedback or an event has."""
    value = connection.execute(
        sa.select(COUNTERS.c.value).where(COUNTERS.c.name == "log")
    ).scalar_one()
    with readable_row("counter", "log", "tryage_counters"):
        return int(value)


def has_decision(connection: sa.Connection, decision_id: str) -> bool:
    """Tell whether a decision is in the log."""
    query = sa.select(DECISIONS.c.id).where(DECISIONS.c.id == decision_id)
    return connection.execute(query).first() is not None


def feedback_after(connection: sa.Connection, sequence: int, limit: int) -> list[LoggedFeedback]:
    """Return the first feedback with a higher number, with its decisions, in order."""
    columns = [column.label(_PREFIX + column.name) for column in DECISIONS.columns]
    query = (
        sa.select(FEEDBACK, *columns)
        .outerjoin(DECISIONS, DECISIONS.c.id == FEEDBACK.c.decision_id)
        .where(FEEDBACK.c.sequence > sequence)
        .order_by(FEEDBACK.c.sequence)
        .limit(limit)
    )
    return [_logged_feedback(row) for row in connection.execute(query).mappings()]


def events_after(connection: sa.Connection, sequence: int, limit: int) -> list[Event]:
    """Return the first events with a higher number, in order."""
    query = sa.select(EVENTS).where(EVENTS.c.sequence > sequence).order_by(EVENTS.c.sequence)
    return [event_record(row) for row in connection.execute(query.limit(limit)).mappings()]


def sequence_at(connection: sa.Connection, time: float, now: float) -> int:
    """Return the last number before the first entry that came after a time.

    Entries of a time to come were written under a wrong clock, and tell nothing.
    """
    later = [
        connection.execute(
            sa.select(sa.func.min(table.c.sequence)).where(written > time, written <= now)
        ).scalar()
        for table, written in ((FEEDBACK, FEEDBACK.c.logged), (EVENTS, EVENTS.c.time))
    ]
    with readable_row("counter", "log", "tryage_counters"):
        found = [int(number) for number in later if number is not None]
    return min(found) - 1 if found else last_sequence(connection)


def count_rows(connection: sa.Connection) -> dict[str, Any]:
    """Return how much the log holds: rows by kind, and the times of the first and last decision."""
    tables = {
        "decisions": DECISIONS,
        "outcomes": OUTCOMES,
        "feedback": FEEDBACK,
        "events": EVENTS,
        "snapshots": SNAPSHOTS,
    }
    counts: dict[str, Any] = {
        name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for name, table in tables.items()
    }
    pending = sa.select(sa.func.count(), sa.func.min(FEEDBACK.c.time)).where(
        FEEDBACK.c.sequence.is_(None)
    )
    first, last = sa.func.min(DECISIONS.c.time), sa.func.max(DECISIONS.c.time)
    counts["pending_feedback"], counts["first_pending"] = connection.execute(pending).one()
    counts["first"], counts["last"] = connection.execute(sa.select(first, last)).one()
    counts["last_sequence"] = last_sequence(connection)
    return counts


def latest_snapshot(
    connection: sa.Connection, router: str, at_or_before: int | None
) -> Snapshot | None:
    """Return the snapshot of a router with the highest number, at most one."""
    query = sa.select(SNAPSHOTS).where(SNAPSHOTS.c.router == router)
    if at_or_before is not None:
        query = query.where(SNAPSHOTS.c.sequence <= at_or_before)
    row = connection.execute(query.order_by(SNAPSHOTS.c.sequence.desc()).limit(1)).first()
    return None if row is None else Snapshot(row.router, row.sequence, row.time, bytes(row.data))


def decision_condition(
    since: float | None, until: float | None, key: str | None
) -> sa.ColumnElement[bool]:
    """Return the condition that a decision was made in `since <= time < until`, for a key.

    A key is a thread or a user, in its stored form.
    """
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if since is not None:
        conditions.append(DECISIONS.c.time >= since)
    if until is not None:
        conditions.append(DECISIONS.c.time < until)
    if key is not None:
        conditions.append(belongs_to(key))
    return sa.and_(*conditions)


def last_decisions(
    connection: sa.Connection, condition: sa.ColumnElement[bool], n: int
) -> sa.ColumnElement[bool]:
    """Return a condition that also leaves only the last `n` decisions, and those of equal time."""
    times = sa.select(DECISIONS.c.time).where(condition).order_by(DECISIONS.c.time.desc())
    first = connection.execute(times.offset(n - 1).limit(1)).scalar()
    return condition if first is None else sa.and_(condition, DECISIONS.c.time >= first)


def belongs_to(key: str) -> sa.ColumnElement[bool]:
    """Return the condition that a decision is of a thread or a user, in its stored form."""
    return sa.or_(DECISIONS.c.key == key, DECISIONS.c.user_id == key)


def decision_page(
    connection: sa.Connection,
    condition: sa.ColumnElement[bool],
    after: tuple[float, str] | None,
    limit: int,
) -> list[LoggedDecision]:
    """Return the next decisions that meet a condition by time and id, with what came of them."""
    query = sa.select(DECISIONS).where(condition).order_by(DECISIONS.c.time, DECISIONS.c.id)
    if after is not None:
        query = query.where(sa.tuple_(DECISIONS.c.time, DECISIONS.c.id) > sa.tuple_(*after))
    records = [decision_record(row) for row in connection.execute(query.limit(limit)).mappings()]
    ids = [record.id for record in records]
    outcomes, feedback = _outcomes_of(connection, ids), _feedback_of(connection, ids)
    return [(one, outcomes.get(one.id), feedback.get(one.id, [])) for one in records]


def spending_rows(connection: sa.Connection, key: str | None) -> Iterator[tuple[str, RowMapping]]:
    """Yield what budgets hold as ("purse" or "charge", row), in order; of one key if given.

    To a key belong its own purses and charges, and the charges of its decisions.
    """
    for kind, table, order in (
        ("purse", PURSES, (PURSES.c.budget, PURSES.c.key, PURSES.c.start)),
        ("charge", CHARGES, (CHARGES.c.time, CHARGES.c.budget, CHARGES.c.decision_id)),
    ):
        query = sa.select(table).order_by(*order)
        if key is not None:
            condition = table.c.key == key
            if table is CHARGES:
                condition |= CHARGES.c.decision_id.in_(
                    sa.select(DECISIONS.c.id).where(belongs_to(key))
                )
            query = query.where(condition)
        for row in connection.execute(query).mappings():
            yield kind, row


def _outcomes_of(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Outcome]:
    query = sa.select(OUTCOMES).where(OUTCOMES.c.decision_id.in_(ids))
    rows = connection.execute(query).mappings()
    return {row["decision_id"]: outcome_record(row) for row in rows}


def _feedback_of(connection: sa.Connection, ids: Sequence[str]) -> dict[str, list[Feedback]]:
    query = sa.select(FEEDBACK).where(FEEDBACK.c.decision_id.in_(ids))
    feedback: dict[str, list[Feedback]] = {}
    for row in connection.execute(query.order_by(FEEDBACK.c.time, FEEDBACK.c.id)).mappings():
        feedback.setdefault(row["decision_id"], []).append(feedback_record(row))
    return feedback


def _logged_feedback(row: Any) -> LoggedFeedback:  # noqa: ANN401 - a mapping from columns or their names
    decision = None
    if row[_PREFIX + "id"] is not None:
        decision = decision_record(
            {column.name: row[_PREFIX + column.name] for column in DECISIONS.columns}
        )
    return logged_feedback_record(row, decision)
