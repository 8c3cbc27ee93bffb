"""The routing loss: predicted loss plus weighted constraints, in pure numpy.

    total(z, M_i) = Q^(z, M_i) + sum_j lambda_j C_j(M_i)        (arXiv 2308.11601, the router)

What is unknown of an expert gets the pessimistic end, 1, and is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from tryage.core.arrays import BoolArray, FloatArray
from tryage.core.cache import get_or_compute, get_or_compute_bounded
from tryage.core.constraints import (
    ALL,
    BlockwiseConstraint,
    Constraint,
    ExpertIndex,
    FloatDType,
    RequestBatch,
    StaticConstraint,
    active_weights,
)
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.library import Library

_MaskedValues: TypeAlias = tuple[
    FloatArray, BoolArray
]  # values with unknown = 1, and where that happened

_BLOCK_SIZE = 1 << 15  # numbers: with what lies between them, they fit into the second level cache

_FLOAT32_MAX_WEIGHT = 1e30  # weights beyond this leave the range of single precision


def compute_routing_loss(
    predicted_losses: FloatArray,
    library: Library,
    weights: Mapping[str, float],
    constraints: Mapping[str, Constraint],
    request: RequestBatch,
) -> RoutingLoss:
    """Add the weighted constraints to the predicted losses `(batch, n_experts)`.

    Raises:
        InputError: a weight without a constraint, a weight that is negative or not finite, or a
            constraint that returned the wrong shape or a value outside [0, 1].
    """
    losses = np.asarray(predicted_losses)
    if losses.ndim != 2 or losses.shape[1] != len(library):
        raise InputError(
            f"predicted losses have shape {losses.shape}; expected (batch, {len(library)})"
        )
    chosen = active_weights(weights, constraints) if weights else {}
    if not chosen:
        return RoutingLoss(losses, {}, losses)
    terms = {
        name: _build_term(weight, name, constraints[name], library, request)
        for name, weight in chosen.items()
    }
    dtype = approximation_dtype(losses, terms.values())
    static_names = [name for name in chosen if isinstance(constraints[name], StaticConstraint)]
    dynamic_terms = [term for name, term in terms.items() if name not in static_names]

    def sum_static() -> FloatArray:
        return sum_static_terms([terms[name] for name in static_names], len(library), dtype)

    key = (dtype, *((constraints[name], chosen[name]) for name in static_names))
    return RoutingLoss(
        losses,
        terms,
        approximate_totals(losses, get_or_compute_bounded(library, key, sum_static), dynamic_terms),
    )


def _build_term(
    weight: float, name: str, constraint: Constraint, library: Library, request: RequestBatch
) -> Term:
    """Put a constraint in force; ours are known to be in range, so they need not be whole."""
    if not isinstance(constraint, BlockwiseConstraint):
        return DenseTerm(weight, *evaluate_constraint(name, constraint, library, request))

    def compute(prompts: slice, experts: ExpertIndex, kind: FloatDType) -> FloatArray:
        return constraint.compute(library, request.take(prompts), experts, kind)

    return LazyTerm(weight, compute, ALL)


def evaluate_constraint(
    name: str, constraint: Constraint, library: Library, request: RequestBatch
) -> _MaskedValues:
    """Evaluate one constraint: its values with unknown = 1, and the mask of the unknown ones.

    Raises:
        InputError: the constraint returned the wrong shape or a value outside [0, 1].
    """
    if isinstance(constraint, StaticConstraint):
        key = (constraint, "scored")
        return get_or_compute(
            library, key, lambda: _check_values(name, constraint.compute(library), (), library)
        )
    return _check_values(name, constraint(library, request), request.prompt_tokens.shape, library)


def needs_request(weights: Mapping[str, float], constraints: Mapping[str, Constraint]) -> bool:
    """Tell whether any weighted constraint looks at the lengths of the prompts."""
    return any(
        w > 0 and not isinstance(constraints.get(k), StaticConstraint) for k, w in weights.items()
    )


def _check_values(
    name: str, raw: object, batch: tuple[int, ...], library: Library
) -> _MaskedValues:
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

    def values(self, experts: ExpertIndex) -> FloatArray:
        """Return `C_j` in [0, 1], 1 where it is unknown."""
        ...

    def approximate_values(self, experts: ExpertIndex, dtype: FloatDType) -> FloatArray:
        """Return `C_j` in another precision, off by a few roundings."""
        ...

    def unknown(self, experts: ExpertIndex) -> BoolArray:
        """Tell where the pessimistic end stands in for the value."""
        ...

    def row(self, i: int) -> Term:
        """Return the term of prompt `i` of the batch."""
        ...


@dataclass(frozen=True, slots=True)
class DenseTerm:
    """A term whose values are there already, `(n_experts,)` or `(batch, n_experts)`."""

    weight: float
    dense_values: FloatArray
    unknown_mask: BoolArray

    def values(self, experts: ExpertIndex) -> FloatArray:
        """Return the values."""
        return self.dense_values[..., experts]

    def approximate_values(self, experts: ExpertIndex, dtype: FloatDType) -> FloatArray:
        """Return the values, rounded."""
        return self.dense_values[..., experts].astype(dtype)

    def unknown(self, experts: ExpertIndex) -> BoolArray:
        """Tell which ones are unknown."""
        return self.unknown_mask[..., experts]

    def row(self, i: int) -> DenseTerm:
        """Return the term of prompt `i`."""
        if self.dense_values.ndim == 1:
            return self
        return replace(
            self,
            dense_values=self.dense_values[i : i + 1],
            unknown_mask=self.unknown_mask[i : i + 1],
        )


@dataclass(frozen=True, slots=True)
class LazyTerm:
    """A term that is measured for those who are looked at; NaN is unknown, and none is above 1.

    `compute` takes prompts, experts and the precision to compute in; single precision may cost it
    six roundings of a value.
    """

    weight: float
    compute: Callable[[slice, ExpertIndex, FloatDType], FloatArray]
    prompts: slice

    def values(self, experts: ExpertIndex) -> FloatArray:
        """Return the values."""
        return self.approximate_values(experts, np.float64)

    def approximate_values(self, experts: ExpertIndex, dtype: FloatDType) -> FloatArray:
        """Return the values as they come out in this precision."""
        values = self.compute(self.prompts, experts, dtype)
        known: FloatArray = np.fmin(values, values.dtype.type(1))  # of NaN and 1, the 1
        return known

    def unknown(self, experts: ExpertIndex) -> BoolArray:
        """Tell which ones are unknown."""
        return np.isnan(self.compute(self.prompts, experts, np.float64))

    def row(self, i: int) -> LazyTerm:
        """Return the term of prompt `i`."""
        return replace(self, prompts=slice(i, i + 1))


@dataclass(frozen=True, slots=True)
class RoutingLoss:
    """The routing loss of a batch: predicted losses `(batch, n_experts)` and the weighted terms.

    `rough` is about the total, in the same shape.
    """

    predicted_losses: FloatArray
    terms: Mapping[str, Term]
    approximate_total: FloatArray

    @property
    def total(self) -> NDArray[np.float64]:
        """The exact total, `(batch, n_experts)`, added up when read."""
        return self.totals(ALL)

    @property
    def weighted(self) -> dict[str, FloatArray]:
        """`lambda_j C_j` by name, `(n_experts,)` or `(batch, n_experts)`, multiplied when read."""
        return self.weighted_terms(ALL)

    @property
    def unknown(self) -> dict[str, BoolArray]:
        """Where the pessimistic end stands in, in the same shapes."""
        return self.unknown_masks(ALL)

    def totals(self, experts: ExpertIndex) -> NDArray[np.float64]:
        """Add up the exact totals of some experts, `(batch, k)`."""
        total = np.array(self.predicted_losses[:, experts], dtype=np.float64)
        for term in self.terms.values():
            total += term.weight * term.values(experts)
        return total

    def weighted_terms(self, experts: ExpertIndex) -> dict[str, FloatArray]:
        """Return `lambda_j C_j` of some experts by name, `(k,)` or `(batch, k)`."""
        return {name: term.weight * term.values(experts) for name, term in self.terms.items()}

    def unknown_masks(self, experts: ExpertIndex) -> dict[str, BoolArray]:
        """Tell what is unknown of some experts, `(k,)` or `(batch, k)`."""
        return {name: term.unknown(experts) for name, term in self.terms.items()}

    def rounding_bound(self, approximate: float) -> float:
        """By how much, near this rough total, an exact one may differ from its rough one.

        A sum is off by half an epsilon of its size in every step, and what is added by some more:
        eight roundings a term are enough. The size is at most that of the total and, as losses may
        be negative, the weights.
        """
        if not self.terms:
            return 0.0
        weights = sum(term.weight for term in self.terms.values())
        epsilon = float(np.finfo(self.approximate_total.dtype).eps)
        return (4 * len(self.terms) + 2) * epsilon * (abs(approximate) + 2 * weights)

    def row(self, i: int) -> RoutingLoss:
        """Return the terms of prompt `i`, a batch of one."""
        if len(self.predicted_losses) == 1:
            return self
        terms = {name: term.row(i) for name, term in self.terms.items()}
        return RoutingLoss(
            self.predicted_losses[i : i + 1], terms, self.approximate_total[i : i + 1]
        )


def approximation_dtype(losses: FloatArray, terms: Iterable[Term]) -> FloatDType:
    """Return the type to add up roughly in: single, if losses and weights are in its range."""
    small = sum(term.weight for term in terms) < _FLOAT32_MAX_WEIGHT
    return np.float32 if losses.dtype == np.float32 and small else np.float64


def sum_static_terms(terms: Sequence[Term], n: int, dtype: FloatDType) -> FloatArray:
    """Add up terms that no prompt changes, all `(n,)`, in double precision, and round once."""
    total = np.zeros(n)
    for term in terms:
        total += term.weight * term.values(ALL)
    return total.astype(dtype)


def approximate_totals(
    losses: FloatArray, static_total: FloatArray, dynamic_terms: Sequence[Term]
) -> FloatArray:
    """Add up roughly: losses `(batch, n)`, what no prompt changes `(n,)`, and the other terms."""
    batch, n = losses.shape
    totals = np.empty((batch, n), dtype=static_total.dtype)
    width = max(_BLOCK_SIZE // max(batch, 1), 256)
    for start in range(0, n, width):
        experts = slice(start, start + width)
        block = totals[:, experts]
        np.add(losses[:, experts], static_total[experts], out=block, casting="same_kind")
        for term in dynamic_terms:
            part = term.approximate_values(experts, static_total.dtype.type)
            part *= term.weight
            block += part
    return totals
