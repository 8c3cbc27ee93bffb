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
from tryage.learning.evaluation.splits import OutOfFold, cross_val_predict, folds
from tryage.scoring.qtable import QTable
from tryage.simulation.metrics import PARITY_TOLERANCE, aiq, bootstrap, interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import Float32Array, Float64Array, FloatArray, IndexArray
    from tryage.learning.evaluation.splits import EvaluationConfig, FoldMethod, Split
    from tryage.simulation.metrics import Interval

# In steps of 3%: with coarser steps, the weight that just keeps parity would lie between two.
WEIGHTS: Float64Array = np.append(0.0, np.geomspace(1e-3, 1e4, 561))

_TIE_BREAK_WEIGHT = 1e-9  # so small that it decides only between equal losses

_MIN_PRICED_SHARE = 0.99  # of an expert's measured losses must have a cost, to count as priced

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
    predictions = {label: out_of_fold for label, (_, out_of_fold) in runs.items()}
    sweeps = _sweep_all(table, embeddings, predictions, splits, reference_cost)
    weight_index = {label: np.empty(len(table), dtype=np.intp) for label in runs}
    for train, test in splits:
        train_table, train_embeddings = table.take(train), embeddings[train]
        inner_splits = folds(train_table.groups, config.inner_folds, config.seed + 1)
        inner_predictions = {
            label: cross_val_predict(label, method, train_table, train_embeddings, inner_splits)
            for label, (method, _) in runs.items()
        }
        inner_sweeps = _sweep_all(
            train_table, train_embeddings, inner_predictions, inner_splits, reference_cost
        )
        target_score = float(np.nanmean(inner_sweeps[BEST_SINGLE].scores[:, 0]))
        for label, sweep in inner_sweeps.items():
            weight_index[label][test] = choose_weight(
                sweep.scores, sweep.costs, target_score, config.allowance
            )
    return {
        label: _cost_result(table, sweep, sweeps[BEST_SINGLE], weight_index[label], config)
        for label, sweep in sweeps.items()
    }


def _best_single_cost(table: QTable) -> float:
    priced_table = table.select(priced_experts(table))
    best_index = int(np.argmin(np.nanmean(priced_table.losses, axis=0)))
    return float(np.nanmean(known_costs(priced_table)[:, best_index])) or 1.0


