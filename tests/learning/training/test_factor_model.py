"""The factor model fills gaps, separates the contenders, and weighs prompts."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.training.factor_model import (
    contender_weights,
    fit_factor_model,
    impute_losses,
    typical_loss_std,
)


@pytest.fixture
def additive():
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.3, (60, 1)) + rng.normal(0, 0.3, 20) + 0.5


def gappy(losses, share, seed=1):
    gaps = losses.copy()
    gaps[np.random.default_rng(seed).random(losses.shape) < share] = np.nan
    return gaps


def test_a_full_table_is_left_as_it_is(additive):
    np.testing.assert_array_equal(impute_losses(additive), additive)


def test_known_losses_stay_when_gaps_are_filled(additive):
    gaps = gappy(additive, 0.5)
    known = ~np.isnan(gaps)
    filled = impute_losses(gaps)
    np.testing.assert_array_equal(filled[known], gaps[known])
    assert np.isfinite(filled).all()


def test_the_gaps_of_an_additive_table_are_recovered(additive):
    gaps = gappy(additive, 0.4)
    missing = np.isnan(gaps)
    error = (impute_losses(gaps) - additive)[missing]
    assert np.abs(error).max() < 0.15
    assert error.std() < 0.1 * additive[missing].std()


def test_a_rank_beyond_the_additive_part_is_recovered_too(additive):
    rng = np.random.default_rng(2)
    structured = additive + np.outer(rng.choice([-1, 1], 60), rng.choice([-1, 1], 20))
    gaps = gappy(structured, 0.3)
    missing = np.isnan(gaps)
    error = (impute_losses(gaps) - structured)[missing]
    assert error.std() < 0.5


def test_expected_losses_take_the_place_of_imputed_ones(additive):
    gaps = gappy(additive, 0.4)
    given = fit_factor_model(gaps, rank=4, expected_losses=additive)
    full = fit_factor_model(additive, rank=4)
    np.testing.assert_allclose(given.mean, full.mean)
    assert not np.allclose(fit_factor_model(gaps, rank=4).mean, full.mean)


def test_a_prompt_of_weight_two_counts_as_two_prompts():
    losses = np.random.default_rng(3).random((30, 5))
    weights = np.where(np.arange(30) < 10, 2.0, 1.0)
    weighted = fit_factor_model(losses, rank=5, prompt_weights=weights)
    repeated = fit_factor_model(np.concatenate([losses, losses[:10]]), rank=5)
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    reconstructed = weighted.mean + weighted.scores @ weighted.loadings.T
    again = repeated.mean + repeated.scores[:30] @ repeated.loadings.T
    np.testing.assert_allclose(reconstructed, again, atol=1e-6)


def test_at_full_rank_the_factor_model_reproduces_the_losses():
    losses = np.random.default_rng(4).random((40, 6))
    latent = fit_factor_model(losses, rank=7)
    np.testing.assert_allclose(latent.mean + latent.scores @ latent.loadings.T, losses, atol=1e-6)


def test_the_first_dimension_is_the_difficulty_that_contenders_share():
    losses = np.random.default_rng(5).random((40, 3)) * 1e-3 + np.linspace(-1, 1, 40)[:, None]
    latent = fit_factor_model(losses, rank=3)
    np.testing.assert_array_equal(latent.loadings[:, 0], 1)
    assert np.corrcoef(latent.scores[:, 0], np.linspace(-1, 1, 40))[0, 1] > 0.999


def test_scores_have_a_mean_of_zero():
    latent = fit_factor_model(np.random.default_rng(6).random((40, 6)), rank=4)
    np.testing.assert_allclose(latent.scores.mean(axis=0), 0, atol=1e-12)
    assert latent.scores.shape == (40, 4)


def test_a_low_rank_keeps_the_contrast_between_contenders():
    rng = np.random.default_rng(7)
    code = rng.choice([-1.0, 1.0], 200)
    noise = rng.choice([-1.0, 1.0], 200)
    losses = np.stack(
        [0.3 + 0.1 * code, 0.3 - 0.1 * code, 0.9 + 0.1 * noise, 0.9 - 0.1 * noise], axis=1
    )
    latent = fit_factor_model(losses, rank=2)  # the shared difficulty, and one contrast
    fitted = latent.mean + latent.scores @ latent.loadings.T
    np.testing.assert_allclose(fitted[:, :2], losses[:, :2], atol=0.01)


def test_the_best_expert_is_a_contender_and_a_far_one_is_not():
    mean = np.array([0.2, 0.25, 0.9])
    losses = mean + np.random.default_rng(8).choice([-0.5, 0.5], (20, 3))
    weights = contender_weights(mean, losses)
    assert weights[0] == pytest.approx(1, abs=1e-5)
    assert weights[1] == pytest.approx(np.exp(-0.05 / (0.08 * typical_loss_std(losses))), abs=1e-5)
    assert 0 < weights[2] < 1e-5


def test_the_best_expert_of_every_source_is_a_contender():
    losses = np.full((20, 4), np.nan)
    losses[:10, :2], losses[10:, 2:] = [0.1, 0.9], [0.5, 1.3]
    losses += np.random.default_rng(9).normal(0, 0.1, losses.shape)
    weights = contender_weights(np.array([0.1, 0.9, 0.5, 1.3]), losses)
    assert weights[[0, 2]] == pytest.approx(1, abs=1e-5)
    assert weights[[1, 3]].max() < 1e-5


def test_the_typical_deviation_is_within_experts_and_never_zero():
    losses = np.array([[0.0, 10.0], [2.0, 12.0], [np.nan, 11.0], [1.0, np.nan]])
    assert typical_loss_std(losses) == pytest.approx(np.sqrt((1 + 1 + 0 + 1 + 1 + 0) / 6))
    assert typical_loss_std(np.full((3, 2), 0.5)) == 1.0
