"""All policies beside plain routing on the sets with prices: cost at parity, AIQ, half the cost.

Run from the root of the repository, after installing the extra `evaluate` (about five minutes):

    python benchmarks/policies/table.py [--sets zeroeval ...] [--seeds 5] [--prompts 400]

Each seed draws so many prompts of a set. A policy is a family over one setting, such as the share
of `Threshold`. Every setting runs over all prompts in the simulation that `router.simulate` uses,
with predictions of routers that have not seen the prompt. What is chosen or calibrated is so on one
half of the prompts, and everything is measured on the other one.

- Cost at parity: the cost, relative to that of the best single expert, of the cheapest setting that
  scores at most half a point below it on the first half; beside it how far above or below it is.
- AIQ (RouterBench): the mean height of the hull of all settings between the costs of the cheapest
  and of the dearest expert; less that of plain routing on the same prompts.
- Score at half the cost: the height of the hull at half the cost of the best single expert; less
  that of plain routing.

The evidence of a cascade is simulated with an AUC of .8. `AnswerCache` stands apart: it runs on
requests drawn from the prompts by Zipf's law. On zoonk_tasks most prompts have no answer: the best
single expert is the best of those that answered, and policies with a reference have no row.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from out_of_fold import FOLDER, PRICED_SETS, out_of_fold

from tryage import Preferences, Router
from tryage.core.request import ConversationContext
from tryage.errors import InfeasibleError, TryageError
from tryage.learning.evaluation.costs import choose_weight, sweep_weight
from tryage.policies import (
    AnswerCache,
    Budget,
    Cascade,
    Guarantee,
    QualityGap,
    Threshold,
    assign,
)
from tryage.policies.cascade_calibration import fit_odds_ratios
from tryage.policies.evidence import LogProbability
from tryage.policies.likelihood import Likelihood
from tryage.scoring.qtable import QTable
from tryage.simulation.compare import best_answers
from tryage.simulation.evidence import simulated_evidence
from tryage.simulation.metrics import (
    PARITY_TOLERANCE,
    aiq,
    score_at_cost,
)
from tryage.simulation.recorded_perception import RecordedPerception
from tryage.simulation.run import SimulatedClock, measured_preferences, run_policy
from tryage.simulation.stream import RequestStream, stream_of_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from out_of_fold import OutOfFoldTable

    from tryage.core.arrays import Float64Array, IndexArray
    from tryage.core.policy import Policy

AUC = 0.8  # of the simulated evidence

_ROUTED_WEIGHTS = np.geomspace(1e-3, 1e4, 15)  # at which the choices of routing are counted

SHARES = (0.1, 0.25, 0.45, 0.7, 0.9)

BUDGETS = (0.05, 0.15, 0.25, 0.4, 0.6, 1.0)  # of the best single expert's cost

GAPS = (0.0, 0.01, 0.03, 0.06, 0.12, 0.25)

LEVELS = (0.85, 0.92, 0.96, 0.99)  # of the reference's score

ANSWER_VALUES = (3.0, 9.0, 20.0, 40.0, 80.0, 200.0, 1e3, 1e5)  # best single's costs

WEIGHTS = 1 / np.array(ANSWER_VALUES)  # as many as others have: a hull of more points is higher

ZIPF, CACHE_SHARE = 1.0, 0.1  # the exponent, and the size of the cache as a share of the prompts

_MAX_STEPS = 4  # of a cascade

_RARE = 10.0  # added to the mean loss of an expert whose mean is over few, perhaps easy, prompts

_MIN_COVERAGE = 0.95

_BATCH = 64  # requests decided at a time


@dataclass(frozen=True, eq=False)
class Setup:
    """Prompts of one set: its requests in random order, and what is known of them.

    `learned` and `judged` are the rows of the two halves. `singles` `(n,)` are the columns of the
    best single expert of the first half, of the next best where that one has not answered.
    """

    table: QTable
    stream: RequestStream
    perception: RecordedPerception
    predicted_losses: Float64Array
    predicted_costs: Float64Array
    learned: IndexArray
    judged: IndexArray
    singles: IndexArray
    seed: int

    def router(self, preferences: Preferences | str) -> Router:
        """Return a router that predicts what was predicted without the prompt."""
        return Router(self.perception, preferences=preferences)

    @property
    def has_reference(self) -> bool:
        """Whether one expert answered most prompts, so that others can be compared with it."""
        return bool(self.table.measured.mean(axis=0).max() > _MIN_COVERAGE)

    @property
    def single(self) -> str:
        """The name of the best single expert."""
        columns, counts = np.unique(self.singles, return_counts=True)
        return self.table.experts[columns[counts.argmax()]]

    @property
    def reference_cost(self) -> float:
        """The mean cost of the best single expert on the first half, in USD."""
        return float(self.stream.costs[self.learned, self.singles[self.learned]].mean())


Family = tuple["Float64Array", "Float64Array"]
"""Scores and costs (USD) of every request at every setting, `(n, n_settings)` each."""

Build = Callable[[Setup], "Iterator[tuple[Policy | None, Preferences | str]]"]
"""Yields each setting of a policy, which learns from the first half, and the preferences."""


def make_setup(name: str, seed: int, prompts: int, folder: Path) -> Setup:
    """Return at most so many prompts of one set, drawn and ordered at random."""
    found = out_of_fold(name, seed, folder)
    rows = np.flatnonzero(found.measured.any(axis=1))
    rows = np.random.default_rng(seed).permutation(rows)[:prompts]
    losses = np.where(found.measured, found.losses_true, np.nan)[rows]
    table = QTable(
        [found.prompts[row] for row in rows], found.names, losses, costs=found.costs_true[rows]
    )
    stream = stream_of_table(table, evidence=simulated_evidence(losses, AUC, seed))
    predicted = [part[rows].astype(np.float64) for part in _predictions(found)]
    perception = RecordedPerception(table.experts, table.prompts, *predicted)
    _, group = np.unique(stream.groups, return_inverse=True)
    half = np.random.default_rng(seed + 1).permutation(group.max() + 1)[group] % 2
    learned, judged = np.flatnonzero(half == 0), np.flatnonzero(half == 1)
    return Setup(
        table=table,
        stream=stream,
        perception=perception,
        predicted_losses=predicted[0],
        predicted_costs=predicted[2],
        learned=learned,
        judged=judged,
        singles=_best_single(losses, learned),
        seed=seed,
    )


def _predictions(found: OutOfFoldTable) -> tuple[Float64Array, Float64Array, Float64Array]:
    return found.losses_predicted, found.std_predicted, found.costs_predicted


def _best_single(losses: Float64Array, rows: IndexArray) -> IndexArray:
    """Return the column of the best expert of some rows, where it has a gap of the next one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # experts without an answer in this half
        means = np.nan_to_num(np.nanmean(losses[rows], axis=0), nan=_RARE)
    coverage = (~np.isnan(losses[rows])).mean(axis=0)
    means = means + _RARE * (coverage < min(_MIN_COVERAGE, coverage.max()))
    return np.where(np.isnan(losses), np.inf, means).argmin(axis=1)


