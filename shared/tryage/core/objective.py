"""The routing loss: predicted loss plus weighted constraints and dollars, in pure numpy.

    total(z, M_i) = Q^(z, M_i) + sum_j lambda_j C_j(M_i)        (arXiv 2308.11601, the router)
                    + (USD of the request + USD of waiting for it) / answer_value

An unknown value of a constraint counts as the worst one, 1; an unknown price or latency as that of
a dear or slow model, the same in every library. What is unknown is named in the result.

Among a million experts the best ones are found by approximate totals in single precision. Exact
totals in double precision are computed only for the experts that may be among the best, so the
result is exact. `RoutingLoss.rounding_bound` says by how much the two can differ. Of a few experts
all totals are computed exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from tryage.core.arrays import BoolArray, FloatArray
from tryage.core.cache import get_or_compute, get_or_compute_bounded
from tryage.core.constraints import (
    BlockwiseConstraint,
    Constraint,
    StaticConstraint,
    active_weights,
)
from tryage.core.costs import (
    UNKNOWN_LATENCY,
    assumed_costs,
    cost_dtype,
    counted_costs,
    request_costs,
)
from tryage.core.request_batch import ALL, ExpertIndex, FloatDType, RequestBatch
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.library import Library

# The names of the terms in dollars: those of the keywords of `Preferences`.
ANSWER_VALUE, LATENCY_VALUE = "answer_value", "latency_value"

MAX_EXACT_EXPERTS = 1_024  # the exact totals of so few take less time than approximate ones

_BLOCK_SIZE = 1 << 17  # numbers; a block fits into the L2 cache, and a million experts are few
_FLOAT32_MAX_WEIGHT = 1e30  # larger weights exceed the range of single precision

_MaskedValues: TypeAlias = tuple[FloatArray, BoolArray]  # values with unknown = 1, unknown mask


def compute_routing_loss(  # noqa: PLR0913 - the parts of the equation
    predicted_losses: FloatArray,
    library: Library,
    weights: Mapping[str, float],
    constraints: Mapping[str, Constraint],
    request: RequestBatch,
    *,
    answer_value: float | None = None,
    latency_value: float | None = None,
) -> RoutingLoss:
    """Add weighted constraints and dollars to the predicted losses `(batch, n_experts)`.

    Dollars count if `answer_value` is given, in USD: what a right answer is worth. `latency_value`
    is in USD per second.

    Raises:
        InputError: a weight names no constraint, is negative or is not finite, or a constraint
            returned the wrong shape or a value outside [0, 1].
    """
    losses = np.asarray(predicted_losses)
    if losses.ndim != 2 or losses.shape[1] != len(library):
        raise InputError(
            f"predicted losses have shape {losses.shape}; expected (batch, {len(library)})"
        )
    active = active_weights(weights, constraints) if weights else {}
    if not active and answer_value is None:
        return RoutingLoss(losses, {}, losses)
    terms = {
        name: _build_term(weight, name, constraints[name], library, request)
        for name, weight in active.items()
    }
    if answer_value is not None:
        terms |= _dollar_terms(library, request, answer_value, latency_value)
    if len(library) <= MAX_EXACT_EXPERTS:
        return RoutingLoss(losses, terms)
    dtype = _approximation_dtype(losses, terms.values())
    static_names = [name for name in active if isinstance(constraints[name], StaticConstraint)]
    dynamic_terms = [term for name, term in terms.items() if name not in static_names]

    def sum_static() -> FloatArray:
        return _sum_static_terms([terms[name] for name in static_names], len(library), dtype)

    key = (dtype, *((constraints[name], active[name]) for name in static_names))
    static = get_or_compute_bounded(library, key, sum_static) if static_names else None
    return RoutingLoss(losses, terms, _approximate_totals(losses, static, dynamic_terms, dtype))


@dataclass(frozen=True, slots=True)
class RoutingLoss:
    """The routing loss of a batch: predicted losses `(batch, n_experts)` and the weighted terms.

    `approximate_total` `(batch, n_experts)` differs from the total by rounding only; it is None for
    at most `MAX_EXACT_EXPERTS`.
    """

    predicted_losses: FloatArray
    terms: Mapping[str, Term]
    approximate_total: FloatArray | None = None

    @property
    def total(self) -> NDArray[np.float64]:
        """The exact total, `(batch, n_experts)`, computed when read."""
        return self.totals(ALL)

    @property
    def weighted(self) -> dict[str, FloatArray]:
        """`lambda_j C_j` by name, `(n_experts,)` or `(batch, n_experts)`, computed when read."""
        return self.weighted_terms(ALL)

    @property
    def unknown(self) -> dict[str, BoolArray]:
        """Where a value is unknown and counts as 1, by name, in the shapes of `weighted`."""
        return self.unknown_masks(ALL)

    def totals(self, experts: ExpertIndex) -> NDArray[np.float64]:
        """Return the exact totals of some experts, `(batch, k)`."""
        total = np.array(self.predicted_losses[:, experts], dtype=np.float64)
        for term in self.terms.values():
            total += term.weight * term.values(experts)
        return total

    def sum_terms(self, values: Mapping[str, FloatArray]) -> NDArray[np.float64]:
        """Return the exact totals from the values of all terms for all experts, by name."""
        total = np.array(self.predicted_losses, dtype=np.float64)
        for name, term in self.terms.items():
            total += term.weight * values[name]
        return total

    def weighted_terms(self, experts: ExpertIndex) -> dict[str, FloatArray]:
        """Return `lambda_j C_j` of some experts by name, `(k,)` or `(batch, k)`."""
        return {name: term.weight * term.values(experts) for name, term in self.terms.items()}

    def unknown_masks(self, experts: ExpertIndex) -> dict[str, BoolArray]:
        """Return where values of some experts are unknown, by name, `(k,)` or `(batch, k)`."""
        return {name: term.unknown(experts) for name, term in self.terms.items()}

    def rounding_bound(self, approximate: float) -> float:
        """Return how much an exact total near this approximate one may differ from its own.

        Every addition rounds by half an epsilon of the sum, and every added term has roundings of
        its own: eight per term are enough. Losses may be negative, so the sum is at most as large
        as the total plus the weights, or plus the lowest loss.
        """
        if not self.terms or self.approximate_total is None:
            return 0.0
        epsilon = float(np.finfo(self.approximate_total.dtype).eps)
        if all(term.is_bounded for term in self.terms.values()):
            excess = sum(term.weight for term in self.terms.values())
        else:
            excess = max(0.0, -float(np.fmin.reduce(self.predicted_losses, axis=None)))
        return (4 * len(self.terms) + 2) * epsilon * (abs(approximate) + 2 * excess)

    def evaluated(self) -> RoutingLoss:
        """Return the routing loss with the values of all terms computed, for many reads."""
        terms = {name: term.evaluated() for name, term in self.terms.items()}
        return RoutingLoss(self.predicted_losses, terms, self.approximate_total)

    def row(self, i: int) -> RoutingLoss:
        """Return the routing loss of prompt `i`, a batch of one."""
        return self if len(self.predicted_losses) == 1 else self.rows(slice(i, i + 1))

    def rows(self, prompts: slice) -> RoutingLoss:
        """Return the routing loss of some prompts."""
        terms = {name: term.rows(prompts) for name, term in self.terms.items()}
        approximate = self.approximate_total
        return RoutingLoss(
            self.predicted_losses[prompts],
            terms,
            None if approximate is None else approximate[prompts],
        )


class Term(Protocol):
    """One weighted term, `lambda_j C_j`: `C_j` of some experts, `(k,)` or `(batch, k)`."""

    @property
    def weight(self) -> float:
        """The weight `lambda_j`."""
        ...

    @property
    def is_bounded(self) -> bool:
        """Whether `C_j` is in [0, 1]; dollars and seconds are only 0 or more."""
        ...

    def values(self, experts: ExpertIndex) -> FloatArray:
        """Return `C_j`, where it is unknown what it counts as."""
        ...

    def approximate_values(self, experts: ExpertIndex, dtype: FloatDType) -> FloatArray:
        """Return `C_j` in another precision, accurate to a few roundings."""
        ...

    def unknown(self, experts: ExpertIndex) -> BoolArray:
        """Return where the value is unknown."""
        ...

    def rows(self, prompts: slice) -> Term:
        """Return the term of some prompts of the batch."""
        ...

    def evaluated(self) -> Term:
        """Return the term with its values computed."""
        ...


@dataclass(frozen=True, slots=True)
class DenseTerm:
    """A term whose values are computed already, `(n_experts,)` or `(batch, n_experts)`."""

    weight: float
    dense_values: FloatArray
    unknown_mask: BoolArray
    is_bounded: bool = True

    def values(self, experts: ExpertIndex) -> FloatArray:
        """Return the values."""
        return self.dense_values[..., experts]

    def approximate_values(self, experts: ExpertIndex, dtype: FloatDType) -> FloatArray:
        """Return the values, rounded to `dtype`."""
        return self.dense_values[..., experts].astype(dtype)

    def unknown(self, experts: ExpertIndex) -> BoolArray:
        """Return which values are unknown."""
        return self.unknown_mask[..., experts]

    def rows(self, prompts: slice) -> DenseTerm:
        """Return the term of some prompts."""
        if self.dense_values.ndim == 1:
            return self
        values, unknown = self.dense_values[prompts], self.unknown_mask[prompts]
        return DenseTerm(self.weight, values, unknown, self.is_bounded)

    def evaluated(self) -> DenseTerm:
        """Return the term itself."""
        return self


@dataclass(frozen=True, slots=True)
class LazyTerm:
    """A term that is computed when read, and only for the requested experts.

    `compute(prompts, experts, dtype)` returns values, NaN where unknown; in single precision a
    value may be off by six roundings. `assumed` `(batch,)` is what an unknown value counts as; None
    for values of at most 1, of which an unknown one counts as 1. `approximate` has the arguments of
    `compute` and returns values in single precision without NaN.
    """

    weight: float
    compute: Callable[[slice, ExpertIndex, FloatDType], FloatArray]
    prompts: slice
    assumed: FloatArray | None = None
    approximate: Callable[[slice, ExpertIndex, FloatDType], FloatArray] | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether the values are at most 1."""
        return self.assumed is None

    def values(self, experts: ExpertIndex) -> FloatArray:
        """Return the values, where they are unknown what they count as."""
        return self._fill(self.compute(self.prompts, experts, np.float64))

    def approximate_values(self, experts: ExpertIndex, dtype: FloatDType) -> FloatArray:
        """Return the values as computed in this precision, none of them NaN."""
        if self.approximate is not None:
            return self.approximate(self.prompts, experts, dtype)
        return self._fill(self.compute(self.prompts, experts, dtype))

    def _fill(self, values: FloatArray) -> FloatArray:
        """Replace unknown values by what they count as."""
        if self.assumed is None:
            # fmin(NaN, 1) is 1. With one number for all, numpy has no fast loop.
            filled: FloatArray = np.fmin(values, np.ones_like(values))
        else:
            filled = np.where(np.isnan(values), self.assumed[self.prompts, None], values)
        return filled.astype(values.dtype, copy=False)

    def unknown(self, experts: ExpertIndex) -> BoolArray:
        """Return which values are unknown."""
        return np.isnan(self.compute(self.prompts, experts, np.float64))

    def rows(self, prompts: slice) -> LazyTerm:
        """Return the term of some prompts of the whole batch."""
        return LazyTerm(self.weight, self.compute, prompts, self.assumed, self.approximate)

    def evaluated(self) -> DenseTerm:
        """Return the term with its exact values for all experts."""
        values = self.compute(self.prompts, ALL, np.float64)
        return DenseTerm(self.weight, self._fill(values), np.isnan(values), self.is_bounded)


