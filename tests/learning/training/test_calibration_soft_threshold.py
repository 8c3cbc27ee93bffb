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


def test_less_than_a_standard_error_is_enough_to_leave_the_incumbent():
    losses = np.full((100, 2), 0.5)
    y = np.full((100, 2), 0.5)
    y[:29, 1] = 0.2
    losses[:17, 1], losses[17:29, 1] = 0.0, 1.0  # a gain of .025, give or take .027
    threshold = fit_soft_threshold(y, losses, np.array([0.49, 0.5]), loss_std=0.5)
    assert threshold.margin < 0.3
    losses[15:29, 1] = 1.0  # a gain of .005
    threshold = fit_soft_threshold(y, losses, np.array([0.49, 0.5]), loss_std=0.5)
    assert threshold.margin == MARGINS[-1] * 0.5


def test_the_margin_is_the_median_of_those_that_are_best_in_bootstrap_samples():
    # One lucky prompt makes a margin of zero the best one on all prompts. A third of the bootstrap
    # samples lack it; the others hold it once or more often.
    losses, y = np.full((200, 2), 0.5), np.full((200, 2), 0.5)
    y[:40, 1], y[40:80, 1] = 0.1, 0.4
    losses[:40, 1] = np.where(np.arange(40) < 30, 0.0, 0.5)  # large gains are real
    losses[40:60, 1], losses[60:80, 1] = 0.0, 1.0  # small ones are not: as often right as wrong
    losses[60, 1] = 0.0  # but for one
    threshold = fit_soft_threshold(y, losses, np.array([0.49, 0.5]), loss_std=0.5)
    assert 0.1 <= threshold.margin < 0.4


def test_the_choice_is_the_same_for_the_same_losses():
    rng = np.random.default_rng(4)
    probability = rng.uniform(0.4, 0.6, (300, 5))
    losses = (rng.random(probability.shape) < probability).astype(float)
    found = [fit_soft_threshold(probability, losses, losses.mean(axis=0), 0.5) for _ in range(2)]
    assert found[0] == found[1]
