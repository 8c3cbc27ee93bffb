"""Disturbed texts have mistakes of typing and polite words, and still the same subject."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
TEXT = "summarize the following letter about gardens in two sentences"


@pytest.fixture
def disturb(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("distill_multilingual_noise").disturb


def test_most_words_stay_and_the_seed_decides(disturb):
    texts = [disturb(TEXT, np.random.default_rng(seed)) for seed in range(50)]
    assert texts == [disturb(TEXT, np.random.default_rng(seed)) for seed in range(50)]
    kept = [len(set(TEXT.split()) & set(text.split())) / len(TEXT.split()) for text in texts]
    assert 0.8 < np.mean(kept) < 1
    assert len(set(texts)) > 25


@pytest.mark.parametrize("text", ["", " ", "a", "\n\n", "\u4f60\u597d"])
def test_any_text_can_be_disturbed(disturb, text):
    assert text in disturb(text, np.random.default_rng(0))
