"""The margin of the soft threshold is as large as unseen losses ask for, and no larger."""

from __future__ import annotations

import numpy as np

from tryage.learning.training.calibration import MARGINS, fit_soft_threshold
from tryage.perception.abilities import SoftThreshold


def test_where_predictions_are_noise_the_best_single_expert_is_taken():
    rng = np.random.default_rng(0)
    mean = np.linspace(0.45, 0.55, 10)
    losses = (rng.random((400, 10)) < mean).astype(float)
    y = mean + rng.normal(0, 0.2, losses.shape)
    threshold = fit_soft_threshold(y, losses, mean, loss_std=0.5)
    assert threshold == SoftThreshold(0, MARGINS[-1] * 0.5)


def test_a_gain_within_its_standard_error_is_not_believed():
    losses = np.full((50, 2), 0.5)
    losses[0, 1], losses[1, 1] = 0.0, 0.9
    y = np.full((50, 2), 0.5)
    y[:2, 1] = 0.2  # right once and wrong once: a gain of .002 per prompt, give or take .013
    assert (
        fit_soft_threshold(y, losses, np.array([0.49, 0.5]), loss_std=0.5).margin
        == MARGINS[-1] * 0.5
    )
    y[1, 1] = losses[1, 1] = 0.5
    losses[2:9, 1], y[2:9, 1] = 0.0, 0.2
    assert fit_soft_threshold(y, losses, np.array([0.49, 0.5]), loss_std=0.5).margin == 0


def test_where_predictions_are_right_they_are_believed():
    rng = np.random.default_rng(1)
    probability = rng.uniform(0, 1, (400, 4))
    losses = (rng.random(probability.shape) < probability).astype(float)
    threshold = fit_soft_threshold(probability, losses, losses.mean(axis=0), loss_std=0.5)
    assert threshold.margin < 0.06
    assert threshold.incumbent == losses.mean(axis=0).argmin()


def test_the_margin_is_chosen_among_experts_that_were_measured():
    rng = np.random.default_rng(2)
    probability = rng.uniform(0, 1, (400, 3))
    losses = (rng.random(probability.shape) < probability).astype(float)
    probability[:, 2] = -1.0  # predicted to be by far the best, and never measured
    losses[:, 2] = np.nan
    threshold = fit_soft_threshold(probability, losses, np.array([0.5, 0.5, 0.9]), loss_std=0.5)
    assert threshold.margin < 0.5


def test_an_expert_that_few_prompts_measured_is_not_the_incumbent():
    rng = np.random.default_rng(3)
    probability = rng.uniform(0, 1, (400, 3))
    losses = (rng.random(probability.shape) < probability).astype(float)
    losses[20:, 0] = np.nan
    threshold = fit_soft_threshold(probability, losses, np.array([0.2, 0.6, 0.5]), loss_std=0.5)
    assert threshold.incumbent == 2
    losses[20:, 1:] = np.nan  # now none was measured on all: the lowest mean counts again
    losses[20:, :] = np.where(rng.random((380, 3)) < 0.5, 0.5, np.nan)
    losses[:, 0] = np.where(np.isnan(losses).all(axis=1), 0.5, losses[:, 0])
    threshold = fit_soft_threshold(probability, losses, np.array([0.2, 0.6, 0.5]), loss_std=0.5)
    assert threshold.incumbent == 0
