"""What the user asks for besides quality: soft weights and hard requirements."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.core.validation import NUMBER_RANGES, check_number, check_strings, did_you_mean
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.core.library import Library

RequirementValue: TypeAlias = float | datetime.date | tuple[str, ...]

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}

# Fields that hold words, with the one operator that makes sense for each.
_WORD_OPERATORS: Mapping[str, str] = {"license": "in", "name": "in", "capabilities": "has"}

_REQUIREMENT_FIELDS = ("cost", *NUMBER_RANGES, *_WORD_OPERATORS)


@dataclass(frozen=True, init=False)
class Preferences:
    """Weights of the constraints (0 = do not care) and requirements that every expert must meet.

    The keywords after `requirements` are short ways to write common requirements:
    `max_parameters` (count), `max_cost` (USD of the request), `max_latency` (seconds),
    `min_context` (tokens), `min_security` ([0, 1]), `min_downloads`, `released_since` (date),
    `licenses` (any of), `capabilities` (all of), `only` (names or aliases of experts).

    Raises:
        InputError: a weight that is not finite and at least 0, or a malformed requirement.
    """

    weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    requirements: tuple[Requirement, ...] = ()

    def __init__(  # noqa: PLR0913 - each keyword is one requirement, none goes with another
        self,
        weights: Mapping[str, float] | None = None,
        requirements: Iterable[Requirement] = (),
        *,
        max_parameters: float | None = None,
        max_cost: float | None = None,
        max_latency: float | None = None,
        min_context: float | None = None,
        min_security: float | None = None,
        min_downloads: float | None = None,
        released_since: datetime.date | None = None,
        licenses: Iterable[str] | None = None,
        capabilities: Iterable[str] | None = None,
        only: Iterable[str] | None = None,
    ) -> None:
        short: tuple[tuple[str, str, Any], ...] = (
            ("parameters", "<=", max_parameters),
            ("cost", "<=", max_cost),
            ("latency", "<=", max_latency),
            ("context_length", ">=", min_context),
            ("security", ">=", min_security),
            ("downloads", ">=", min_downloads),
            ("released", ">=", released_since),
            ("license", "in", licenses),
            ("capabilities", "has", capabilities),
            ("name", "in", only),
        )
        written = [Requirement(*parts) for parts in short if parts[2] is not None]
        object.__setattr__(self, "weights", _check_weights(weights))
        object.__setattr__(
            self, "requirements", _deduplicate((*_check_requirements(requirements), *written))
        )

    @property
    def needs_cost(self) -> bool:
        """Whether a requirement reads the cost of the request."""
        return any(requirement.field == "cost" for requirement in self.requirements)

    def satisfied(self, library: Library, cost: Float64Array | None = None) -> BoolArray:
        """Tell which experts meet every requirement, `(n,)`, or `(..., n)` with such a `cost`.

        Raises:
            InputError: a cost is required and none was given.
        """
        met = np.ones(len(library), dtype=np.bool_)
        for requirement in self.requirements:
            met = met & requirement.satisfied(library, cost)
        return met

    def reasons(
        self, library: Library, i: int, cost: Float64Array | None = None
    ) -> tuple[str, ...]:
        """Say why expert `i` is rejected, one sentence per requirement it misses.

        Args:
            library: The n experts.
            i: The position of the expert.
            cost: Expected USD of this one request per expert `(n,)`, NaN unknown.
        """
        own = None if cost is None else float(cost[i])
        missed = (r for r in self.requirements if not r.satisfied(library, cost)[i])
        return tuple(requirement.reason(library, i, own) for requirement in missed)

    def tightened(self, other: Preferences) -> Preferences:
        """Return both together: the larger weight of each name, every requirement of either.

        An expert that `self` rejects is rejected by the result, whatever `other` says.
        """
        weights = dict(self.weights)
        for name, weight in other.weights.items():
            weights[name] = max(weight, weights.get(name, 0.0))
        return Preferences(weights, (*self.requirements, *other.requirements))

    def to_dict(self) -> dict[str, Any]:
        """Return them JSON-safe."""
        return {
            "weights": dict(self.weights),
            "requirements": [requirement.to_dict() for requirement in self.requirements],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preferences:
        """Build preferences from what `to_dict` wrote; either part may be missing.

        Raises:
            InputError: another key, or a malformed part.
        """
        if not isinstance(data, Mapping) or not set(data) <= {"weights", "requirements"}:
            raise InputError(f"Preferences are {{weights, requirements}}, got {data!r:.200}.")
        rows = data.get("requirements", ())
        return cls(data.get("weights"), [Requirement.from_dict(row) for row in rows])


def _check_weights(weights: Mapping[str, float] | None) -> dict[str, float]:
    """Return checked weights as a new dict."""
    if weights is None:
        return {}
    if not isinstance(weights, Mapping):
        raise InputError(f"weights must be a dict such as {{'cost': 0.3}}, got {weights!r:.80}.")
    for name in weights:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"A weight is named by a constraint, got {name!r:.80}.")
    return {name: check_number(f"weight of {name}", value) for name, value in weights.items()}


def _check_requirements(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Return the requirements as a tuple, or say what is none."""
    if isinstance(requirements, (str, Mapping, Requirement)):
        raise InputError(f"requirements must be a list of Requirement, got {requirements!r:.80}.")
    found = tuple(requirements)
    for item in found:
        if not isinstance(item, Requirement):
            raise InputError(f"requirements must hold Requirement, got {item!r:.80}.")
    return found


