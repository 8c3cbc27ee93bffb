"""One index of a model's ability from all of its published results, though none has all of them.

A factor model with one factor (Bartholomew, Knott and Moustaki 2011, ch. 3): a result is
`offset + loading * ability + noise`, with its own three numbers for each benchmark. They are found
by expectation maximization over the results that there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROUNDS = 200

EXPECTED_LOADING = 0.8  # of a benchmark with mean 0 and deviation 1; counts as one more result
EXPECTED_NOISE = 0.4  # variance; counts as two more results


@dataclass(frozen=True, slots=True)
class Index:
    """The abilities `(n_models,)` with mean 0 and deviation 1, and their standard errors."""

    mean: Floats
    std: Floats


def standardize(results: Floats, is_share: Sequence[bool]) -> Floats:
    """Return every benchmark `(n_models, n_benchmarks)` with mean 0 and deviation 1, NaN kept.

    A share of right answers becomes its logit: from .98 to .99 is as far as from .02 to .04.
    """
    columns = [
        np.log((column + 0.02) / (1.02 - column)) if share else column
        for column, share in zip(results.T, is_share, strict=True)
    ]
    matrix = np.stack(columns, axis=1)
    return np.asarray((matrix - np.nanmean(matrix, axis=0)) / (np.nanstd(matrix, axis=0) + 1e-9))


def fit_index(results: Floats, weights: Floats) -> Index:
    """Fit the factor model to standardized results `(n_models, n_benchmarks)`; NaN is a gap.

    `weights` `(n_benchmarks,)`: benchmarks that measure nearly the same count less.
    """
    is_known = ~np.isnan(results)
    values = np.where(is_known, results, 0.0)
    n_benchmarks = results.shape[1]
    loading, offset = np.full(n_benchmarks, EXPECTED_LOADING), np.zeros(n_benchmarks)
    noise = np.full(n_benchmarks, EXPECTED_NOISE)
    ability, variance = np.zeros(len(results)), np.ones(len(results))
    for _ in range(ROUNDS):
        precision = is_known * (weights / noise)
        variance = 1 / (1 + precision @ loading**2)
        ability = variance * ((precision * loading * (values - offset)).sum(axis=1))
        loading, offset, noise = _fit_benchmarks(values, is_known, ability, variance)
        shift, scale = ability.mean(), np.sqrt((ability**2 + variance).mean() - ability.mean() ** 2)
        offset, loading = offset + loading * shift, loading * scale
        ability, variance = (ability - shift) / scale, variance / scale**2
    return Index(ability, np.sqrt(variance))


def _fit_benchmarks(
    values: Floats, is_known: NDArray[np.bool_], ability: Floats, variance: Floats
) -> tuple[Floats, Floats, Floats]:
    """Regress every benchmark on the abilities: loadings, offsets and noise, `(n_benchmarks,)`."""
    fitted = []
    for column, known in zip(values.T, is_known.T, strict=True):
        x, y, extra = ability[known], column[known], variance[known]
        gram = np.array([[(x**2 + extra).sum() + 1, x.sum()], [x.sum(), len(x) + 1e-3]])
        slope, start = np.linalg.solve(gram, [x @ y + EXPECTED_LOADING, y.sum()])
        squares = ((y - start - slope * x) ** 2 + slope**2 * extra).sum()
        fitted.append((slope, start, (squares + 2 * EXPECTED_NOISE) / (len(x) + 2)))
    loading, offset, noise = np.array(fitted).T
    return loading, offset, noise
