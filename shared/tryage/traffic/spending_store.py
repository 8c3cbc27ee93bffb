"""The purses of budgets in the database of the log: each change counts once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect

from tryage.traffic.rows import readable_row, stored_number
from tryage.traffic.schema import CHARGES, PURSES
from tryage.traffic.spending import Bill, Charge, Purse, Spending, SpendingStore, charged, settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.traffic.database import Database
    from tryage.traffic.spending import Change

_MAX_IDS = 500  # of a statement: SQLite before 3.32 takes 999 values
_DIALECTS: dict[str, Any] = {"sqlite": sqlite_dialect, "postgresql": postgresql}


# Statements are made once: to make one takes longer than to run it.
_IS = sa.and_(
    *(PURSES.c[name] == sa.bindparam(f"of_{name}") for name in ("budget", "key", "start"))
)
_SELECT_PURSE = sa.select(PURSES).where(_IS)
_LOCK_PURSE = _SELECT_PURSE.with_for_update()
_UPDATE_PURSE = (
    sa.update(PURSES)
    .where(_IS)
    .values({name: sa.bindparam(name) for name in ("requests", "spent", "reserved", "content")})
)
_INSERT_PURSE = {
    name: dialect.insert(PURSES).on_conflict_do_nothing() for name, dialect in _DIALECTS.items()
}
_SELECT_CHARGES = sa.select(CHARGES).where(
    CHARGES.c.decision_id.in_(sa.bindparam("ids", expanding=True))
)
_INSERT_CHARGE = sa.insert(CHARGES)
_UPDATE_CHARGE = (
    sa.update(CHARGES)
    .where(
        CHARGES.c.budget == sa.bindparam("of_budget"),
        CHARGES.c.decision_id == sa.bindparam("of_decision"),
    )
    .values(usd=sa.bindparam("cost"))
)


class StoredSpending(SpendingStore):
    """Keeps spending in the tables of a log.

    A transaction locks the purses that it changes, in one order, so that no two processes add to
    the same one at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def apply(
        self, changes: Sequence[Change], purses: Iterable[Purse]
    ) -> tuple[dict[Purse, Spending], list[Bill]]:
        """Store changes, and return the purses and the bills without a charge."""
        if not changes:
            with self._database.read() as connection:
                return _read(connection, set(purses)), []
        charges = {
            (one.purse.budget, one.decision_id): one for one in changes if isinstance(one, Charge)
        }
        bills = {one.decision_id: one for one in reversed(changes) if isinstance(one, Bill)}
        with self._database.write(is_durable=False) as connection:
            return _apply(connection, charges, bills, set(purses))


def _apply(
    connection: sa.Connection,
    charges: dict[tuple[str, str], Charge],
    bills: dict[str, Bill],
    purses: set[Purse],
) -> tuple[dict[Purse, Spending], list[Bill]]:
    billed = {_purse(row) for row in _find_charges(connection, bills)}
    changed = {charge.purse for charge in charges.values()} | billed
    spending = _lock(connection, changed)
    added = _insert_charges(connection, charges)
    open_rows = [row for row in _find_charges(connection, bills) if _purse(row) in spending]
    early = bills.keys() - {row.decision_id for row in open_rows}
    for purse, change in [*added, *_settle(connection, open_rows, bills)]:
        spending[purse] = spending[purse].plus(change)
    _update(connection, spending)
    spending |= _read(connection, purses - changed)
    return spending, [bills[name] for name in early]


def _insert_charges(
    connection: sa.Connection, charges: dict[tuple[str, str], Charge]
) -> list[tuple[Purse, Spending]]:
    """Insert charges that are not there; return what they add to their purses."""
    ids = {decision_id for _, decision_id in charges}
    there = {(row.budget, row.decision_id) for row in _find_charges(connection, ids)}
    new = [charge for place, charge in charges.items() if place not in there]
    if new:
        connection.execute(_INSERT_CHARGE, [_charge_row(one) for one in new])
    return [(one.purse, charged(one)) for one in new]