def needs_request(weights: Mapping[str, float], constraints: Mapping[str, Constraint]) -> bool:
    """Return whether any weighted constraint depends on the lengths of the prompts."""
    return any(
        w > 0 and not isinstance(constraints.get(k), StaticConstraint) for k, w in weights.items()
    )


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


def _check_values(
    name: str, raw: object, batch: tuple[int, ...], library: Library
) -> _MaskedValues:
    """Check the values that a constraint returned and replace NaN by 1."""
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


def _build_term(
    weight: float, name: str, constraint: Constraint, library: Library, request: RequestBatch
) -> Term:
    """Build the term; blockwise constraints are our own and in range, so they are not checked."""
    if not isinstance(constraint, BlockwiseConstraint):
        return DenseTerm(weight, *evaluate_constraint(name, constraint, library, request))

    def compute(prompts: slice, experts: ExpertIndex, kind: FloatDType) -> FloatArray:
        return constraint.compute(library, request.take(prompts), experts, kind)

    return LazyTerm(weight, compute, ALL)


def _dollar_terms(
    library: Library, request: RequestBatch, answer_value: float, latency_value: float | None
) -> dict[str, Term]:
    """Return the dollars of the request and of waiting for it, relative to a right answer."""

    def compute(prompts: slice, experts: ExpertIndex, kind: FloatDType) -> FloatArray:
        return request_costs(library, request.take(prompts), experts, cost_dtype(library, kind))

    def approximate(prompts: slice, experts: ExpertIndex, kind: FloatDType) -> FloatArray:
        return counted_costs(library, request.take(prompts), experts, cost_dtype(library, kind))

    dollars = LazyTerm(1 / answer_value, compute, ALL, assumed_costs(request), approximate)
    terms: dict[str, Term] = {ANSWER_VALUE: dollars}
    if latency_value:
        seconds = library.column("latency")
        unknown = np.isnan(seconds)
        counted = np.where(unknown, UNKNOWN_LATENCY, seconds)
        terms[LATENCY_VALUE] = DenseTerm(
            latency_value / answer_value, counted, unknown, is_bounded=False
        )
    return terms


