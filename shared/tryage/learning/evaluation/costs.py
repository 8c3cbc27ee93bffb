"""What routing saves: fronts over the weight of cost, AIQ, and cost at parity.

The weight lambda is the loss that a request at the best single expert's cost has to save: at
lambda = .01 a request that costs as much as the best single expert's must lower the loss by .01 to
be worth it. Experts without a known cost are left out of this view, for every method and for the
best single expert alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import QTableError
from tryage.learning.evaluation.baselines import BEST_SINGLE, neighbor_means
from tryage.learning.evaluation.metrics import bootstrap, interval
from tryage.learning.evaluation.splits import OutOfFold, cross_val_predict, folds
from tryage.learning.qtable import QTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import Float32Array, Float64Array, FloatArray, IndexArray
    from tryage.learning.evaluation.metrics import Interval
    from tryage.learning.evaluation.splits import EvaluationConfig, FoldMethod, Split

# In steps of 3%: with coarser steps, the weight that just keeps parity would lie between two.
WEIGHTS: Float64Array = np.append(0.0, np.geomspace(1e-3, 1e4, 561))

PARITY_TOLERANCE = 0.005  # parity: at most half a point of score below the best single expert

_TIE_BREAK_WEIGHT = 1e-9  # so small that it decides only between equal losses

_MIN_PRICED_SHARE = 0.99  # of an expert's measured losses have a cost, if it counts as priced

_NEIGHBORS = 20  # similar prompts whose mean cost is the forecast of a request's cost


@dataclass(frozen=True, slots=True)
class CostPoint:
    """Mean score and mean cost (USD per request) at one weight of cost."""

    weight: float
    cost: float
    score: float


@dataclass(frozen=True, slots=True)
class Parity:
    """Cost relative to the best single expert's, at a weight chosen on the training part.

    `score_difference` is the score minus the best single expert's on the test part; parity is
    `kept` if it is no lower than -0.005. `weights` are the weights chosen on the folds.
    `hindsight` is the relative cost at the cheapest weight that keeps parity, chosen on the test
    part itself: what a perfect choice of the weight would have cost, not a result. It is None if no
    weight keeps parity.
    """

    relative_cost: Interval
    score_difference: Interval
    kept: bool
    weights: tuple[float, ...]
    hindsight: float | None


@dataclass(frozen=True, slots=True)
class CostResult:
    """The cost view of one method; `aiq` is its average improvement in quality (RouterBench)."""

    front: tuple[CostPoint, ...]
    aiq: float
    parity: Parity


@dataclass(frozen=True, slots=True)
class CostSweep:
    """Real scores and costs (USD) at every weight of cost, both `(n_prompts, n_weights)`."""

    scores: Float64Array
    costs: Float64Array


def cost_report(
    table: QTable,
    embeddings: Float32Array,
    runs: Mapping[str, tuple[FoldMethod, OutOfFold]],
    splits: Sequence[Split],
    config: EvaluationConfig,
) -> dict[str, CostResult]:
    """Measure what each method saves; `runs` hold each method and its predictions.

    The weight of cost is chosen per fold by cross-validation within the training part: the
    cheapest whose score there is at most `config.allowance` below the best single expert's. The
    best single expert has to be one of the runs.
    """
    reference_cost = _best_single_cost(table)
    outer = {label: predicted for label, (_, predicted) in runs.items()}
    sweeps = _sweep_all(table, embeddings, outer, splits, reference_cost)
    chosen = {label: np.empty(len(table), dtype=np.intp) for label in runs}
    for train, test in splits:
        part, part_embeddings = table.take(train), embeddings[train]
        inner_splits = folds(part.groups, config.inner_folds, config.seed + 1)
        inner = {
            label: cross_val_predict(label, run, part, part_embeddings, inner_splits)
            for label, (run, _) in runs.items()
        }
        inner_sweeps = _sweep_all(part, part_embeddings, inner, inner_splits, reference_cost)
        target = float(np.nanmean(inner_sweeps[BEST_SINGLE].scores[:, 0]))
        for label, sweep in inner_sweeps.items():
            chosen[label][test] = choose_weight(sweep.scores, sweep.costs, target, config.allowance)
    return {
        label: _cost_result(table, sweep, sweeps[BEST_SINGLE], chosen[label], config)
        for label, sweep in sweeps.items()
    }


def _best_single_cost(table: QTable) -> float:
    priced = table.select(priced_experts(table))
    best = int(np.argmin(np.nanmean(priced.losses, axis=0)))
    return float(np.nanmean(known_costs(priced)[:, best])) or 1.0


def _sweep_all(
    table: QTable,
    embeddings: Float32Array,
    predictions: Mapping[str, OutOfFold],
    splits: Sequence[Split],
    reference_cost: float,
) -> dict[str, CostSweep]:
    """Sweep the weight for every method; without own costs, the neighbors' are the forecast."""
    names = priced_experts(table)
    priced, columns = table.select(names), np.flatnonzero(np.isin(table.experts, names))
    forecast = _forecast_costs(priced, embeddings, splits)
    sweeps = {}
    for label, predicted in predictions.items():
        own = forecast
        if predicted.costs is not None:
            given = predicted.costs[:, columns]
            own = np.where(np.isnan(given), forecast, given)
        sweeps[label] = CostSweep(
            *sweep_weight(predicted.losses[:, columns], own, priced, reference_cost)
        )
    return sweeps


