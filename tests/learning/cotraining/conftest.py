"""Experts that count letters, and prompts of two alphabets: who specialises is plain to see."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tryage.learning.cotraining.protocols import PromptPool

ALPHABETS = {"early": "abcdefgh", "late": "stuvwxyz"}


def _letters(text):
    return np.frombuffer(text.encode(), np.uint8) - 97


class Letters:
    """An expert that learns how frequent letters are."""

    def __init__(self, name, seed=0):
        self.name = name
        self.counts = 1 + np.random.default_rng(seed).random(26) * 0.1
        self.updates = 0

    def losses(self, texts):
        chances = np.log(self.counts / self.counts.sum())
        return np.array([-chances[_letters(text)].mean() for text in texts])

    def update(self, texts):
        loss = float(self.losses(texts).mean())
        self.counts = 0.98 * self.counts + 0.02  # what is learned last counts most
        self.counts += 0.05 * np.bincount(_letters("".join(texts)), minlength=26)
        self.updates += 1
        return loss

    def save_state(self, folder):
        kept = json.dumps([self.counts.tolist(), self.updates])
        (folder / "letters.json").write_text(kept)

    def load_state(self, folder):
        counts, self.updates = json.loads((folder / "letters.json").read_text())
        self.counts = np.array(counts)


def _pool(n=200, seed=0):
    """Texts of two alphabets; the features tell them apart, with noise."""
    rng = np.random.default_rng(seed)
    domains = rng.choice(sorted(ALPHABETS), size=n)
    texts = tuple("".join(rng.choice(list(ALPHABETS[d]), size=20)) for d in domains)
    x = np.column_stack([np.where(domains == "early", 1.0, -1.0), rng.normal(size=(n, 2)) * 0.3])
    x = np.column_stack([x / np.sqrt((x**2).sum(1).mean()), np.ones(n)])
    return PromptPool(texts, x, np.full(n, 20)), domains


@pytest.fixture(scope="session")
def pool():
    return _pool()[0]


@pytest.fixture(scope="session")
def domains():
    return _pool()[1]


@pytest.fixture
def letters():
    """Make experts that are nearly alike."""

    def make(n=2, seed=0):
        return [Letters(f"letters-{i}", seed * 10 + i) for i in range(n)]

    return make
