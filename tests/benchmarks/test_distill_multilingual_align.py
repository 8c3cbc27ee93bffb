"""A translation learns the embedding of its English text, and English texts keep theirs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))

from distill_multilingual_align import (  # noqa: E402 - after the path is set
    decision_directions,
    train_rows,
    used_tokens,
)

from tryage.perception.head import RidgeRegression  # noqa: E402 - the same


def test_tokens_of_english_texts_keep_their_rows_and_translations_come_nearer() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    english, translation = np.array([0, 1]), np.array([2, 3])
    target = (rows[english].sum(0) / np.linalg.norm(rows[english].sum(0)))[None]
    is_fixed = np.array([True, True, False, False])
    trained = train_rows(rows, [translation] * 8, np.repeat(target, 8, 0), is_fixed, target.T)
    np.testing.assert_array_equal(trained[is_fixed], rows[is_fixed])
    before, after = (table[translation].sum(0) for table in (rows, trained))
    assert target[0] @ after / np.linalg.norm(after) > target[0] @ before / np.linalg.norm(before)


def test_a_token_that_english_texts_use_twice_may_change_and_one_used_thrice_may_not() -> None:
    assert used_tokens([np.array([1, 1, 2]), np.array([1, 2])], 4).tolist() == [
        *(False, True, False, False)
    ]


def test_decision_directions_are_those_along_which_experts_differ() -> None:
    slope = np.zeros((5, 2), np.float32)
    slope[1, 0], slope[3, 1] = 2.0, 1.0  # the embedding has four numbers; experts differ in both
    ridge = RidgeRegression(slope, np.zeros((1, 2), np.float32), np.zeros(2, np.float32))
    perception = SimpleNamespace(
        head=SimpleNamespace(estimators=(ridge,)),
        encoder=SimpleNamespace(dim=4),
        abilities=SimpleNamespace(means=np.array([[0.3, 1, 0], [0.1, -1, 0], [9, 0, 0]])),
    )
    directions = decision_directions(perception)
    np.testing.assert_allclose(np.abs(directions[:, 0]), [0, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(directions[:, 1:], 0, atol=1e-6)
