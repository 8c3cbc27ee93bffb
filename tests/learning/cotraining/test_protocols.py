"""Pools deal their prompts in shuffled passes, with features of one scale."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.cotraining.protocols import PromptPool, embed_pool

pytest.importorskip("sklearn")


def test_every_pass_over_the_pool_has_each_prompt_once_and_another_order(pool):
    n = len(pool)
    first, second = (pool.shuffled_rows(n * number, n, seed=0) for number in (0, 1))
    assert sorted(first) == sorted(second) == list(range(n))
    assert first.tolist() != second.tolist()
    across = pool.shuffled_rows(n - 3, 8, seed=0)
    assert across.tolist() == [*first[-3:], *second[:5]]


def test_a_pool_smaller_than_a_round_is_repeated(pool):
    small = PromptPool(pool.texts[:3], pool.features[:3], pool.tokens[:3])
    assert np.bincount(small.shuffled_rows(3, 9, seed=0)).tolist() == [3, 3, 3]


def test_features_are_centered_with_a_mean_square_length_of_one_and_a_constant(pool, encoder):
    found = embed_pool(pool.texts, encoder, n_components=5)
    assert found.features.shape == (200, 6)
    assert found.features[:, :-1].mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert (found.features[:, :-1] ** 2).sum(axis=1).mean() == pytest.approx(1)
    assert set(found.features[:, -1]) == {1.0}
    assert set(found.tokens) == {20}


def test_features_separate_the_domains(pool, domains, encoder):
    x = embed_pool(pool.texts, encoder).features
    means = [x[domains == domain].mean(axis=0) for domain in ("early", "late")]
    side = np.sign((x - np.mean(means, axis=0)) @ (means[1] - means[0]))
    assert ((side > 0) == (domains == "late")).mean() > 0.95


@pytest.mark.parametrize("texts", [["the same", "the same"], []])
def test_equal_prompts_are_refused(texts, encoder):
    with pytest.raises(InputError, match="different prompts"):
        embed_pool(texts, encoder)


@pytest.mark.parametrize(
    ("texts", "message"), [(["a", 3], "Prompt 1 is a int"), ("ab", "expected a list of strings")]
)
def test_prompts_that_are_not_texts_are_refused(texts, message, encoder):
    with pytest.raises(InputError, match=message):
        embed_pool(texts, encoder)