def _approximation_dtype(losses: FloatArray, terms: Iterable[Term]) -> FloatDType:
    """Return single precision if losses and weights are in its range, else double."""
    small = sum(term.weight for term in terms) < _FLOAT32_MAX_WEIGHT
    return np.float32 if losses.dtype == np.float32 and small else np.float64


def _sum_static_terms(terms: Sequence[Term], n: int, dtype: FloatDType) -> FloatArray:
    """Add up terms `(n,)` that do not depend on the prompt, in double precision, and round once."""
    total = np.zeros(n)
    for term in terms:
        total += term.weight * term.values(ALL)
    return total.astype(dtype)


def _approximate_totals(
    losses: FloatArray,
    static_total: FloatArray | None,
    dynamic_terms: Sequence[Term],
    dtype: FloatDType,
) -> FloatArray:
    """Add up losses `(batch, n)`, static terms `(n,)` and dynamic terms, block by block."""
    batch, n = losses.shape
    totals = np.empty((batch, n), dtype)
    width = max(_BLOCK_SIZE // max(batch, 1), 256)
    for start in range(0, n, width):
        experts = slice(start, start + width)
        block, total = totals[:, experts], losses[:, experts]
        parts = [] if static_total is None else [static_total[experts]]
        parts += [_weighted_part(term, experts, dtype) for term in dynamic_terms]
        for part in parts:
            total = np.add(total, part, out=block, casting="same_kind")
    return totals


def _weighted_part(term: Term, experts: ExpertIndex, dtype: FloatDType) -> FloatArray:
    """Return approximate `lambda_j C_j` of some experts, `(k,)` or `(batch, k)`."""
    part = term.approximate_values(experts, dtype)
    part *= term.weight
    return part
