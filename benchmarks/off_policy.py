"""Whether off-policy estimates are right: replays of recorded outcomes, of which all are known.

Run it from the root of the repository:

    python benchmarks/off_policy.py [--sets coderouter_id ...] [--repetitions 300] [--sizes 1000]

Every prompt of a set has measured outcomes of several experts. A ridge on the words of the prompts,
fitted on other prompts, predicts them. A log is drawn: prompts with replacement, one expert for
each by posterior sampling (`Exploration`), and only this expert's score is kept. From the log the
policies of `tryage evaluate --traffic` are estimated; their true scores are means over the whole
set. Printed is how often the 95% intervals contain them, how wide they are, and how far the
estimates lie from the truth on average.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from datasets import load
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from tryage.core.exploration import Exploration
from tryage.learning.evaluation.off_policy import (
    LoggedChoices,
    doubly_robust,
    evaluate_policy,
    inverse_propensity,
    self_normalized,
)
from tryage.learning.traffic_report.policies import always, best_single, cost_weight, greedy
from tryage.learning.traffic_report.table import read_table
from tryage.traffic.records import DecisionRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage.core.arrays import Float64Array
    from tryage.learning.evaluation.off_policy import PolicyValue

SETS = ("coderouter_id", "zoonk_tasks", "paretobandit", "zeroeval")
ESTIMATORS = {
    "IPS": inverse_propensity,
    "SNIPS": self_normalized,
    "DR": doubly_robust,
}
STD = 0.05  # of a predicted loss
COST_SHARE = 0.05  # of loss: what the mean request costs in the totals
N_EXPERTS, MIN_EXPERTS = 8, 2
MAX_MISSING = 0.01  # share of prompts; a set without such experts keeps those measured most often


@dataclass(frozen=True, slots=True)
class Replay:
    """A set with all its outcomes: tables `(n_prompts, n_experts)`, NaN where there is none."""

    name: str
    scores: Float64Array
    predictions: Float64Array
    propensities: Float64Array
    policies: dict[str, Float64Array]


def main() -> None:
    """Print a row for each set, size, policy and estimator, and the coverage of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 3000])
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--min-propensity", type=float, default=0.02, help="of the exploration")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    hits: dict[str, list[bool]] = defaultdict(list)
    for name in arguments.sets:
        # With a tolerance of 1, every expert has a chance.
        replay = make_replay(name, Exploration(1.0, min_propensity=arguments.min_propensity))
        print_truth(replay)
        for size in arguments.sizes:
            for line in judge(replay, size, arguments.repetitions, rng, hits):
                print(line, flush=True)
    for name, found in hits.items():
        print(f"{name}: {np.mean(found):.3f} of {len(found):,} intervals contain the truth")


def make_replay(name: str, exploration: Exploration) -> Replay:
    """Return a set as a replay, with what the policies of the command choose."""
    table = load(name)
    experts = _experts(table.losses)
    losses = table.losses[:, experts].astype(float)
    costs = np.ones_like(losses) if table.costs is None else table.costs[:, experts].astype(float)
    rows = (~np.isnan(losses)).sum(axis=1) >= MIN_EXPERTS
    losses, costs = losses[rows], costs[rows]
    costs = np.where(np.isnan(costs), np.nanmean(costs), costs)
    prompts = [prompt for prompt, is_kept in zip(table.prompts, rows, strict=True) if is_kept]
    predicted = predict_losses(prompts, losses)
    records = list(_records(predicted, COST_SHARE * costs / costs.mean(), costs, exploration))
    log = read_table((record, None, ()) for record in records)
    names = expert_names(losses.shape[1])
    columns = [log.experts.index(name) for name in names]  # the log orders experts by itself
    dearest = names[int(np.argmax(costs.mean(axis=0)))]
    policies = {
        "no exploration": greedy(log),
        "cost doubled": cost_weight(2)(log),
        "best single": best_single(log),
        "dearest": always(dearest)(log),
        "uniform": (log.propensities > 0) / (log.propensities > 0).sum(axis=1, keepdims=True),
    }
    policies = {policy: target[:, columns] for policy, target in policies.items()}
    return Replay(name, 1 - losses, 1 - predicted, log.propensities[:, columns], policies)


def expert_names(n: int) -> list[str]:
    """Return the names of the experts in the log, in the order of the columns of a replay."""
    return [f"expert {i:02}" for i in range(n)]


def _experts(losses: Float64Array) -> Float64Array:
    """Return the best of the experts that were measured on nearly all prompts."""
    missing = np.isnan(losses).mean(axis=0)
    full = np.flatnonzero(missing <= MAX_MISSING)
    if full.size < MIN_EXPERTS + 1:
        return np.sort(np.argsort(missing, kind="stable")[:N_EXPERTS])
    best = full[np.argsort(np.nanmean(losses[:, full], axis=0))[:N_EXPERTS]]
    return np.sort(best)


