"""How often the report is right about which router is better, on replays whose truth is known.

    python benchmarks/traffic_comparison.py [--sets coderouter_id ...] [--repetitions 300]

Threads of recorded prompts are asked in a random order; prompts of a thread are alike in
difficulty, so their ratings resemble each other. A rating is a coin with the recorded score. One
reads the report twelve times.

*split, equal*: both arms choose the same experts. Wrong: the interval excludes 0 at any look.
*split*: "a" has the best single expert, "b" the cheap or weaker one. Wrong: the interval excludes
the true difference at any look. Decided: the share of experiments that find the better one at the
last look, and the median threads until then.
*shadow*: one router answers with the best single expert on three of five threads and with the
weaker one on the others, and one of five requests goes to any expert by chance. The shadow always
has the best single expert. Predictions are rough: each expert's mean on half of the prompts, and a
little of the prompt's difficulty. Wrong: as for split, of the doubly robust difference.
*fixed*: the same with the usual interval, which is right at one look alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from datasets import load

from tryage.learning.evaluation.off_policy import LoggedChoices, doubly_robust
from tryage.learning.traffic_report.comparison import effective_corrections
from tryage.learning.traffic_report.intervals import (
    MIN_CLUSTERS,
    anytime_factor,
    paired_difference,
    score_difference,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tryage.learning.traffic_report.intervals import Estimate

SETS = ("coderouter_id", "zoonk_tasks", "llmrouter_uiuc", "mmlu_pro")
LOOKS = 12
N_REQUESTS = 4_000
MEAN_THREAD = 3.0  # requests
SHARE = 0.3  # of arm "b"
EXPLORED = 0.2  # of the requests, beside a shadow
AGREEMENT = 0.6  # share of the threads in which a shadow chooses the same
Z = 1.959964


@dataclass(frozen=True)
class Replay:
    """Recorded scores `(n_prompts, n_experts)` in the order of difficulty, and predictions."""

    scores: NDArray[np.float64]
    predicted: NDArray[np.float64]
    best: int
    other: int


def read_replay(name: str) -> Replay:
    """Return the prompts of a set that all of its eight most measured experts have answered."""
    table = load(name)
    losses = np.asarray(table.losses, dtype=np.float64)
    columns = np.argsort(np.isnan(losses).sum(axis=0), kind="stable")[:8]
    scores = (1 - losses[:, columns]).clip(0, 1)
    scores = scores[~np.isnan(scores).any(axis=1)]
    scores = scores[scores.mean(axis=1).argsort(kind="stable")]
    means = scores.mean(axis=0)
    best = int(means.argmax())
    other = int(np.argsort(-means)[len(means) // 2])
    return Replay(scores, _predict(scores), best, other)


def _predict(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rough predictions: each expert's mean, and a little of the prompt's difficulty."""
    difficulty = scores.mean(axis=1, keepdims=True) - scores.mean()
    return (scores[::2].mean(axis=0) + 0.4 * difficulty).clip(0.02, 0.98)