def run_family(setup: Setup, build: Build) -> Family | None:
    """Run every setting over all prompts; None where the policy has no setting for this set."""
    runs = [_run(setup, *setting) for setting in build(setup)]
    if not runs:
        return None
    return np.stack([run[0] for run in runs], axis=1), np.stack([run[1] for run in runs], axis=1)


def _run(
    setup: Setup, policy: Policy | None, preferences: Preferences | str
) -> tuple[Float64Array, Float64Array]:
    router, clock = setup.router(preferences).with_policy(policy), SimulatedClock()
    if router.policy is not None:
        router.policy.set_clock(clock)

    def decide(prompts, preferences, contexts):  # noqa: ANN001, ANN202 - as `Decide`
        return router.decide_batch(prompts, preferences, contexts=contexts)

    run = run_policy("", decide, router.policy, setup.stream, batch_size=_BATCH, clock=clock)
    return run.scores, run.costs


def plain(setup: Setup) -> Family:
    """Return plain routing at every weight of costs."""
    return sweep_weight(
        setup.predicted_losses,
        setup.predicted_costs,
        setup.table,
        setup.reference_cost,
        WEIGHTS,
    )


def thresholds(setup: Setup) -> Iterator[tuple[Policy, str]]:
    """Yield RouteLLM's threshold between the best single expert and a cheaper one."""
    if not setup.has_reference:
        return
    weak = _weak_expert(setup)
    for share in SHARES:
        yield Threshold(setup.single, weak, share=share), "best"