def _settle(
    connection: sa.Connection, rows: Sequence[Any], bills: dict[str, Bill]
) -> list[tuple[Purse, Spending]]:
    """Write bills to charges without one; return what they add to the purses."""
    due = [row for row in rows if row.usd is None]
    if due:
        connection.execute(
            _UPDATE_CHARGE,
            [
                {
                    "of_budget": row.budget,
                    "of_decision": row.decision_id,
                    "cost": bills[row.decision_id].usd,
                }
                for row in due
            ],
        )
    return [(_purse(row), _settled(bills[row.decision_id], row)) for row in due]


def _settled(bill: Bill, row: Any) -> Spending:  # noqa: ANN401 - a row of SQLAlchemy has no class of its own
    with readable_row("charge of the decision", row.decision_id, "tryage_charges"):
        return settled(bill, stored_number(row.reserved), stored_number(row.expected))


def _find_charges(connection: sa.Connection, ids: Iterable[str]) -> list[Any]:
    """Return the charges of some decisions."""
    names = list(ids)
    rows: list[Any] = []
    for start in range(0, len(names), _MAX_IDS):
        some = names[start : start + _MAX_IDS]
        rows += connection.execute(_SELECT_CHARGES, {"ids": some}).all()
    return rows


def _lock(connection: sa.Connection, purses: set[Purse]) -> dict[Purse, Spending]:
    """Return purses as they are; no other transaction changes them until the transaction ends."""
    ordered = sorted(purses, key=lambda one: (one.budget, one.key, one.start))
    if not ordered:
        return {}
    connection.execute(_INSERT_PURSE[connection.dialect.name], [_empty_row(one) for one in ordered])
    return _read(connection, ordered, for_update=True)


def _read(
    connection: sa.Connection, purses: Iterable[Purse], *, for_update: bool = False
) -> dict[Purse, Spending]:
    """Return purses; those that are not there are empty."""
    found = {}
    query = _LOCK_PURSE if for_update else _SELECT_PURSE
    for purse in purses:
        row = connection.execute(query, _place(purse)).first()
        found[purse] = Spending() if row is None else _spending(row)
    return found


def _update(connection: sa.Connection, spending: dict[Purse, Spending]) -> None:
    for purse, one in spending.items():
        content = {"costs": one.costs, "billed": one.billed, "expected": one.expected}
        values = {
            "requests": one.requests,
            "spent": one.spent,
            "reserved": one.reserved,
            "content": json.dumps(content | {"bills": one.bills}),
        }
        connection.execute(_UPDATE_PURSE, _place(purse) | values)


def _place(purse: Purse) -> dict[str, Any]:
    """Return the parameters that name a purse."""
    return {"of_budget": purse.budget, "of_key": purse.key, "of_start": purse.start}


def _spending(row: Any) -> Spending:  # noqa: ANN401 - a row of SQLAlchemy has no class of its own
    with readable_row("purse of the budget", row.budget, "tryage_purses"):
        content = json.loads(row.content)
        costs = tuple(map(stored_number, content.pop("costs", ())))
        amounts = (stored_number(row.spent), stored_number(row.reserved))
        sums: dict[str, Any] = {name: stored_number(value) for name, value in content.items()}
        return Spending(*amounts, int(row.requests), costs, **sums)


def _purse(row: Any) -> Purse:  # noqa: ANN401 - a row of SQLAlchemy has no class of its own
    return Purse(row.budget, row.key, row.start)


def _empty_row(purse: Purse) -> dict[str, Any]:
    place = {"budget": purse.budget, "key": purse.key, "start": purse.start, "end": purse.end}
    return place | {"requests": 0, "spent": 0.0, "reserved": 0.0, "content": "{}"}


def _charge_row(charge: Charge) -> dict[str, Any]:
    return {
        "budget": charge.purse.budget,
        "decision_id": charge.decision_id,
        "key": charge.purse.key,
        "start": charge.purse.start,
        "time": charge.time,
        "reserved": charge.reserved,
        "expected": charge.expected,
        "usd": None,
    }
