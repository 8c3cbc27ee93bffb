"""One row is the exact posterior of an expert and of what all experts share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.perception.abilities import Gaussian
from tryage.traffic.beliefs import first_belief, forget, update_belief


def learn(belief, common, *row):
    given_common, loading, common = update_belief(belief, common, *row)
    return replace(belief, given_common=given_common, loading=loading), common


def test_one_row_by_hand():
    """Variances: own 1, common 3, noise 4. The surprise 8 divides as 1 : 3 of 8 in all."""
    belief, common = (
        first_belief(Gaussian(np.zeros(1), np.eye(1))),
        Gaussian(np.zeros(1), 3 * np.eye(1)),
    )
    belief, common = learn(belief, common, np.ones(1), 8.0, 4.0)
    assert common.mean[0] == pytest.approx(3.0)
    assert belief.ability(common).mean[0] == pytest.approx(4.0)
    # The covariance of the sum is that of the prior, 4, and the measurement, 4.
    assert belief.ability(common).covariance[0, 0] == pytest.approx(2.0)


def test_without_a_common_part_it_is_the_posterior_of_the_aptitude_test():
    rng = np.random.default_rng(0)
    prior, x = Gaussian(rng.normal(size=3), np.diag([1.0, 2.0, 3.0])), rng.normal(size=3)
    nothing = Gaussian(np.zeros(3), np.zeros((3, 3)))
    belief, common = learn(first_belief(prior), nothing, x, 0.7, 0.2)
    expected = prior.posterior(x[None], np.array([0.7]), 0.2)
    np.testing.assert_allclose(belief.ability(common).mean, expected.mean)
    np.testing.assert_allclose(belief.ability(common).covariance, expected.covariance)


def test_the_prediction_is_that_of_the_ability():
    rng = np.random.default_rng(1)
    belief = first_belief(Gaussian(rng.normal(size=3), np.eye(3)))
    common = Gaussian(rng.normal(size=3), 0.5 * np.eye(3))
    for _ in range(3):
        belief, common = learn(belief, common, rng.normal(size=3), 1.0, 0.2)
    x = rng.normal(size=3)
    mean, variance = belief.predict(common, x)
    ability = belief.ability(common)
    assert mean == pytest.approx(x @ ability.mean)
    assert variance == pytest.approx(x @ ability.covariance @ x)


def test_a_wild_measurement_moves_the_mean_by_a_bounded_amount():
    prior, common = Gaussian(np.zeros(1), np.eye(1)), Gaussian(np.zeros(1), np.zeros((1, 1)))
    means = [
        learn(first_belief(prior), common, np.ones(1), target, 3.0)[0].mean(common)[0]
        for target in (6.0, 1e9)
    ]
    assert means[0] == means[1] == pytest.approx(3 * 2 / 4)  # three deviations of 2, a gain of 1/4


def test_forgetting_mixes_precisions_and_never_gets_wider_than_the_limit():
    ability, wide = Gaussian(np.ones(2), np.diag([0.1, 4.0])), np.diag([1.0, 4.0])
    once = forget(ability, wide, 0.5)
    np.testing.assert_allclose(np.linalg.inv(once.covariance), np.diag([5.5, 0.25]))
    np.testing.assert_array_equal(once.mean, ability.mean)
    for _ in range(200):
        ability = forget(ability, wide, 0.5)
    np.testing.assert_allclose(ability.covariance, wide)