def _sweep_all(
    table: QTable,
    embeddings: Float32Array,
    predictions: Mapping[str, OutOfFold],
    splits: Sequence[Split],
    reference_cost: float,
) -> dict[str, CostSweep]:
    """Sweep the weight for every method; one without costs gets those that neighbors forecast."""
    names = priced_experts(table)
    priced_table, columns = table.select(names), np.flatnonzero(np.isin(table.experts, names))
    forecast = _forecast_costs(priced_table, embeddings, splits)
    sweeps = {}
    for label, out_of_fold in predictions.items():
        costs = forecast
        if out_of_fold.costs is not None:
            method_costs = out_of_fold.costs[:, columns]
            costs = np.where(np.isnan(method_costs), forecast, method_costs)
        sweeps[label] = CostSweep(
            *sweep_weight(out_of_fold.losses[:, columns], costs, priced_table, reference_cost)
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
    best_single: CostSweep,
    weight_index: IndexArray,
    config: EvaluationConfig,
) -> CostResult:
    """Summarize a sweep; `weight_index` `(n_prompts,)` is the weight chosen for a prompt's fold."""
    rows = np.arange(len(table))
    score, cost = sweep.scores[rows, weight_index], sweep.costs[rows, weight_index]
    paired_values = np.column_stack(
        [score - best_single.scores[:, 0], cost, best_single.costs[:, 0]]
    )
    is_priced = ~np.isnan(paired_values).any(axis=1)
    paired_values = paired_values[is_priced]
    bootstrap_means = bootstrap(
        paired_values, table.groups[is_priced], draws=config.draws, seed=config.seed
    )
    score_difference, mean_cost, single_cost = paired_values.mean(axis=0)
    costs, scores = np.nanmean(sweep.costs, axis=0), np.nanmean(sweep.scores, axis=0)
    target_score = float(np.nanmean(best_single.scores[:, 0]))
    best_index = choose_weight(sweep.scores, sweep.costs, target_score, PARITY_TOLERANCE)
    is_reachable = scores[best_index] >= target_score - PARITY_TOLERANCE
    parity = Parity(
        relative_cost=interval(
            mean_cost / single_cost, bootstrap_means[:, 1] / bootstrap_means[:, 2]
        ),
        score_difference=interval(score_difference, bootstrap_means[:, 0]),
        kept=bool(score_difference >= -PARITY_TOLERANCE),
        weights=tuple(WEIGHTS[np.unique(weight_index)].tolist()),
        hindsight=float(costs[best_index] / single_cost) if is_reachable else None,
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
    priced_table = table.select(priced_experts(table))
    mean_costs = np.nanmean(known_costs(priced_table), axis=0)
    cheapest_index = int(np.argmin(mean_costs))
    low, high = float(mean_costs[cheapest_index]), float(mean_costs.max())
    score = 1.0 - float(np.nanmean(priced_table.losses[:, cheapest_index]))
    return aiq(np.append(costs, low), np.append(scores, score), low, high)


def priced_experts(table: QTable) -> tuple[str, ...]:
    """Return the names of the experts whose costs are known, `()` if the table has no costs."""
    if table.costs is None:
        return ()
    n_measured = table.measured.sum(axis=0)
    n_priced = (table.measured & ~np.isnan(table.costs)).sum(axis=0)
    is_priced = (n_measured > 0) & (n_priced >= _MIN_PRICED_SHARE * n_measured)
    return tuple(name for name, flag in zip(table.experts, is_priced, strict=True) if flag)


def known_costs(table: QTable) -> FloatArray:
    """Return the costs of the table in USD, `(n_prompts, n_experts)`.

    Raises:
        QTableError: the table has no costs.
    """
    if table.costs is None:
        raise QTableError("the table has no costs; add a column cost (USD of the request)")
    return table.costs


def sweep_weight(
    predicted_losses: FloatArray,
    forecast_costs: FloatArray,
    table: QTable,
    reference_cost: float,
    weights: Float64Array = WEIGHTS,
) -> tuple[Float64Array, Float64Array]:
    """Route by loss + lambda x cost for every weight; return real scores and costs per prompt.

    `predicted_losses` and `forecast_costs` are `(n_prompts, n_experts)`, `reference_cost` is the
    cost in USD of one request to the best single expert; both results are `(n_prompts, n_weights)`.
    Among experts with the same predicted loss, the one with the lower forecast cost is chosen, even
    at weight 0. Prompts on which no priced expert was measured are NaN.

    Raises:
        QTableError: the table has no costs.
    """
    real_costs = known_costs(table)
    is_allowed = table.measured & ~np.isnan(real_costs)
    rows = np.arange(len(table))
    allowed_losses = np.where(is_allowed, predicted_losses, np.inf)
    scores = np.empty((len(table), len(weights)))
    costs = np.empty_like(scores)
    for column, weight in enumerate(weights):
        chosen_experts = np.argmin(
            allowed_losses + max(weight, _TIE_BREAK_WEIGHT) / reference_cost * forecast_costs,
            axis=1,
        )
        scores[:, column] = np.where(
            is_allowed[rows, chosen_experts], 1.0 - table.losses[rows, chosen_experts], np.nan
        )
        costs[:, column] = np.where(
            is_allowed[rows, chosen_experts], real_costs[rows, chosen_experts], np.nan
        )
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
    is_good_enough = mean_scores >= best_single_score - allowance
    if not is_good_enough.any():
        return int(np.argmax(mean_scores))
    return int(np.argmin(np.where(is_good_enough, mean_costs, np.inf)))
