"""Checks of values and columns, suggestions for misspelt names, and optional extras."""

from __future__ import annotations

import datetime
import ipaddress
import math
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.printable import has_control_characters
from tryage.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PREVIEW = reprlib.Repr()
_PREVIEW.maxlevel, _PREVIEW.maxstring, _PREVIEW.maxother = 4, 80, 80

_ANY_RANGE = (-math.inf, math.inf)
_NON_NEGATIVE = (0.0, math.inf)
_UNKNOWN_HINT = "Leave out unknown values."

# Every numeric field with its closed range. The Flesch reading ease may be negative.
NUMBER_RANGES: Mapping[str, tuple[float, float]] = {
    "parameters": _NON_NEGATIVE,
    "active_parameters": _NON_NEGATIVE,
    "released": (1, datetime.date.max.toordinal()),
    "security": (0.0, 1.0),
    "input_price": _NON_NEGATIVE,
    "output_price": _NON_NEGATIVE,
    "cached_input_price": _NON_NEGATIVE,
    "latency": _NON_NEGATIVE,
    "output_tokens": _NON_NEGATIVE,
    "readability": _ANY_RANGE,
    "downloads": _NON_NEGATIVE,
    "context_length": _NON_NEGATIVE,
}


# Every field that holds a text, with an example for error messages.
_TEXT_EXAMPLES: Mapping[str, str] = {
    "license": "apache-2.0",
    "effort": "low",
    "about_as_good_as": "claude-haiku-4-5",
}


def preview(value: object) -> str:
    """Return the `repr` of any value, shortened, for a message; nesting and size are bounded."""
    return _PREVIEW.repr(value)[:200]


