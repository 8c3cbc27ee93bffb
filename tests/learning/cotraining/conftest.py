"""Experts that count letters, and prompts of two alphabets, so that specialization is visible."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from tryage.learning.cotraining.protocols import PromptPool
from tryage.perception.encoder import StaticEncoder

ALPHABETS = {"early": "abcdefgh", "late": "stuvwxyz"}


def _letters(text):
    return np.frombuffer(text.encode(), np.uint8) - 97


class Letters:
    """An expert that learns the frequencies of letters."""

    def __init__(self, name, seed=0):
        self.name = name
        self.counts = 1 + np.random.default_rng(seed).random(26) * 0.1
        self.updates = 0

    def losses(self, texts):
        log_shares = np.log(self.counts / self.counts.sum())
        return np.array([-log_shares[_letters(text)].mean() for text in texts])

    def update(self, texts):
        loss = float(self.losses(texts).mean())
        self.counts = 0.98 * self.counts + 0.02  # recent texts count most
        self.counts += 0.05 * np.bincount(_letters("".join(texts)), minlength=26)
        self.updates += 1
        return loss

    def save_state(self, folder):
        state = json.dumps([self.counts.tolist(), self.updates])
        (folder / "letters.json").write_text(state)

    def load_state(self, folder):
        counts, self.updates = json.loads((folder / "letters.json").read_text())
        self.counts = np.array(counts)


def _pool(n=200, seed=0):
    """Texts of two alphabets, with features that separate them, with noise."""
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
    """Make experts that are nearly equal."""

    def make(n=2, seed=0):
        return [Letters(f"letters-{i}", seed * 10 + i) for i in range(n)]

    return make


@pytest.fixture(scope="session")
def encoder():
    """Embed single letters at random."""
    letters = "?abcdefghijklmnopqrstuvwxyz"
    tokenizer = Tokenizer(WordLevel({c: i for i, c in enumerate(letters)}, "?"))
    tokenizer.pre_tokenizer = Split("", "isolated")
    rows = np.random.default_rng(0).normal(size=(27, 8)).astype(np.float32)
    return StaticEncoder.from_rows(rows, tokenizer)
