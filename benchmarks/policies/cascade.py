"""Compare cascades with routing alone, on sets with prices, by AIQ and cost at parity.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/cascade.py [--sets zeroeval ...] [--seeds 5] [--evidence auc=0.8 ...]

Evidence is recorded (`length`: the tokens of the answer; `judge`: scores of a second judge, on
paretobandit), half recorded (`ensemble`: agreement with the next dearer expert, which is billed;
two right answers agree, two wrong ones in three of ten cases) or simulated (`auc=0.8`: normal
numbers, higher for right answers, which tell a right from a wrong answer of the same prompt with
that probability and nothing else of the prompt; with .5, the threshold cascade escalates at
random). All settings, the steps and how much evidence tells, are fitted to the other folds.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from out_of_fold import FOLDER, PRICED_SETS, out_of_fold

from tryage.policies.cascade import DEFAULT_MIN_GAIN
from tryage.policies.cascade_values import NO_STEP, CascadeSteps, best_paths, fit_odds_ratio
from tryage.policies.likelihood import Likelihood
from tryage.simulation.metrics import (
    PARITY_TOLERANCE,
    aiq,
    bootstrap,
    cost_at_score,
    score_at_cost,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # datasets.py

from datasets import load, recorded_column

if TYPE_CHECKING:
    from out_of_fold import OutOfFoldTable

    from tryage.core.arrays import Float64Array, IndexArray

WEIGHTS: Float64Array = np.append(0.0, np.geomspace(1e-3, 1e2, 24))  # of a best single call

ROUTING, THRESHOLD, CASCADE = "routing", "threshold cascade", "cascade"

MAX_STEPS = 8

_THRESHOLDS = np.linspace(0.0, 1.0, 11)  # quantiles of the evidence, for the threshold cascade

_DRAWS = 100

_MIN_ANSWERS = 60

_WRONG_AGREE = 0.3


class Evidence(NamedTuple):
    """The numbers of a verifier, and what it costs to read them; all `(n_prompts, n_experts)`.

    `costs` are in USD as billed, `forecast_costs` as predicted.
    """

    values: Float64Array
    costs: Float64Array
    forecast_costs: Float64Array


class Curve(NamedTuple):
    """Real scores and costs (USD) of each prompt at every weight of cost, `(n, n_weights)`."""

    scores: Float64Array
    costs: Float64Array


@dataclass(frozen=True, eq=False)
class Fold:
    """The training and test rows of one fold, and the steps chosen on the training rows."""

    train: IndexArray
    test: IndexArray
    steps: IndexArray


def simulated_evidence(right: Float64Array, auc: float, seed: int) -> Float64Array:
    """Return normal numbers that tell right answers from wrong ones with this AUC.

    `right` is the quality in [0, 1], NaN where unmeasured; from one half on it counts as right.
    """
    distance = np.sqrt(2) * NormalDist().inv_cdf(auc)
    noise = np.random.default_rng(seed).normal(size=right.shape)
    return np.where(np.isnan(right), np.nan, noise + distance * (right >= 0.5))


def evidence_of(name: str, kind: str, table: OutOfFoldTable, seed: int) -> Evidence | None:
    """Return the evidence of all answers, None where the set has no such record."""
    if kind == "ensemble":
        return agreement_with_next(table, seed)
    if kind.startswith("auc="):
        values = simulated_evidence(1.0 - table.losses_true, float(kind.removeprefix("auc=")), seed)
    elif kind == "length":
        values = load(name).select(table.names).output_tokens
        values = None if values is None else -np.asarray(values, np.float64)
    else:
        values = recorded_column(name, "score_gptmini_judge", table.names)
    free = np.zeros(table.losses_true.shape)
    return None if values is None else Evidence(values, free, free)


def agreement_with_next(table: OutOfFoldTable, seed: int) -> Evidence:
    """Return whether each answer agrees with that of the next dearer expert.

    Which answers are right is recorded, what they say is not: whether two wrong ones agree is
    drawn.
    """
    order = np.argsort(np.nanmean(table.costs_true, axis=0))
    partner = np.empty_like(order)
    partner[order] = np.append(order[1:], order[-1])
    right = np.where(np.isnan(table.losses_true), np.nan, table.losses_true < 0.5)
    draws = np.random.default_rng(seed).random(right.shape)
    both_wrong = (right == 0) & (right[:, partner] == 0)
    agree = (right == 1) & (right[:, partner] == 1) | both_wrong & (draws < _WRONG_AGREE)
    known = ~np.isnan(right + right[:, partner]) & (partner != np.arange(len(partner)))
    values = np.where(known, agree, np.nan)
    return Evidence(values, table.costs_true[:, partner], table.costs_predicted[:, partner])


def make_folds(table: OutOfFoldTable, prices: Float64Array) -> list[Fold]:
    """Return the folds; the steps are what routing chooses most often on the training rows."""
    chosen = np.stack([route(table, price) for price in prices], axis=1)
    found = []
    for fold in np.unique(table.folds):
        train = np.flatnonzero(table.folds != fold)
        counts = np.bincount(chosen[train].ravel(), minlength=len(table.names))
        steps = np.argsort(-counts)[:MAX_STEPS]
        costs = np.nanmean(table.costs_true[train][:, steps], axis=0)
        found.append(Fold(train, np.flatnonzero(table.folds == fold), steps[np.argsort(costs)]))
    return found


def route(table: OutOfFoldTable, price: float) -> IndexArray:
    """Return the measured expert with the lowest predicted loss plus price x predicted cost."""
    totals = table.losses_predicted + max(price, 1e-9) * table.costs_predicted
    return np.argmin(np.where(table.measured, totals, np.inf), axis=1)


def real(table: OutOfFoldTable, experts: IndexArray) -> tuple[Float64Array, Float64Array]:
    """Return the real scores and costs of one expert for each prompt."""
    rows = np.arange(len(experts))
    return 1.0 - table.losses_true[rows, experts], np.array(table.costs_true[rows, experts])


def cascade_inputs(table: OutOfFoldTable, evidence: Evidence, fold: Fold) -> CascadeSteps:
    """Return the steps for all prompts, prices in USD, with what the training rows say."""
    steps, train = fold.steps, fold.train
    right = np.where(table.measured, 1.0 - table.losses_true, np.nan)[:, steps].astype(float)
    priors = np.clip(1.0 - table.losses_predicted[:, steps].astype(float), 0, 1)
    likelihoods = fit_likelihoods(evidence.values[train][:, steps], right[train], priors[train])
    ratios = np.ones((len(steps), len(steps)))
    for i, j in zip(*np.triu_indices(len(steps), 1), strict=True):
        columns = (priors[train, i], priors[train, j], right[train, i], right[train, j])
        ratios[i, j] = fit_odds_ratio(*columns)
    return CascadeSteps(
        np.where(np.isnan(right), np.nan, priors),
        table.costs_predicted[:, steps].astype(float),
        evidence.forecast_costs[:, steps].astype(float),
        likelihoods,
        ratios,
    )


def fit_likelihoods(
    evidence: Float64Array, right: Float64Array, priors: Float64Array
) -> list[Likelihood | None]:
    """Return how much the evidence of each step tells, of all together where it has few answers."""
    columns = [np.ravel(part) for part in (evidence, right, priors)]
    counts = (~np.isnan(evidence + right)).sum(axis=0)
    if counts.sum() < _MIN_ANSWERS:
        return [None] * len(counts)
    pooled = Likelihood.fit(*columns)
    return [
        Likelihood.fit(evidence[:, s], right[:, s], priors[:, s])
        if count >= _MIN_ANSWERS
        else pooled
        if count
        else None
        for s, count in enumerate(counts)
    ]


def run_cascade(
    table: OutOfFoldTable, evidence: Evidence, fold: Fold, steps: CascadeSteps, price: float
) -> tuple[Float64Array, Float64Array]:
    """Return the scores and costs of the test rows: cascades where they are worth more."""
    chosen = route(table, price)
    scores, costs = real(table, chosen)
    some = steps.rows(fold.test)
    paths = best_paths(some)
    rows = np.arange(len(chosen))
    plain = 1 - table.losses_predicted[rows, chosen] - price * table.costs_predicted[rows, chosen]
    is_better = (paths.values > plain[fold.test] + DEFAULT_MIN_GAIN) & (
        paths.steps[:, 1] != NO_STEP
    )
    open_rows = np.flatnonzero(is_better)
    costs[fold.test[open_rows]] = 0.0
    for place in range(paths.steps.shape[1]):
        at = paths.steps[open_rows, place]
        experts, prompts = fold.steps[at], fold.test[open_rows]
        scores[prompts] = 1 - table.losses_true[prompts, experts]
        costs[prompts] += table.costs_true[prompts, experts]
        thresholds = paths.thresholds[open_rows, place]
        checks = np.where(np.isnan(thresholds), 0.0, evidence.costs[prompts, experts])
        costs[prompts] += np.nan_to_num(checks)
        posteriors = _posteriors(
            steps, at, paths.priors[open_rows, place], evidence.values[prompts, experts]
        )
        open_rows = open_rows[posteriors < thresholds]  # False where there is no threshold
        if not open_rows.size:
            break
    return scores[fold.test], costs[fold.test]


def _posteriors(
    steps: CascadeSteps, at: IndexArray, priors: Float64Array, evidence: Float64Array
) -> Float64Array:
    """Return P(right) after the evidence of each prompt's step; the prior without evidence."""
    found = np.array(priors)
    for s, likelihood in enumerate(steps.likelihoods):
        rows = np.flatnonzero((at == s) & ~np.isnan(evidence))
        if likelihood is not None and rows.size:
            levels = likelihood.levels(evidence[rows])
            found[rows] = likelihood.posteriors(priors[rows])[np.arange(rows.size), levels]
    return found


