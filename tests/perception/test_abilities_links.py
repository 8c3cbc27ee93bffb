"""Links map predictions to the unit of the loss, rise, and so change no choice by loss alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tryage.perception.abilities import LEVEL_STD, LogGapLink, LogitLink, log_compress

LOGIT = LogitLink(-1.0, 3.0)
LOG_GAP = LogGapLink(
    0.5, knots_x=np.array([0.0, 0.5, 1.0, 2.0]), knots_y=np.array([0.1, 1.0, 3.0, 20.0])
)
ANY = np.zeros((1, 1), np.float32)  # a score means the same whatever the best one is
BEST = np.array([[1.0]])


# Scores


def test_a_score_is_the_sigmoid_of_a_line():
    y = np.array([[-1.0, 0.0, 1 / 3, 2.0]])
    np.testing.assert_allclose(LOGIT.losses(y, ANY), 1 / (1 + np.exp(1 - 3 * y)))


def test_the_logit_link_rises_and_stays_within_zero_and_one():
    y = np.linspace(-500, 500, 101)[None]
    link = LogitLink(-2.0, 4.0)
    losses = link.losses(y, ANY)
    assert (np.diff(losses) >= 0).all()
    assert (losses >= 0).all()
    assert (losses <= 1).all()
    assert (np.diff(link.losses(y / 500, ANY)) > 0).all()


def test_the_logit_link_multiplies_a_standard_deviation_by_its_slope():
    step, y = 1e-5, np.array([[-0.5, 0.2, 1.5]])
    slope = (LOGIT.losses(y + step, ANY) - LOGIT.losses(y - step, ANY)) / (2 * step)
    np.testing.assert_allclose(LOGIT.std(y, np.full_like(y, 0.1), ANY), 0.1 * slope, rtol=1e-6)


def test_the_logit_link_gives_the_same_in_place():
    y = np.linspace(-40, 40, 1_001, dtype=np.float32)[None]
    losses, std = y.copy(), np.full_like(y, 0.1)
    LOGIT.apply_inplace(losses, std, ANY)
    np.testing.assert_allclose(losses, LOGIT.losses(y, ANY), atol=1e-6)
    np.testing.assert_allclose(std, LOGIT.std(y, np.float32(0.1), ANY), atol=1e-6)
    assert (std >= 0).all()


def test_abilities_learn_scores_as_they_are():
    losses = np.array([[0.0, 1.0, 0.5]])
    assert LOGIT.training_targets(losses, ANY) is losses


# Real-valued losses


def test_a_gap_of_e_minus_one_scales_is_learned_as_one_scale():
    losses = BEST + 0.5 * np.array([[0.0, np.e - 1, np.e**2 - 1]])
    np.testing.assert_allclose(LOG_GAP.training_targets(losses, BEST), [[1.0, 1.5, 2.0]])


def test_a_predicted_gap_is_what_the_line_through_the_knots_says():
    y = BEST + np.array([[0.0, 0.25, 1.5]])
    np.testing.assert_allclose(LOG_GAP.losses(y, BEST), [[1.1, 1.55, 12.5]])


def test_compressed_losses_keep_their_order():
    losses = np.array([[0.2, 1.0, 1.001, 1.4, 3.0, 21.0]])
    assert (np.diff(LOG_GAP.training_targets(losses, BEST)) > 0).all()
    np.testing.assert_array_equal(
        LOG_GAP.training_targets(losses, BEST), log_compress(losses, BEST, 0.5)
    )


def test_a_loss_below_the_best_keeps_its_gap():
    y = np.array([[0.2, -3.0]])
    np.testing.assert_allclose(LOG_GAP.losses(y, BEST), y + 0.1)
    np.testing.assert_array_equal(LOG_GAP.training_targets(y, BEST), y)


def test_the_log_gap_link_multiplies_a_standard_deviation_by_its_slope():
    link = LogGapLink(0.5, np.array([0.0, 0.1, 0.7, 2.0]), np.array([0.0, 0.3, 2.1, 6.0]))
    y = BEST + np.array([[0.0, 0.05, 0.4, 1.9]])
    np.testing.assert_allclose(link.std(y, np.full_like(y, 0.1), BEST), np.full_like(y, 0.3))


def test_knots_that_are_close_to_each_other_do_not_inflate_a_standard_deviation():
    """From .3 below to .3 above, the loss rises from -.29 to .41: by .7."""
    knots_x, knots_y = np.array([0.0, 1e-6, 0.01, 1.01]), np.array([0.01, 0.1, 0.12, 1.12])
    link = LogGapLink(0.5, knots_x, knots_y, slope_width=0.6)
    found = link.std(BEST + 1e-6, np.full_like(BEST, 0.02), BEST)
    assert found.item() == pytest.approx(0.02 * 0.7 / 0.6, abs=1e-5)


def test_where_losses_do_not_rise_with_the_gap_they_are_no_more_certain():
    flat = LogGapLink(0.5, np.array([0.0, 1.0, 2.0]), np.array([3.0, 3.0, 3.0]))
    assert flat.std(np.array([[1.5]]), np.array([[0.2]]), BEST) == pytest.approx(0.2)


def test_the_log_gap_link_gives_the_same_in_place():
    y = np.linspace(0, 3, 50, dtype=np.float32)[None]
    losses, std = y.copy(), np.full_like(y, 0.1)
    LOG_GAP.apply_inplace(losses, std, BEST.astype(np.float32))
    np.testing.assert_allclose(losses, LOG_GAP.losses(y, BEST), rtol=1e-5)
    np.testing.assert_allclose(std, LOG_GAP.std(y, np.full_like(y, 0.1), BEST), rtol=1e-5)


def test_the_losses_of_scored_answers_are_in_the_unit_interval_and_others_as_they_were_measured():
    assert LogitLink().loss_range == (0.0, 1.0)
    assert LOG_GAP.loss_range is None
    assert dataclasses.replace(LOG_GAP, loss_range=(0.0, 9.0)).loss_range == (0.0, 9.0)


# The level of one expert


def test_the_level_shift_brings_the_mean_of_predictions_to_that_of_many_losses():
    link = LogitLink(intercept=-2.5, slope=5.0)
    y = np.full(2000, 0.1)  # predicted .119, measured .1
    losses = (np.arange(2000) % 10 == 0).astype(float)
    shifted = link.losses(y + link.level_shift(y, losses, noise=0.1), y)
    assert shifted.mean() == pytest.approx(0.1, abs=0.004)


def test_the_level_shift_is_the_mode_of_its_posterior():
    # where the gradient of the squared error over the noise equals that of the normal prior
    link, y, losses = LogitLink(-2.5, 5.0), np.array([0.2, 0.4, 0.3]), np.array([1.0, 0.0, 1.0])
    shift = link.level_shift(y, losses, noise=0.2)
    p = link.losses(y + shift, y)
    gradient = (5 * p * (1 - p) * (losses - p)).sum() / 0.2
    assert gradient == pytest.approx(shift / LEVEL_STD**2, rel=1e-3, abs=1e-6)


def test_one_loss_hardly_shifts_the_level_and_none_does_not():
    link = LogitLink(-2.5, 5.0)
    assert abs(link.level_shift(np.array([0.5]), np.array([1.0]), noise=0.2)) < 0.01
    assert link.level_shift(np.zeros(0), np.zeros(0), noise=0.2) == 0.0


def test_the_level_of_a_model_that_fails_always_leaves_what_the_prior_expects():
    link = LogitLink(intercept=-2.5, slope=5.0)
    y, noise = np.full(50, 0.4), 0.18
    usual = link.losses(y, y).mean()
    for rate in (0.3, 0.5, 0.7, 1.0):
        losses = (np.arange(50) < 50 * rate).astype(float)
        shifted = link.losses(y + link.level_shift(y, losses, noise), y).mean()
        assert min(usual, rate) - 1e-9 <= shifted <= max(usual, rate) + 1e-9
    assert shifted > usual + 0.6 * (1 - usual)  # of the one that fails always
