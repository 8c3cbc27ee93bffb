"""The ability update is Bayesian linear regression, whichever way it is computed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tryage.errors import InputError
from tryage.learning.training.factor_model import fit_abilities
from tryage.perception.abilities import Abilities, Gaussian

NOISE = 0.3


@pytest.fixture
def prior():
    root = np.random.default_rng(1).normal(size=(4, 4))
    return Gaussian(np.array([0.5, -1.0, 0.0, 2.0]), root @ root.T + 0.1 * np.eye(4))


@pytest.fixture
def data():
    rng = np.random.default_rng(2)
    return rng.normal(size=(9, 4)), rng.normal(size=9)


def test_one_loss_of_one_number_gives_the_mean_weighted_by_precision():
    updated = Gaussian(np.array([1.0]), np.array([[4.0]])).posterior(
        np.array([[1.0]]), np.array([3.0]), noise=1.0
    )
    assert updated.mean == pytest.approx([(1 / 4 + 3) / (1 / 4 + 1)])
    assert updated.covariance == pytest.approx(np.array([[1 / (1 / 4 + 1)]]))


def test_the_update_equals_the_explicit_inverse(prior, data):
    places, losses = data
    precision = np.linalg.inv(prior.covariance)
    covariance = np.linalg.inv(precision + places.T @ places / NOISE)
    mean = covariance @ (precision @ prior.mean + places.T @ losses / NOISE)
    updated = prior.posterior(places, losses, NOISE)
    np.testing.assert_allclose(updated.mean, mean, atol=1e-9)
    np.testing.assert_allclose(updated.covariance, covariance, atol=1e-9)


def test_losses_one_by_one_teach_what_they_teach_together(prior, data):
    places, losses = data
    one = prior
    for place, loss in zip(places, losses, strict=True):
        one = one.posterior(place[None], np.array([loss]), NOISE)
    together = prior.posterior(places, losses, NOISE)
    np.testing.assert_allclose(one.mean, together.mean, atol=1e-9)
    np.testing.assert_allclose(one.covariance, together.covariance, atol=1e-9)


def test_with_a_round_prior_at_zero_the_mean_is_a_ridge_regression(data):
    places, losses = data
    updated = Gaussian(np.zeros(4), 2.0 * np.eye(4)).posterior(places, losses, NOISE)
    ridge = Ridge(alpha=NOISE / 2.0, fit_intercept=False).fit(places, losses)
    np.testing.assert_allclose(updated.mean, ridge.coef_, atol=1e-9)


def test_data_never_widens_the_doubt_and_the_covariance_stays_one(prior, data):
    widths, belief = [], prior
    for place, loss in zip(*data, strict=True):
        belief = belief.posterior(place[None], np.array([loss]), NOISE)
        widths.append(np.linalg.eigvalsh(belief.covariance))
        np.testing.assert_array_equal(belief.covariance, belief.covariance.T)
    assert np.min(widths) > 0
    assert np.diff(np.sum(widths, axis=1)).max() < 0


@pytest.mark.parametrize(
    ("places", "losses"),
    [
        (np.ones((2, 4)), np.ones(3)),
        (np.ones((2, 3)), np.ones(2)),
        (np.ones((2, 4)), np.array([1.0, np.nan])),
        (np.ones((2, 4)), np.array([1.0, np.inf])),
    ],
)
def test_losses_that_do_not_fit_are_refused(prior, places, losses):
    with pytest.raises(InputError, match="one finite loss per row"):
        prior.posterior(places, losses, NOISE)


def test_variances_are_the_quadratic_form_of_each_covariance(prior):
    other = Gaussian(prior.mean, 3 * prior.covariance)
    both = Abilities(
        np.stack([prior.mean, other.mean]),
        np.stack([prior.covariance, other.covariance]),
        prior,
        NOISE,
    )
    places = np.random.default_rng(3).normal(size=(5, 4))
    expected = [[p @ g.covariance @ p for g in (prior, other)] for p in places]
    np.testing.assert_allclose(both.variances(places), expected)
    np.testing.assert_allclose(both.losses(places), places @ both.means.T)


def test_an_ability_is_replaced_or_appended_and_the_old_ones_stay(prior):
    one = Abilities(prior.mean[None], prior.covariance[None], prior, NOISE)
    new = Gaussian(prior.mean + 1, prior.covariance * 2)
    two = one.with_ability(None, new)
    assert (len(one), len(two)) == (1, 2)
    np.testing.assert_array_equal(two.ability(1).mean, new.mean)
    replaced = two.with_ability(0, new)
    np.testing.assert_array_equal(replaced.ability(0).covariance, new.covariance)
    np.testing.assert_array_equal(two.ability(0).mean, prior.mean)


def test_fitted_abilities_are_the_posterior_of_the_crowd_prior():
    rng = np.random.default_rng(4)
    places = np.concatenate([np.ones((60, 1)), rng.normal(size=(60, 2))], axis=1)
    first = rng.normal(size=(6, 3))
    losses = places @ first.T + rng.normal(0, 0.2, (60, 6))
    gaps = losses.copy()
    gaps[rng.random(gaps.shape) < 0.4] = np.nan
    for table in (losses, gaps):
        fitted = fit_abilities(places, table, first)
        for i in range(6):
            rows = ~np.isnan(table[:, i])
            again = fitted.prior.posterior(places[rows], table[rows, i], fitted.noise)
            np.testing.assert_allclose(fitted.ability(i).mean, again.mean, atol=1e-6)
            np.testing.assert_allclose(fitted.ability(i).covariance, again.covariance, atol=1e-6)
        assert fitted.noise == pytest.approx(0.04, rel=0.25)


def test_an_expert_with_few_losses_stays_near_the_crowd_and_is_less_certain():
    rng = np.random.default_rng(5)
    places = np.ones((50, 1))
    first = np.linspace(0.4, 0.6, 5)[:, None]
    losses = np.full((50, 5), 0.5) + rng.normal(0, 0.3, (50, 5))
    losses[:, 0], losses[2:, 0] = 1.5, np.nan
    losses[:, 1] = 1.5
    fitted = fit_abilities(places, losses, first)
    assert 0.5 < fitted.means[0, 0] < fitted.means[1, 0]
    assert fitted.covariances[0, 0, 0] > fitted.covariances[1, 0, 0]


def test_with_more_noise_the_means_stay_and_the_doubt_is_that_of_the_posterior():
    rng = np.random.default_rng(6)
    places = np.concatenate([np.ones((60, 1)), rng.normal(size=(60, 2))], axis=1)
    losses = places @ rng.normal(size=(3, 4)) + rng.normal(0, 0.2, (60, 4))
    losses[rng.random(losses.shape) < 0.3] = np.nan
    fitted = fit_abilities(places, losses, rng.normal(size=(4, 3)))
    known = ~np.isnan(losses)
    doubted = fitted.with_noise(places, known, noise=0.5)
    np.testing.assert_array_equal(doubted.means, fitted.means)
    for i, rows in enumerate(known.T):
        again = fitted.prior.posterior(places[rows], losses[rows, i], 0.5)
        np.testing.assert_allclose(doubted.ability(i).covariance, again.covariance, atol=1e-6)
    assert doubted.noise == 0.5
