"""Texts as people type them: mistakes, capital letters, accents left out, courtesies, Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TYPOS_PER_WORD = 0.12
_BEFORE = (
    "please ",
    "hi, ",
    "hello! ",
    "can you ",
    "could you please ",
    "**task:** ",
    "# question\n",
)
_AFTER = (" thanks", " please", " thank you!", " :)", "\n", "...", " asap", " pls")


def disturb(text: str, rng: np.random.Generator) -> str:
    """Return a text with some mistakes of typing, and now and then with polite words around it."""
    words = [
        _mistype(word, rng) if len(word) > 3 and rng.random() < TYPOS_PER_WORD else word
        for word in text.split(" ")
    ]
    text = " ".join(words)
    if rng.random() < 0.25:
        text = _BEFORE[rng.integers(len(_BEFORE))] + text
    if rng.random() < 0.25:
        text += _AFTER[rng.integers(len(_AFTER))]
    return text


def _mistype(word: str, rng: np.random.Generator) -> str:
    """Leave out, double, or swap letters within a word."""
    at = int(rng.integers(1, len(word) - 1))
    kind = rng.integers(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
