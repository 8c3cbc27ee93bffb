"""What an expert must be: one hard filter, with the reason when it is not met."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.errors import InputError
from tryage.experts import NUMBER_RANGES, Library, did_you_mean, number, strings

Value: TypeAlias = float | datetime.date | tuple[str, ...]
Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
# Fields that hold words, with the one operator that makes sense for each.
_WORDS: Mapping[str, str] = {"license": "in", "name": "in", "capabilities": "has"}
_FIELDS = ("cost", *NUMBER_RANGES, *_WORDS)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A hard filter on one field; an expert of which the field is unknown passes only if told so.

    Numeric fields and `cost` (USD of *this* request) take `<`, `<=`, `>`, `>=`, `==`;
    `released` compares with a date; `license` and `name` take `in` (any of the words, aliases
    count), `capabilities` takes `has` (all of the words). With `unknown_passes`, only those known
    not to meet it are filtered out; not for `cost`, since an unknown price is never free.

    Raises:
        InputError: an unknown field, an operator the field does not take, or a wrong value.
    """

    field: str
    op: str
    value: Value
    unknown_passes: bool = False

    def __post_init__(self) -> None:
        """Check the three parts together and bring the value to its one form."""
        if self.field not in _FIELDS:
            near = did_you_mean(str(self.field), _FIELDS)
            raise InputError(f"{self.field!r} cannot be required; expected one of {_FIELDS}.{near}")
        expected = (_WORDS[self.field],) if self.field in _WORDS else tuple(_COMPARE)
        if self.op not in expected:
            raise InputError(f"{self.field} takes {' '.join(expected)}, got {self.op!r}.")
        if not isinstance(self.unknown_passes, bool) or (
            self.unknown_passes and self.field in ("cost", "license", "name")
        ):
            raise InputError(
                f"unknown_passes={self.unknown_passes!r} is not for {self.field}; expected a bool, "
                "False for cost, license and name."
            )
        object.__setattr__(self, "value", self._checked())

    def _checked(self) -> Value:
        """Return the value in the form its field needs."""
        if self.field in _WORDS:
            words = strings(self.field, self.value)
            return words if self.field == "name" else tuple(word.strip().lower() for word in words)
        if self.field == "released":
            if isinstance(self.value, datetime.datetime):
                return self.value.date()
            if not isinstance(self.value, datetime.date):
                raise InputError(f"released is compared with a date, got {self.value!r:.80}.")
            return self.value
        return number(self.field, self.value, *NUMBER_RANGES.get(self.field, (0.0, np.inf)))

    def satisfied(self, library: Library, cost: Floats | None = None) -> Bools:
        """Tell which experts are known to meet it, `(n,)`, or the shape of `cost` `(..., n)`.

        Args:
            library: The n experts.
            cost: Expected USD of the request per expert, NaN unknown; only read for `cost`.

        Raises:
            InputError: a cost is required and none was given.
        """
        if self.field == "license":
            return library.licensed(self._words())
        if self.field == "name":
            return _named(library, self._words())
        if self.field == "capabilities":
            known = [library.capability(word) for word in self._words()]
            able = [(word == 1) | (self.unknown_passes & np.isnan(word)) for word in known]
            return np.logical_and.reduce(able) if able else np.ones(len(library), dtype=np.bool_)
        values = _costs(cost) if self.field == "cost" else library.column(self.field)
        met: Bools = np.asarray(_COMPARE[self.op](values, self._bound()), dtype=np.bool_)
        # NaN compares false with everything: unknown does not pass by itself.
        return met | np.isnan(values) if self.unknown_passes else met

    def reason(self, library: Library, i: int, cost: float | None = None) -> str:
        """Say why expert `i` does not meet it, e.g. "parameters 7B is not < 3B".

        Args:
            library: The experts.
            i: The position of the rejected expert.
            cost: Its expected USD for the request, None or NaN unknown; only read for `cost`.
        """
        if self.field == "name":
            return f"name {library.names[i]} is not one of {', '.join(self._words())}"
        if self.field == "license":
            known = library.licenses[i]
            return f"license {known or 'unknown,'} {'is not' if known else 'required'} " + (
                f"one of {', '.join(self._words())}"
            )
        if self.field == "capabilities":
            return self._missing(library, i)
        value = cost if self.field == "cost" else float(library.column(self.field)[i])
        wanted = f"{self.op} {_show(self.field, self._bound())}"
        if value is None or np.isnan(value):
            return f"{self.field} unknown, required {wanted}"
        return f"{self.field} {_show(self.field, value)} is not {wanted}"

    def _missing(self, library: Library, i: int) -> str:
        """Name the capabilities that expert `i` lacks, or say that they are unknown."""
        able = {word: library.capability(word)[i] for word in self._words()}
        if any(np.isnan(value) for value in able.values()):
            return f"capabilities unknown, required {', '.join(able)}"
        return f"capabilities lack {', '.join(word for word, value in able.items() if not value)}"

    def _words(self) -> tuple[str, ...]:
        return self.value if isinstance(self.value, tuple) else ()

    def _bound(self) -> float:
        """Return the number to compare a column with; a date as its ordinal day."""
        if isinstance(self.value, datetime.date):
            return float(self.value.toordinal())
        return float(self.value) if not isinstance(self.value, tuple) else np.nan

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-safe."""
        value: object = self.value
        if isinstance(value, datetime.date):
            value = value.isoformat()
        written: dict[str, Any] = {
            "field": self.field,
            "op": self.op,
            "value": list(value) if isinstance(value, tuple) else value,
        }
        return {**written, "unknown_passes": True} if self.unknown_passes else written

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Requirement:
        """Build a requirement from what `to_dict` wrote.

        Raises:
            InputError: not a mapping of field, op and value, or a wrong part.
        """
        if not isinstance(data, Mapping) or set(data) - {"unknown_passes"} != {
            "field",
            "op",
            "value",
        }:
            raise InputError(f"A requirement is {{field, op, value}}, got {data!r:.200}.")
        value = data["value"]
        if data["field"] == "released" and isinstance(value, str):
            try:
                value = datetime.date.fromisoformat(value)
            except ValueError as error:
                raise InputError(f"released is compared with YYYY-MM-DD: {error}.") from error
        return cls(data["field"], data["op"], value, data.get("unknown_passes", False))


def _named(library: Library, names: Iterable[str]) -> Bools:
    """Tell which experts are meant by the names or aliases; a name nobody has means no one."""
    mask = np.zeros(len(library), dtype=np.bool_)
    mask[[library.index(name) for name in names if name in library]] = True
    return mask


def _costs(cost: Floats | None) -> Floats:
    """Return the costs, or say that they are missing."""
    if cost is None:
        raise InputError("A cost is required: pass cost=, the expected USD per expert.")
    return np.asarray(cost, dtype=np.float64)


def _show(name: str, value: float) -> str:
    """Write a value as a person would: 7B, 2025-01-31, $0.002, 1.5s."""
    if name == "released":
        return datetime.date.fromordinal(int(value)).isoformat()
    if name == "cost":
        return f"${value:.6g}"
    if name == "latency":
        return f"{value:g}s"
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if name.endswith("parameters") and value >= size:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.12g}"
