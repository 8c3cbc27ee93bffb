"""The figures of the comparison from predictions: scores, leads, shares of the gap, parity, APGR.

Prompts of all seeds stand below each other, and a prompt that several seeds test stays together in
the bootstrap samples. All methods are measured on the same prompts, so leads are paired.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from methods import TRYAGE
from predictions import has_prediction, read_prediction

from tryage.learning.evaluation.baselines import (
    expert_means,
    is_rarely_measured,
    neighbor_means,
)
from tryage.learning.evaluation.costs import (
    WEIGHTS,
    choose_weight,
    known_costs,
    priced_experts,
    sweep_weight,
)
from tryage.learning.evaluation.metrics import (
    choice_probabilities,
    expected_value,
    pairwise_metrics,
)
from tryage.scoring.qtable import QTable
from tryage.simulation.metrics import PARITY_TOLERANCE, Interval, bootstrap, interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from predictions import Prediction
    from tasks import Task

    from tryage.core.arrays import Float64Array

BEST_SINGLE, ORACLE = "best_single", "oracle"

ALLOWANCE = 0.005  # points of score that parity may cost, on the training part

_NEIGHBORS = 20  # similar prompts whose mean cost is the forecast of a method without one


@dataclass(frozen=True)
class ParityFigures:
    """Cost at parity: relative to the best single expert's, and the difference in score."""

    relative_cost: Interval
    score_difference: Interval
    kept: bool


@dataclass(frozen=True)
class SetFigures:
    """The figures of one set by the name of the method; leads are over Tryage, in score."""

    name: str
    n_prompts: int
    n_experts: int
    n_seeds: int
    scores: Mapping[str, Interval]
    leads: Mapping[str, Interval] = field(default_factory=dict)
    gap_closed: Mapping[str, Interval] = field(default_factory=dict)
    apgr: Mapping[str, float] = field(default_factory=dict)
    parity: Mapping[str, ParityFigures] = field(default_factory=dict)
    fit_seconds: Mapping[str, float] = field(default_factory=dict)


def set_figures(tasks: Sequence[Task], names: Sequence[str], folder: Path) -> SetFigures | None:
    """Compute the figures of one set from its tasks; None if Tryage was not run on all of them.

    Methods without a prediction for every seed are left out.
    """
    outer = [task for task in tasks if task.inner is None]
    complete = [n for n in names if all(has_prediction(folder / n, task) for task in outer)]
    if TRYAGE not in complete:
        return None
    predictions = {
        name: [read_prediction(folder / name, task) for task in outer] for name in complete
    }
    scores = {name: all_scores(outer, found) for name, found in predictions.items()}
    groups = np.concatenate([task.outcomes.table.groups[task.rows[1]] for task in outer])
    draws = dict(zip(scores, bootstrap(np.column_stack(list(scores.values())), groups).T,
                     strict=True))  # fmt: skip
    first = outer[0].outcomes
    return SetFigures(
        name=first.name,
        n_prompts=len(first.table),
        n_experts=len(first.table.experts),
        n_seeds=len(outer),
        scores={n: interval(float(scores[n].mean()), draws[n]) for n in complete},
        leads={
            n: interval(float((scores[n] - scores[TRYAGE]).mean()), draws[n] - draws[TRYAGE])
            for n in complete
            if n != TRYAGE
        },
        gap_closed=shares_of_gap(scores, draws),
        apgr=mean_apgr(outer, predictions),
        parity=parity_figures(outer, complete, folder),
        fit_seconds={
            n: float(np.mean([one.fit_seconds for one in found]))
            for n, found in predictions.items()
        },
    )


def all_scores(tasks: Sequence[Task], predictions: Sequence[Prediction]) -> Float64Array:
    """Return the score of every tested prompt of all tasks; equal predictions share a prompt."""
    return np.concatenate(
        [
            prompt_scores(task.outcomes.table.take(task.rows[1]), prediction)
            for task, prediction in zip(tasks, predictions, strict=True)
        ]
    )


def prompt_scores(test: QTable, prediction: Prediction) -> Float64Array:
    """Return the score of the chosen expert on each prompt, `(n_test,)`."""
    shares = choice_probabilities(prediction.losses, test.measured)
    return np.asarray(1 - expected_value(shares, test.losses))


