"""Fitting the head: every estimator finds clear structure, and prototypes stand for all prompts."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.training import estimators
from tryage.learning.training.estimators import fit_category_means, fit_head

NAMES = ("", "a", "b")


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=120)
    x = np.where(kind[:, None], [1.0, 0, 0, 0], [0, 1.0, 0, 0]) + rng.normal(0, 0.1, (120, 4))
    positions = np.where(kind[:, None], [1.0, -1.0], [-1.0, 1.0])
    return x.astype(np.float32), [NAMES[1 + k] for k in kind], positions


def test_every_estimator_but_zero_finds_two_separate_clouds(clouds):
    x, labels, positions = clouds
    head = fit_head(x, labels, NAMES, positions, seed=0)
    by_estimator = head.estimator_positions(head.prepare(x))
    assert by_estimator.shape == (len(head.estimators), 120, 2)
    np.testing.assert_array_equal(by_estimator[0], 0)
    for found in by_estimator[1:]:
        assert (np.sign(found) == np.sign(positions)).all()


def test_weights_start_equal_and_the_gain_is_one(clouds):
    x, labels, positions = clouds
    head = fit_head(x, labels, NAMES, positions, seed=0)
    assert head.weights.sum() == pytest.approx(1)
    assert np.ptp(head.weights) == 0
    np.testing.assert_array_equal(head.gain, 1)


def test_few_prompts_are_their_own_prototypes(clouds):
    x, labels, positions = clouds
    head = fit_head(x, labels, NAMES, positions, seed=0)
    np.testing.assert_allclose(head.prototypes, x / np.linalg.norm(x, axis=1)[:, None], atol=1e-6)


def test_only_the_compared_features_make_prompts_similar(clouds):
    x, labels, positions = clouds
    head = fit_head(x, labels, NAMES, positions, seed=0, compared_width=2)
    compared = x[:, :2] / np.linalg.norm(x[:, :2], axis=1)[:, None]
    np.testing.assert_allclose(head.prototypes, compared, atol=1e-6)
    np.testing.assert_allclose(head.prepare(x).similarities, compared @ compared.T, atol=1e-6)
    assert head.estimators[5].slope.shape == (4, 2)


def test_many_prompts_become_prototypes_that_stand_for_all_of_them(clouds, monkeypatch):
    x, labels, positions = clouds
    monkeypatch.setattr(estimators, "N_PROTOTYPES", 10)
    one, two = (fit_head(x, labels, NAMES, positions, seed=0) for _ in range(2))
    assert len(one.prototypes) <= 10
    kernel = one.estimators[2]
    assert kernel.counts.sum() == 120
    np.testing.assert_allclose(kernel.counts @ kernel.positions, positions.sum(axis=0), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(one.prototypes, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(
        one.estimator_positions(one.prepare(x)), two.estimator_positions(two.prepare(x))
    )
    assert (np.sign(one.estimator_positions(one.prepare(x))[2]) == np.sign(positions)).all()


def test_a_category_of_few_prompts_shrinks_to_zero():
    one_hot = np.float32([[1, 0, 0], [1, 0, 0], [0, 1, 0]])
    positions = np.array([[2.0], [4.0], [6.0]])
    means = fit_category_means(positions, one_hot, shrinkage=2.0)
    np.testing.assert_allclose(means.positions, [[(2 + 4) / (2 + 2)], [6 / (1 + 2)], [0]])