def run_threshold(
    table: OutOfFoldTable, evidence: Evidence, fold: Fold, prices: Float64Array
) -> Curve:
    """Return FrugalGPT's rule: two experts and one threshold on the evidence, for all prompts.

    The pair and the threshold are the best on the training rows at each price.
    """
    settings = [
        _escalate(table, evidence, i, j, np.nanquantile(evidence.values[fold.train, i], quantile))
        for k, i in enumerate(fold.steps)
        if not np.isnan(evidence.values[fold.train, i]).all()
        for j in fold.steps[k + 1 :]
        for quantile in _THRESHOLDS
    ]
    settings += [(1.0 - table.losses_true[:, i], table.costs_true[:, i]) for i in fold.steps]
    scores, costs = (np.stack(part, axis=1) for part in zip(*settings, strict=True))
    means = [np.nanmean(part[fold.train], axis=0) for part in (scores, costs)]
    best = [int(np.argmax(means[0] - price * means[1])) for price in prices]
    return Curve(scores[fold.test][:, best], costs[fold.test][:, best])


def _escalate(
    table: OutOfFoldTable, evidence: Evidence, i: int, j: int, threshold: float
) -> tuple[Float64Array, Float64Array]:
    """Return scores and costs of asking expert i, and j where the evidence is below."""
    goes_on = evidence.values[:, i] < threshold
    losses = np.where(goes_on, table.losses_true[:, j], table.losses_true[:, i])
    costs = table.costs_true[:, i] + evidence.costs[:, i]
    costs = costs + np.where(goes_on, table.costs_true[:, j], 0)
    return 1.0 - losses, costs


