"""Odd JSON made harmless: each reader returns a value of the one right type, or None."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Record: TypeAlias = Mapping[str, Any]  # one JSON object as the Hub sent it

_EMPTY: Record = {}
_LONGEST = 500  # no name, tag or licence is longer; what is, is not one
_LARGEST = 1e15  # a thousand times the largest model


def text(value: object, longest: int = _LONGEST) -> str | None:
    """Return a non-empty string without surrounding blanks that can be stored as UTF-8."""
    if not isinstance(value, str):
        return None
    value = value.strip()
    if not value or len(value) > longest:
        return None
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair: legal JSON, no text
            return None
    return None if "\0" in value else value


def texts(value: object) -> tuple[str, ...]:
    """Return the usable strings of a string or a list."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in map(text, items) if item is not None)


def words(line: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(line.split())


def amount(value: object) -> float | None:
    """Return a finite number that is not negative; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) and result >= 0 else None


def positive(value: object) -> float | None:
    """Return a finite number above zero."""
    return amount(value) or None


def size(value: object) -> float | None:
    """Return a number of parameters, elements or bytes that a model can have."""
    found = positive(value)
    return found if found is not None and found <= _LARGEST else None


def flag(value: object) -> bool | None:
    """Return true or false, and nothing for whatever only looks like it."""
    return value if isinstance(value, bool) else None


def mapping(value: object) -> Record:
    """Return an object, an empty one for anything else."""
    return value if isinstance(value, (dict, Mapping)) else _EMPTY  # dict alone is found quicker


def items(value: object) -> Sequence[Any]:
    """Return a list, an empty one for anything else."""
    return value if isinstance(value, list) else ()


def moment(value: object) -> datetime.datetime | None:
    """Return an ISO 8601 time in UTC; a time without a zone is UTC."""
    if not isinstance(value, str):
        return None
    if value.endswith("Z"):  # Python 3.10 does not read it
        value = value[:-1] + "+00:00"
    try:
        found = datetime.datetime.fromisoformat(value)
        if found.tzinfo is None:
            return found.replace(tzinfo=datetime.timezone.utc)
        return found.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError):
        return None