def budgets(setup: Setup) -> Iterator[tuple[Policy, str]]:
    """Yield budgets per request."""
    for part in BUDGETS:
        limit = part * setup.reference_cost
        yield Budget(usd_per_request=limit, requests=len(setup.stream)), "best"


def assignments(setup: Setup) -> Family:
    """Return the best assignment of all prompts at once, within each budget that is enough."""
    stream, rows = setup.stream, np.arange(len(setup.stream))
    preferences, found = measured_preferences(stream), []
    for part in BUDGETS:
        budget = part * setup.reference_cost * len(stream)
        try:
            batch = assign(
                setup.router(Preferences()), stream.prompts, budget=budget, preferences=preferences
            )
        except InfeasibleError:  # not even the cheapest experts are within it
            continue
        columns = np.array([stream.columns[name] for name in batch.experts])
        found.append((1.0 - stream.losses[rows, columns], stream.costs[rows, columns]))
    scores, costs = zip(*found, strict=True)
    return np.stack(scores, axis=1), np.stack(costs, axis=1)


def gaps(_: Setup) -> Iterator[tuple[Policy, Preferences]]:
    """Yield quality gaps."""
    for gap in GAPS:
        yield QualityGap(gap), Preferences()


def guarantees(setup: Setup) -> Iterator[tuple[Policy, Preferences]]:
    """Yield guarantees; where the data do not allow one, the reference answers everything."""
    if not setup.has_reference:
        return
    reference, table = setup.single, setup.table.take(setup.learned)
    router = setup.router(Preferences())
    for level in LEVELS:
        try:
            policy = Guarantee.calibrate(router, table, reference, at_least=level)
        except TryageError:
            policy = Guarantee(reference, at_least=level)
        yield policy, Preferences()


def cascades(setup: Setup) -> Iterator[tuple[Policy, Preferences]]:
    """Yield cascades from cheaper experts to the best single one, by the value of an answer."""
    rows = setup.learned
    evidence, right = setup.stream.evidence[rows].ravel(), 1.0 - setup.stream.losses[rows].ravel()
    priors = np.clip(1.0 - setup.predicted_losses[rows].ravel(), 0.01, 0.99)
    likelihood = Likelihood.fit(evidence, right, priors)
    steps = _routed_experts(setup)
    cascade = Cascade(steps, verify=LogProbability(), likelihoods=likelihood)
    cascade.odds_ratios = fit_odds_ratios(
        setup.router("best"), cascade.steps, setup.table.take(rows)
    )
    for value in ANSWER_VALUES:
        yield cascade, Preferences(answer_value=value * setup.reference_cost)


def _routed_experts(setup: Setup) -> list[str]:
    """Return the experts that plain routing chooses most often, the cheapest first."""
    rows = setup.learned
    counts = np.zeros(len(setup.table.experts))
    for weight in _ROUTED_WEIGHTS / setup.reference_cost:
        totals = setup.predicted_losses[rows] + weight * setup.predicted_costs[rows]
        known = ~np.isnan(setup.stream.losses[rows])
        chosen = np.where(known, totals, np.inf).argmin(axis=1)
        counts += np.bincount(chosen, minlength=len(counts))
    columns = np.argsort(-counts)[:_MAX_STEPS]
    costs = np.nanmean(setup.stream.costs[rows][:, columns], axis=0)
    return [setup.table.experts[column] for column in columns[np.argsort(costs)]]