def curves(table: OutOfFoldTable, evidence: Evidence, reference_cost: float) -> dict[str, Curve]:
    """Return the curve of every method."""
    prices = WEIGHTS / reference_cost
    shape = (len(table.prompts), len(prices))
    routed = [real(table, route(table, price)) for price in prices]
    found = {name: Curve(np.empty(shape), np.empty(shape)) for name in (THRESHOLD, CASCADE)}
    for fold in make_folds(table, prices):
        part = run_threshold(table, evidence, fold, prices)
        found[THRESHOLD].scores[fold.test], found[THRESHOLD].costs[fold.test] = part
        inputs = cascade_inputs(table, evidence, fold)
        for column, price in enumerate(prices):
            prices_of = price * inputs.prices, price * inputs.check_prices
            steps = replace(inputs, prices=prices_of[0], check_prices=prices_of[1])
            scores, costs = run_cascade(table, evidence, fold, steps, price)
            found[CASCADE].scores[fold.test, column] = scores
            found[CASCADE].costs[fold.test, column] = costs
    routing = Curve(*(np.stack(part, axis=1) for part in zip(*routed, strict=True)))
    filled = {name: _filled(curve, routing) for name, curve in found.items()}
    return {ROUTING: routing, **filled}


def _filled(curve: Curve, routing: Curve) -> Curve:
    """Let routing answer the prompts on which the experts of a threshold were not measured."""
    unknown = np.isnan(curve.scores) | np.isnan(curve.costs)
    return Curve(*(np.where(unknown, *pair) for pair in zip(routing, curve, strict=True)))


class Figures(NamedTuple):
    """AIQ, cost at parity and score at half the cost of the best single expert."""

    aiq: float
    parity: float
    half: float