def did_you_mean(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """Return " Did you mean a, b?" with the nearest choices, or "" if none is near.

    A choice is near, too, if what follows its provider is: "openai:gpt-5" for "gpt5".
    """
    folded = {choice.casefold(): choice for choice in choices}
    pool: Iterable[str] = folded
    if len(folded) > 5_000:  # difflib compares one by one, which takes minutes for a million names
        pool = [name for name in folded if word[:4].casefold() in name][:5_000]
    else:
        folded = {_PROVIDER.sub("", name): choice for name, choice in folded.items()} | folded
        pool = folded
    near = get_close_matches(word[:200].casefold(), pool, n=2 * limit)
    found = [*dict.fromkeys(folded[name] for name in near)][:limit]
    return f" Did you mean {', '.join(found)}?" if found else ""


_PROVIDER = re.compile(r"^[^:/]*[:/](?=.)")  # "openai:gpt-5", "openai/gpt-5"


def check_keywords(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise unless a function has all keyword arguments that were given to it.

    Raises:
        InputError: an unknown one; the message names the nearest.
    """
    for name in given:
        if name not in known:
            raise InputError(f"{function} has no argument {name!r}.{did_you_mean(name, known)}")


def check_bools(**values: object) -> None:
    """Raise unless all values are True or False; the message names the one that is not.

    Raises:
        InputError: another value.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InputError(f"{name} is {preview(value)}; expected True or False.")


def check_number(name: str, value: object, low: float = 0.0, high: float = math.inf) -> float:
    """Return `value` as a finite float within [low, high].

    Raises:
        InputError: not a real number, NaN, infinite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} must be a number, got {type(value).__name__} {preview(value)}.")
    result = _to_float(value)
    if not math.isfinite(result) or not low <= result <= high:
        raise InputError(
            f"{name} must be {_format_range(low, high)}, got {result:g}. {_UNKNOWN_HINT}"
        )
    return result


def check_integer(name: str, value: object, low: int = 0) -> int:
    """Return `value` as an int that is at least `low`; numpy's integers count.

    Raises:
        InputError: not an integer, or too low.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise InputError(f"{name} must be a whole number from {low}, got {preview(value)}.")
    return int(value)


def check_strings(name: str, value: object) -> tuple[str, ...]:
    """Return a list, tuple or set of non-empty strings as a tuple.

    Raises:
        InputError: a single string, not a collection, or an item that is not a non-empty string.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InputError(f"{name} must be a list of strings, got {preview(value)}. Write [...].")
    items = tuple(sorted(value) if isinstance(value, (set, frozenset)) else value)
    for item in items:
        if not isinstance(item, str) or not item.strip():
            raise InputError(f"{name} must hold non-empty strings, got {preview(item)}.")
    return items


def check_words(name: str, value: object) -> tuple[str, ...]:
    """Do what `check_strings` does, for names and words that reports, logs and terminals show.

    Raises:
        InputError: as there, or an item has a control character.
    """
    items = check_strings(name, value)
    for item in items:
        _check_printable(name, item)
    return items


def _check_printable(name: str, text: str) -> None:
    if has_control_characters(text):
        raise InputError(f"{name} must have no control characters, got {preview(text)}.")


def check_field(name: str, value: object) -> Any:  # noqa: ANN401 - the type depends on `name`
    """Return a checked non-numeric value in its standard form; None stays None.

    Raises:
        InputError: the value has the wrong type, is empty, or has a control character.
    """
    if value is None:
        return None
    if name == "aliases":
        return check_words(name, value)
    if name == "capabilities":
        return frozenset(item.strip().lower() for item in check_words(name, value))
    if name == "metadata":
        if not isinstance(value, Mapping):
            raise InputError(f"metadata must be a dict, got {type(value).__name__}.")
        return dict(value)
    if not isinstance(value, str) or not value.strip():
        example = _TEXT_EXAMPLES[name]
        raise InputError(f"{name} must be a string such as {example!r}, got {preview(value)}.")
    _check_printable(name, value.strip())
    return value.strip() if name == "about_as_good_as" else value.strip().lower()


def check_number_column(name: str, values: Collection[Any] | NDArray[Any]) -> NDArray[np.float64]:
    """Return a checked float64 copy `(n,)`, NaN where unknown.

    Raises:
        InputError: another shape, or a value that is not a number or out of range.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        days = values.astype("datetime64[D]")
        epoch = datetime.date(1970, 1, 1).toordinal()
        column = np.where(np.isnat(days), np.nan, days.astype(np.int64) + float(epoch))
    elif isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        column = values.astype(np.float64)
    else:
        column = np.array([_parse_cell(name, value) for value in values], dtype=np.float64)
    low, high = NUMBER_RANGES[name]
    bad = ~np.isnan(column) & ~(np.isfinite(column) & (column >= low) & (column <= high))
    if column.ndim != 1 or bad.any():
        got = f"shape {column.shape}" if column.ndim != 1 else repr(float(column[bad][0]))
        raise InputError(
            f"Column {name} must be {_format_range(low, high)}, got {got}. {_UNKNOWN_HINT}"
        )
    return column


def check_object_column(name: str, values: Iterable[Any]) -> NDArray[np.object_]:
    """Return a checked object column `(n,)`, None where unknown.

    Raises:
        InputError: a value has the wrong type or is empty.
    """
    if name in ("license", "capabilities"):  # few distinct values: check and store each once
        cells = _deduplicate_equal(name, values)
    elif name == "metadata":
        cells = _deduplicate_identical(name, list(values))
    else:
        cells = [check_field(name, value) for value in values]
    column = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):  # slice assignment would unpack tuples into a matrix
        column[i] = cell
    return column


def require_extra(module: str, extra: str) -> None:
    """Raise unless `module` can be found, without importing it.

    Raises:
        MissingExtraError: the message names the command that installs the extra.
    """
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is absent
        found = False
    if not found:
        raise MissingExtraError(
            f"{module} is not installed. Install it with: pip install 'tryage[{extra}]'"
        )


def _to_float(value: Real) -> float:
    """Return a float; an integer that is too large becomes infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _format_range(low: float, high: float) -> str:
    """Return a range in words."""
    if high < math.inf:
        return f"between {low:g} and {high:g}"
    return "finite" if low == -math.inf else f"finite and at least {low:g}"


def _parse_cell(name: str, value: object) -> float:
    """Return one value of a numeric column as a float, NaN when unknown."""
    if value is None:
        return math.nan
    if name == "released" and isinstance(value, datetime.date):
        return float(value.toordinal())
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"Column {name} holds {preview(value)}; expected a number or None.")
    return _to_float(value)


def _deduplicate_equal(name: str, values: Iterable[Any]) -> list[Any]:
    """Return checked values of which many are equal; equal ones become one object."""
    seen: dict[Any, Any] = {}
    cells = []
    for value in values:
        hashable = isinstance(value, (str, frozenset, type(None)))
        key = value if hashable else check_field(name, value)
        if key not in seen:
            cell = check_field(name, key)
            seen[key] = seen.setdefault(cell, cell)
        cells.append(seen[key])
    return cells


def _deduplicate_identical(name: str, values: list[Any]) -> list[Any]:
    """Return checked values; an object that many experts share is checked once and stays one."""
    by_id = {id(value): value for value in values}  # the list keeps them alive, so ids are unique
    cells = {key: check_field(name, value) for key, value in by_id.items()}
    return [cells[id(value)] for value in values]


def is_loopback(host: str) -> bool:
    """Tell whether only this computer reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # another name
        return False
