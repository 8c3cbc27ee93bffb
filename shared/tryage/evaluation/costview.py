"""The cost view of an evaluation: walk the weight of cost, choose it on training parts only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.evaluation import costs as money
from tryage.evaluation.baselines import BEST_SINGLE, neighbour_costs
from tryage.evaluation.crossval import OutOfFold, out_of_fold
from tryage.evaluation.metrics import bootstrap, interval
from tryage.evaluation.splits import folds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.evaluation.baselines import Embeddings, FoldMethod
    from tryage.evaluation.metrics import Floats
    from tryage.evaluation.splits import Settings, Split
    from tryage.qtable import QTable


@dataclass(frozen=True, slots=True)
class Walked:
    """Real scores and costs (USD) at every weight of cost, both `(n_prompts, n_weights)`."""

    scores: Floats
    costs: Floats


def cost_view(
    table: QTable,
    embeddings: Embeddings,
    runs: Mapping[str, tuple[FoldMethod, OutOfFold]],
    splits: Sequence[Split],
    settings: Settings,
) -> dict[str, money.CostResult]:
    """Judge what each method saves; `runs` hold how it predicts and what it predicted.

    The weight of cost is chosen per fold by cross-validation within the training part: the
    cheapest whose score there is near enough to the best single expert's, which has to be one of
    the runs.
    """
    unit = _best_single_cost(table)
    outer = {label: predicted for label, (_, predicted) in runs.items()}
    walked = _walk_all(table, embeddings, outer, splits, unit)
    chosen = {label: np.empty(len(table), dtype=np.intp) for label in runs}
    for train, test in splits:
        part, part_embeddings = table.take(train), embeddings[train]
        inner_splits = folds(part.groups, settings.inner_folds, settings.seed + 1)
        inner = {
            label: out_of_fold(label, run, part, part_embeddings, inner_splits)
            for label, (run, _) in runs.items()
        }
        tried = _walk_all(part, part_embeddings, inner, inner_splits, unit)
        target = float(np.nanmean(tried[BEST_SINGLE].scores[:, 0]))
        for label, walk in tried.items():
            chosen[label][test] = money.choose_weight(
                walk.scores, walk.costs, target, settings.allowance
            )
    return {
        label: _result(table, walk, walked[BEST_SINGLE], chosen[label], settings)
        for label, walk in walked.items()
    }


def _best_single_cost(table: QTable) -> float:
    priced = table.select(money.priced_experts(table))
    best = int(np.argmin(np.nanmean(priced.losses, axis=0)))
    return float(np.nanmean(money.known_costs(priced)[:, best])) or 1.0


def _walk_all(
    table: QTable,
    embeddings: Embeddings,
    predictions: Mapping[str, OutOfFold],
    splits: Sequence[Split],
    unit: float,
) -> dict[str, Walked]:
    """Walk every method over the priced experts; who forecasts no cost gets the neighbours'."""
    names = money.priced_experts(table)
    priced, columns = table.select(names), np.flatnonzero(np.isin(table.experts, names))
    forecast = np.empty(priced.shape)
    for train, test in splits:
        forecast[test] = neighbour_costs(priced.take(train), embeddings[train], embeddings[test])
    walked = {}
    for label, predicted in predictions.items():
        own = forecast
        if predicted.costs is not None:
            given = predicted.costs[:, columns]
            own = np.where(np.isnan(given), forecast, given)
        walked[label] = Walked(*money.walk(predicted.losses[:, columns], own, priced, unit))
    return walked


def _result(
    table: QTable,
    walked: Walked,
    single: Walked,
    chosen: NDArray[np.intp],
    settings: Settings,
) -> money.CostResult:
    """Take every prompt at the weight chosen for its fold, `(n_prompts,)`."""
    rows = np.arange(len(table))
    score, cost = walked.scores[rows, chosen], walked.costs[rows, chosen]
    pair = np.column_stack([score - single.scores[:, 0], cost, single.costs[:, 0]])
    priced = ~np.isnan(pair).any(axis=1)
    pair = pair[priced]
    drawn = bootstrap(pair, table.groups[priced], draws=settings.draws, seed=settings.seed)
    difference, mean_cost, single_cost = pair.mean(axis=0)
    costs, scores = np.nanmean(walked.costs, axis=0), np.nanmean(walked.scores, axis=0)
    target = float(np.nanmean(single.scores[:, 0]))
    best = money.choose_weight(walked.scores, walked.costs, target, money.TOLERANCE)
    reachable = scores[best] >= target - money.TOLERANCE
    parity = money.Parity(
        relative_cost=interval(mean_cost / single_cost, drawn[:, 1] / drawn[:, 2]),
        score_difference=interval(difference, drawn[:, 0]),
        kept=bool(difference >= -money.TOLERANCE),
        weights=tuple(money.WEIGHTS[np.unique(chosen)].tolist()),
        hindsight=float(costs[best] / single_cost) if reachable else None,
    )
    points = zip(money.WEIGHTS.tolist(), costs.tolist(), scores.tolist(), strict=True)
    return money.CostResult(
        front=tuple(money.FrontPoint(*point) for point in points),
        aiq=_aiq(table, costs, scores),
        parity=parity,
    )


def _aiq(table: QTable, costs: Floats, scores: Floats) -> float:
    """AIQ between the cheapest and the dearest expert; any router may take the cheapest one."""
    priced = table.select(money.priced_experts(table))
    means = np.nanmean(money.known_costs(priced), axis=0)
    cheapest = int(np.argmin(means))
    low, high = float(means[cheapest]), float(means.max())
    score = 1.0 - float(np.nanmean(priced.losses[:, cheapest]))
    return money.aiq(np.append(costs, low), np.append(scores, score), low, high)
