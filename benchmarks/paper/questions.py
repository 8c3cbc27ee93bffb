"""Compares the router with a language model that chooses, on a sample of held-out passages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from asking import QUESTIONS, AnswerCache, ChoosingLM, ask, ask_freely
from contest import ROUTER
from figures import best_single, over_seeds, worth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from examine import Experiment
    from figures import Floats
    from report import Findings

    from tryage import QTable

PLAIN = "SmolLM2-135M-Instruct: its likeliest name"
CORRECTED = "SmolLM2-135M-Instruct: the same, less what it says to no text"
TRIED, FREE = 20, 20  # passages to choose the question with; free answers


def compare_with_model(
    experiment: Experiment,
    runs: Sequence[Mapping[str, Floats]],
    model: Path,
    count: int,
    found: Findings,
) -> None:
    """Compare the router with the model on `count` held-out passages for each seed.

    The model gets the question that does best on some of the router's training passages.
    """
    splits = experiment.splits()
    cache = AnswerCache(experiment.out / f"asked-{experiment.key}.jsonl")
    test = splits[0].test
    library = experiment.library
    descriptions = {name: library[name].metadata["description"] for name in test.experts}
    question = best_question(model, descriptions, splits[0].train, cache)
    chooser = ChoosingLM(model, descriptions, question)
    worths = []
    for seed, run, split in zip(experiment.seeds, runs, splits, strict=True):
        rows = sample_rows(len(test), count, seed)
        shares = {ROUTER: run[ROUTER][rows]} | answers(chooser, test.take(rows), seed, cache)
        shares["random"] = run["random"][rows]
        single = best_single(split.train)
        worths.append({k: worth(share, test.losses[rows], single) for k, share in shares.items()})
    found.asked_on, found.asked = count, over_seeds(worths)
    found.free = free_answers(chooser, test.take(sample_rows(len(test), FREE, 0)), cache)


def best_question(
    model: Path, descriptions: Mapping[str, str], train: QTable, cache: AnswerCache
) -> str:
    """Return the question that finds the best expert most often."""
    sample = train.take(sample_rows(len(train), TRIED, 0))

    def rate(question: str) -> float:
        shares = answers(ChoosingLM(model, descriptions, question), sample, 0, cache)
        return max(worth(share, sample.losses, 0).optimal for share in shares.values())

    return max(QUESTIONS, key=rate)


def answers(chooser: ChoosingLM, table: QTable, seed: int, cache: AnswerCache) -> dict[str, Floats]:
    """Return the model's choices `(n_prompts, n_experts)`, without and with bias correction."""
    found, bias = ask(chooser, table.prompts, seed, cache)
    one_hot = np.eye(found.shape[1])
    corrected = (found - bias).argmax(axis=1)
    return {PLAIN: one_hot[found.argmax(axis=1)], CORRECTED: one_hot[corrected]}


def free_answers(chooser: ChoosingLM, table: QTable, cache: AnswerCache) -> tuple[int, int, int]:
    """Count free answers that name one expert, those that name the best one, and all answers."""
    experts = ask_freely(chooser, table.prompts, cache)
    best = [table.experts[i] for i in table.losses.argmin(axis=1)]
    right = sum(one == other for one, other in zip(experts, best, strict=True))
    return sum(one is not None for one in experts), right, len(experts)


def sample_rows(total: int, count: int, seed: int) -> np.ndarray:
    """Draw some of the rows, in order."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])
