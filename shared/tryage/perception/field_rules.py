"""What the fields of saved dataclasses may hold: rules that are checked while a file is read."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, TypeAlias

import numpy as np

from tryage.errors import InputError

MAX_MAGNITUDE = 1e12  # no number that was learned comes near it, and its square is a float32

MIN_POSITIVE = 1e-12  # a divisor

Dimension: TypeAlias = "int | str | tuple[str, int] | tuple[str, str, int] | None"
"""A dimension of an array: its size, its name, names and by how much it is larger than the sum of
their sizes, None if any. Of several names all but the last are known when it is checked."""


class Sizes:
    """The sizes of named dimensions: the first array of a dimension sets it, the others must fit.

    `nonempty` names dimensions that have at least one entry.
    """

    def __init__(self, known: Mapping[str, int], nonempty: Collection[str] = ()) -> None:
        self._known, self._nonempty = dict(known), frozenset(nonempty)

    def __setitem__(self, name: str, size: int) -> None:
        """Set the size of a dimension."""
        self._known[name] = size

    def without(self, name: str) -> Sizes:
        """Return a copy in which the next array sets the size of a dimension, which may be 0."""
        known = {other: size for other, size in self._known.items() if other != name}
        return Sizes(known, self._nonempty - {name})

    def fits(self, dimension: Dimension, size: int) -> bool:
        """Tell whether a dimension has this size, which becomes its size if it has none yet."""
        if dimension is None or isinstance(dimension, int):
            return dimension in (None, size)
        *others, name, extra = dimension if isinstance(dimension, tuple) else (dimension, 0)
        own_size = size - extra - sum(self._known.get(other, 0) for other in others)
        if own_size < (name in self._nonempty):
            return False
        return self._known.setdefault(name, own_size) == own_size

    def is_index(self, name: str, value: int) -> bool:
        """Tell whether it is a position along a dimension; it is not while the size is unknown."""
        return 0 <= value < self._known.get(name, 0)

    def describe(self, dimension: Dimension) -> str:
        """Return the size of a dimension, or its name if the size is unknown."""
        if dimension is None or isinstance(dimension, int):
            return "any" if dimension is None else str(dimension)
        *names, extra = dimension if isinstance(dimension, tuple) else (dimension, 0)
        if all(name in self._known for name in names):
            return str(sum(self._known[name] for name in names) + extra)
        return " + ".join([*names, *([str(extra)] if extra else [])])


class Rule:
    """What a field may hold."""

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether a field may hold a value."""
        raise NotImplementedError

    def describe(self, sizes: Sizes) -> str:
        """Say what is expected."""
        raise NotImplementedError


FieldRules: TypeAlias = Mapping[type, Mapping[str, Rule]]
"""A saved class -> its fields -> what each may hold."""


class Array(Rule):
    """An array of finite numbers in a range; with `allow_nan` some may be unknown.

    `kind` is the numpy class of its numbers. If `increasing`, each is greater than the one before.
    """

    def __init__(
        self,
        *dimensions: Dimension,
        kind: type[np.generic] = np.floating,
        low: float = -MAX_MAGNITUDE,
        high: float = MAX_MAGNITUDE,
        allow_nan: bool = False,
        increasing: bool = False,
    ) -> None:
        self._dimensions, self._kind = dimensions, kind
        self._low, self._high = low, high
        self._allow_nan, self._increasing = allow_nan, increasing

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether it is an array of this shape, with numbers in the range."""
        return (
            isinstance(value, np.ndarray)
            and np.issubdtype(value.dtype, self._kind)
            and value.ndim == len(self._dimensions)
            and all(map(sizes.fits, self._dimensions, value.shape))
            and (not value.size or self._is_in_range(value))
            and not (self._increasing and (np.diff(value) <= 0).any())
        )

    def _is_in_range(self, array: np.ndarray[Any, Any]) -> bool:
        if not self._allow_nan:  # NaN is the minimum and the maximum of numbers of which one is NaN
            return bool(array.min() >= self._low and array.max() <= self._high)
        low, high = np.fmin.reduce(array, axis=None), np.fmax.reduce(array, axis=None)
        return not (low < self._low or high > self._high)

    def describe(self, sizes: Sizes) -> str:
        """Name the shape, the kind and the range."""
        shape = ", ".join(map(sizes.describe, self._dimensions))
        numbers = "increasing numbers" if self._increasing else "numbers"
        return f"({shape}) {numbers} ({self._kind.__name__}), {_range(self._low, self._high)}"


@dataclass(frozen=True, slots=True)
class Number(Rule):
    """A finite number in a range."""

    low: float = -MAX_MAGNITUDE
    high: float = MAX_MAGNITUDE

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401, ARG002 - any value of a file, which has no size
        """Tell whether it is a number in the range."""
        return is_number(value) and self.low <= value <= self.high

    def describe(self, sizes: Sizes) -> str:  # noqa: ARG002 - a number has no size
        """Name the range."""
        return f"a number, {_range(self.low, self.high)}"


@dataclass(frozen=True, slots=True)
class WholeNumber(Rule):
    """A whole number in a range."""

    low: int
    high: int

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401, ARG002 - any value of a file, which has no size
        """Tell whether it is a whole number in the range."""
        return is_whole_number(value) and self.low <= value <= self.high

    def describe(self, sizes: Sizes) -> str:  # noqa: ARG002 - a number has no size
        """Name the range."""
        return f"a whole number, from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Interval(Rule):
    """A pair of finite numbers, the lower one first."""

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether it is a pair of numbers in order."""
        if not isinstance(value, tuple) or len(value) != 2:
            return False
        return all(Number().fits(number, sizes) for number in value) and value[0] <= value[1]

    def describe(self, sizes: Sizes) -> str:  # noqa: ARG002 - a pair has no size
        """Name the pair."""
        return "a lower and a higher number"


