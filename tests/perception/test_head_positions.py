"""Mixed positions: predictions, whose uncertainty comes from abilities and from estimators."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.perception.abilities import Abilities, Gaussian
from tryage.perception.head import mix_positions

NOISE = 0.3


@pytest.fixture
def prior():
    root = np.random.default_rng(1).normal(size=(4, 4))
    return Gaussian(np.array([0.5, -1.0, 0.0, 2.0]), root @ root.T + 0.1 * np.eye(4))


@pytest.fixture
def both(prior):
    means = np.stack([prior.mean, prior.mean])
    covariances = np.stack([prior.covariance, 3 * prior.covariance])
    return Abilities(means, covariances, prior, NOISE)


@pytest.fixture
def located():
    """Two prompts as three estimators see them, in a space of three dimensions."""
    rng = np.random.default_rng(7)
    by_estimator = rng.normal(size=(3, 2, 3)).astype(np.float32)
    return mix_positions(by_estimator, np.float32([0.5, 0.3, 0.2]))


def test_positions_are_the_weighted_mean_of_the_estimators_after_a_one(located):
    np.testing.assert_array_equal(located.positions[:, 0], 1)
    mean = np.tensordot(located.weights, located.estimator_positions, 1)
    np.testing.assert_allclose(located.positions[:, 1:], mean, rtol=1e-6)


def test_the_variance_of_a_prediction_is_that_of_the_ability_and_of_the_estimators(located, both):
    y, std = both.linear_predictions(located.positions), located.std(both)
    by_estimator = both.means[:, 0] + located.estimator_positions @ both.means[:, 1:].T
    disagreement = np.tensordot(located.weights, (by_estimator - y) ** 2, 1)
    expected = np.sqrt(both.variances(located.positions) + disagreement)
    np.testing.assert_allclose(std, expected, rtol=1e-6)


def test_the_uncertainty_of_some_columns_is_that_of_all(located, both):
    std, some_std = located.std(both), located.std(both, np.array([1]))
    np.testing.assert_allclose(some_std, std[:, 1:], rtol=1e-6)


def test_the_uncertainty_about_an_unmeasured_expert_is_that_of_abilities_drawn_from_the_prior(
    located, prior
):
    drawn = np.random.default_rng(0).multivariate_normal(prior.mean, prior.covariance, 20_000)
    by_estimator = located.estimator_positions @ drawn[:, 1:].T + drawn[:, 0]
    mixed = located.positions @ drawn.T
    disagreement = np.tensordot(located.weights, (by_estimator - mixed) ** 2, 1).mean(axis=1)
    expected = np.sqrt(mixed.var(axis=1) + disagreement)
    np.testing.assert_allclose(located.prior_std(prior), expected, rtol=0.03)