def _forecast_costs(
    table: QTable, embeddings: Float32Array, splits: Sequence[Split]
) -> Float64Array:
    """Forecast costs in USD, `(n_prompts, n_experts)`, by the mean of similar training prompts."""
    costs = QTable(table.prompts, table.experts, known_costs(table))
    forecast = np.empty(table.shape)
    for train, test in splits:
        fold = costs.take(train), embeddings[train], embeddings[test]
        forecast[test] = neighbor_means(*fold, [_NEIGHBORS])[0]
    return forecast


def _cost_result(
    table: QTable,
    sweep: CostSweep,
    single: CostSweep,
    chosen: IndexArray,
    config: EvaluationConfig,
) -> CostResult:
    """Summarize a sweep; `chosen` `(n_prompts,)` is the weight chosen for each prompt's fold."""
    rows = np.arange(len(table))
    score, cost = sweep.scores[rows, chosen], sweep.costs[rows, chosen]
    pair = np.column_stack([score - single.scores[:, 0], cost, single.costs[:, 0]])
    priced = ~np.isnan(pair).any(axis=1)
    pair = pair[priced]
    drawn = bootstrap(pair, table.groups[priced], draws=config.draws, seed=config.seed)
    difference, mean_cost, single_cost = pair.mean(axis=0)
    costs, scores = np.nanmean(sweep.costs, axis=0), np.nanmean(sweep.scores, axis=0)
    target = float(np.nanmean(single.scores[:, 0]))
    best = choose_weight(sweep.scores, sweep.costs, target, PARITY_TOLERANCE)
    reachable = scores[best] >= target - PARITY_TOLERANCE
    parity = Parity(
        relative_cost=interval(mean_cost / single_cost, drawn[:, 1] / drawn[:, 2]),
        score_difference=interval(difference, drawn[:, 0]),
        kept=bool(difference >= -PARITY_TOLERANCE),
        weights=tuple(WEIGHTS[np.unique(chosen)].tolist()),
        hindsight=float(costs[best] / single_cost) if reachable else None,
    )
    points = zip(WEIGHTS.tolist(), costs.tolist(), scores.tolist(), strict=True)
    return CostResult(
        front=tuple(CostPoint(*point) for point in points),
        aiq=_table_aiq(table, costs, scores),
        parity=parity,
    )


def _table_aiq(table: QTable, costs: Float64Array, scores: Float64Array) -> float:
    """Return the AIQ between the costs of the cheapest and the most expensive expert.

    The cheapest expert is one of the points, because any router can choose it.
    """
    priced = table.select(priced_experts(table))
    means = np.nanmean(known_costs(priced), axis=0)
    cheapest = int(np.argmin(means))
    low, high = float(means[cheapest]), float(means.max())
    score = 1.0 - float(np.nanmean(priced.losses[:, cheapest]))
    return aiq(np.append(costs, low), np.append(scores, score), low, high)


def priced_experts(table: QTable) -> tuple[str, ...]:
    """Return the names of the experts whose costs are known; none if the table has no costs."""
    if table.costs is None:
        return ()
    measured = table.measured.sum(axis=0)
    known = (table.measured & ~np.isnan(table.costs)).sum(axis=0)
    priced = (measured > 0) & (known >= _MIN_PRICED_SHARE * measured)
    return tuple(name for name, is_priced in zip(table.experts, priced, strict=True) if is_priced)


def known_costs(table: QTable) -> FloatArray:
    """Return the costs of the table in USD, `(n_prompts, n_experts)`.

    Raises:
        QTableError: the table has none.
    """
    if table.costs is None:
        raise QTableError("the table has no costs; add a column cost (USD of the request)")
    return table.costs


def sweep_weight(
    predicted: FloatArray,
    forecast: FloatArray,
    table: QTable,
    reference_cost: float,
    weights: Float64Array = WEIGHTS,
) -> tuple[Float64Array, Float64Array]:
    """Route by loss + lambda x cost for every weight; return real scores and costs per prompt.

    `predicted` losses and `forecast` costs are `(n_prompts, n_experts)`, `reference_cost` is the
    cost in USD of one request to the best single expert; both results are `(n_prompts, n_weights)`.
    Of experts with the same predicted loss the one with the lower forecast cost wins, even at
    weight 0. Prompts on which no priced expert was measured are NaN.

    Raises:
        QTableError: the table has no costs.
    """
    real = known_costs(table)
    allowed = table.measured & ~np.isnan(real)
    rows = np.arange(len(table))
    base = np.where(allowed, predicted, np.inf)
    scores = np.empty((len(table), len(weights)))
    costs = np.empty_like(scores)
    for column, weight in enumerate(weights):
        chosen = np.argmin(
            base + max(weight, _TIE_BREAK_WEIGHT) / reference_cost * forecast, axis=1
        )
        scores[:, column] = np.where(
            allowed[rows, chosen], 1.0 - table.losses[rows, chosen], np.nan
        )
        costs[:, column] = np.where(allowed[rows, chosen], real[rows, chosen], np.nan)
    return scores, costs


def choose_weight(
    scores: Float64Array, costs: Float64Array, best_single_score: float, allowance: float
) -> int:
    """Return the index of the cheapest weight that keeps the score, at most `allowance` below.

    Its mean score is at least `best_single_score - allowance`. `scores` and `costs` are
    `(n_prompts, n_weights)` on prompts that may be tuned on. If no weight reaches that score, the
    one with the best score is chosen.
    """
    mean_scores, mean_costs = np.nanmean(scores, axis=0), np.nanmean(costs, axis=0)
    good = mean_scores >= best_single_score - allowance
    if not good.any():
        return int(np.argmax(mean_scores))
    return int(np.argmin(np.where(good, mean_costs, np.inf)))


def upper_hull(costs: Float64Array, scores: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the non-decreasing concave hull of points `(n,)`: what a mix of settings reaches."""
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


def _is_convex_turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])