def draw_threads(
    n_prompts: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the prompts of `N_REQUESTS` requests and their threads; a thread's are neighbours."""
    sizes = rng.geometric(1 / MEAN_THREAD, N_REQUESTS)
    threads = np.repeat(np.arange(N_REQUESTS), sizes)[:N_REQUESTS]
    starts = rng.integers(0, n_prompts, N_REQUESTS)
    steps = rng.integers(-n_prompts // 50, n_prompts // 50 + 1, N_REQUESTS)
    return (starts[threads] + steps) % n_prompts, threads


def looks() -> list[int]:
    """Return after how many requests the report is read."""
    return np.linspace(N_REQUESTS // LOOKS, N_REQUESTS, LOOKS).astype(int).tolist()


@dataclass
class Counts:
    """What many experiments found."""

    wrong: int = 0
    wrong_fixed: int = 0
    decided: int = 0
    n: int = 0
    half_widths: list[float] | None = None

    def add(self, found: list[Estimate | None], truth: float) -> None:
        """Count one experiment."""
        known = [one for one in found if one is not None]
        if not known:  # the report says nothing
            return
        self.n += 1
        self.wrong += any(not one.low <= truth <= one.high for one in known)
        self.wrong_fixed += any(
            abs(one.value - truth) > one.half_width * Z / anytime_factor(one.n) for one in known
        )
        last = known[-1]
        self.decided += (last.low > 0) if truth > 0 else (last.high < 0)
        self.half_widths = [*(self.half_widths or []), last.half_width]


def split_experiment(
    replay: Replay, rng: np.random.Generator, arms: tuple[int, int]
) -> list[Estimate | None]:
    """Return what the report says at each look about two arms with one expert each."""
    prompts, threads = draw_threads(len(replay.scores), rng)
    is_second = (rng.random(N_REQUESTS) < SHARE)[threads]
    expert = np.where(is_second, arms[1], arms[0])
    ratings = (rng.random(N_REQUESTS) < replay.scores[prompts, expert]).astype(float)

    def look(n: int) -> Estimate | None:
        parts = [np.flatnonzero(is_second[:n] == second) for second in (False, True)]
        return score_difference(
            (ratings[parts[0]], ratings[parts[1]]), (threads[parts[0]], threads[parts[1]])
        )

    return [look(n) for n in looks()]


def shadow_experiment(replay: Replay, rng: np.random.Generator) -> list[Estimate | None]:
    """Return what the report says at each look about a shadow with the best single expert."""
    prompts, threads = draw_threads(len(replay.scores), rng)
    n_experts = replay.scores.shape[1]
    greedy = np.where(rng.random(N_REQUESTS)[threads] < AGREEMENT, replay.best, replay.other)
    explored = rng.random(N_REQUESTS) < EXPLORED
    chosen = np.where(explored, rng.integers(0, n_experts, N_REQUESTS), greedy)
    propensity = EXPLORED / n_experts + (1 - EXPLORED) * (chosen == greedy)
    ratings = (rng.random(N_REQUESTS) < replay.scores[prompts, chosen]).astype(float)
    matched = chosen == replay.best
    all_propensities = np.full((N_REQUESTS, n_experts), EXPLORED / n_experts)
    all_propensities[np.arange(N_REQUESTS), greedy] += 1 - EXPLORED
    target = np.zeros((N_REQUESTS, n_experts))
    target[:, replay.best] = 1.0

    def look(n: int) -> Estimate | None:
        if effective_corrections(propensity[:n][matched[:n]]) < MIN_CLUSTERS:
            return None
        log = LoggedChoices(
            all_propensities[:n],
            replay.predicted[prompts[:n]],
            chosen[:n],
            ratings[:n],
            threads[:n],
        )
        return paired_difference(doubly_robust(log, target[:n]) - log.scores, threads[:n])

    return [look(n) for n in looks()]


def run(name: str, repetitions: int) -> list[str]:
    """Return the rows of the table for one set."""
    replay = read_replay(name)
    means = replay.scores.mean(axis=0)
    gap = float(means[replay.other] - means[replay.best])
    greedy = AGREEMENT * means[replay.best] + (1 - AGREEMENT) * means[replay.other]
    live = (1 - EXPLORED) * greedy + EXPLORED * means.mean()
    kinds: dict[str, tuple[float, Callable[[np.random.Generator], list[Estimate | None]]]] = {
        "split, equal": (
            0.0,
            lambda rng: split_experiment(replay, rng, (replay.best, replay.best)),
        ),
        "split": (gap, lambda rng: split_experiment(replay, rng, (replay.best, replay.other))),
        "shadow": (float(means[replay.best] - live), lambda rng: shadow_experiment(replay, rng)),
    }
    rows = []
    for place, (kind, (truth, experiment)) in enumerate(kinds.items()):
        counts = Counts()
        for repetition in range(repetitions):
            counts.add(experiment(np.random.default_rng([place, repetition])), truth)
        width = float(np.median(counts.half_widths or [np.nan]))
        decided = "-" if kind == "split, equal" else f"{counts.decided / counts.n:.1%}"
        rows.append(
            f"| {name} | {kind} | {truth:+.3f} | {counts.wrong / counts.n:.1%} | "
            f"{counts.wrong_fixed / counts.n:.1%} | {decided} | {width:.3f} |"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--repetitions", type=int, default=300)
    arguments = parser.parse_args()
    print("| set | comparison | true difference | wrong | wrong, fixed | decided | half interval |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.sets:
        print("\n".join(run(name, arguments.repetitions)), flush=True)


if __name__ == "__main__":
    main()
