"""Which expert comes first, for all prompts of a batch at once; `Ranking` has the whole order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.core.costs import assumed_costs, request_costs
from tryage.core.objective import ANSWER_VALUE
from tryage.core.request_batch import ALL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
    from tryage.core.library import Library
    from tryage.core.objective import RoutingLoss
    from tryage.core.request_batch import RequestBatch

NO_EXPERT = -1

_BLOCK_SIZE = 1 << 15  # numbers; a block and its intermediate results fit into the L2 cache


def choose_experts(
    library: Library,
    routing_loss: RoutingLoss,
    eligible: BoolArray,
    request: RequestBatch | None,
    tolerance: float | None,
) -> IndexArray:
    """Return the position of the best expert of each prompt, `(batch,)`, `NO_EXPERT` without one.

    It is the first expert of `Ranking`: the one with the lowest total; with a `tolerance`, the
    cheapest of those whose total is within it of the lowest. Ties go to the lower total, then to
    the lower predicted loss, then to library order. `eligible` is `(batch, n_experts)`. Meant for a
    library of few experts, because it computes all totals in double precision.
    """
    batch, n = eligible.shape
    chosen = np.empty(batch, np.intp)
    height = max(_BLOCK_SIZE // max(n, 1), 1)
    dollar_term = routing_loss.terms.get(ANSWER_VALUE)  # another constraint may have that name
    has_dollars = dollar_term is not None and not dollar_term.is_bounded
    for start in range(0, batch, height):
        rows = slice(start, start + height)
        keys, is_candidate = [routing_loss.predicted_losses[rows]], eligible[rows]
        if routing_loss.terms or tolerance is not None:
            part = routing_loss if batch <= height else routing_loss.rows(rows)
            values = {name: term.values(ALL) for name, term in part.terms.items()}
            totals = part.sum_terms(values)
            keys.insert(0, totals)
            if tolerance is not None and request is not None:
                is_candidate = is_candidate & (totals <= _limits(totals, is_candidate, tolerance))
                counted = values.get(ANSWER_VALUE) if has_dollars else None
                keys.insert(0, _dollars(library, request, rows) if counted is None else counted)
        chosen[rows] = first_by_keys(is_candidate, keys)
    return chosen


def first_by_keys(is_candidate: BoolArray, keys: list[FloatArray]) -> NDArray[np.intp]:
    """Return the first candidate of each row by the keys, the most important key first.

    All arrays are `(batch, n)`. Candidates that tie in all keys keep their order. The result is
    `(batch,)`, `NO_EXPERT` for a row without a candidate.
    """
    tied, has_candidate = is_candidate, is_candidate.any(axis=1)
    n_choices = np.count_nonzero(has_candidate)
    for key in keys:
        lowest = np.fmin.reduce(key, axis=1, where=tied, initial=np.inf, keepdims=True)
        is_lowest = key == lowest
        is_lowest &= tied
        tied = is_lowest
        if np.count_nonzero(tied) == n_choices:  # mostly the most important key decides alone
            break
    first: NDArray[np.intp] = tied.argmax(axis=1)
    if n_choices < len(first):
        first[~has_candidate] = NO_EXPERT
    return first


def _limits(totals: Float64Array, eligible: BoolArray, tolerance: float) -> Float64Array:
    """Return the lowest total plus the tolerance, `(batch, 1)`."""
    lowest = np.fmin.reduce(totals, axis=1, where=eligible, initial=np.inf, keepdims=True)
    return np.asarray(lowest + tolerance)


def _dollars(library: Library, request: RequestBatch, rows: slice) -> FloatArray:
    """Return what each request costs, or counts as where that is unknown, `(batch, n_experts)`."""
    part = request.take(rows)
    usd = request_costs(library, part, ALL, np.float64)
    return np.where(np.isnan(usd), assumed_costs(part)[:, None], usd)