def _weak_expert(setup: Setup) -> str:
    """Return the best expert that costs at most a third of the best one, else the cheapest.

    Of those with the most answers: on zoonk_tasks most prompts have no answer.
    """
    rows, single = setup.learned, setup.single
    coverage = setup.table.measured[rows].mean(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # experts without an answer in this half
        losses = np.nanmean(setup.table.losses[rows], axis=0)
        costs = np.nanmean(setup.stream.costs[rows], axis=0)
    limit = costs[setup.table.experts.index(single)] / 3
    enough = coverage >= min(_MIN_COVERAGE, np.sort(coverage)[-4:].min())
    cheap = enough & (costs <= limit)
    if cheap.any():
        return setup.table.experts[np.where(cheap, losses, np.inf).argmin()]
    return setup.table.experts[np.where(enough, costs, np.inf).argmin()]


FAMILIES: dict[str, Callable[[Setup], Family | None]] = {
    "Threshold": partial(run_family, build=thresholds),
    "Budget": partial(run_family, build=budgets),
    "assign (all at once)": assignments,
    "QualityGap": partial(run_family, build=gaps),
    "Guarantee": partial(run_family, build=guarantees),
    "Cascade": partial(run_family, build=cascades),
}


@dataclass(frozen=True)
class Figures:
    """What a row of the table says: of one policy, on one set, with one seed."""

    relative_cost: float
    difference: float
    aiq: float
    half_cost_score: float


def figures(setup: Setup, family: Callable[[Setup], Family | None]) -> Figures | None:
    """Choose the setting for parity on the first half, and measure everything on the other one."""
    run = family(setup)
    if run is None:
        return None
    scores, costs = run
    rows = np.arange(len(setup.singles))
    single_scores = 1.0 - setup.stream.losses[rows, setup.singles]
    best = choose_weight(
        scores[setup.learned],
        costs[setup.learned],
        float(single_scores[setup.learned].mean()),
        PARITY_TOLERANCE,
    )
    x, y = (np.nanmean(part[setup.judged], axis=0) for part in (costs, scores))
    reference = setup.stream.costs[setup.judged, setup.singles[setup.judged]].mean()
    low, high, cheapest = _cost_range(setup, setup.judged)
    hull = np.append(x, low), np.append(y, cheapest)  # anyone can ask the cheapest expert
    return Figures(
        x[best] / reference,
        y[best] - single_scores[setup.judged].mean(),
        aiq(*hull, low, high),
        score_at_cost(*hull, reference / 2) or np.nan,
    )


def _cost_range(setup: Setup, rows: IndexArray) -> tuple[float, float, float]:
    """Return the mean costs of the cheapest and the dearest expert, and the former's score."""
    coverage = setup.table.measured[rows].mean(axis=0)
    usable = np.flatnonzero(coverage >= min(_MIN_COVERAGE, np.sort(coverage)[-4:].min()))
    costs = np.nanmean(setup.stream.costs[rows][:, usable], axis=0)
    score = 1.0 - np.nanmean(setup.stream.losses[rows][:, usable[costs.argmin()]])
    return float(costs.min()), float(costs.max()), float(score)


def fixed_rows(setup: Setup) -> dict[str, tuple[float, float]]:
    """Return the score, and the cost relative to the best single expert, of what has no setting."""
    rows, losses, costs = setup.judged, setup.stream.losses, setup.stream.costs
    reference = costs[rows, setup.singles[rows]].mean()
    oracle, known = best_answers(setup.stream), ~np.isnan(losses)
    shares = known / known.sum(axis=1, keepdims=True)
    picked = {
        name: (1.0 - losses[rows, columns[rows]].mean(), costs[rows, columns[rows]].mean())
        for name, columns in (("best single", setup.singles), ("oracle", oracle))
    }
    random = (1.0 - np.nansum(shares * losses, axis=1), np.nansum(shares * costs, axis=1))
    picked["random"] = (random[0][rows].mean(), random[1][rows].mean())
    return {name: (float(score), float(cost / reference)) for name, (score, cost) in picked.items()}


def cache_saving(setup: Setup) -> tuple[float, float]:
    """Return the cost of plain routing with an exact cache, relative to without, and the scores.

    As many requests as there are prompts are drawn by Zipf's law; the cache holds a tenth of them.
    """
    size = len(setup.stream)
    weights = np.arange(1, size + 1) ** -ZIPF
    rows = np.random.default_rng(setup.seed).choice(size, size, p=weights / weights.sum())
    contexts = (ConversationContext(keys={"user_id": "one"}),) * size
    stream = replace(setup.stream.take(rows), contexts=contexts)
    drawn = replace(setup, stream=stream)
    value = Preferences(answer_value=100 * setup.reference_cost)
    scores, costs = _run(drawn, None, value)
    cached_scores, cached_costs = _run(drawn, AnswerCache(round(CACHE_SHARE * size)), value)
    return float(cached_costs.sum() / costs.sum()), float(cached_scores.mean() - scores.mean())


def print_set(name: str, setups: Sequence[Setup], labels: Sequence[str]) -> None:
    """Print the table of one set, with the families of some labels beside plain routing."""
    size, n_experts = len(setups[0].stream), len(setups[0].table.experts)
    print(f"\n{name}, {size:,} prompts with each seed, {n_experts} experts\n")
    print("| policy | cost at parity | score there, points | AIQ | score at half the cost |")
    print("|---|---:|---:|---:|---:|")
    routing = [figures(setup, plain) for setup in setups]
    _print_row("plain routing", routing, [Figures(0, 0, 0, 0)] * len(routing), "{:.4f}")
    for label in labels:
        found = [figures(setup, FAMILIES[label]) for setup in setups]
        _print_row(label, found, routing, "{:+.4f}")
    fixed = [fixed_rows(setup) for setup in setups]
    for label in fixed[0]:
        score = np.mean([one[label][0] for one in fixed])
        cost = np.mean([one[label][1] for one in fixed])
        print(f"| {label} | {cost:.0%} | score {score:.4f} | | |")
    costs, differences = zip(*map(cache_saving, setups), strict=True)
    cells = [_cell(costs, "{:.0%}"), _cell([100 * one for one in differences], "{:+.2f}")]
    print(f"| AnswerCache, Zipf {ZIPF}: of plain routing | " + " | ".join(cells) + " | | |")


def _print_row(
    label: str, found: Sequence[Figures | None], less: Sequence[Figures], form: str
) -> None:
    """Print a policy; AIQ and the score at half the cost are `less` those of another."""
    pairs = [(one, other) for one, other in zip(found, less, strict=True) if one is not None]
    cells = [
        _cell([one.relative_cost for one, _ in pairs], "{:.0%}"),
        _cell([100 * one.difference for one, _ in pairs], "{:+.2f}"),
        _cell([one.aiq - other.aiq for one, other in pairs], form),
        _cell([one.half_cost_score - other.half_cost_score for one, other in pairs], form),
    ]
    print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def _cell(values: Sequence[float], form: str) -> str:
    """Return the mean over the seeds, and the standard deviation between them."""
    if not values:
        return "-"
    mean = form.format(np.nanmean(values))
    return mean if len(values) < 2 else f"{mean} ± {form.format(np.nanstd(values)).lstrip('+')}"


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=PRICED_SETS, default=list(PRICED_SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=400, help="of each set, with each seed")
    parser.add_argument("--policies", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    for name in arguments.sets:
        setups = [
            make_setup(name, seed, arguments.prompts, arguments.folder)
            for seed in range(arguments.seeds)
        ]
        print_set(name, setups, arguments.policies)


if __name__ == "__main__":
    main()
