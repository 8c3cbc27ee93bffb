"""Preferences: what a right answer is worth, weights, and requirements that experts must meet."""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from tryage.core.presets import preset_keywords
from tryage.core.validation import (
    NUMBER_RANGES,
    check_number,
    check_strings,
    did_you_mean,
    preview,
)
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.core.library import Library

RequirementValue: TypeAlias = float | datetime.date | tuple[str, ...]
Quality: TypeAlias = Literal["adequate", "preferred"]

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}

# Fields that hold words, with the operators of each.
_WORD_OPERATORS: Mapping[str, tuple[str, ...]] = {
    "license": ("in",),
    "name": ("in", "not in"),
    "capabilities": ("has",),
}

_TINY_COST = 1e-4  # USD

_VALUE_RANGES: Mapping[str, tuple[float, float]] = {
    "answer_value": (1e-9, 1e9),  # USD
    "latency_value": (0.0, 1e9),  # USD per second
    "tolerance": (0.0, 1.0),  # losses of scored answers are in [0, 1]
}
_DICT_KEYS = ("weights", "requirements", *_VALUE_RANGES, "quality")
_REQUIREMENT_KEYS = {"field", "op", "value"}
_REQUIREMENT_FIELDS = ("cost", *NUMBER_RANGES, *_WORD_OPERATORS)


