"""The trained router as a method of an evaluation: what it needs, and what it reads once."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.errors import QTableError
from tryage.learning.evaluation.trained_router import (
    CachingEncoder,
    check_folds,
    make_routing_method,
)
from tryage.scoring.qtable import QTable


class CountingEncoder:
    dim = 2

    def __init__(self):
        self.batches = []

    def encode(self, prompts):
        self.batches.append(list(prompts))
        return np.array([[len(text), 1.0] for text in prompts], dtype=np.float32)


def table(n):
    prompts = tuple(f"prompt {i}" for i in range(n))
    return QTable(prompts, ("a", "b"), np.tile(np.float32([0.1, 0.9]), (n, 1)))


def test_a_prompt_is_encoded_once_however_often_it_comes():
    encoder = CountingEncoder()
    caching = CachingEncoder(encoder)
    np.testing.assert_array_equal(caching.encode(["a", "bb", "a"]), [[1, 1], [2, 1], [1, 1]])
    np.testing.assert_array_equal(caching.encode(["bb", "ccc"]), [[2, 1], [3, 1]])
    assert encoder.batches == [["a", "bb"], ["ccc"]]


def test_every_other_attribute_is_that_of_the_encoder():
    assert CachingEncoder(CountingEncoder()).dim == 2


def test_a_table_that_leaves_too_few_prompts_to_train_on_is_refused_with_both_numbers():
    with pytest.raises(QTableError, match=r"6 different prompts in 3 folds leave 4 to train on"):
        check_folds(table(6), 3)
    check_folds(table(200), 5)


def test_the_method_predicts_losses_of_every_expert_on_prompts_it_was_not_trained_on(encoder):
    train = table(60)
    method = make_routing_method(encoder)
    unseen = ["prompt 100", "prompt 101", "prompt 102"]
    prediction = method(train, encoder.encode(train.prompts), unseen, encoder.encode(unseen))
    assert prediction.losses.shape == (3, 2)
    assert (prediction.losses.argmin(axis=1) == 0).all()
