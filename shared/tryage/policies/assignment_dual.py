"""Dual prices of an assignment problem: Newton's method on the smoothed Lagrange dual.

The limits get prices, and the problem falls apart into one choice per prompt. The best prices
maximize the dual function, which is piecewise linear. With the smooth minimum of a `temperature`
in place of the minimum over the experts it has a Hessian, and as the temperature falls, the prices
go to the best ones, from a sample of the prompts to all (Nesterov, Math. Program. 103, 2005; as in
regularized optimal transport: Cuturi, NeurIPS 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.policies.assignment_problem import AssignmentProblem

# Prompts in a sample, and the temperature down to which it serves, in units of the spread of a
# prompt's objective between experts.
_SAMPLES = ((2_000, 1e-2), (20_000, 1e-3))

_TEMPERATURES = tuple(float(10**power) for power in np.arange(-0.5, -6.01, -0.5))

_FACTOR = _TEMPERATURES[1] / _TEMPERATURES[0]

NEAR = 30.0  # temperatures above the minimum; farther experts have no weight in double precision

_MAX_STEPS = 15  # per temperature; degenerate problems need more than three

_MAX_GROWTH = 3.0  # of a price in one step, in units of its scale and of itself

_MIN_STEP = 1e-4  # of a Newton step in the line search

_SUFFICIENT_RISE = 1e-4  # of that which the gradient foretells (Armijo)

_MIN_CURVATURE = 1e-9  # of the largest, and of the spread

_MIN_DAMPING, _MAX_DAMPING = 1e-6, 1e3  # of the diagonal of the Hessian


@dataclass(frozen=True, slots=True)
class DualPoint:
    """The smoothed dual function at some prices.

    `gradient` `(1 + n_experts,)` is how much more than each limit is used, and `curvature` the
    negative Hessian; both are 0 where there is no limit.
    """

    prices: Float64Array
    value: float
    gradient: Float64Array
    curvature: Float64Array


def dual_prices(problem: AssignmentProblem) -> tuple[Float64Array, float]:
    """Return nearly the best dual prices, `(1 + n_experts,)`, and the temperature they belong to.

    Where the limits cannot be met the prices are so high that the dual function exceeds every
    objective.
    """
    spread, remaining = objective_spread(problem), [*_TEMPERATURES]
    scale = np.full(1 + problem.n_experts, spread)
    scale[0] /= _typical_resource(problem)
    path = [np.zeros_like(scale)]
    for part, end in _parts(problem):
        while remaining and remaining[0] > end:
            temperature = spread * remaining.pop(0)
            path = [path[-1], _maximize(part, _starts(path), temperature, scale)]
    return path[-1], spread * _TEMPERATURES[-1]


def _parts(problem: AssignmentProblem) -> Iterator[tuple[AssignmentProblem, float]]:
    """Yield samples of the prompts and then all, each with the temperature at which it ends."""
    random, n_prompts = np.random.default_rng(0), problem.n_prompts
    for size, end in _SAMPLES:
        if 2 * size <= n_prompts:
            yield problem.take(np.sort(random.choice(n_prompts, size, replace=False))), end
    yield problem, 0.0


def _starts(path: list[Float64Array]) -> list[Float64Array]:
    """Return where to start at the next temperature: the last prices, and the line of the last two.

    The best prices are nearly linear in the temperature, which falls by the same factor each time.
    """
    if len(path) < 2:
        return path
    return [path[1], np.maximum(path[1] + _FACTOR * (path[1] - path[0]), 0.0)]


def objective_spread(problem: AssignmentProblem) -> float:
    """Return the median difference between the highest and the lowest objective of a prompt."""
    rows = np.random.default_rng(0).permutation(problem.n_prompts)[:1_000]
    values, allowed = problem.objective[rows], problem.allowed[rows]
    lowest = np.where(allowed, values, np.inf).min(axis=1)
    highest = np.where(allowed, values, -np.inf).max(axis=1)
    spreads = (highest - lowest)[highest > lowest]
    largest = float(np.abs(values[allowed]).max())
    return max(float(np.median(spreads)) if spreads.size else largest, largest * 1e-6, 1e-30)


def _typical_resource(problem: AssignmentProblem) -> float:
    values = np.abs(problem.resource[:1_000][problem.allowed[:1_000]])
    used = values[values > 0]
    return float(np.median(used)) if used.size else 1.0


def _maximize(
    problem: AssignmentProblem,
    starts: list[Float64Array],
    temperature: float,
    scale: Float64Array,
) -> Float64Array:
    """Return the prices that maximize the smoothed dual function, by projected Newton steps.

    They begin at the best of some starts. No price rises by more than a few times itself and its
    `scale` in a step: where many prompts are alike, the curvature can vanish.

    As in Bertsekas (SIAM J. Control Optim. 20, 1982): prices at 0 that should fall stay there.
    """
    points = [evaluate(problem, prices, temperature) for prices in starts]
    point, damping = max(points, key=lambda one: one.value), _MIN_DAMPING
    is_limited = np.isfinite(problem.limits)
    for _ in range(_MAX_STEPS):
        step = _newton_step(point, is_limited, damping, scale)
        rise = float(point.gradient @ step)
        if rise <= 1e-3 * temperature * np.sqrt(problem.n_prompts):
            break
        following, size = _search(problem, point, step, temperature)
        if following is None:
            break
        point = following
        damping = damping / 10 if size == 1 else max(10 * damping, 1e-3)
        damping = min(max(damping, _MIN_DAMPING), _MAX_DAMPING)
    return point.prices


def _newton_step(
    point: DualPoint, is_limited: BoolArray, damping: float, scale: Float64Array
) -> Float64Array:
    """Return the step of Newton's method, damped in proportion to the diagonal and bounded."""
    step = np.zeros_like(point.prices)
    free = np.flatnonzero(is_limited & ~((point.prices <= 0) & (point.gradient < 0)))
    if not free.size:
        return step
    units = scale[free]
    curvature = point.curvature[np.ix_(free, free)] * units[:, None] * units
    diagonal = np.diag(curvature)
    roots = np.sqrt(np.maximum(diagonal, _MIN_CURVATURE * max(diagonal.max(), scale[1])))
    matrix = curvature / roots[:, None] / roots
    matrix[np.diag_indices_from(matrix)] += damping
    step[free] = units / roots * np.linalg.solve(matrix, units / roots * point.gradient[free])
    growth = float((np.abs(step) / (scale + point.prices)).max())
    return step / max(1.0, growth / _MAX_GROWTH)


