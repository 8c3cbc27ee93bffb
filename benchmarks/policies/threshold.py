"""How well a threshold keeps its share of strong calls, and what that costs in quality.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/threshold.py [--seeds 5]

The strong expert of a set is the one that scores best, the weak one the cheapest that is measured
on the same prompts. Half of the prompts calibrate, the other half is routed in several orders. All
predictions are out of fold. It prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # out_of_fold.py

from out_of_fold import PRICED_SETS, out_of_fold

from tryage.learning.evaluation.metrics import apgr, cpt
from tryage.policies.share import ShareTracker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from out_of_fold import OutOfFoldTable

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray

SETS = tuple(name for name in PRICED_SETS if name != "zoonk_tasks")  # too few common prompts: 27
SHARES = (0.1, 0.3, 0.5)
SHARE = 0.3  # of the table about quality
WINDOW = 1000
WINDOWS = (500, 1000, 2000, 5000)

_MIN_COVERAGE = 0.9  # of the prompts an expert must be measured on, unless only few are


@dataclass(frozen=True)
class Pair:
    """Two experts on prompts on which both are measured; all arrays are `(n_prompts,)`."""

    strong: str
    weak: str
    gains: Float64Array  # predicted
    win_scores: Float64Array  # the gain divided by its std: RouteLLM's win probability, by order
    strong_losses: Float64Array
    weak_losses: Float64Array
    difficulty: Float64Array  # the mean loss of all experts
    categories: Sequence[str]
    groups: IndexArray

    @property
    def real_gains(self) -> Float64Array:
        """The measured losses of the weak expert less those of the strong one."""
        return self.weak_losses - self.strong_losses


def choose_pair(table: OutOfFoldTable) -> Pair:
    """Return the strong and the weak expert of a set."""
    measured = table.measured
    coverage = measured.mean(axis=0)
    known = np.flatnonzero(coverage >= min(_MIN_COVERAGE, np.sort(coverage)[-2]))
    losses = np.nanmean(table.losses_true, axis=0)
    costs = np.nanmean(table.costs_true, axis=0)
    strong = known[losses[known].argmin()]
    cheaper = known[(known != strong) & (costs[known] < costs[strong] / 2)]
    weak = cheaper[costs[cheaper].argmin()]
    rows = np.flatnonzero(measured[:, strong] & measured[:, weak])
    predicted = table.losses_predicted[rows].astype(np.float64)
    gains = predicted[:, weak] - predicted[:, strong]
    std = table.std_predicted[rows].astype(np.float64)
    return Pair(
        table.names[strong],
        table.names[weak],
        gains,
        gains / np.hypot(std[:, weak], std[:, strong]),
        table.losses_true[rows, strong].astype(np.float64),
        table.losses_true[rows, weak].astype(np.float64),
        np.nanmean(table.losses_true[rows], axis=1),
        [table.categories[row] for row in rows],
        table.groups[rows],
    )


def halves(groups: IndexArray, seed: int) -> tuple[IndexArray, IndexArray]:
    """Return the rows that calibrate and those that are routed, shuffled; equal texts together."""
    rng = np.random.default_rng(seed)
    first = rng.permutation(np.unique(groups))[: len(np.unique(groups)) // 2]
    rows = rng.permutation(len(groups))
    is_first = np.isin(groups[rows], first)
    return rows[is_first], rows[~is_first]


def orders(pair: Pair, rows: IndexArray) -> dict[str, IndexArray]:
    """Return the rows in several orders; the stable sort keeps the shuffle among equals."""
    keys: Mapping[str, Float64Array] = {
        "shuffled": np.zeros(len(rows)),
        "by category": np.unique(np.array(pair.categories)[rows], return_inverse=True)[1] * 1.0,
        "easy first": pair.difficulty[rows],
        "hard first": -pair.difficulty[rows],
        "gain first": -pair.gains[rows],
    }
    return {name: rows[np.argsort(key, kind="stable")] for name, key in keys.items()}


def recovered(real_gains: Float64Array, is_strong: BoolArray) -> float:
    """Return the performance gap recovered."""
    return float(real_gains[is_strong].sum() / real_gains.sum())


@dataclass(frozen=True)
class Run:
    """What came of one stream: errors of the share in points, and the gap recovered, in percent."""

    tracker_error: float
    worst_window: float
    fixed_error: float
    tracker: float
    fixed: float
    hindsight: float


def run_stream(
    gains: Float64Array,
    real_gains: Float64Array,
    calibration: Float64Array,
    share: float,
    window: int = WINDOW,
) -> Run:
    """Route a stream by a threshold that follows it, and by one that is fixed at the beginning."""
    follows = np.array(ShareTracker(share, calibration, window).preview(gains.tolist()))
    is_above = gains > np.quantile(calibration, 1 - share)
    best = np.zeros(len(gains), np.bool_)
    best[np.argsort(-gains, kind="stable")[: round(share * len(gains))]] = True
    length = min(WINDOW, len(gains))
    windows = np.convolve(follows, np.ones(length), "valid") / length
    parts = [recovered(real_gains, one) for one in (follows, is_above, best)]
    return Run(
        100 * abs(follows.mean() - share),
        100 * float(np.abs(windows - share).max()),
        100 * abs(is_above.mean() - share),
        *(100 * part for part in parts),
    )


def stream_runs(pairs: Mapping[str, Pair], name: str, seed: int, share: float) -> dict[str, Run]:
    """Return the runs of one set, in all orders and then on the prompts of the next set."""
    pair = pairs[name]
    first, second = halves(pair.groups, seed)
    streams = {
        order: (pair.gains[rows], pair.real_gains[rows])
        for order, rows in orders(pair, second).items()
    }
    other = pairs[SETS[(SETS.index(name) + 1) % len(SETS)]]
    rows = halves(other.groups, seed)[1]
    streams["other set"] = (other.gains[rows], other.real_gains[rows])
    return {
        order: run_stream(*stream, pair.gains[first], share) for order, stream in streams.items()
    }


def print_order(pairs: Sequence[Mapping[str, Pair]]) -> None:
    """Print how well predicted gains order the prompts, the mean over the seeds and the range."""
    print("| set | strong | weak | prompts | APGR | by win probability | CPT50 | CPT80 |")
    print("|---|---|---|---|---|---|---|---|")
    for name in SETS:
        found = [one[name] for one in pairs]
        scores = np.array(
            [
                [
                    apgr(one.gains, one.real_gains),
                    apgr(one.win_scores, one.real_gains),
                    100 * cpt(one.gains, one.real_gains, 0.5),
                    100 * cpt(one.gains, one.real_gains, 0.8),
                ]
                for one in found
            ]
        )
        low, high = scores[:, 0].min(), scores[:, 0].max()
        mean = scores.mean(axis=0)
        print(
            f"| {name} | {found[0].strong} | {found[0].weak} | {len(found[0].gains):,} | "
            f"{mean[0]:.3f} [{low:.3f}, {high:.3f}] | {mean[1]:.3f} | "
            f"{mean[2]:.1f}% | {mean[3]:.1f}% |"
        )


def print_shares(runs: Mapping[tuple[str, int, float], Mapping[str, Run]]) -> None:
    """Print the largest error of the share in points, of all seeds and shares, and of windows."""
    names = list(next(iter(runs.values())))
    print(f"| set | {' | '.join(names)} | worst {WINDOW:,} in a row |")
    print("|---" * (len(names) + 2) + "|")
    for name in SETS:
        mine = [found for key, found in runs.items() if key[0] == name]
        cells = [
            f"{max(found[order].tracker_error for found in mine):.1f} "
            f"({max(found[order].fixed_error for found in mine):.1f})"
            for order in names
        ]
        worst = max(run.worst_window for found in mine for run in found.values())
        print(f"| {name} | {' | '.join(cells)} | {worst:.1f} |")


def print_quality(runs: Mapping[tuple[str, int, float], Mapping[str, Run]]) -> None:
    """Print the gap recovered: with the share kept, with a fixed threshold, in hindsight."""
    names = [name for name in next(iter(runs.values())) if name != "gain first"]
    print(f"| set | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for name in SETS:
        mine = [found for key, found in runs.items() if key[0] == name and key[2] == SHARE]
        cells = []
        for order in names:
            parts = [
                [run.tracker, run.fixed, run.hindsight] for run in (one[order] for one in mine)
            ]
            cells.append(" / ".join(f"{value:.0f}" for value in np.mean(parts, axis=0)))
        print(f"| {name} | {' | '.join(cells)} |")


def print_windows(pairs: Sequence[Mapping[str, Pair]]) -> None:
    """Print the error of the share and the gap recovered by category, for several windows."""
    print(f"| set | {' | '.join(f'{window:,}' for window in WINDOWS)} | fixed |")
    print("|---" * (len(WINDOWS) + 2) + "|")
    for name in SETS:
        cells = []
        for window in WINDOWS:
            runs = []
            for seed, one in enumerate(pairs):
                first, second = halves(one[name].groups, seed)
                rows = orders(one[name], second)["by category"]
                stream = one[name].gains[rows], one[name].real_gains[rows]
                runs.append(run_stream(*stream, one[name].gains[first], SHARE, window))
            error = max(run.tracker_error for run in runs)
            cells.append(f"{np.mean([run.tracker for run in runs]):.0f} ({error:.1f})")
        cells.append(f"{np.mean([run.fixed for run in runs]):.0f}")
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    pairs = [{name: choose_pair(out_of_fold(name, seed)) for name in SETS} for seed in seeds]
    print_order(pairs)
    runs = {
        (name, seed, share): stream_runs(pairs[seed], name, seed, share)
        for name in SETS
        for seed in seeds
        for share in SHARES
    }
    print("\nLargest error of the share in points (in brackets: of a fixed threshold):\n")
    print_shares(runs)
    print(f"\nGap recovered with {SHARE:.0%} strong calls, percent: kept / fixed / hindsight:\n")
    print_quality(runs)
    print("\nGap recovered by category, percent (error of the share, points), by the window:\n")
    print_windows(pairs)


if __name__ == "__main__":
    main()
