"""How often a guarantee is violated, what it saves, and how soon a break is noticed.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/guarantee.py calibrations [--at-least .95]
    python benchmarks/policies/guarantee.py watch

The whole set is the population, whose means are the truth. A calibration draws prompts from it with
replacement, so they are independent, and the bound has to hold exactly. The predictions are out of
fold. The reference is the expert with the best mean score; prompts on which it was measured count,
and of each prompt the experts that were measured on it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # out_of_fold.py

from out_of_fold import out_of_fold

from tryage.policies.betting import MeanTest
from tryage.policies.guarantee_calibration import choose_along, select_rule
from tryage.policies.guarantee_monitor import SAMPLED_SHARE, estimate_difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray

REFERENCES = {
    "coderouter_id": "claude-opus-4-6",
    "routerbench_subset": "gpt-4-1106-preview",
    "paretobandit": "google/gemini-2.5-pro",
    "zoonk_tasks": "openai/gpt-5.4",  # of those measured on a third of the prompts
    "zeroeval": "o1-mini-2024-09-12",
    "bfcl_2024_08": "claude-3-5-sonnet-20240620",
}

SIZES = (200, 500, 1_000)

CONFIDENCE = 0.95

_UNKNOWN_COST = 1e9  # USD: an expert without a predicted cost is never the cheapest


@dataclass(frozen=True, eq=False)
class Population:
    """The rules of a set and what is true of them.

    `choices`, `achieved` (scores) and `expected` (USD) are `(n_prompts, n_rules)`, and `savings`
    `(n_rules,)` are shares of what the reference costs. `of_reference` `(n_prompts,)` are its
    scores. All other tables are `(n_prompts, n_experts)`.
    """

    reference: int
    choices: IndexArray
    achieved: Float64Array
    expected: Float64Array
    of_reference: Float64Array
    savings: Float64Array
    scores: Float64Array
    predicted: Float64Array
    costs: Float64Array

    def differences(self, at_least: float) -> Float64Array:
        """Return the scores of the rules less the guaranteed ones, `(n_prompts, n_rules)`."""
        return self.achieved - at_least * self.of_reference[:, None]

    def kept(self, at_least: float) -> BoolArray:
        """Return which rules truly keep the guarantee, `(n_rules,)`."""
        return np.asarray(self.differences(at_least).mean(axis=0) >= 0)


def load_population(name: str, seed: int) -> Population:
    """Return the rules of a set, with the predictions of one seed."""
    table = out_of_fold(name, seed)
    reference = table.names.index(REFERENCES[name])
    rows = table.measured[:, reference]
    losses, measured = table.losses_predicted[rows], table.measured[rows]
    predicted_costs = np.nan_to_num(table.costs_predicted[rows], nan=_UNKNOWN_COST)
    choices = choose_along(losses, predicted_costs, measured & ~np.isnan(losses), reference)
    is_new = np.append(True, (choices[:, 1:] != choices[:, :-1]).any(axis=0))
    choices = choices[:, is_new]  # equal rules pass or fail together
    scores = 1 - table.losses_true[rows].astype(np.float64)
    costs = table.costs_true[rows].astype(np.float64)
    spent = np.take_along_axis(costs, choices, axis=1).mean(axis=0)
    return Population(
        reference=reference,
        choices=choices,
        achieved=np.take_along_axis(scores, choices, axis=1),
        expected=np.take_along_axis(predicted_costs, choices, axis=1),
        of_reference=scores[:, reference],
        savings=1 - spent / costs[:, reference].mean(),
        scores=scores,
        predicted=(1 - losses).clip(0, 1).astype(np.float64),
        costs=costs,
    )


def single_saving(population: Population, at_least: float) -> float:
    """Return what the cheapest single expert saves that truly keeps the guarantee."""
    complete = ~np.isnan(population.scores).any(axis=0)
    means = population.scores[:, complete].mean(axis=0)
    costs = population.costs[:, complete].mean(axis=0)
    kept = means >= at_least * population.of_reference.mean()
    return float(1 - costs[kept].min() / population.costs[:, population.reference].mean())


def oracle_saving(population: Population) -> float:
    """Return what is saved if the cheapest expert answers that is as good on the prompt."""
    as_good = population.scores >= population.of_reference[:, None]
    cheapest = np.where(as_good, population.costs, np.inf).min(axis=1)
    return float(1 - cheapest.mean() / population.costs[:, population.reference].mean())


def simulate_calibrations(
    population: Population, at_least: float, size: int, n: int, random: np.random.Generator
) -> tuple[int, list[float]]:
    """Return how many of n calibrations are violated, and what each saves."""
    differences, kept = population.differences(at_least), population.kept(at_least)
    violated, savings = 0, []
    for _ in range(n):
        rows = random.integers(0, len(differences), size)
        spent = population.expected[rows].mean(axis=0)
        rule = select_rule(differences[rows], spent, at_least, 1 - CONFIDENCE)
        violated += rule is not None and not kept[rule]
        savings.append(0.0 if rule is None else float(population.savings[rule]))
    return violated, savings


def report_calibrations(names: Sequence[str], at_least: float, n: int, seeds: int) -> None:
    """Print a row for each set and size."""
    print(
        "| set | reference's score | saved in hindsight | single expert | oracle | prompts | saved "
        "| of hindsight [5%, 95%] | violated [95%] |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name in names:
        populations = [load_population(name, seed) for seed in range(seeds)]
        hindsight = [one.savings[one.kept(at_least)].max() for one in populations]
        first = populations[0]
        for size in SIZES:
            random = np.random.default_rng(0)
            found = [simulate_calibrations(one, at_least, size, n, random) for one in populations]
            violated, total = sum(one for one, _ in found), n * seeds
            savings = np.array([values for _, values in found])
            shares = savings / np.array(hindsight)[:, None]
            interval = binomtest(violated, total).proportion_ci()
            low, high = np.quantile(shares, [0.05, 0.95])
            print(
                f"| {name} | {first.of_reference.mean():.3f} | {np.mean(hindsight):.1%} | "
                f"{single_saving(first, at_least):.1%} | {oracle_saving(first):.1%} | {size:,} | "
                f"{savings.mean():.1%} | {shares.mean():.0%} [{low:.0%}, {high:.0%}] | "
                f"{violated / total:.2%} [{interval.low:.2%}, {interval.high:.2%}] |",
                flush=True,
            )


def judged_differences(  # noqa: PLR0913 - the stream, and what is guaranteed
    population: Population, rule: int, n: int, at_least: float, damage: float, seed: int
) -> Float64Array:
    """Return what n judged answers tell, `(n,)`.

    A share `damage` of what other experts than the reference get right becomes wrong.
    """
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(population.scores), n)
    experts, reference = population.choices[rows, rule], population.reference
    is_other = experts != reference
    is_reference = is_other & (random.random(n) < SAMPLED_SHARE)
    scores = population.scores[rows, np.where(is_reference, reference, experts)]
    is_hit = is_other & ~is_reference & (random.random(n) < damage)
    scores = np.where(is_hit, 0.0, scores)
    of_rule, of_reference = (population.predicted[rows, one] for one in (experts, reference))
    estimated = estimate_difference(of_rule, of_reference, scores, is_reference, at_least)
    return np.where(is_other, estimated, (1 - at_least) * scores)


def stop_after(values: Float64Array, at_least: float) -> int | None:
    """Return after how many values the watch stops, None if it goes on."""
    test, highest = MeanTest(), 1 + at_least / SAMPLED_SHARE
    for i, value in enumerate(values.tolist()):
        test = test.update(value, highest)
        if test.wealth >= 1 / (1 - CONFIDENCE):
            return i + 1
    return None


def report_watch(names: Sequence[str], at_least: float, n: int) -> None:
    """Print how often the watch stops falsely, and after how many answers it notices a break.

    The rule is the cheapest that truly keeps the guarantee, so nothing is to spare.
    """
    print(
        "| set | false stops in 10,000 judged answers [95%] | wrong instead of right | share of "
        "the reference's score then | judged answers until noticed, median [90%] |\n"
        "|---|---|---|---|---|"
    )
    for name in names:
        population = load_population(name, 0)
        kept = np.flatnonzero(population.kept(at_least))
        rule = int(kept[population.savings[kept].argmax()])
        stops = [
            stop_after(judged_differences(population, rule, 10_000, at_least, 0.0, seed), at_least)
            for seed in range(n)
        ]
        false = sum(one is not None for one in stops)
        low, high = binomtest(false, n).proportion_ci()
        for damage in (0.1, 0.3, 1.0):
            delays = _delays(population, rule, at_least, damage, n)
            is_other = population.choices[:, rule] != population.reference
            score = np.where(is_other, 1 - damage, 1.0) * population.achieved[:, rule]
            print(
                f"| {name} | {false / n:.1%} [{low:.1%}, {high:.1%}] | {damage:.0%} | "
                f"{score.mean() / population.of_reference.mean():.3f} | {np.median(delays):,.0f} "
                f"[{np.quantile(delays, 0.9):,.0f}] |",
                flush=True,
            )


def _delays(
    population: Population, rule: int, at_least: float, damage: float, n: int
) -> list[float]:
    """Return after how many answers breaks are noticed that come after 1,000 good ones."""
    delays = []
    for seed in range(n):
        good = judged_differences(population, rule, 1_000, at_least, 0.0, 2 * seed)
        bad = judged_differences(population, rule, 20_000, at_least, damage, 2 * seed + 1)
        stopped = stop_after(np.concatenate([good, bad]), at_least)
        if stopped is None or stopped > len(good):  # a false stop before is no delay
            delays.append(np.inf if stopped is None else stopped - len(good))
    return delays


def main() -> None:
    """Print the table that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("calibrations", "watch"))
    parser.add_argument("--sets", nargs="+", choices=REFERENCES, default=list(REFERENCES))
    parser.add_argument("--at-least", type=float, default=0.95)
    parser.add_argument("--n", type=int, help="calibrations of each seed, or streams")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if given.what == "calibrations":
        report_calibrations(given.sets, given.at_least, given.n or 400, given.seeds)
    else:
        report_watch(given.sets, given.at_least, given.n or 200)


if __name__ == "__main__":
    main()