@dataclass(frozen=True, init=False)
class Preferences:
    """What counts beside a right answer, and requirements that every expert must meet.

    Two numbers say what costs count:

    - `answer_value`: what a right answer is worth, in USD. The expert with the lowest
      `predicted loss + USD of the request / answer_value` is chosen. With `latency_value`, in USD
      per second of waiting, the seconds to a typical answer count like dollars.
    - `tolerance`: the cheapest expert is chosen of those that are predicted within this much loss
      of the best; 0.02 is two points. With an `answer_value`, those within this much of the lowest
      total.

    `Preferences.preset` has them by name. Where neither is said, nor any weight, and some costs are
    known, the preset "balanced" is in force. `weights` of constraints (0: does not count) are added
    to the predicted loss; each constraint is in [0, 1] on a fixed scale.

    `quality` says what a good answer is: "adequate" (good enough, the default) or "preferred" (the
    one that people prefer in a blind comparison), as far as the perception tells them apart.

    The other keywords are short forms of common requirements:
    `max_parameters` (count), `max_cost` (USD of the request), `max_latency` (seconds),
    `min_context` (tokens), `min_security` ([0, 1]), `min_downloads`, `released_since` (date),
    `licenses` (any of), `capabilities` (all of), `only` and `ban` (names or aliases of experts).

    Raises:
        InputError: a value is out of range, a requirement is malformed, or `latency_value` is
            without `answer_value`.
    """

    weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    requirements: tuple[Requirement, ...] = ()
    answer_value: float | None = None
    latency_value: float | None = None
    tolerance: float | None = None
    quality: Quality | None = None

    def __init__(  # noqa: PLR0913 - each keyword is a requirement or a value of its own
        self,
        weights: Mapping[str, float] | None = None,
        requirements: Iterable[Requirement] = (),
        *,
        answer_value: float | None = None,
        latency_value: float | None = None,
        tolerance: float | None = None,
        quality: Quality | None = None,
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
        ban: Iterable[str] | None = None,
    ) -> None:
        keywords: tuple[tuple[str, str, Any], ...] = (
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
            ("name", "not in", ban),
        )
        from_keywords = [Requirement(*parts) for parts in keywords if parts[2] is not None]
        object.__setattr__(self, "weights", _check_weights(weights))
        object.__setattr__(
            self, "requirements", _deduplicate((*_check_requirements(requirements), *from_keywords))
        )
        values = {"answer_value": answer_value, "latency_value": latency_value}
        for name, value in _check_values({**values, "tolerance": tolerance}).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "quality", _check_quality(quality))

    @classmethod
    def preset(cls, name: str, **keywords: Any) -> Preferences:  # noqa: ANN401 - arguments of __init__
        """Return the preferences of a preset; other keywords are added to it.

        - "best": the lowest predicted loss; of those predicted equal, the cheapest.
        - "balanced": a right answer is worth a dollar.
        - "thrifty": a right answer is worth ten cents.

        Raises:
            InputError: there is no such preset, or a keyword contradicts it.
        """
        return cls(**{**keywords, **preset_keywords(name)})

    @property
    def has_trade_off(self) -> bool:
        """Whether anything is said about what counts beside the predicted loss."""
        said = (self.answer_value, self.tolerance)
        return bool(self.weights) or any(value is not None for value in said)

    @property
    def needs_cost(self) -> bool:
        """Whether a requirement depends on the cost of the request."""
        return any(requirement.field == "cost" for requirement in self.requirements)

    def satisfied(self, library: Library, cost: Float64Array | None = None) -> BoolArray:
        """Return which experts meet every requirement, `(n,)`, or `(..., n)` if `cost` is.

        Args:
            library: The n experts.
            cost: Expected USD of the request per expert, `(n,)` or `(..., n)`, NaN unknown.

        Raises:
            InputError: a requirement needs the cost, and it is missing.
        """
        met = np.ones(len(library), dtype=np.bool_)
        for requirement in self.requirements:
            met = met & requirement.satisfied(library, cost)
        return met

    def tightened(self, other: Preferences) -> Preferences:
        """Combine both: the larger weight of each constraint, and the requirements of both.

        Dollars count as much as they count more: the lower `answer_value`, the larger
        `latency_value` and `tolerance`; where `self` has only one of `answer_value` and
        `tolerance`, the other one is not taken. An expert that `self` rejects is also rejected by
        the result, for any `other`.
        """
        weights = dict(self.weights)
        for name, weight in other.weights.items():
            weights[name] = max(weight, weights.get(name, 0.0))
        mine, theirs = self._values(), other._values()
        if "tolerance" in mine and "answer_value" not in mine:
            theirs = {name: value for name, value in theirs.items() if name == "tolerance"}
        elif "answer_value" in mine and "tolerance" not in mine:
            theirs.pop("tolerance", None)
        for name, value in theirs.items():
            stricter = min if name == "answer_value" else max
            mine[name] = stricter(value, mine.get(name, value))
        requirements = (*self.requirements, *other.requirements)
        return Preferences(weights, requirements, **mine, quality=self.quality or other.quality)

    def overridden(self, other: Preferences) -> Preferences:
        """Combine both: what `other` says replaces what `self` says of the same; the rest adds up.

        Weights replace weights of the same name, and requirements add up. `answer_value`,
        `tolerance` and the weight of `cost` all say what costs count, so each replaces the others;
        so do `latency_value` and the weight of `latency`.
        """
        weights, values = {**self.weights, **other.weights}, self._values()
        if {"answer_value", "tolerance"} & set(other._values()):
            _drop_unless(weights, other.weights, "cost")
            values.pop("tolerance", None)
            if other.tolerance is not None:
                values.clear()
        elif "cost" in other.weights:
            values.clear()
        if other.latency_value is not None:
            _drop_unless(weights, other.weights, "latency")
        elif "latency" in other.weights:
            values.pop("latency_value", None)
        return Preferences(
            weights,
            (*self.requirements, *other.requirements),
            **{**values, **other._values()},
            quality=other.quality or self.quality,
        )

    def with_requirements(self, requirements: Iterable[Requirement]) -> Preferences:
        """Return the same preferences with more requirements."""
        every = (*self.requirements, *requirements)
        return Preferences(self.weights, every, **self._values(), quality=self.quality)

    def without_constraint(self, name: str) -> Preferences:
        """Return the preferences without what they say of one constraint, and without a tolerance.

        What is left can be added up for a front of the predicted loss against that constraint.
        """
        weights = {other: weight for other, weight in self.weights.items() if other != name}
        values = self._values()
        values.pop("tolerance", None)
        if name == "cost":
            values.clear()
        elif name == "latency":
            values.pop("latency_value", None)
        return Preferences(weights, self.requirements, **values, quality=self.quality)

    def _values(self) -> dict[str, Any]:
        """Return the numbers that are said of dollars and of the tolerance, as keywords."""
        named = {name: getattr(self, name) for name in _VALUE_RANGES}
        return {name: value for name, value in named.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values, of the keywords those that are set."""
        quality = {} if self.quality is None else {"quality": self.quality}
        return {
            "weights": dict(self.weights),
            "requirements": [requirement.to_dict() for requirement in self.requirements],
            **self._values(),
            **quality,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preferences:
        """Build preferences from the dict that `to_dict` returned; any key may be missing.

        Raises:
            InputError: an unknown key, or a malformed value.
        """
        if not isinstance(data, Mapping) or not set(data) <= set(_DICT_KEYS):
            raise InputError(
                f"Preferences must be {{{', '.join(_DICT_KEYS)}}}, got {preview(data)}. A limit is "
                "one of the requirements: [{'field': 'cost', 'op': '<=', 'value': 0.01}]."
            )
        rows = data.get("requirements", ())
        if not isinstance(rows, (list, tuple)):
            raise InputError(
                "requirements must be a list of {field, op, value}, such as [{'field': 'cost', "
                f"'op': '<=', 'value': 0.01}}], got {preview(rows)}."
            )
        keywords = {name: data.get(name) for name in (*_VALUE_RANGES, "quality")}
        return cls(data.get("weights"), [Requirement.from_dict(row) for row in rows], **keywords)


def _drop_unless(weights: dict[str, float], kept: Mapping[str, float], name: str) -> None:
    """Remove a weight that is not one of those to keep."""
    if name not in kept:
        weights.pop(name, None)


def _check_values(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the checked values of dollars and of the tolerance."""
    checked = {
        name: None if value is None else check_number(name, value, *_VALUE_RANGES[name])
        for name, value in values.items()
    }
    if checked["latency_value"] is not None and checked["answer_value"] is None:
        raise InputError(
            f"latency_value={values['latency_value']} needs answer_value=: seconds are counted in "
            "dollars, and dollars against what a right answer is worth."
        )
    return checked


def _check_quality(quality: object) -> Quality | None:
    """Return the quality, or raise `InputError`."""
    if quality is not None and quality not in get_args(Quality):
        raise InputError(f"quality must be one of {get_args(Quality)}, got {preview(quality)}.")
    return quality  # type: ignore[return-value]  # one of the two, as just checked


def _check_weights(weights: Mapping[str, float] | None) -> dict[str, float]:
    """Return the checked weights as a new dict."""
    if weights is None:
        return {}
    if not isinstance(weights, Mapping):
        raise InputError(f"weights must be a dict such as {{'cost': 0.3}}, got {preview(weights)}.")
    for name in weights:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"A weight needs the name of a constraint, got {preview(name)}.")
    return {name: check_number(f"weight of {name}", value) for name, value in weights.items()}