def _deduplicate(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Drop repeated requirements, keeping the order."""
    return tuple(dict.fromkeys(requirements))


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
    value: RequirementValue
    unknown_passes: bool = False

    def __post_init__(self) -> None:
        """Check the three parts together and bring the value to its one form."""
        if self.field not in _REQUIREMENT_FIELDS:
            near = did_you_mean(str(self.field), _REQUIREMENT_FIELDS)
            raise InputError(
                f"{self.field!r} cannot be required; expected one of {_REQUIREMENT_FIELDS}.{near}"
            )
        expected = (
            (_WORD_OPERATORS[self.field],) if self.field in _WORD_OPERATORS else tuple(_OPERATORS)
        )
        if self.op not in expected:
            raise InputError(f"{self.field} takes {' '.join(expected)}, got {self.op!r}.")
        if not isinstance(self.unknown_passes, bool) or (
            self.unknown_passes and self.field in ("cost", "license", "name")
        ):
            raise InputError(
                f"unknown_passes={self.unknown_passes!r} is not for {self.field}; expected a bool, "
                "False for cost, license and name."
            )
        object.__setattr__(self, "value", self._check_value())

    def _check_value(self) -> RequirementValue:
        """Return the value in the form its field needs."""
        if self.field in _WORD_OPERATORS:
            words = check_strings(self.field, self.value)
            return words if self.field == "name" else tuple(word.strip().lower() for word in words)
        if self.field == "released":
            if isinstance(self.value, datetime.datetime):
                return self.value.date()
            if not isinstance(self.value, datetime.date):
                raise InputError(f"released is compared with a date, got {self.value!r:.80}.")
            return self.value
        return check_number(self.field, self.value, *NUMBER_RANGES.get(self.field, (0.0, np.inf)))

    def satisfied(self, library: Library, cost: Float64Array | None = None) -> BoolArray:
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
            return _name_mask(library, self._words())
        if self.field == "capabilities":
            known = [library.capability(word) for word in self._words()]
            able = [(word == 1) | (self.unknown_passes & np.isnan(word)) for word in known]
            return np.logical_and.reduce(able) if able else np.ones(len(library), dtype=np.bool_)
        values = _check_costs(cost) if self.field == "cost" else library.column(self.field)
        met: BoolArray = np.asarray(
            _OPERATORS[self.op](values, self._numeric_bound()), dtype=np.bool_
        )
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
            return self._describe_missing(library, i)
        value = cost if self.field == "cost" else float(library.column(self.field)[i])
        wanted = f"{self.op} {_format_value(self.field, self._numeric_bound())}"
        if value is None or np.isnan(value):
            return f"{self.field} unknown, required {wanted}"
        return f"{self.field} {_format_value(self.field, value)} is not {wanted}"

    def _describe_missing(self, library: Library, i: int) -> str:
        """Name the capabilities that expert `i` lacks, or say that they are unknown."""
        able = {word: library.capability(word)[i] for word in self._words()}
        if any(np.isnan(value) for value in able.values()):
            return f"capabilities unknown, required {', '.join(able)}"
        return f"capabilities lack {', '.join(word for word, value in able.items() if not value)}"

    def _words(self) -> tuple[str, ...]:
        return self.value if isinstance(self.value, tuple) else ()

    def _numeric_bound(self) -> float:
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


def _name_mask(library: Library, names: Iterable[str]) -> BoolArray:
    """Tell which experts are meant by the names or aliases; a name nobody has means no one."""
    mask = np.zeros(len(library), dtype=np.bool_)
    mask[[library.index(name) for name in names if name in library]] = True
    return mask


def _check_costs(cost: Float64Array | None) -> Float64Array:
    """Return the costs, or say that they are missing."""
    if cost is None:
        raise InputError("A cost is required: pass cost=, the expected USD per expert.")
    return np.asarray(cost, dtype=np.float64)


def _format_value(name: str, value: float) -> str:
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
