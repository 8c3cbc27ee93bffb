"""The routing loss: predicted loss plus weighted constraints, in pure numpy.

    total(z, M_i) = Q^(z, M_i) + sum_j lambda_j C_j(M_i)        (arXiv 2308.11601, the router)

What is unknown of an expert gets the pessimistic end, 1, and is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from tryage.core.arrays import BoolArray, Float32Array, FloatArray
from tryage.core.cache import remember, remember_last
from tryage.core.constraints import (
    EVERYONE,
    Constraint,
    Experts,
    InParts,
    Kind,
    PerLibrary,
    Request,
    active,
)
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.library import Library

_Scored: TypeAlias = tuple[
    FloatArray, BoolArray
]  # values with unknown = 1, and where that happened

_BLOCK = 1 << 15  # numbers: with what lies between them, they fit into the second level cache

_SINGLE = 1e30  # weights beyond this leave the range of single precision


def score(
    predicted: FloatArray,
    library: Library,
    weights: Mapping[str, float],
    constraints: Mapping[str, Constraint],
    request: Request,
) -> Terms:
    """Add the weighted constraints to the predicted losses `(batch, n_experts)`.

    Raises:
        InputError: a weight without a constraint, a weight that is negative or not finite, or a
            constraint that returned the wrong shape or a value outside [0, 1].
    """
    losses = np.asarray(predicted)
    if losses.ndim != 2 or losses.shape[1] != len(library):
        raise InputError(
            f"predicted losses have shape {losses.shape}; expected (batch, {len(library)})"
        )
    chosen = active(weights, constraints) if weights else {}
    if not chosen:
        return Terms(losses, {}, losses)
    terms = {
        name: _term(weight, name, constraints[name], library, request)
        for name, weight in chosen.items()
    }
    kind = precision(losses, terms.values())
    still = [name for name in chosen if isinstance(constraints[name], PerLibrary)]
    moving = [term for name, term in terms.items() if name not in still]

    def add_still() -> FloatArray:
        return together([terms[name] for name in still], len(library), kind)

    key = (kind, *((constraints[name], chosen[name]) for name in still))
    return Terms(losses, terms, added(losses, remember_last(library, key, add_still), moving))


def _term(
    weight: float, name: str, constraint: Constraint, library: Library, request: Request
) -> Term:
    """Put a constraint in force; ours are known to be in range, so they need not be whole."""
    if not isinstance(constraint, InParts):
        return Whole(weight, *measure(name, constraint, library, request))

    def compute(prompts: slice, experts: Experts, kind: Kind) -> FloatArray:
        return constraint.compute(library, request.rows(prompts), experts, kind)

    return Parted(weight, compute, EVERYONE)


def measure(name: str, constraint: Constraint, library: Library, request: Request) -> _Scored:
    """Evaluate one constraint: its values with unknown = 1, and the mask of the unknown ones.

    Raises:
        InputError: the constraint returned the wrong shape or a value outside [0, 1].
    """
    if isinstance(constraint, PerLibrary):
        key = (constraint, "scored")
        return remember(
            library, key, lambda: _scored(name, constraint.compute(library), (), library)
        )
    return _scored(name, constraint(library, request), request.prompt_tokens.shape, library)


def needs_request(weights: Mapping[str, float], constraints: Mapping[str, Constraint]) -> bool:
    """Tell whether any weighted constraint looks at the lengths of the prompts."""
    return any(w > 0 and not isinstance(constraints.get(k), PerLibrary) for k, w in weights.items())


def _scored(name: str, raw: object, batch: tuple[int, ...], library: Library) -> _Scored:
    """Check what a constraint returned and put 1 for what it does not know."""
    try:
        values = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        got = type(raw).__name__
        raise InputError(f"constraint {name!r} returned {got}, expected numbers") from error
    n = len(library)
    if values.shape not in ((n,), (*batch, n)):
        expected = f"({n},)" + (f" or {(*batch, n)}" if batch else "")
        raise InputError(f"constraint {name!r} returned shape {values.shape}; expected {expected}")
    unknown = np.isnan(values)
    values = np.where(unknown, 1.0, values)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        *_, i = np.argwhere((values < 0) | (values > 1))[0]
        worst = values[..., i].flat[np.argmax(np.abs(values[..., i] - 0.5))]
        raise InputError(
            f"constraint {name!r} returned {worst} for {library.names[i]!r}; "
            "expected values in [0, 1], or NaN for unknown"
        )
    values.flags.writeable = unknown.flags.writeable = False
    return values, unknown


class Term(Protocol):
    """One constraint in force, `lambda_j C_j`: `C_j` of some experts, `(k,)` or `(batch, k)`."""

    @property
    def weight(self) -> float:
        """The `lambda_j`."""
        ...

    def values(self, experts: Experts) -> FloatArray:
        """Return `C_j` in [0, 1], 1 where it is unknown."""
        ...

    def about(self, experts: Experts, kind: Kind) -> FloatArray:
        """Return `C_j` in another precision, off by a few roundings."""
        ...

    def unknown(self, experts: Experts) -> BoolArray:
        """Tell where the pessimistic end stands in for the value."""
        ...

    def row(self, i: int) -> Term:
        """Return the term of prompt `i` of the batch."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A term whose values are there already, `(n_experts,)` or `(batch, n_experts)`."""

    weight: float
    known: FloatArray
    gaps: BoolArray

    def values(self, experts: Experts) -> FloatArray:
        """Return the values."""
        return self.known[..., experts]

    def about(self, experts: Experts, kind: Kind) -> FloatArray:
        """Return the values, rounded."""
        return self.known[..., experts].astype(kind)

    def unknown(self, experts: Experts) -> BoolArray:
        """Tell which ones are unknown."""
        return self.gaps[..., experts]

    def row(self, i: int) -> Whole:
        """Return the term of prompt `i`."""
        if self.known.ndim == 1:
            return self
        return replace(self, known=self.known[i : i + 1], gaps=self.gaps[i : i + 1])


