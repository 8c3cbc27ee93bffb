"""Fitted abilities are posteriors under a prior that is fitted to all experts."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.training.factor_model import fit_abilities


def test_fitted_abilities_are_the_posterior_of_the_common_prior():
    rng = np.random.default_rng(4)
    positions = np.concatenate([np.ones((60, 1)), rng.normal(size=(60, 2))], axis=1)
    initial = rng.normal(size=(6, 3))
    losses = positions @ initial.T + rng.normal(0, 0.2, (60, 6))
    gaps = losses.copy()
    gaps[rng.random(gaps.shape) < 0.4] = np.nan
    for table in (losses, gaps):
        fitted = fit_abilities(positions, table, initial)
        for i in range(6):
            rows = ~np.isnan(table[:, i])
            again = fitted.prior.posterior(positions[rows], table[rows, i], fitted.noise)
            np.testing.assert_allclose(fitted.ability(i).mean, again.mean, atol=1e-6)
            np.testing.assert_allclose(fitted.ability(i).covariance, again.covariance, atol=1e-6)
        assert fitted.noise == pytest.approx(0.04, rel=0.25)


def test_an_expert_with_few_losses_stays_near_the_prior_and_is_less_certain():
    rng = np.random.default_rng(5)
    positions = np.ones((50, 1))
    initial = np.linspace(0.4, 0.6, 5)[:, None]
    losses = np.full((50, 5), 0.5) + rng.normal(0, 0.3, (50, 5))
    losses[:, 0], losses[2:, 0] = 1.5, np.nan
    losses[:, 1] = 1.5
    fitted = fit_abilities(positions, losses, initial)
    assert 0.5 < fitted.means[0, 0] < fitted.means[1, 0]
    assert fitted.covariances[0, 0, 0] > fitted.covariances[1, 0, 0]


def test_with_more_noise_the_means_stay_and_the_covariances_are_those_of_the_posterior():
    rng = np.random.default_rng(6)
    positions = np.concatenate([np.ones((60, 1)), rng.normal(size=(60, 2))], axis=1)
    losses = positions @ rng.normal(size=(3, 4)) + rng.normal(0, 0.2, (60, 4))
    losses[rng.random(losses.shape) < 0.3] = np.nan
    fitted = fit_abilities(positions, losses, rng.normal(size=(4, 3)))
    known = ~np.isnan(losses)
    noisy = fitted.with_noise(positions, known, noise=0.5)
    np.testing.assert_array_equal(noisy.means, fitted.means)
    for i, rows in enumerate(known.T):
        again = fitted.prior.posterior(positions[rows], losses[rows, i], 0.5)
        np.testing.assert_allclose(noisy.ability(i).covariance, again.covariance, atol=1e-6)