def shares_of_gap(
    scores: Mapping[str, Float64Array], draws: Mapping[str, Float64Array]
) -> dict[str, Interval]:
    """Return the share of the gap between best single expert and oracle that methods close."""
    if not {BEST_SINGLE, ORACLE} <= set(scores):
        return {}
    gap = float((scores[ORACLE] - scores[BEST_SINGLE]).mean())
    gap_draws = draws[ORACLE] - draws[BEST_SINGLE]
    return {
        name: interval(
            float((scores[name] - scores[BEST_SINGLE]).mean()) / gap,
            (draws[name] - draws[BEST_SINGLE]) / gap_draws,
        )
        for name in scores
        if name not in (BEST_SINGLE, ORACLE)
    }


def mean_apgr(
    tasks: Sequence[Task], predictions: Mapping[str, Sequence[Prediction]]
) -> dict[str, float]:
    """Return the mean average performance gap recovered over the seeds of a set of two experts."""
    if len(tasks[0].outcomes.table.experts) != 2:
        return {}
    found = {}
    for name, ones in predictions.items():
        values = []
        for task, prediction in zip(tasks, ones, strict=True):
            test = task.outcomes.table.take(task.rows[1])
            pair = pairwise_metrics(prediction.losses, test.losses, test.experts)
            if pair is not None:
                values.append(pair.apgr)
        found[name] = float(np.mean(values))
    return found


def parity_figures(
    tasks: Sequence[Task], names: Sequence[str], folder: Path
) -> dict[str, ParityFigures]:
    """Return the cost at parity of the methods that were run on the inner tasks, too.

    The weight of cost is the cheapest that keeps the score of the best single expert in folds of
    the training part, up to `ALLOWANCE`. Methods that only mark a choice have nothing to weigh.
    """
    if len(priced_experts(tasks[0].outcomes.table)) < 2:
        return {}
    return {
        name: _parity(tasks, folder / name)
        for name in names
        if all(has_prediction(folder / name, t) for one in tasks for t in one.inner_tasks())
        and (name == BEST_SINGLE or read_prediction(folder / name, tasks[0]).forecasts)
    }


def _parity(tasks: Sequence[Task], folder: Path) -> ParityFigures:
    values, groups = [], []
    for task in tasks:
        inner_scores, inner_costs, inner_single = (
            np.concatenate(parts)
            for parts in zip(*(_sweep(one, folder) for one in task.inner_tasks()), strict=True)
        )
        target = float(np.nanmean(inner_single[:, 0]))
        weight = choose_weight(inner_scores, inner_costs, target, ALLOWANCE)
        scores, costs, single = _sweep(task, folder)
        values.append(
            np.column_stack([scores[:, weight] - single[:, 0], costs[:, weight], single[:, 1]])
        )
        groups.append(task.outcomes.table.groups[task.rows[1]])
    rows, group = np.concatenate(values), np.concatenate(groups)
    known = ~np.isnan(rows).any(axis=1)
    rows, draws = rows[known], bootstrap(rows[known], group[known])
    difference, cost, single_cost = rows.mean(axis=0)
    return ParityFigures(
        relative_cost=interval(cost / single_cost, draws[:, 1] / draws[:, 2]),
        score_difference=interval(difference, draws[:, 0]),
        kept=bool(difference >= -PARITY_TOLERANCE),
    )


def _sweep(task: Task, folder: Path) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return scores and costs at every weight, and those of the best single expert.

    The first two are `(n_test, n_weights)`, the last is `(n_test, 2)`: its score and its cost.
    """
    table = task.outcomes.table
    names = priced_experts(table)
    columns = np.flatnonzero(np.isin(table.experts, names))
    train, test = (table.take(rows).select([table.experts[i] for i in columns])
                   for rows in task.rows)  # fmt: skip
    prediction = read_prediction(folder, task)
    embeddings = task.outcomes.embeddings
    known = QTable(train.prompts, train.experts, known_costs(train))
    forecast = neighbor_means(
        known, embeddings[task.rows[0]], embeddings[task.rows[1]], [_NEIGHBORS]
    )[0]
    if prediction.costs is not None:
        own = prediction.costs[:, columns]
        forecast = np.where(np.isnan(own), forecast, own)
    single = int((expert_means(train) + 10.0 * is_rarely_measured(train)).argmin())
    reference = float(np.nanmean(known_costs(train)[:, single])) or 1.0
    scores, costs = sweep_weight(prediction.losses[:, columns], forecast, test, reference, WEIGHTS)
    return (
        scores,
        costs,
        np.column_stack([1 - test.losses[:, single], known_costs(test)[:, single]]),
    )