def _check_requirements(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Return the requirements as a tuple, or raise `InputError`."""
    is_list = isinstance(requirements, Iterable) and not isinstance(requirements, (str, Mapping))
    if not is_list:
        raise InputError(
            f"requirements must be a list of Requirement, got {preview(requirements)}."
        )
    found = tuple(requirements)
    for item in found:
        if not isinstance(item, Requirement):
            raise InputError(f"requirements must hold Requirement, got {preview(item)}.")
    return found


def _deduplicate(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Remove repeated requirements and keep the order."""
    return tuple(dict.fromkeys(requirements))


@dataclass(frozen=True, slots=True)
class Requirement:
    """A hard filter on one field; an unknown value does not pass, unless `unknown_passes` is set.

    Numeric fields and `cost` (USD of *this* request) take `<`, `<=`, `>`, `>=`, `==`; `released`
    is compared with a date; `license` and `name` take `in` (any of the words; aliases count as
    names), `name` also `not in`, `capabilities` takes `has` (all of the words). With
    `unknown_passes`, only experts that are known to fail are filtered out; this is not allowed for
    `cost`, because an unknown price is never free.

    Raises:
        InputError: an unknown field, an operator that the field does not take, or a wrong value.
    """

    field: str
    op: str
    value: RequirementValue
    unknown_passes: bool = False

    def __post_init__(self) -> None:
        """Check field, operator and value together and convert the value to its standard form."""
        if self.field not in _REQUIREMENT_FIELDS:
            near = did_you_mean(str(self.field), _REQUIREMENT_FIELDS)
            raise InputError(
                f"{preview(self.field)} cannot be required; expected one of "
                f"{_REQUIREMENT_FIELDS}.{near}"
            )
        expected = _WORD_OPERATORS.get(self.field, tuple(_OPERATORS))
        if self.op not in expected:
            raise InputError(f"{self.field} takes {', '.join(expected)}, got {preview(self.op)}.")
        if not isinstance(self.unknown_passes, bool) or (
            self.unknown_passes and self.field in ("cost", "license", "name")
        ):
            raise InputError(
                f"unknown_passes={self.unknown_passes!r:.80} is not allowed for {self.field}; "
                "expected a bool, and False for cost, license and name."
            )
        object.__setattr__(self, "value", self._check_value())

    def _check_value(self) -> RequirementValue:
        """Return the value in the standard form of its field."""
        if self.field in _WORD_OPERATORS:
            words = check_strings(self.field, self.value)
            return words if self.field == "name" else tuple(word.strip().lower() for word in words)
        if self.field == "released":
            if isinstance(self.value, datetime.datetime):
                return self.value.date()
            if not isinstance(self.value, datetime.date):
                raise InputError(
                    f"released must be compared with a date, such as datetime.date(2026, 1, 1), "
                    f"got {preview(self.value)}."
                )
            return self.value
        return check_number(self.field, self.value, *NUMBER_RANGES.get(self.field, (0.0, np.inf)))

    def satisfied(self, library: Library, cost: Float64Array | None = None) -> BoolArray:
        """Return which experts meet the requirement, `(n,)`, or `(..., n)` if `cost` is read.

        Args:
            library: The n experts.
            cost: Expected USD of the request per expert, `(n,)` or `(..., n)`, NaN unknown; only
                read if the field is `cost`.

        Raises:
            InputError: the field is `cost`, and the cost is missing.
        """
        if self.field == "license":
            return library.licensed(self.words)
        if self.field == "name":
            named = _name_mask(library, self.words)
            return named if self.op == "in" else ~named
        if self.field == "capabilities":
            columns = [library.capability(word) for word in self.words]
            has = [(column == 1) | (self.unknown_passes & np.isnan(column)) for column in columns]
            return np.logical_and.reduce(has) if has else np.ones(len(library), dtype=np.bool_)
        values = _check_costs(cost) if self.field == "cost" else library.column(self.field)
        met: BoolArray = np.asarray(_OPERATORS[self.op](values, self.bound), dtype=np.bool_)
        # NaN compares false with everything, so unknown does not pass without more.
        return met | np.isnan(values) if self.unknown_passes else met

    def describe(self) -> str:
        """Return the requirement in words: "parameters < 3B"."""
        is_word = self.field in _WORD_OPERATORS
        value = self._list_words() if is_word else format_value(self.field, self.bound)
        return f"{self.field} {self.op} {value}"

    def reason(self, library: Library, i: int, cost: float | None = None) -> str:
        """Return why expert `i` does not meet the requirement: "parameters 7B is not < 3B".

        Args:
            library: The experts.
            i: The position of the rejected expert.
            cost: Its expected USD for the request, None or NaN unknown; only read if the field is
                `cost`.
        """
        if self.field == "name":
            what = "is not one of" if self.op == "in" else "is banned:"
            return f"name {library.names[i]} {what} {self._list_words()}"
        if self.field == "license":
            known = library.licenses[i]
            return f"license {known or 'unknown,'} {'is not' if known else 'required'} " + (
                f"one of {self._list_words()}"
            )
        if self.field == "capabilities":
            return self._describe_missing(library, i)
        value = cost if self.field == "cost" else float(library.column(self.field)[i])
        bound = f"{self.op} {format_value(self.field, self.bound)}"
        if value is None or np.isnan(value):
            return f"{self.field} unknown, required {bound}"
        return f"{self.field} {format_value(self.field, value)} is not {bound}"

    def _describe_missing(self, library: Library, i: int) -> str:
        """Name the capabilities that expert `i` lacks, or report that they are unknown."""
        has = {word: library.capability(word)[i] for word in self.words}
        if any(np.isnan(value) for value in has.values()):
            return f"capabilities unknown, required {', '.join(has)}"
        return f"capabilities lack {', '.join(word for word, value in has.items() if not value)}"

    def _list_words(self) -> str:
        return ", ".join(self.words) or "none"

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a requirement on words, none of one on a number or a date."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def bound(self) -> float:
        """The number that a column is compared with; a date is its ordinal day, words are NaN."""
        if isinstance(self.value, datetime.date):
            return float(self.value.toordinal())
        return float(self.value) if not isinstance(self.value, tuple) else np.nan

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        value: object = self.value
        if isinstance(value, datetime.date):
            value = value.isoformat()
        data: dict[str, Any] = {
            "field": self.field,
            "op": self.op,
            "value": list(value) if isinstance(value, tuple) else value,
        }
        return {**data, "unknown_passes": True} if self.unknown_passes else data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Requirement:
        """Build a requirement from the dict that `to_dict` returned.

        Raises:
            InputError: not a mapping of field, op and value, or a wrong value.
        """
        if not isinstance(data, Mapping) or set(data) - {"unknown_passes"} != _REQUIREMENT_KEYS:
            raise InputError(f"A requirement must be {{field, op, value}}, got {preview(data)}.")
        value = data["value"]
        if data["field"] == "released" and isinstance(value, str):
            try:
                value = datetime.date.fromisoformat(value)
            except ValueError as error:
                raise InputError(
                    f"released must be compared with YYYY-MM-DD: {error!s:.120}."
                ) from error
        return cls(data["field"], data["op"], value, data.get("unknown_passes", False))


def _name_mask(library: Library, names: Iterable[str]) -> BoolArray:
    """Return which experts have one of the names or aliases; an unknown name matches none."""
    mask = np.zeros(len(library), dtype=np.bool_)
    mask[[library.index(name) for name in names if name in library]] = True
    return mask


def _check_costs(cost: Float64Array | None) -> Float64Array:
    """Return the costs as an array, or raise `InputError` if they are missing."""
    if cost is None:
        raise InputError("A cost is required: pass cost=, the expected USD per expert.")
    return np.asarray(cost, dtype=np.float64)


def format_value(name: str, value: float) -> str:
    """Write a value in the usual form: 7B, 2025-01-31, $0.002, 1.5s."""
    if name == "released":
        return datetime.date.fromordinal(int(value)).isoformat()
    if name == "cost":
        if 0 < value < _TINY_COST:  # without an exponent
            return f"${np.format_float_positional(value, 3, fractional=False, trim='-')}"
        return f"${value:.6g}"
    if name == "latency":
        return f"{value:g}s"
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if name.endswith("parameters") and value >= size:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.12g}"
