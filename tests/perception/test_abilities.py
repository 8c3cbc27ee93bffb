"""The ability update is Bayesian linear regression, for one expert and for all."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tryage.errors import InputError
from tryage.perception.abilities import Abilities, Gaussian, posterior_covariances

NOISE = 0.3


@pytest.fixture
def prior():
    root = np.random.default_rng(1).normal(size=(4, 4))
    return Gaussian(np.array([0.5, -1.0, 0.0, 2.0]), root @ root.T + 0.1 * np.eye(4))


@pytest.fixture
def data():
    rng = np.random.default_rng(2)
    return rng.normal(size=(9, 4)), rng.normal(size=9)


# One ability


def test_one_loss_of_one_number_gives_the_mean_weighted_by_precision():
    updated = Gaussian(np.array([1.0]), np.array([[4.0]])).posterior(
        np.array([[1.0]]), np.array([3.0]), noise=1.0
    )
    assert updated.mean == pytest.approx([(1 / 4 + 3) / (1 / 4 + 1)])
    assert updated.covariance == pytest.approx(np.array([[1 / (1 / 4 + 1)]]))


def test_the_update_equals_the_explicit_inverse(prior, data):
    positions, losses = data
    precision = np.linalg.inv(prior.covariance)
    covariance = np.linalg.inv(precision + positions.T @ positions / NOISE)
    mean = covariance @ (precision @ prior.mean + positions.T @ losses / NOISE)
    updated = prior.posterior(positions, losses, NOISE)
    np.testing.assert_allclose(updated.mean, mean, atol=1e-9)
    np.testing.assert_allclose(updated.covariance, covariance, atol=1e-9)


def test_losses_one_by_one_teach_what_they_teach_together(prior, data):
    positions, losses = data
    one = prior
    for position, loss in zip(positions, losses, strict=True):
        one = one.posterior(position[None], np.array([loss]), NOISE)
    together = prior.posterior(positions, losses, NOISE)
    np.testing.assert_allclose(one.mean, together.mean, atol=1e-9)
    np.testing.assert_allclose(one.covariance, together.covariance, atol=1e-9)


@pytest.mark.parametrize("loss", [-1e300, -100.0, 100.0, 1e300])
def test_a_surprising_loss_counts_as_three_standard_deviations(loss):
    ability = Gaussian(np.array([1.0]), np.array([[4.0]]))
    updated = ability.posterior(np.array([[1.0]]), np.array([loss]), 5.0, max_surprise=3.0)
    # the loss has a standard deviation of (4 + 5) ** .5 = 3, and the gain is 4 / 9
    assert updated.mean == pytest.approx([1 + np.sign(loss) * 9 * 4 / 9])
    usual = ability.posterior(np.array([[1.0]]), np.array([2.0]), 5.0, max_surprise=3.0)
    assert usual.mean == pytest.approx([1 + 4 / 9])
    assert updated.covariance == pytest.approx(usual.covariance)


def test_with_a_round_prior_at_zero_the_mean_is_a_ridge_regression(data):
    positions, losses = data
    updated = Gaussian(np.zeros(4), 2.0 * np.eye(4)).posterior(positions, losses, NOISE)
    ridge = Ridge(alpha=NOISE / 2.0, fit_intercept=False).fit(positions, losses)
    np.testing.assert_allclose(updated.mean, ridge.coef_, atol=1e-9)


def test_data_never_increases_the_uncertainty_and_the_covariance_stays_valid(prior, data):
    eigenvalues, belief = [], prior
    for position, loss in zip(*data, strict=True):
        belief = belief.posterior(position[None], np.array([loss]), NOISE)
        eigenvalues.append(np.linalg.eigvalsh(belief.covariance))
        np.testing.assert_array_equal(belief.covariance, belief.covariance.T)
    assert np.min(eigenvalues) > 0
    assert np.diff(np.sum(eigenvalues, axis=1)).max() < 0


@pytest.mark.parametrize(
    ("positions", "losses"),
    [
        (np.ones((2, 4)), np.ones(3)),
        (np.ones((2, 3)), np.ones(2)),
        (np.ones((2, 4)), np.array([1.0, np.nan])),
        (np.ones((2, 4)), np.array([1.0, np.inf])),
    ],
)
def test_losses_that_do_not_fit_are_refused(prior, positions, losses):
    with pytest.raises(InputError, match="one finite loss per row"):
        prior.posterior(positions, losses, NOISE)


# Many abilities


@pytest.fixture
def both(prior):
    means = np.stack([prior.mean, prior.mean])
    covariances = np.stack([prior.covariance, 3 * prior.covariance])
    return Abilities(means, covariances, prior, NOISE)


def test_variances_are_the_quadratic_form_of_each_covariance(both):
    positions = np.random.default_rng(3).normal(size=(5, 4))
    expected = [[p @ c @ p for c in both.covariances] for p in positions]
    np.testing.assert_allclose(both.variances(positions), expected)
    np.testing.assert_allclose(both.variances(positions, np.array([1])), np.array(expected)[:, 1:])
    np.testing.assert_allclose(both.linear_predictions(positions), positions @ both.means.T)


def test_an_ability_is_replaced_or_appended_and_the_old_ones_stay(prior):
    one = Abilities(prior.mean[None], prior.covariance[None], prior, NOISE)
    new = Gaussian(prior.mean + 1, prior.covariance * 2)
    two = one.with_ability(None, new)
    assert (len(one), len(two)) == (1, 2)
    np.testing.assert_array_equal(two.ability(1).mean, new.mean)
    replaced = two.with_ability(0, new)
    np.testing.assert_array_equal(replaced.ability(0).covariance, new.covariance)
    np.testing.assert_array_equal(two.ability(0).mean, prior.mean)
    np.testing.assert_array_equal(two.take([1]).means, new.mean[None])


@pytest.mark.parametrize("gaps", [False, True])
def test_covariances_with_another_noise_are_those_of_the_posterior(both, gaps):
    rng = np.random.default_rng(6)
    positions, known = rng.normal(size=(60, 4)), np.ones((60, 2), np.bool_)
    if gaps:
        known = rng.random(known.shape) < 0.7
    noisy = both.with_noise(positions, known, noise=0.5)
    np.testing.assert_array_equal(noisy.means, both.means)
    assert noisy.noise == 0.5
    for i, rows in enumerate(known.T):
        again = both.prior.posterior(positions[rows], np.zeros(rows.sum()), 0.5)
        np.testing.assert_allclose(noisy.ability(i).covariance, again.covariance, atol=1e-9)
    covariances = posterior_covariances(both.prior, positions, known, 0.5)
    np.testing.assert_array_equal(noisy.covariances, covariances)


@pytest.mark.parametrize("experts", [slice(None), np.array([3, 0])])
@pytest.mark.parametrize("batch", [1, 40, 130])
def test_the_variance_of_a_prediction_is_the_quadratic_form_of_the_covariance(
    prior, experts, batch
):
    rng = np.random.default_rng(4)
    roots = rng.normal(size=(5, 4, 4))
    abilities = Abilities(rng.normal(size=(5, 4)), roots @ roots.swapaxes(1, 2), prior, NOISE)
    positions = rng.normal(size=(batch, 4))
    expected = np.einsum("bk,nkl,bl->bn", positions, abilities.covariances, positions)
    np.testing.assert_allclose(abilities.variances(positions, experts), expected[:, experts])
    assert abilities._triangles.shape == (5, 10)
