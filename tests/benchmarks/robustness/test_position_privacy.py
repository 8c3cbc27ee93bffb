"""How the measurement of what a position tells counts hits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
ROBUSTNESS = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"
if not ROBUSTNESS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROBUSTNESS))

from position_privacy import (  # noqa: E402 - after the path is set
    CHANGES,
    NAMES,
    SENTENCES,
    embedder,
    names,
    ranks_of,
    share,
)


def letter_counts(texts):
    """Embed texts as the numbers of their letters, which tell names apart."""
    return np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts])


def test_a_rank_is_how_many_candidates_are_as_near():
    candidates = np.array([[0.0], [1.0], [1.0], [5.0]], np.float32)
    queries = np.array([[0.1], [1.0], [4.0]], np.float32)
    ranks = ranks_of(candidates, queries, np.array([0, 1, 0]))
    assert ranks.tolist() == [0, 1, 3]  # the second query lies on two equal candidates


def test_a_share_has_the_interval_of_wilson():
    assert share(np.zeros(10, bool)) == "0.0% (0.0% to 27.8%)"  # Brown, Cai, DasGupta 2001
    assert share(np.arange(100) < 50) == "50.0% (40.4% to 59.6%)"


def test_positions_are_those_that_a_log_keeps():
    embed = embedder(letter_counts)
    assert embed(["ab", "b"]).dtype == np.float32
    assert len(embed(["a"] * 600)) == 600


def test_a_name_between_known_words_is_found_where_letters_are_counted():
    (known, found, chance), (unknown, _, _) = names(embedder(letter_counts))
    assert (known, unknown) == (
        "which of 100 names, all other words known",
        "which of 100 names, other words unknown",
    )
    assert float(found.rstrip("%")) > 90.0  # a few names have the same letters
    assert chance == "1.0%"
    assert len(set(NAMES)) == 100
    assert all(sentence.count("{}") == 1 for sentence in SENTENCES)


def test_other_versions_of_a_prompt_are_other_texts_and_never_empty():
    for change in CHANGES.values():
        assert change("one two three") not in ("", "one two three")
        assert change("one") != ""
