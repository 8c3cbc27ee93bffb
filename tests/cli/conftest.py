"""A small router, trained on made-up losses and saved, for the commands to work on."""

from __future__ import annotations

import datetime
import itertools
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from typer.testing import CliRunner

from tryage import Expert, Library, QTable, Router
from tryage.cli import app
from tryage.learning.training.trainer import fit
from tryage.perception.encoder import StaticEncoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

TOPICS = ("sum", "prove", "code", "poem", "law")
PLACES = ("paris", "tokyo", "lima", "oslo", "accra", "quito", "delhi", "cairo")
EXPERTS = ("tiny-1b", "code-7b", "chat-70b")

# Before click 8.2, both outputs are one unless it is said.
SEPARATE = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


@pytest.fixture(scope="session")
def encoder() -> StaticEncoder:
    """Embed words at random: enough to tell the topics apart."""
    words = ("[UNK]", *TOPICS, *PLACES)
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    made.pre_tokenizer = Whitespace()
    rows = np.random.default_rng(0).normal(size=(len(words), 8)).astype(np.float32)
    return StaticEncoder.from_rows(rows, made)


@pytest.fixture(scope="session")
def table() -> QTable:
    """Score the experts: the largest is good at all, the small one at sums, one knows code."""
    pairs = list(itertools.product(TOPICS, PLACES))
    losses = [[0.1 if t == "sum" else 0.8, 0.05 if t == "code" else 0.6, 0.2] for t, _ in pairs]
    costs = np.tile(np.float32([1e-5, 1e-4, 1e-3]), (len(pairs), 1))
    return QTable(
        tuple(f"{topic} {place}" for topic, place in pairs),
        EXPERTS,
        np.array(losses, dtype=np.float32),
        categories=tuple(topic for topic, _ in pairs),
        costs=costs,
    )


@pytest.fixture(scope="session")
def library() -> Library:
    return Library(
        [
            Expert("tiny-1b", parameters=1e9, license="mit", released=datetime.date(2025, 1, 1)),
            Expert("code-7b", parameters=7e9, license="apache-2.0", input_price=0.2),
            Expert("chat-70b", parameters=70e9, context_length=32_768),
        ]
    )


@pytest.fixture(scope="session")
def saved(encoder, table, library, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("router")
    Router(fit(table, encoder, progress=False), library).save_pretrained(folder)
    return folder


@pytest.fixture
def tryage() -> Callable[..., Result]:
    """Run a command in this process; words are the arguments."""

    def run(*words: object, stdin: str | None = None) -> Result:
        return CliRunner(**SEPARATE).invoke(app, [str(word) for word in words], input=stdin)

    return run