@dataclass(frozen=True, slots=True)
class Parted:
    """A term that is measured for those who are looked at; NaN is unknown, and none is above 1.

    `compute` takes prompts, experts and the precision to compute in; single precision may cost it
    six roundings of a value.
    """

    weight: float
    compute: Callable[[slice, Experts, Kind], FloatArray]
    prompts: slice

    def values(self, experts: Experts) -> FloatArray:
        """Return the values."""
        return self.about(experts, np.float64)

    def about(self, experts: Experts, kind: Kind) -> FloatArray:
        """Return the values as they come out in this precision."""
        values = self.compute(self.prompts, experts, kind)
        known: FloatArray = np.fmin(values, values.dtype.type(1))  # of NaN and 1, the 1
        return known

    def unknown(self, experts: Experts) -> BoolArray:
        """Tell which ones are unknown."""
        return np.isnan(self.compute(self.prompts, experts, np.float64))

    def row(self, i: int) -> Parted:
        """Return the term of prompt `i`."""
        return replace(self, prompts=slice(i, i + 1))


@dataclass(frozen=True, slots=True)
class Terms:
    """The routing loss of a batch: predicted losses `(batch, n_experts)` and the weighted terms.

    `rough` is about the total, in the same shape.
    """

    losses: FloatArray
    terms: Mapping[str, Term]
    rough: FloatArray

    @property
    def total(self) -> NDArray[np.float64]:
        """The exact total, `(batch, n_experts)`, added up when read."""
        return self.totals(EVERYONE)

    @property
    def weighted(self) -> dict[str, FloatArray]:
        """`lambda_j C_j` by name, `(n_experts,)` or `(batch, n_experts)`, multiplied when read."""
        return self.parts(EVERYONE)

    @property
    def unknown(self) -> dict[str, BoolArray]:
        """Where the pessimistic end stands in, in the same shapes."""
        return self.gaps(EVERYONE)

    def totals(self, experts: Experts) -> NDArray[np.float64]:
        """Add up the exact totals of some experts, `(batch, k)`."""
        total = np.array(self.losses[:, experts], dtype=np.float64)
        for term in self.terms.values():
            total += term.weight * term.values(experts)
        return total

    def parts(self, experts: Experts) -> dict[str, FloatArray]:
        """Return `lambda_j C_j` of some experts by name, `(k,)` or `(batch, k)`."""
        return {name: term.weight * term.values(experts) for name, term in self.terms.items()}

    def gaps(self, experts: Experts) -> dict[str, BoolArray]:
        """Tell what is unknown of some experts, `(k,)` or `(batch, k)`."""
        return {name: term.unknown(experts) for name, term in self.terms.items()}

    def slack(self, rough: float) -> float:
        """By how much, near this rough total, an exact one may differ from its rough one.

        A sum is off by half an epsilon of its size in every step, and what is added by some more:
        eight roundings a term are enough. The size is at most that of the total and, as losses may
        be negative, the weights.
        """
        if not self.terms:
            return 0.0
        weights = sum(term.weight for term in self.terms.values())
        epsilon = float(np.finfo(self.rough.dtype).eps)
        return (4 * len(self.terms) + 2) * epsilon * (abs(rough) + 2 * weights)

    def row(self, i: int) -> Terms:
        """Return the terms of prompt `i`, a batch of one."""
        if len(self.losses) == 1:
            return self
        terms = {name: term.row(i) for name, term in self.terms.items()}
        return Terms(self.losses[i : i + 1], terms, self.rough[i : i + 1])


def precision(losses: FloatArray, terms: Iterable[Term]) -> Kind:
    """Return the type to add up roughly in: single, if losses and weights are in its range."""
    small = sum(term.weight for term in terms) < _SINGLE
    return np.float32 if losses.dtype == np.float32 and small else np.float64


def together(terms: Sequence[Term], n: int, kind: Kind) -> FloatArray:
    """Add up terms that no prompt changes, all `(n,)`, in double precision, and round once."""
    total = np.zeros(n)
    for term in terms:
        total += term.weight * term.values(EVERYONE)
    return total.astype(kind)


def added(losses: FloatArray, base: FloatArray, moving: Sequence[Term]) -> FloatArray:
    """Add up roughly: losses `(batch, n)`, what no prompt changes `(n,)`, and the other terms."""
    batch, n = losses.shape
    rough = np.empty((batch, n), dtype=base.dtype)
    width = max(_BLOCK // max(batch, 1), 256)
    for start in range(0, n, width):
        experts = slice(start, start + width)
        block = rough[:, experts]
        np.add(losses[:, experts], base[experts], out=block, casting="same_kind")
        for term in moving:
            part = term.about(experts, base.dtype.type)
            part *= term.weight
            block += part
    return rough


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted losses `Q^(z, M_i)` with their standard deviation, both `(batch, n_experts)`.

    `output_tokens` `(batch, n_experts)` forecast the lengths of the answers, NaN where unknown.
    """

    losses: Float32Array
    std: Float32Array
    output_tokens: Float32Array | None = None

    def at(self, where: Any) -> Prediction:  # noqa: ANN401 - any index of numpy
        """Return a part: rows are prompts, columns experts."""
        tokens = self.output_tokens
        return Prediction(
            self.losses[where], self.std[where], None if tokens is None else tokens[where]
        )
