"""What a quality gap saves and costs where it was chosen on other prompts.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/quality_gap.py [--seeds 5]

The reference is the expert that scores best on half of the prompts. There the largest gap is chosen
up to which the quality drops by a point at most; the other half tells what came of it. All
predictions are out of fold, and on each prompt the measured experts may be chosen. It prints
Markdown.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # out_of_fold.py, threshold.py

from out_of_fold import PRICED_SETS, out_of_fold
from threshold import halves

from tryage.core.choice import first_by_keys
from tryage.policies.quality_gap import GAPS, reference_experts, within_gap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from out_of_fold import OutOfFoldTable

    from tryage.core.arrays import IndexArray

MAX_DROP = 0.01
PROBABILITIES = (0.5, 0.8)


@dataclass(frozen=True)
class Outcome:
    """What one gap brings on some prompts, as fractions, beside the reference and the oracle."""

    gap: float
    drop: float
    saving: float
    cost_advantage: float
    reference: float
    oracle: float


def measure(
    table: OutOfFoldTable, rows: IndexArray, large: int, gap: float, probability: float
) -> Outcome:
    """Return what a gap brings on the rows on which the reference is measured."""
    rows = rows[table.measured[rows, large]]
    eligible, losses = table.measured[rows], table.losses_predicted[rows]
    is_large = np.arange(len(table.names)) == large
    best = reference_experts(losses, eligible, is_large)
    gaps = np.full(len(table.names), gap)
    enough = within_gap(losses, table.std_predicted[rows], best, gaps, probability) & eligible
    chosen = first_by_keys(enough, [table.costs_predicted[rows], losses])
    every = np.arange(len(rows))
    true, costs = table.losses_true[rows], table.costs_true[rows]
    return Outcome(
        gap,
        float(np.mean(true[every, chosen] - true[every, best])),
        float(1 - costs[every, chosen].sum() / costs[every, best].sum()),
        float(np.mean(chosen != best)),
        float(1 - true[every, best].mean()),
        float(1 - np.where(eligible, true, np.inf).min(axis=1).mean()),
    )


def calibrated(table: OutOfFoldTable, seed: int, probability: float) -> Outcome:
    """Return what came of the gap that one half chooses, on the other half."""
    first, second = halves(table.groups, seed)
    large = reference(table, first)
    found = [measure(table, first, large, gap, probability) for gap in GAPS]
    small = [one.gap for one in takewhile(lambda one: one.drop <= MAX_DROP, found)]
    # A gap below zero chooses the reference alone.
    return measure(table, second, large, small[-1] if small else -1.0, probability)


def reference(table: OutOfFoldTable, rows: IndexArray) -> int:
    """Return the position of the expert with the lowest mean loss, of those measured most often."""
    coverage = table.measured[rows].mean(axis=0)
    known = np.flatnonzero(coverage >= coverage.max() / 2)
    losses = np.nanmean(table.losses_true[np.ix_(rows, known)], axis=0)
    return int(known[losses.argmin()])


def print_row(name: str, probability: float, found: Sequence[Outcome]) -> None:
    """Print the means over the seeds, of the drop with the range."""
    drops = [100 * one.drop for one in found]

    def mean(field: str) -> float:
        return 100 * float(np.mean([getattr(one, field) for one in found]))

    gaps = ", ".join(sorted({f"{one.gap:g}" for one in found}))
    print(
        f"| {name} | {probability:g} | {gaps} | {mean('reference'):.1f} | {mean('oracle'):.1f} | "
        f"{np.mean(drops):+.2f} [{min(drops):+.2f}, {max(drops):+.2f}] | {mean('saving'):.0f}% | "
        f"{mean('cost_advantage'):.0f}% |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    print(
        "| set | probability | gaps | reference | oracle | drop, points | saved | cost advantage |"
    )
    print("|---" * 8 + "|")
    for name in PRICED_SETS:
        tables = [out_of_fold(name, seed) for seed in seeds]
        for probability in PROBABILITIES:
            found = [calibrated(table, seed, probability) for seed, table in enumerate(tables)]
            print_row(name, probability, found)


if __name__ == "__main__":
    main()
