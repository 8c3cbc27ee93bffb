"""Asks the language model about a sample of the held-out passages, beside the router."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from asking import WAYS, Asked, Notes, ask, ask_freely
from contest import ROUTER
from figures import best_single, over_seeds, worth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from examine import Trial
    from figures import Floats
    from report import Found

    from tryage import QTable

PLAIN = "SmolLM2-135M-Instruct: its likeliest name"
CORRECTED = "SmolLM2-135M-Instruct: the same, less what it says to no text"
TRIED, FREE = 20, 20  # passages that choose how to ask; answers that it is free to write


def questioned(
    trial: Trial,
    runs: Sequence[Mapping[str, Floats]],
    model: Path,
    count: int,
    found: Found,
) -> None:
    """Compare the router with the model on `count` held-out passages for each seed.

    The model is asked in the way that does best on some of the passages that the router learns
    from.
    """
    parts, notes = trial.halves(), Notes(trial.out / f"asked-{trial.key}.jsonl")
    test = parts[0].test
    told = {name: trial.library[name].metadata["description"] for name in test.experts}
    asked = Asked(model, told, best_way(model, told, parts[0].train, notes))
    judged = []
    for seed, run, half in zip(trial.seeds, runs, parts, strict=True):
        rows = drawn(len(test), count, seed)
        shares = {ROUTER: run[ROUTER][rows]} | answers(asked, test.take(rows), seed, notes)
        shares["random"] = run["random"][rows]
        single = best_single(half.train)
        judged.append({k: worth(share, test.losses[rows], single) for k, share in shares.items()})
    found.asked_on, found.asked = count, over_seeds(judged)
    found.free = freely(asked, test.take(drawn(len(test), FREE, 0)), notes)


def best_way(model: Path, told: Mapping[str, str], train: QTable, notes: Notes) -> str:
    """Return the way of asking that finds the best expert most often."""
    some = train.take(drawn(len(train), TRIED, 0))

    def rate(way: str) -> float:
        shares = answers(Asked(model, told, way), some, 0, notes)
        return max(worth(share, some.losses, 0).optimal for share in shares.values())

    return max(WAYS, key=rate)


def answers(asked: Asked, table: QTable, seed: int, notes: Notes) -> dict[str, Floats]:
    """Return whom the model chooses `(n_prompts, n_experts)`, as it comes and corrected."""
    found, nothing = ask(asked, table.prompts, seed, notes)
    each = np.eye(found.shape[1])
    return {PLAIN: each[found.argmax(axis=1)], CORRECTED: each[(found - nothing).argmax(axis=1)]}


def freely(asked: Asked, table: QTable, notes: Notes) -> tuple[int, int, int]:
    """Let it write what it likes: how often it names one expert, and the best one; of how many."""
    experts = ask_freely(asked, table.prompts, notes)
    best = [table.experts[i] for i in table.losses.argmin(axis=1)]
    right = sum(one == other for one, other in zip(experts, best, strict=True))
    return sum(one is not None for one in experts), right, len(experts)


def drawn(total: int, count: int, seed: int) -> np.ndarray:
    """Draw some of the rows, in order."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])
