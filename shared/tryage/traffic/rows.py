"""From records to rows of the tables, and back; numbers that belong to candidates are binary."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.core.policy_change import PolicyChange
from tryage.core.validation import check_number
from tryage.errors import InputError, TrafficError
from tryage.traffic.records import (
    DecisionRecord,
    Event,
    Feedback,
    LoggedFeedback,
    Outcome,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage.core.arrays import FloatArray

Row: TypeAlias = dict[str, Any]
StoredRow: TypeAlias = Mapping[Any, Any]  # SQLAlchemy's, by names of columns

# What a value of another type than its field's raises.
ENCODING_ERRORS = (TypeError, ValueError, OverflowError, AttributeError, struct.error)

_AMOUNTS = ("latency", "cost", "best_single_cost", "dearest_cost")
_TOKEN_COUNTS = ("input_tokens", "output_tokens")

MAX_KEY = 500  # characters: an index of PostgreSQL holds 2,704 bytes

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_POSITION_DTYPE = np.dtype("<f4")
_SCALARS = ("propensity", "tolerance", "typicality", "prompt_tokens", "is_default")
_OPTIONAL_COLUMNS = ("key", "prompt", "user_id")
_LISTS = ("losses", "stds", "totals", "costs", "propensities", "cost_terms")
_OPTIONAL_TEXTS = ("kind", "frozen_choice", "arm")


def decision_row(record: DecisionRecord, *, keep_prompt: bool) -> tuple[Any, ...]:
    """Return a decision as values in the order of `DECISIONS`; its prompt only if it is to be kept.

    It runs in the call that is recorded, so it must be fast.

    Raises:
        One of `ENCODING_ERRORS`: a field has a value of another type.
    """
    scalars = [getattr(record, name) for name in _SCALARS]
    return (
        _to_key(record.id),
        _to_time(record.time),
        to_text(record.chosen),
        None if record.key is None else stored_key(record.key),
        _decision_content(
            record.router,
            record.kind,
            record.frozen_choice,
            record.arm,
            tuple(record.candidates),
            tuple(record.tags),
            tuple(record.shadow_choices.items()) if record.shadow_choices else (),
            record.changes,
        ),
        pack_lists([scalars, *[getattr(record, name) for name in _LISTS]]),
        _pack_position(record.position),
        _optional_text(record.prompt) if keep_prompt else None,
        None if record.user_id is None else stored_key(record.user_id),
    )


def decision_record(row: StoredRow) -> DecisionRecord:
    """Return the decision of a row.

    Raises:
        TrafficError: the row is damaged.
    """
    with readable_row("decision", row["id"], "tryage_decisions"):
        return _decision_record(row)


def _decision_record(row: StoredRow) -> DecisionRecord:
    content = _stored_object(row["content"])
    scalars, *lists = unpack_lists(row["numbers"], 1 + len(_LISTS))
    fields: Row = dict(zip(_SCALARS, scalars, strict=True)) | dict(zip(_LISTS, lists, strict=True))
    fields |= {name: _stored_text(row[name]) for name in ("id", "chosen")}
    fields |= {name: _stored_optional_text(row[name]) for name in _OPTIONAL_COLUMNS}
    router = _stored_text(content.get("router", ""))  # what is empty is not stored
    fields |= {"time": stored_number(row["time"]), "router": router}
    fields |= {name: _stored_optional_text(content.get(name)) for name in _OPTIONAL_TEXTS}
    fields |= {name: _stored_texts(content.get(name, [])) for name in ("candidates", "tags")}
    fields |= {"propensity": stored_number(fields["propensity"], 0.0)}
    fields |= {"propensities": tuple(stored_number(p, 0.0) for p in fields["propensities"])}
    fields |= {"shadow_choices": _stored_choices(content.get("shadow_choices", {}))}
    fields |= {"changes": tuple(map(_stored_change, content.get("changes", ())))}
    fields |= {"position": _unpack_position(row["position"])}
    return DecisionRecord(**fields | {"is_default": bool(fields["is_default"])})


@lru_cache(maxsize=4_096)
def _decision_content(  # noqa: PLR0913 - the texts of a decision
    router: str,
    kind: str | None,
    frozen_choice: str | None,
    arm: str | None,
    candidates: tuple[str, ...],
    tags: tuple[str, ...],
    shadow_choices: tuple[tuple[str, str], ...],
    changes: tuple[PolicyChange, ...],
) -> str:
    """Return texts as JSON; decisions mostly have the same few."""
    content = {
        "router": to_text(router),
        "kind": kind,
        "frozen_choice": frozen_choice,
        "arm": arm,
        "candidates": list(candidates),
        "tags": list(tags),
        "shadow_choices": dict(shadow_choices),
        "changes": [change.to_dict() for change in changes],
    }
    return _to_json({name: value for name, value in content.items() if value})


def outcome_row(outcome: Outcome) -> tuple[Any, ...]:
    """Return an outcome as values in the order of `OUTCOMES`.

    Raises:
        One of `ENCODING_ERRORS`: a field has a value of another type.
    """
    values: Row = {name: _optional_float(getattr(outcome, name)) for name in _AMOUNTS}
    values |= {name: _optional_int(getattr(outcome, name)) for name in _TOKEN_COUNTS}
    values |= {name: _optional_text(getattr(outcome, name)) for name in ("error", "best_single")}
    values["failed"] = [to_text(name) for name in outcome.failed] or None
    return (
        _to_key(outcome.decision_id),
        _to_time(outcome.time),
        _optional_text(outcome.served_by),
        _to_json({name: value for name, value in values.items() if value is not None}),
    )


def outcome_record(row: StoredRow) -> Outcome:
    """Return the outcome of a row.

    Raises:
        TrafficError: the row is damaged.
    """
    with readable_row("outcome of the decision", row["decision_id"], "tryage_outcomes"):
        content = _stored_object(row["content"])
        content["failed"] = _stored_texts(content.get("failed", []))
        for name in ("error", "best_single"):
            _stored_optional_text(content.get(name))
        for name in (*_AMOUNTS, *_TOKEN_COUNTS):
            stored_number(content.get(name, 0.0))
        served_by = _stored_optional_text(row["served_by"])
        return Outcome(row["decision_id"], stored_number(row["time"]), served_by, **content)


def feedback_row(feedback: Feedback) -> Row:
    """Return the row of feedback without its number in the log."""
    return {
        "id": _to_key(feedback.id),
        "decision_id": _to_key(feedback.decision_id),
        "time": _to_time(feedback.time),
        "score": float(feedback.score),
        "kind": to_text(feedback.kind),
        "comment": _optional_text(feedback.comment),
        "expert": _optional_text(feedback.expert),
    }


def checked_feedback_row(feedback: Feedback) -> Row:
    """Return the row of feedback whose values are valid.

    Raises:
        InputError: the score is not from 0 to 1, or a field has a value of another type.
    """
    if not isinstance(feedback, Feedback):
        raise InputError(f"Expected Feedback, got {type(feedback).__name__}.")
    try:
        row = feedback_row(feedback)
    except ENCODING_ERRORS as error:
        raise InputError(f"Feedback has a value of a wrong type: {error}.") from error
    check_number("score", row["score"], 0.0, 1.0)
    return row


def feedback_record(row: StoredRow) -> Feedback:
    """Return the feedback of a row.

    Raises:
        TrafficError: the row is damaged.
    """
    with readable_row("feedback", row["id"], "tryage_feedback"):
        return Feedback(
            *(_stored_text(row["id"]), _stored_text(row["decision_id"])),
            *(stored_number(row["time"]), stored_number(row["score"], 0.0, 1.0)),
            _stored_text(row["kind"]),
            _stored_optional_text(row["comment"]),
            _stored_optional_text(row["expert"]),
        )


def logged_feedback_record(row: StoredRow, decision: DecisionRecord | None) -> LoggedFeedback:
    """Return the feedback of a row with its number, and with its decision.

    Raises:
        TrafficError: the row is damaged.
    """
    feedback = feedback_record(row)
    with readable_row("feedback", row["id"], "tryage_feedback"):
        sequence, expert = _stored_sequence(row["sequence"]), _stored_text(row["answered_by"])
    return LoggedFeedback(sequence, feedback, expert, decision)


def event_row(event: Event) -> Row:
    """Return the row of an event without its number in the log.

    Raises:
        TypeError, ValueError: the values are not plain JSON.
    """
    return {
        "id": _to_key(event.id),
        "time": _to_time(event.time),
        "kind": to_text(event.kind),
        "content": _to_json(dict(event.values)),
        "expert": _optional_text(event.expert),
    }


def event_record(row: StoredRow) -> Event:
    """Return the event of a row.

    Raises:
        TrafficError: the row is damaged.
    """
    with readable_row("event", row["id"], "tryage_events"):
        return Event(
            *(_stored_sequence(row["sequence"]), _stored_text(row["id"])),
            *(stored_number(row["time"]), _stored_text(row["kind"])),
            _stored_object(row["content"]),
            _stored_optional_text(row["expert"]),
        )


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


def stored_key(value: str) -> str:
    """Return the form in which the log holds the name of a thread, a user or a team.

    That is the name itself, and its hash where an index cannot hold it: it is too long, or has NUL
    or half of a surrogate pair. So no name of a stranger makes a record fail.

    Raises:
        TypeError: it is not a string.
    """
    if to_text(value) == value and len(value) <= MAX_KEY:
        return value
    return f"sha256:{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()}"


def checked_key(key: str | None) -> str | None:
    """Return the form in which the log holds the name of a thread or a user; None stays None.

    Raises:
        InputError: it is no text, or an empty one.
    """
    if key is None:
        return None
    if not isinstance(key, str) or not key:
        raise InputError(f"key is {key!r:.40}; expected the name of a thread or a user.")
    return stored_key(key)


def pack_lists(lists: Sequence[Sequence[float | None]]) -> bytes:
    """Return lists of numbers: how many, their lengths, and float64 values; None becomes NaN."""
    numbers = [math.nan if value is None else value for values in lists for value in values]
    header = f"<B{len(lists)}H{len(numbers)}d"
    return struct.pack(header, len(lists), *map(len, lists), *numbers)


def unpack_lists(data: bytes, n_lists: int) -> list[tuple[Any, ...]]:
    """Return the lists that `pack_lists` received; NaN becomes None, a list that is missing ()."""
    lists: list[tuple[Any, ...]] = [()] * max(n_lists, data[0])
    lengths = struct.unpack_from(f"<{data[0]}H", data, 1)
    numbers = iter(struct.unpack_from(f"<{sum(lengths)}d", data, 1 + 2 * len(lengths)))
    for i, length in enumerate(lengths):
        values = [next(numbers) for _ in range(length)]
        lists[i] = tuple(None if math.isnan(one) else one for one in values)
    return lists[:n_lists]


def _pack_position(position: FloatArray | None) -> bytes | None:
    return None if position is None else np.asarray(position, dtype=_POSITION_DTYPE).tobytes()


def _unpack_position(data: bytes | None) -> FloatArray | None:
    if data is None:
        return None
    return np.frombuffer(data, dtype=_POSITION_DTYPE).astype(np.float32)


def _to_json(value: object) -> str:
    """Return compact JSON in ASCII, which has neither NUL nor halves of surrogate pairs."""
    return _ENCODER.encode(value)


def _to_key(value: str) -> str:
    """Return a text that an index can hold."""
    if len(value) > MAX_KEY:
        raise ValueError(f"a key or an id has {len(value)} characters, more than {MAX_KEY}")
    return to_text(value)


def _to_time(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"the time is {value}")
    return float(value)


def _optional_text(value: str | None) -> str | None:
    return None if value is None else to_text(value)


def _optional_float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _optional_int(value: int | None) -> int | None:
    return None if value is None else int(value)


# What a row holds that another program, or a damaged disk, has written ----------------------------


@contextmanager
def readable_row(what: str, row_id: object, table: str) -> Iterator[None]:
    """Turn the errors of a damaged row into one that names it.

    Raises:
        TrafficError: instead of what reading the row raises.
    """
    try:
        yield
    except (*ENCODING_ERRORS, LookupError, RecursionError) as error:
        raise TrafficError(
            f"The row of the {what} {row_id!r:.60} in the log of traffic is damaged: "
            f"{type(error).__name__}. Delete it from the table {table}."
        ) from error


def stored_number(value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number in [low, high]; SQLite keeps a value of any type in any column.

    Raises:
        TypeError, ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number, got {type(value).__name__}")
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{value} is not from {low} to {high}")
    return value


def _stored_sequence(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {type(value).__name__}")
    return value


def _stored_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def _stored_optional_text(value: object) -> str | None:
    return None if value is None else _stored_text(value)


def _stored_texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    return tuple(map(_stored_text, value))


def _stored_object(text: str) -> Row:
    """Return the JSON object of a column."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return value


def _stored_choices(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return {name: _stored_text(choice) for name, choice in value.items()}


def _stored_change(value: object) -> PolicyChange:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    names = (_stored_optional_text(value.get(name)) for name in ("before", "after"))
    return PolicyChange(_stored_text(value["policy"]), _stored_text(value["reason"]), *names)