def figures(scores: Float64Array, costs: Float64Array, reference: Reference) -> Figures:
    """Return the figures of a curve of mean scores and costs, `(n_weights,)`."""
    costs = np.append(costs, reference.cheapest_cost)
    scores = np.append(scores, reference.cheapest_score)
    parity = cost_at_score(costs, scores, reference.score - PARITY_TOLERANCE)
    half = score_at_cost(costs, scores, reference.cost / 2)
    return Figures(
        aiq(costs, scores, reference.cheapest_cost, reference.highest_cost),
        np.nan if parity is None else parity / reference.cost,
        np.nan if half is None else half,
    )


class Reference(NamedTuple):
    """The best single expert's score and cost, the cheapest one's, and the highest mean cost."""

    score: float
    cost: float
    cheapest_score: float
    cheapest_cost: float
    highest_cost: float


def reference_of(table: OutOfFoldTable) -> Reference:
    """Return what the figures of a set are relative to."""
    scores = 1.0 - np.nanmean(table.losses_true, axis=0)
    costs = np.nanmean(table.costs_true, axis=0)
    best, cheapest = int(np.argmax(scores)), int(np.argmin(costs))
    return Reference(
        *map(float, (scores[best], costs[best], scores[cheapest], costs[cheapest], costs.max()))
    )


def drawn_figures(table: OutOfFoldTable, curve: Curve, reference: Reference) -> Float64Array:
    """Return the figures in bootstrap samples of prompts, `(draws, 3)`, the same for all curves."""
    values = np.column_stack(curve)
    kept = ~np.isnan(values).any(axis=1)
    draws = bootstrap(values[kept], table.groups[kept], draws=_DRAWS)
    half = values.shape[1] // 2
    return np.array([figures(row[:half], row[half:], reference) for row in draws])


def compare(name: str, kind: str, seeds: int, folder: Path) -> str | None:
    """Return a row of the table of one set and one kind of evidence, None without a record."""
    means: dict[str, list[Figures]] = {}
    gains = []
    for seed in range(seeds):
        table = out_of_fold(name, seed, folder)
        evidence = evidence_of(name, kind, table, seed)
        if evidence is None:
            return None
        reference = reference_of(table)
        found = curves(table, evidence, reference.cost)
        for label, curve in found.items():
            points = (np.nanmean(part, axis=0) for part in curve)
            means.setdefault(label, []).append(figures(*points, reference))
        drawn = {one: drawn_figures(table, found[one], reference) for one in (ROUTING, CASCADE)}
        gains.append(drawn[CASCADE] - drawn[ROUTING])
    return _row(name, kind, means, np.concatenate(gains))


def _row(name: str, kind: str, means: dict[str, list[Figures]], gains: Float64Array) -> str:
    """Write the means over seeds, and the gain over routing with its 95% interval."""
    cells = [name, kind]
    for label in (ROUTING, CASCADE, THRESHOLD):
        average = np.mean(means[label], axis=0)
        parity = "never" if np.isnan(average[1]) else f"{average[1]:.1%}"
        cells.append(f"{average[0]:.4f} / {parity} / {average[2]:.4f}")
    low, high = np.nanpercentile(gains, [2.5, 97.5], axis=0)
    gain = np.mean(means[CASCADE], axis=0) - np.mean(means[ROUTING], axis=0)
    gain, low, high = (100 * part for part in (gain, low, high))
    cells += [f"{gain[i]:+.2f} [{low[i]:+.2f}, {high[i]:+.2f}]" for i in range(3)]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Compare on the given sets, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=PRICED_SETS, default=list(PRICED_SETS))
    parser.add_argument("--seeds", type=int, default=5)
    kinds = ["length", "judge", "ensemble", *(f"auc={auc}" for auc in (0.5, 0.6, 0.7, 0.8, 0.9))]
    parser.add_argument("--evidence", nargs="+", default=kinds)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    labels = [ROUTING, CASCADE, THRESHOLD, "gain in AIQ", "in cost at parity", "at half"]
    print("| " + " | ".join(["set", "evidence", *labels]) + " |", "|" + "---|" * 8, sep="\n")
    for name in arguments.sets:
        for kind in arguments.evidence:
            row = compare(name, kind, arguments.seeds, arguments.folder)
            if row is not None:
                print(row, flush=True)


if __name__ == "__main__":
    main()
