"""LiteLLM: its rules for how complex a prompt is, and for what kind of request it is.

    python litellm_adapter.py TASK ... --out FOLDER --encoder FOLDER --router complexity

Both read the words of a prompt and learn nothing. What each model scores per tier (`complexity`) or
per type of request (`adaptive`, whose bandit needs live traffic) is learned here from the training
outcomes. Its semantic auto-router is semantic-router with routes that somebody writes.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import asks a server first

import numpy as np
from litellm.router_strategy.adaptive_router.classifier import classify_prompt
from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter
from peer import OnnxEncoder, Peer, Training, main

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from peer import Floats

_PRIOR_PROMPTS = 5.0  # of the overall mean, added to every label


class LabelTable(Peer):
    """Mean scores of the models per label that a rule gives the prompt."""

    def __init__(self, encoder: OnnxEncoder, label: Callable[[str], str]) -> None:
        """Keep the rule, and what it says of prompts: several splits have the same ones."""
        super().__init__(encoder)
        self.rule = label
        self.known: dict[str, str] = {}

    def label(self, prompt: str) -> str:
        """Return the label of a prompt."""
        if prompt not in self.known:
            self.known[prompt] = self.rule(prompt)
        return self.known[prompt]

    def fit(self, training: Training) -> None:
        """Average the scores per label, shrunk towards the mean over all prompts."""
        self.mean = np.nanmean(training.scores, axis=0)
        rows_of = defaultdict(list)
        for row, prompt in enumerate(training.prompts):
            rows_of[self.label(prompt)].append(row)
        self.table = {}
        for label, rows in rows_of.items():
            counts = (~np.isnan(training.scores[rows])).sum(axis=0)
            sums = np.nansum(training.scores[rows], axis=0) + _PRIOR_PROMPTS * self.mean
            self.table[label] = sums / (counts + _PRIOR_PROMPTS)

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Return the means of each prompt's label."""
        del embeddings
        rows = [self.table.get(self.label(prompt), self.mean) for prompt in prompts]
        return np.array(rows, np.float32)

    def decide(self, prompt: str) -> int:
        """Return the position of the chosen model; no encoder is read."""
        return int(self.table.get(self.rule(prompt), self.mean).argmax())


def make_complexity(encoder: OnnxEncoder) -> LabelTable:
    """Label prompts with the tier of its `ComplexityRouter`."""
    router = ComplexityRouter(model_name="auto", ctx=None)
    return LabelTable(encoder, lambda prompt: str(router.classify(prompt)[0]))


def make_adaptive(encoder: OnnxEncoder) -> LabelTable:
    """Label prompts with the type of request of its adaptive router."""
    return LabelTable(encoder, lambda prompt: str(classify_prompt(prompt)))


if __name__ == "__main__":
    main({"complexity": make_complexity, "adaptive": make_adaptive})
