"""Score and cost of the presets of preferences on the outcome sets that have costs.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/presets.py ENCODER_FOLDER [--seeds 5] [--sets paretobandit ...]

On each set a router is trained by folds and decides on the prompts that it has not seen, from its
own forecast of costs. The prompts are divided in two halves once: the first half tells which values
of an answer lose at most a point against the best predicted expert, the second half is reported.
Only experts that were measured on a prompt may be chosen for it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from datasets import load

from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.decision import score_batch
from tryage.core.library import Library
from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.core.presets import PRESETS
from tryage.core.request_batch import RequestBatch
from tryage.learning.evaluation.splits import folds
from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray, FloatArray, IndexArray
    from tryage.scoring.qtable import QTable

PRICED_SETS = (
    *("paretobandit", "zoonk_tasks", "coderouter_id"),
    *("bfcl_2024_08", "routerbench_subset", "zeroeval"),
)
ANSWER_VALUES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MAX_PROMPTS = 2_000
MIN_MEASUREMENTS = 20  # costs of an expert


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the chosen experts: the mean score in points, and the mean USD."""

    score: float
    cost: float


def usable_part(table: QTable, seed: int) -> QTable:
    """Return at most `MAX_PROMPTS` prompts, and the experts of which costs are known."""
    costs = table.costs
    if costs is None:
        raise SystemExit("The set has no costs.")
    known = np.isfinite(costs).sum(axis=0) >= MIN_MEASUREMENTS
    table = table.select([table.experts[i] for i in np.flatnonzero(known)])
    rows = np.random.default_rng(seed).permutation(len(table))[:MAX_PROMPTS]
    return table.take(np.sort(rows))


def predict_by_folds(table: QTable, encoder: CachingEncoder, seed: int, n_folds: int) -> Prediction:
    """Predict each prompt by a router that was trained on the other folds."""
    shape = table.shape
    losses, std = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    tokens, costs = losses.copy(), losses.copy()
    embeddings = encoder.encode(table.prompts)
    for split in folds(table.groups, n_folds, seed):
        train, test = split
        config = FitConfig(seed=seed)
        perception = fit(
            table.take(train), encoder, config=config, embeddings=embeddings[train], progress=False
        )
        found = perception.predict([table.prompts[i] for i in test])
        losses[test], std[test] = found.losses, found.std
        for measured, forecast in ((tokens, found.output_tokens), (costs, found.costs)):
            if forecast is not None:
                measured[test] = forecast
    return Prediction(losses, std, tokens, costs)


def choose(table: QTable, prediction: Prediction, preferences: Preferences) -> IndexArray:
    """Return the chosen expert of each prompt, among those that were measured on it, `(n,)`."""
    losses = np.where(table.measured, prediction.losses, np.nan).astype(np.float32)
    batch = score_batch(
        Library(table.experts),
        preferences,
        DEFAULT_CONSTRAINTS,
        replace(prediction, losses=losses),
        RequestBatch(np.zeros(len(table))),
    )
    return np.array([batch.ranking(i).top(1)[0] for i in range(len(table))])


def outcome(table: QTable, chosen: IndexArray, rows: BoolArray) -> Outcome:
    """Return what the chosen experts achieve on some prompts.

    A cost that was not measured is the mean of those of its expert.
    """
    costs: FloatArray = np.asarray(table.costs, dtype=np.float64)
    costs = np.where(np.isfinite(costs), costs, np.nanmean(costs, axis=0))
    prompts = np.flatnonzero(rows)
    losses = table.losses[prompts, chosen[prompts]]
    return Outcome(100 * (1 - float(losses.mean())), float(costs[prompts, chosen[prompts]].mean()))


def halves(table: QTable) -> tuple[BoolArray, BoolArray]:
    """Divide the prompts that have a choice in two; equal prompts are in the same half."""
    first = np.random.default_rng(0).random(int(table.groups.max()) + 1) < 0.5
    has_choice = table.measured.sum(axis=1) > 1
    return has_choice & first[table.groups], has_choice & ~first[table.groups]


def constants(table: QTable, rows: BoolArray) -> dict[str, Outcome]:
    """Return the outcome of always asking one expert, for those measured on nearly all prompts."""
    found = {}
    for i, name in enumerate(table.experts):
        measured = rows & table.measured[:, i]
        if measured.sum() >= 0.95 * rows.sum():
            found[name] = outcome(table, np.full(len(table), i), measured)
    return found


def compare(name: str, encoder: CachingEncoder, seeds: Sequence[int], n_folds: int) -> None:
    """Print the rows of one set: each preset, and on the first half each value of an answer."""
    table = usable_part(load(name), seed=0)
    first, second = halves(table)
    chosen = {
        (label, seed): choose(table, prediction, preferences)
        for seed in seeds
        for prediction in [predict_by_folds(table, encoder, seed, n_folds)]
        for label, preferences in candidates().items()
    }
    print(f"\n{name}: {int(second.sum())} prompts, {table.shape[1]} experts", flush=True)
    singles = constants(table, second)
    if singles:
        best = max(singles, key=lambda one: singles[one].score)
        dearest = max(singles, key=lambda one: singles[one].cost)
        for label, one in (("best single", best), ("dearest", dearest)):
            print(f"  {label}: {singles[one].score:.2f} points at ${singles[one].cost:.6f} ({one})")
    for label in candidates():
        rows, kind = (second, "") if label in PRESETS else (first, " [first half]")
        best_of = [outcome(table, chosen["best", seed], rows) for seed in seeds]
        found = [outcome(table, chosen[label, seed], rows) for seed in seeds]
        gaps = [one.score - best.score for one, best in zip(found, best_of, strict=True)]
        share = np.mean([one.cost / best.cost for one, best in zip(found, best_of, strict=True)])
        print(
            f"  {label}{kind}: {np.mean([one.score for one in found]):.2f} points, "
            f"{np.mean(gaps):+.2f} [{min(gaps):+.2f}, {max(gaps):+.2f}] against best, "
            f"${np.mean([one.cost for one in found]):.6f}, {share:.0%} of the cost of best",
            flush=True,
        )


def candidates() -> dict[str, Preferences]:
    """Return the presets, and preferences by the value of an answer, by their labels."""
    presets = {name: Preferences.preset(name) for name in PRESETS}
    return presets | {f"${value:g}": Preferences(answer_value=value) for value in ANSWER_VALUES}


def main() -> None:
    """Read the arguments and compare the sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder")
    parser.add_argument("--sets", nargs="*", default=PRICED_SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=3)
    arguments = parser.parse_args()
    encoder = CachingEncoder(load_encoder(arguments.encoder))
    for name in arguments.sets:
        compare(name, encoder, range(arguments.seeds), arguments.folds)


if __name__ == "__main__":
    main()
