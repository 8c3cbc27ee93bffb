"""From records to rows of the tables, and back; numbers that belong to candidates are binary."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.traffic.records import DecisionRecord, Event, Feedback, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.arrays import FloatArray

Row: TypeAlias = dict[str, Any]
StoredRow: TypeAlias = Mapping[Any, Any]  # SQLAlchemy's, by names of columns

# What a value of another type than its field's raises.
ENCODING_ERRORS = (TypeError, ValueError, OverflowError, AttributeError, struct.error)

_POSITION_DTYPE = np.dtype("<f4")
_LISTS = ("losses", "stds", "totals", "costs", "propensities", "cost_terms")


def decision_row(record: DecisionRecord, *, keep_prompt: bool) -> Row:
    """Return the row of a decision; its prompt only if it is to be kept.

    Raises:
        TypeError, ValueError, OverflowError, struct.error: a field has a value of another type.
    """
    return {
        "id": to_text(record.id),
        "time": float(record.time),
        "router": to_text(record.router),
        "chosen": to_text(record.chosen),
        "propensity": float(record.propensity),
        "candidates": _list_to_json(record.candidates),
        "numbers": pack_lists([getattr(record, name) for name in _LISTS]),
        "position": _pack_position(record.position),
        "tolerance": _optional_float(record.tolerance),
        "kind": _optional_text(record.kind),
        "typicality": _optional_float(record.typicality),
        "prompt_tokens": _optional_float(record.prompt_tokens),
        "is_default": bool(record.is_default),
        "frozen_choice": _optional_text(record.frozen_choice),
        "shadow_choices": _to_json(dict(record.shadow_choices)) if record.shadow_choices else None,
        "arm": _optional_text(record.arm),
        "key": _optional_text(record.key),
        "tags": _list_to_json(record.tags),
        "prompt": _optional_text(record.prompt) if keep_prompt else None,
    }


def decision_record(row: StoredRow) -> DecisionRecord:
    """Return the decision of a row."""
    lists: Row = dict(zip(_LISTS, unpack_lists(row["numbers"]), strict=True))
    return DecisionRecord(
        **{name: row[name] for name in _SAME_IN_ROWS},
        **lists,
        candidates=_list_from_json(row["candidates"]),
        position=_unpack_position(row["position"]),
        is_default=bool(row["is_default"]),
        shadow_choices=json.loads(row["shadow_choices"]) if row["shadow_choices"] else {},
        tags=_list_from_json(row["tags"]),
    )


_SAME_IN_ROWS = (
    "id", "time", "router", "chosen", "propensity", "tolerance", "kind", "typicality",
    "prompt_tokens", "frozen_choice", "arm", "key", "prompt",
)  # fmt: skip


def outcome_row(outcome: Outcome) -> Row:
    """Return the row of an outcome.

    Raises:
        TypeError, ValueError, OverflowError: a field has a value of another type.
    """
    return {
        "decision_id": to_text(outcome.decision_id),
        "time": float(outcome.time),
        "served_by": _optional_text(outcome.served_by),
        "latency": _optional_float(outcome.latency),
        "input_tokens": _optional_int(outcome.input_tokens),
        "output_tokens": _optional_int(outcome.output_tokens),
        "cost": _optional_float(outcome.cost),
        "best_single": _optional_text(outcome.best_single),
        "best_single_cost": _optional_float(outcome.best_single_cost),
        "dearest_cost": _optional_float(outcome.dearest_cost),
        "error": _optional_text(outcome.error),
        "failed": _list_to_json(outcome.failed),
    }


def outcome_record(row: StoredRow) -> Outcome:
    """Return the outcome of a row."""
    return Outcome(**{**row, "failed": _list_from_json(row["failed"])})


def feedback_row(feedback: Feedback) -> Row:
    """Return the row of feedback without its number in the log."""
    return {
        "id": to_text(feedback.id),
        "decision_id": to_text(feedback.decision_id),
        "time": float(feedback.time),
        "score": float(feedback.score),
        "kind": to_text(feedback.kind),
        "comment": _optional_text(feedback.comment),
        "expert": _optional_text(feedback.expert),
    }


def feedback_record(row: StoredRow) -> Feedback:
    """Return the feedback of a row."""
    names = ("id", "decision_id", "time", "score", "kind", "comment", "expert")
    return Feedback(**{name: row[name] for name in names})


def event_row(event: Event) -> Row:
    """Return the row of an event without its number in the log.

    Raises:
        TypeError, ValueError: the values are not plain JSON.
    """
    return {
        "id": to_text(event.id),
        "time": float(event.time),
        "kind": to_text(event.kind),
        "content": _to_json(dict(event.values)),
        "expert": _optional_text(event.expert),
    }


def event_record(row: StoredRow) -> Event:
    """Return the event of a row."""
    names = ("sequence", "id", "time", "kind", "expert")
    return Event(**{name: row[name] for name in names}, values=json.loads(row["content"]))


def to_text(value: str) -> str:
    """Return a text that every database can hold: without NUL and halves of surrogate pairs.

    Raises:
        TypeError: it is not a string.
    """
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {type(value).__name__}")
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode("utf-8")
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in value else value


def pack_lists(lists: Sequence[Sequence[float | None]]) -> bytes | None:
    """Return lists of numbers: how many, their lengths, and float64 values; None becomes NaN."""
    if not any(lists):
        return None
    numbers = [math.nan if value is None else value for values in lists for value in values]
    header = f"<B{len(lists)}H{len(numbers)}d"
    return struct.pack(header, len(lists), *map(len, lists), *numbers)


def unpack_lists(data: bytes | None) -> list[tuple[Any, ...]]:
    """Return the lists that `pack_lists` received; NaN becomes None, a list that is missing ()."""
    lists: list[tuple[Any, ...]] = [()] * len(_LISTS)
    if data is None:
        return lists
    lengths = struct.unpack_from(f"<{data[0]}H", data, 1)
    numbers = iter(struct.unpack_from(f"<{sum(lengths)}d", data, 1 + 2 * len(lengths)))
    for i, length in enumerate(lengths):
        values = [next(numbers) for _ in range(length)]
        lists[i] = tuple(None if math.isnan(one) else one for one in values)
    return lists


def _pack_position(position: FloatArray | None) -> bytes | None:
    return None if position is None else np.asarray(position, dtype=_POSITION_DTYPE).tobytes()


def _unpack_position(data: bytes | None) -> FloatArray | None:
    if data is None:
        return None
    return np.frombuffer(data, dtype=_POSITION_DTYPE).astype(np.float32)


def _to_json(value: object) -> str:
    """Return compact JSON in ASCII, which has neither NUL nor halves of surrogate pairs."""
    return json.dumps(value, separators=(",", ":"))


def _list_to_json(texts: Iterable[str]) -> str | None:
    values = list(texts)
    return _to_json(values) if values else None


def _list_from_json(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()


def _optional_text(value: str | None) -> str | None:
    return None if value is None else to_text(value)


def _optional_float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _optional_int(value: int | None) -> int | None:
    return None if value is None else int(value)
