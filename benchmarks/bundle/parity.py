"""What the bundled router's choices cost at the quality of the best single model.

    python benchmarks/bundle/parity.py shared/tryage/perception/bundled

The total is `loss + cost / value`, with the mean cost of each model on training prompts. The value
of an answer is chosen on one half of the held-out prompts, as the lowest with which the score there
is at most half a point below the best single model, and is used on the other half, and vice versa.
On zoonk_tasks, where each task was run on other models, the single model is compared on the prompts
on which it was measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from train import canonical_table, held_out

from tryage.perception.persistence import load_perception

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage import QTable
    from tryage.perception.model import LearnedPerception

SETS = ("paretobandit", "zoonk_tasks", "coderouter_id")
MAX_LOSS = 0.005  # half a point
VALUES = np.geomspace(1e-4, 1e3, 120)  # USD that a right answer is worth
MIN_SHARE = 0.3  # of the prompts of a set on which the single model was measured


class Priced(NamedTuple):
    """Held-out prompts: predicted and measured losses, and costs, `(n_prompts, n_experts)`."""

    predicted: NDArray[np.float64]
    losses: NDArray[np.float64]
    costs: NDArray[np.float64]
    mean_costs: NDArray[np.float64]
    single: int

    def take(self, rows: NDArray[np.bool_]) -> Priced:
        """Return some of the prompts."""
        return Priced(
            self.predicted[rows], self.losses[rows], self.costs[rows], self.mean_costs, self.single
        )

    def behind(self, value: float) -> tuple[float, float]:
        """Return the loss above that of the single model, and the share of its cost."""
        total = self.predicted + self.mean_costs / value
        usable = ~np.isnan(self.losses) & ~np.isnan(self.costs)
        chosen = np.where(usable, total, np.inf).argmin(axis=1)
        rows = np.arange(len(chosen))
        loss = self.losses[rows, chosen].mean() - self.losses[:, self.single].mean()
        cost = self.costs[rows, chosen].sum() / self.costs[:, self.single].sum()
        return float(loss), float(cost)


def priced(perception: LearnedPerception, table: QTable) -> Priced:
    """Return the held-out prompts on which the best single model of the set was measured."""
    names = [name for name in table.experts if name in perception.experts]
    table, is_test = table.select(names), held_out(table)
    train, test = table.take(~is_test), table.take(is_test)
    if train.costs is None or test.costs is None:
        raise ValueError(f"no costs in {table!r}; expected a priced set")
    covered = (train.measured & ~np.isnan(train.costs)).mean(axis=0) >= MIN_SHARE
    single = int(np.where(covered, np.nanmean(train.losses, axis=0), np.inf).argmin())
    test = test.take(test.measured[:, single] & ~np.isnan(test.costs[:, single]))
    predicted = perception.predict(test.prompts).losses
    columns = [perception.experts.index(name) for name in names]
    mean_costs = np.nanmean(train.costs, axis=0)
    unknown = np.isnan(mean_costs)
    mean_costs[unknown] = np.nanmax(mean_costs)  # unknown is never cheap
    return Priced(predicted[:, columns], test.losses, test.costs, mean_costs, single)


def at_parity(found: Priced, seed: int) -> tuple[float, float]:
    """Return the loss behind the single model and the share of its cost, on unseen halves."""
    half = np.random.default_rng(seed).random(len(found.losses)) < 0.5
    results = []
    for rows in (half, ~half):
        chosen_on, used_on = found.take(rows), found.take(~rows)
        near = [value for value in VALUES if chosen_on.behind(value)[0] <= MAX_LOSS]
        results.append(used_on.behind(min(near) if near else float(VALUES[-1])))
    loss, cost = np.mean(results, axis=0)
    return float(loss), float(cost)


def main() -> None:
    """Print the figures of each set, over five seeds of the halves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("router", type=Path)
    perception = load_perception(parser.parse_args().router)
    for name in SETS:
        table = canonical_table(name)
        found = priced(perception, table)
        figures = np.array([at_parity(found, seed) for seed in range(5)])
        (loss, cost), spread = figures.mean(axis=0), np.ptp(figures[:, 1])
        single = found.costs[:, found.single].mean()
        print(f"{name}: {len(found.losses)} prompts, the best single model costs ${single:.5f};")
        print(
            f"  {-100 * loss:+.2f} points at {cost:.1%} of its cost (over seeds +-{spread / 2:.1%})"
        )


if __name__ == "__main__":
    main()
