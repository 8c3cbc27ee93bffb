"""How often an unchanged expert is said to have changed, and how soon a broken one is noticed.

    python benchmarks/drift_alarms.py [--years 10]

A year has 10,000 requests a day, each with feedback. Each loss updates four processes: of all
prompts and of the prompt's kind, in two directions. The losses are right or wrong answers whose
probabilities differ from prompt to prompt:

`exact`: as predicted. `off by prompt`: .15 above the prediction on
half of the prompts, .15 below on the others. `off by expert`: .2 above the prediction always. `at
the bound`: .05 above the prediction, the largest difference that counts as no change.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.traffic.drift import (
    MARGIN,
    MIN_BASELINE,
    NO_EVIDENCE,
    REQUESTS_PER_FALSE_ALARM,
    DriftDetector,
    ExpectedLoss,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

N_EXPERTS, N_KINDS = 20, 10
STAKES = (0.2, 0.5, 0.9)
MAX_STAKE = 0.95


@dataclass
class Processes:
    """Many processes at once, as `DriftProcess` computes each."""

    n: int

    def __post_init__(self) -> None:
        """Start without evidence."""
        self.evidence = np.zeros((2, len(STAKES), self.n))
        self.bound_sum, self.count = np.zeros((2, self.n)), np.zeros(self.n)
        self.surprise_sum = np.zeros(self.n)

    def update(self, loss: Array, mean: Array) -> NDArray[np.bool_]:
        """Take one loss of each process into account; return which directions alarm, `(2, n)`."""
        observed, center = np.stack([loss, 1 - loss]), np.stack([mean, 1 - mean])
        bias = self.surprise_sum / np.maximum(self.count, 1)
        bound = np.minimum(center + MARGIN + np.maximum([bias, -bias], 0), 1)
        self.bound_sum += bound
        self.count += 1
        stake = np.array(STAKES)[None, :, None] * (self.count / self.bound_sum)[:, None]
        stake = np.minimum(stake, MAX_STAKE / bound[:, None])
        evidence = (self.evidence + 1) * (1 + stake * (observed - bound)[:, None])
        self.evidence = np.where(self.count > MIN_BASELINE, evidence, self.evidence)
        self.surprise_sum += loss - mean
        alarms = self.evidence.mean(axis=1) >= DriftDetector().threshold
        again = alarms.any(axis=0)
        self.evidence[..., again] = 0
        self.bound_sum[:, again], self.count[again], self.surprise_sum[again] = 0, 0, 0
        return np.asarray(alarms)


def check_against_the_package() -> None:
    """Exit unless the processes here are those of the package."""
    rng, process, here = np.random.default_rng(0), NO_EVIDENCE, Processes(1)
    for mean in rng.uniform(0.1, 0.6, 200):
        loss = float(rng.random() < mean)
        process = process.update(loss, ExpectedLoss(float(mean), 0.0, 0.0, 1.0))
        here.update(np.array([loss]), np.array([mean]))
    if not np.allclose(process.evidence, here.evidence[:, :, 0]):
        raise SystemExit("the processes of this script are not those of tryage.traffic.drift")


def false_alarms(scenario: str, n_processes: int, n_losses: int, seed: int) -> int:
    """Return the alarms of processes that each read some losses without any change."""
    rng, processes, found = np.random.default_rng(seed), Processes(n_processes), 0
    level = rng.uniform(0.05, 0.6, n_processes)
    for _ in range(n_losses):
        mean = np.clip(level + rng.uniform(-0.2, 0.2, n_processes), 0.02, 0.9)
        truth = mean
        if scenario == "off by prompt":
            truth = mean + rng.choice([-0.15, 0.15], n_processes)
        elif scenario == "off by expert":
            truth = mean + 0.2
        elif scenario == "at the bound":
            truth = mean + MARGIN
        loss = (rng.random(n_processes) < truth).astype(np.float64)
        found += int(processes.update(loss, mean).sum())
    return found


def delay(mean: float, broken: float, seed: int) -> int:
    """Return how many losses of a broken expert it takes."""
    rng, detector = np.random.default_rng(seed), DriftDetector()
    expected = ExpectedLoss(mean, 0.0, 0.0, 1.0)
    for _ in range(500):
        detector.update("one", "kind", float(rng.random() < mean), expected)
    for count in range(1, 2_000):
        if detector.update("one", "kind", float(rng.random() < broken), expected) is not None:
            return count
    return 2_000


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--years", type=int, default=10)
    years = parser.parse_args().years
    check_against_the_package()
    total = years * REQUESTS_PER_FALSE_ALARM
    for scenario in ("exact", "off by prompt", "off by expert", "at the bound"):
        found = 0
        for n_groups in (N_EXPERTS, N_EXPERTS * N_KINDS):
            n_processes = n_groups * 50  # many processes at once, each for a part of the time
            found += false_alarms(scenario, n_processes, total // n_processes, seed=n_groups)
        print(f"{scenario:14} {found} alarms in {years} years of 3.65 million requests")
    for mean in (0.05, 0.2, 0.4, 0.6):
        for broken in (1.0, 0.9):
            delays = [delay(mean, broken, seed) for seed in range(20)]
            print(
                f"loss {mean:.2f} -> {broken:.2f}: noticed after {np.median(delays):.0f} answers, "
                f"{max(delays)} at most"
            )


if __name__ == "__main__":
    main()
