"""How probable it is that each expert is the best one, or is chosen, where totals are uncertain.

A total is a Gaussian: its mean is what is predicted, its standard deviation that of the mean loss,
independent of the other totals given the prompt. The minimum of such totals has no closed form, so
its distribution is integrated numerically, on a grid that is fine wherever any total has mass.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float64Array, FloatArray
    from tryage.core.ranking import RankedExpert

_N_STEPS = 1025  # points of the grid per expert
_N_STDS = 6.0  # integrate over six standard deviations on either side; the rest rounds to 0
_N_TABLE = 8193  # points of the table of the normal distribution; its error is below 1e-7
_MIN_STD = 1e-6  # an exact prediction is a very narrow Gaussian, so that ties share the probability


def best_probabilities(ranking: Sequence[RankedExpert]) -> dict[str, float]:
    """Return the probability of each expert to have the lowest total, by name; they add up to 1.

    The totals are treated as independent Gaussians. An unknown `std` counts as 0.
    """
    if not ranking:
        return {}
    means = np.array([ranked.total for ranked in ranking])
    stds = np.array([ranked.std or 0.0 for ranked in ranking])
    found = choice_probabilities(means, stds)
    return {ranked.name: float(p) for ranked, p in zip(ranking, found, strict=True)}


def choice_probabilities(
    means: FloatArray,
    stds: FloatArray,
    costs: FloatArray | None = None,
    tolerance: float = 0.0,
    *,
    n_steps: int = _N_STEPS,
) -> Float64Array:
    """Return the probability that each expert is chosen if totals are drawn, `(n,)`, sum 1.

    A total is drawn from `means` `(n,)` with `stds` `(n,)`, and the lowest one is chosen; with a
    `tolerance`, the one with the lowest of the `costs` `(n,)` among those that are at most so much
    higher than the lowest. `n_steps` is the number of points of the grid for each expert.

    With the experts in the order of their costs, `F` the distribution functions and `m` the lowest
    total, the probability of expert `i` is the integral of

        prod_{k < i} (1 - F_k(m + tolerance)) *
            [dF_i(m) prod_{l > i} (1 - F_l(m)) + (F_i(m + tolerance) - F_i(m)) d(1 - prod_{l > i})]
    """
    order = np.arange(len(means)) if costs is None else np.lexsort((means, costs))
    scale = max(float(np.max(stds)), float(np.ptp(means)), tolerance, 1e-12)
    center = (np.asarray(means, np.float64)[order] - np.min(means)) / scale
    spread = np.maximum(np.asarray(stds, np.float64)[order] / scale, _MIN_STD)
    width = tolerance / scale
    points = _grid(center, spread, width, n_steps)
    above = _survival(points, center, spread)  # (n, points): the total is above the point
    above_limit = above if width == 0 else _survival(points + width, center, spread)
    cheaper = np.ones_like(above)
    cheaper[1:] = np.cumprod(above_limit[:-1], axis=0)
    dearer = np.ones_like(above)
    dearer[:-1] = np.cumprod(above[:0:-1], axis=0)[::-1]
    found = (-np.diff(above) * _means_of_pairs(cheaper * dearer)).sum(axis=1)
    if width > 0:
        within = above - above_limit
        found += (-np.diff(dearer) * _means_of_pairs(cheaper * within)).sum(axis=1)
    probabilities = np.empty(len(means))
    probabilities[order] = found.clip(0) / found.clip(0).sum()
    return probabilities


def _grid(center: Float64Array, spread: Float64Array, width: float, n_steps: int) -> Float64Array:
    """Return the points at which distribution functions are read, sorted."""
    steps = np.linspace(-_N_STDS, _N_STDS, n_steps)
    points = (center[:, None] + spread[:, None] * steps).ravel()
    return np.sort(points if width == 0 else np.concatenate([points, points - width]))


def _survival(points: Float64Array, center: Float64Array, spread: Float64Array) -> Float64Array:
    """Return the probability that each total is above each point, `(n, points)`."""
    steps, upper = _normal_table()
    scaled = (points - center[:, None]) / spread[:, None]
    return np.interp(scaled.ravel(), steps, upper).reshape(scaled.shape)


@cache
def _normal_table() -> tuple[Float64Array, Float64Array]:
    """Return points and the probability of a standard normal number above each; numpy has none."""
    steps = np.linspace(-_N_STDS - 1, _N_STDS + 1, _N_TABLE)
    upper = np.array([0.5 * math.erfc(step / math.sqrt(2)) for step in steps.tolist()])
    upper[[0, -1]] = 1.0, 0.0  # np.interp returns these for everything beyond
    return steps, upper


def _means_of_pairs(values: Float64Array) -> Float64Array:
    """Return the mean of each value and the next one along the last axis."""
    return np.asarray(0.5 * (values[:, 1:] + values[:, :-1]))
