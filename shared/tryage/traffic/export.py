"""The log as JSON lines: each decision with all that is kept about it, budgets, then events."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.traffic.rows import readable_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.engine import RowMapping

    from tryage.traffic.records import DecisionRecord, Event, Feedback, Outcome


def to_json_lines(
    decisions: Iterable[tuple[DecisionRecord, Outcome | None, list[Feedback]]],
    spending: Iterable[tuple[str, RowMapping]],
    events: Iterable[Event],
) -> Iterator[str]:
    """Yield `{"decision": ..., "outcome": ..., "feedback": [...]}` as lines, then all else.

    That is `{"purse": ...}` and `{"charge": ...}` of budgets, and `{"event": ...}`. Each record has
    its fields by name; a position is a list of numbers.
    """
    for decision, outcome, feedback in decisions:
        line = {
            "decision": _to_dict(decision),
            "outcome": None if outcome is None else _to_dict(outcome),
            "feedback": [_to_dict(one) for one in feedback],
        }
        yield json.dumps(line, ensure_ascii=False, default=dataclasses.asdict)
    for kind, row in spending:
        yield json.dumps({kind: _purse_or_charge(kind, row)}, ensure_ascii=False)
    for event in events:
        yield json.dumps({"event": _to_dict(event)}, ensure_ascii=False)


def _purse_or_charge(kind: str, row: RowMapping) -> dict[str, Any]:
    values = dict(row)
    with readable_row(f"{kind} of the budget", row["budget"], f"tryage_{kind}s"):
        if any(isinstance(value, bytes) for value in values.values()):
            raise TypeError("expected texts and numbers, got bytes")
        if "content" in values:
            values["content"] = json.loads(values["content"])
    return values


def _to_dict(record: Any) -> dict[str, Any]:  # noqa: ANN401 - one of four dataclasses
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }
