"""Metrics of cost and quality: hulls of settings, AIQ, cost at parity, and bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array, IndexArray

PARITY_TOLERANCE = 0.005  # parity: at most half a point of score below the best single expert


_MAX_DRAWN = 100_000  # groups that are drawn at once, for speed


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95% bootstrap interval over prompts."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Show three decimals and the bounds."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    values: Float64Array, groups: IndexArray, *, draws: int = 2000, seed: int = 0
) -> Float64Array:
    """Return means of `values` `(n_prompts, n_columns)` in bootstrap samples, `(draws, n_columns)`.

    Prompts are drawn with replacement, and prompts of one group together. All columns have the same
    draws, so that the difference or the ratio of two columns has the interval of a paired
    comparison.
    """
    _, group_index = np.unique(groups, return_inverse=True)
    n_groups = int(group_index.max()) + 1
    sums = np.zeros((n_groups, values.shape[1] + 1))
    np.add.at(sums, group_index, np.column_stack([values, np.ones(len(values))]))
    rng = np.random.default_rng(seed)
    totals = np.empty((draws, sums.shape[1]))
    at_once = max(1, _MAX_DRAWN // n_groups)
    for start in range(0, draws, at_once):
        rows = np.arange(min(at_once, draws - start))[:, None]
        sampled = rng.integers(0, n_groups, (len(rows), n_groups)) + n_groups * rows
        counts = np.bincount(sampled.ravel(), minlength=len(rows) * n_groups)
        totals[start : start + len(rows)] = counts.reshape(len(rows), n_groups) @ sums
    return np.asarray(totals[:, :-1] / totals[:, -1:], dtype=np.float64)


def interval(value: float, draws: Float64Array) -> Interval:
    """Return the 95% interval of a value from its bootstrap draws `(draws,)`."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def upper_hull(costs: Float64Array, scores: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the non-decreasing concave hull of points `(n,)`: the front of mixed settings."""
    hull: list[tuple[float, float]] = []
    for point in sorted(zip(costs.tolist(), scores.tolist(), strict=True)):
        if hull and point[1] <= hull[-1][1]:
            continue
        if hull and point[0] == hull[-1][0]:
            hull.pop()
        while len(hull) > 1 and _is_convex_turn(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    x, y = np.array(hull).T
    return x, y


def aiq(costs: Float64Array, scores: Float64Array, low: float, high: float) -> float:
    """Return the average improvement in quality (RouterBench, arXiv 2403.12031).

    That is the mean height of the hull over costs from `low` to `high` (USD). The hull is flat to
    the right of the last point and to the left of the first.
    """
    x, y = upper_hull(costs, scores)
    grid = np.unique(np.concatenate([[low, high], x[(x > low) & (x < high)]]))
    height = np.interp(grid, x, y)
    if high <= low:
        return float(height[0])
    return float(np.sum(np.diff(grid) * (height[1:] + height[:-1]) / 2) / (high - low))


def cost_at_score(costs: Float64Array, scores: Float64Array, score: float) -> float | None:
    """Return the lowest cost at which the hull of points `(n,)` reaches a score, None if nowhere.

    At the best single expert's score less `PARITY_TOLERANCE` that is the cost at parity.
    """
    x, y = upper_hull(costs, scores)
    return float(np.interp(score, y, x)) if score <= y[-1] else None


def score_at_cost(costs: Float64Array, scores: Float64Array, cost: float) -> float | None:
    """Return the height of the hull of points `(n,)` at a cost, None below the cheapest point."""
    x, y = upper_hull(costs, scores)
    return float(np.interp(cost, x, y)) if cost >= x[0] else None


def _is_convex_turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])