def predict_losses(prompts: Sequence[str], losses: Float64Array) -> Float64Array:
    """Return cross-fitted predictions from the words of the prompts, NaN where no loss is known."""
    words = TfidfVectorizer(max_features=20_000, sublinear_tf=True)
    vectors = words.fit_transform([prompt[:3000] for prompt in prompts])
    features = TruncatedSVD(64, random_state=0).fit_transform(vectors)
    predicted = np.full(losses.shape, np.nan)
    for train, test in KFold(5, shuffle=True, random_state=0).split(features):
        for expert in range(losses.shape[1]):
            rows = train[~np.isnan(losses[train, expert])]
            model = Ridge(1.0).fit(features[rows], losses[rows, expert])
            predicted[test, expert] = model.predict(features[test])
    return np.where(np.isnan(losses), np.nan, predicted.clip(0, 1))


def _records(
    predicted: Float64Array,
    cost_terms: Float64Array,
    costs: Float64Array,
    exploration: Exploration,
) -> Iterator[DecisionRecord]:
    """Yield what a router writes about each prompt; the chosen expert is the best one."""
    names = np.array(expert_names(predicted.shape[1]))
    for row, losses in enumerate(predicted):
        known = np.flatnonzero(~np.isnan(losses))
        totals = losses[known] + cost_terms[row, known]
        stds = np.full(len(known), STD)
        drawn = exploration.propensities(totals, stds, np.zeros(len(known)))
        yield DecisionRecord(
            id=str(row),
            time=float(row),
            router="",
            chosen=str(names[known[totals.argmin()]]),
            candidates=tuple(names[known].tolist()),
            losses=tuple(losses[known].tolist()),
            totals=tuple(totals.tolist()),
            cost_terms=tuple(cost_terms[row, known].tolist()),
            costs=tuple(costs[row, known].tolist()),
            propensities=tuple(drawn.tolist()),
        )


def true_score(replay: Replay, policy: Float64Array) -> float:
    """Return the mean score of a policy on the whole set; of what is unmeasured, nothing."""
    is_known = ~np.isnan(replay.scores)
    expected = (policy * np.nan_to_num(replay.scores)).sum(axis=1)
    return float((expected / np.maximum((policy * is_known).sum(axis=1), 1e-9)).mean())


def print_truth(replay: Replay) -> None:
    """Print what the log and the best choices of hindsight score."""
    means = np.nanmean(replay.scores, axis=0)
    print(
        f"\n{replay.name}: {replay.scores.shape[0]:,} prompts, {replay.scores.shape[1]} experts; "
        f"logged {true_score(replay, replay.propensities):.3f}, "
        f"best constant {means.max():.3f}, oracle {np.nanmax(replay.scores, axis=1).mean():.3f}"
    )
    print("policy           n     truth  size   estimator  coverage of score (width, bias), gain")


def judge(
    replay: Replay,
    size: int,
    repetitions: int,
    rng: np.random.Generator,
    hits: dict[str, list[bool]],
) -> Iterator[str]:
    """Yield a line for each policy; `hits` collects which intervals contain the truth."""
    values: dict[tuple[str, str], list[PolicyValue]] = defaultdict(list)
    for _ in range(repetitions):
        rows, log = draw_log(replay, size, rng)
        for policy, target in replay.policies.items():
            for name, estimator in ESTIMATORS.items():
                values[policy, name].append(evaluate_policy(log, target[rows], estimator))
    logged = true_score(replay, replay.propensities)
    for policy, target in replay.policies.items():
        truth = true_score(replay, target)
        for name in ESTIMATORS:
            found = values[policy, name]
            told = [value for value in found if value.score is not None]
            if len(told) < len(found) / 2:
                yield f"{policy:<15}{size:>6,}  refused: {found[0].refusal}"
                break
            score = np.array([_judged(value.score, truth) for value in told])
            gain = np.array([_judged(value.difference, truth - logged) for value in told])
            hits[f"{name}, score"] += score[:, 0].astype(bool).tolist()
            hits[f"{name}, difference"] += gain[:, 0].astype(bool).tolist()
            effective = np.mean([value.sample_size for value in told])
            yield (
                f"{policy:<15}{size:>6,}  {truth:.3f} {effective:>6,.0f}  {name:<9}  "
                f"{score[:, 0].mean():.3f} ({score[:, 1].mean():.3f}, {score[:, 2].mean():+.4f})  "
                f"{gain[:, 0].mean():.3f} ({gain[:, 1].mean():.3f}, {gain[:, 2].mean():+.4f})"
            )


def _judged(estimate, truth: float) -> tuple[float, float, float]:  # noqa: ANN001 - an Estimate
    """Return whether the interval contains the truth, how wide it is, and the error."""
    inside = estimate.low <= truth <= estimate.high
    return float(inside), estimate.high - estimate.low, estimate.value - truth


def draw_log(
    replay: Replay, size: int, rng: np.random.Generator
) -> tuple[Float64Array, LoggedChoices]:
    """Draw prompts and experts, and return the rows of the prompts with what a log has of them."""
    rows = rng.integers(0, len(replay.scores), size)
    shares = replay.propensities[rows]
    chosen = (shares.cumsum(axis=1) > rng.random(size)[:, None]).argmax(axis=1)
    scores = replay.scores[rows, chosen]
    return rows, LoggedChoices(shares, replay.predictions[rows], chosen, scores)


if __name__ == "__main__":
    main()