@dataclass(frozen=True, slots=True)
class Size(Rule):
    """The size of a dimension."""

    name: str

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether the dimension has this size."""
        return is_whole_number(value) and sizes.fits(self.name, value)

    def describe(self, sizes: Sizes) -> str:
        """Name the size."""
        return f"a whole number, {sizes.describe(self.name)}"


@dataclass(frozen=True, slots=True)
class Index(Rule):
    """A position along a dimension."""

    name: str

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether there is such a position."""
        return is_whole_number(value) and sizes.is_index(self.name, value)

    def describe(self, sizes: Sizes) -> str:
        """Name the range."""
        return f"a whole number from 0, below {sizes.describe(self.name)}"


@dataclass(frozen=True, slots=True)
class Names(Rule):
    """Different texts, one for each position along a dimension."""

    dimension: str

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether they are different texts, as many as expected."""
        return (
            isinstance(value, tuple | list)
            and all(isinstance(name, str) for name in value)
            and len(set(value)) == len(value)
            and sizes.fits(self.dimension, len(value))
        )

    def describe(self, sizes: Sizes) -> str:
        """Name the number of texts."""
        return f"({sizes.describe(self.dimension)}) different texts"


class Part(Rule):
    """A saved dataclass of one of these classes, whose fields fit `field_rules` here, too."""

    def __init__(self, *classes: type, **field_rules: Rule) -> None:
        self._classes, self._field_rules = classes, field_rules

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether it is of one of the classes."""
        return isinstance(value, self._classes) and all(
            rule.fits(getattr(value, name), sizes) for name, rule in self._field_rules.items()
        )

    def describe(self, sizes: Sizes) -> str:
        """Name the classes and the fields."""
        classes = " or ".join(one.__name__ for one in self._classes)
        fields = [
            f", with {name} {rule.describe(sizes)}" for name, rule in self._field_rules.items()
        ]
        return "".join([classes, *fields])


class Parts(Rule):
    """Saved dataclasses of these classes, one for each position along a dimension."""

    def __init__(self, dimension: str, *classes: type) -> None:
        self._dimension, self._part = dimension, Part(*classes)

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether all are of one of the classes, and as many as expected."""
        return (
            isinstance(value, tuple)
            and all(self._part.fits(part, sizes) for part in value)
            and sizes.fits(self._dimension, len(value))
        )

    def describe(self, sizes: Sizes) -> str:
        """Name the classes."""
        return f"({sizes.describe(self._dimension)}) {self._part.describe(sizes)}"


class Either(Rule):
    """What one of several rules says; a value may also be None if `or_none`."""

    def __init__(self, *rules: Rule, or_none: bool = False) -> None:
        self._rules, self._or_none = rules, or_none

    def fits(self, value: Any, sizes: Sizes) -> bool:  # noqa: ANN401 - any value of a file
        """Tell whether it fits one of the rules."""
        if value is None:
            return self._or_none
        return any(rule.fits(value, sizes) for rule in self._rules)

    def describe(self, sizes: Sizes) -> str:
        """Say what is expected by each rule."""
        expected = list(dict.fromkeys(rule.describe(sizes) for rule in self._rules))
        return ", or ".join([*expected, "null"] if self._or_none else expected)


def check_field(name: str, value: Any, rule: Rule, sizes: Sizes) -> None:  # noqa: ANN401 - any value of a file
    """Check what a field holds.

    Raises:
        InputError: it does not fit; the message says what it is and what is expected.
    """
    expected = rule.describe(sizes)  # before the value itself sets a size
    if not rule.fits(value, sizes):
        raise InputError(f"{name} is {show(value)}; expected {expected}")


def show(value: Any) -> str:  # noqa: ANN401 - any value of a file
    """Describe a value of a file in a few words, however large or nested it is."""
    if isinstance(value, np.ndarray):
        numbers = f"{value.shape} numbers ({value.dtype})"
        if not value.size or not np.issubdtype(value.dtype, np.number):
            return numbers
        return f"{numbers} between {value.min():.4g} and {value.max():.4g}"
    if is_dataclass(value):
        return f"a {type(value).__name__}"
    return reprlib.repr(value)


def is_number(value: object) -> bool:
    """Tell whether a value of a JSON file is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole_number(value: object) -> bool:
    """Tell whether a value of a JSON file is a whole number that is an index of arrays."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.maxsize


def _range(low: float, high: float) -> str:
    return f"from {low:.4g} to {high:.4g}"