def _search(
    problem: AssignmentProblem, point: DualPoint, step: Float64Array, temperature: float
) -> tuple[DualPoint | None, float]:
    """Return the first point along a step that rises enough, and the share of the step."""
    size = 1.0
    while size > _MIN_STEP:
        prices = np.maximum(point.prices + size * step, 0.0)
        found = evaluate(problem, prices, temperature)
        foretold = float(point.gradient @ (prices - point.prices))
        if found.value >= point.value + _SUFFICIENT_RISE * foretold:
            return found, size
        size /= 3
    return None, size


def evaluate(problem: AssignmentProblem, prices: Float64Array, temperature: float) -> DualPoint:
    """Return the smoothed dual function with its derivatives at some prices.

    Most prompts have one expert near the minimum: only the others need exponentials.
    """
    n_limits = 1 + problem.n_experts
    value, used, curvature = 0.0, np.zeros(n_limits), np.zeros((n_limits, n_limits))
    for rows in problem.blocks():
        values, resource = problem.reduced(prices, rows), problem.resource[rows]
        index, best = np.arange(len(values)), values.argmin(axis=1)
        lowest = values[index, best]
        values -= lowest[:, None]
        is_open = np.count_nonzero(values < NEAR * temperature, axis=1) > 1
        closed = np.flatnonzero(~is_open)
        value += float(lowest.sum())
        used[0] += resource[closed, best[closed]].sum(dtype=np.float64)
        used[1:] += np.bincount(best[closed], minlength=problem.n_experts)
        if is_open.any():
            value -= _add_open(values[is_open], resource[is_open], temperature, used, curvature)
    limits = np.where(np.isfinite(problem.limits), problem.limits, 0.0)
    return DualPoint(prices, value - float(prices @ limits), used - limits, curvature / temperature)


def _add_open(
    values: Float64Array,
    resource: Float64Array,
    temperature: float,
    used: Float64Array,
    curvature: Float64Array,
) -> float:
    """Add what prompts between several experts use, and its covariance; return the smoothing."""
    shares = np.exp(values / -temperature)
    totals = shares.sum(axis=1)
    shares /= totals[:, None]
    weighted = shares * resource
    means = weighted.sum(axis=1)
    counts = shares.sum(axis=0)
    used[0] += means.sum()
    used[1:] += counts
    mixed = weighted.sum(axis=0) - means @ shares
    curvature[0, 0] += float((weighted * resource).sum() - means @ means)
    curvature[0, 1:] += mixed
    curvature[1:, 0] += mixed
    curvature[1:, 1:] += np.diag(counts) - shares.T @ shares
    return temperature * float(np.log(totals).sum())
