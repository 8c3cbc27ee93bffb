"""Fitted links predict what was measured on average: Platt scaling, and a line through knots."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tryage.learning.training.calibration import (
    accepted_range,
    fit_log_gap_link,
    fit_logit_link,
    prompt_contender_weights,
)
from tryage.learning.training.factor_model import CONTENDER_BANDWIDTH, typical_loss_std

ANY = np.zeros((1, 1), np.float32)  # a score means the same whatever the best one is


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    y = rng.normal(0.4, 0.3, (300, 4))
    losses = (rng.random(y.shape) < 1 / (1 + np.exp(1 - 3 * y))).astype(np.float32)
    return y, losses


# Scores


def test_the_mean_prediction_is_the_mean_score(scored):
    y, losses = scored
    assert fit_logit_link(y, losses).losses(y, ANY).mean() == pytest.approx(losses.mean(), abs=1e-6)


def test_the_fit_is_platt_scaling(scored):
    y, losses = scored
    link = fit_logit_link(y, losses)
    platt = LogisticRegression(C=np.inf, tol=1e-10).fit(y.reshape(-1, 1), losses.ravel())
    assert link.slope == pytest.approx(platt.coef_[0, 0], rel=1e-3)
    assert link.intercept == pytest.approx(platt.intercept_[0], rel=1e-3)


def test_scores_between_zero_and_one_are_calibrated_too(scored):
    y, _ = scored
    losses = np.clip(y / 2 + 0.1, 0, 1)
    link = fit_logit_link(y, losses)
    assert link.losses(y, ANY).mean() == pytest.approx(losses.mean(), abs=1e-6)
    assert np.abs(link.losses(y, ANY) - losses).mean() < 0.05


def test_gaps_are_left_out(scored):
    y, losses = scored
    gaps = losses.copy()
    gaps[::3] = np.nan
    kept = np.arange(300) % 3 != 0
    assert fit_logit_link(y, gaps) == fit_logit_link(y[kept], losses[kept])


def test_predictions_that_point_the_wrong_way_still_predict_the_mean(scored):
    y, losses = scored
    link = fit_logit_link(-y, losses)
    assert link.slope > 0
    assert link.losses(-y, ANY).mean() == pytest.approx(losses.mean(), abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_answers_that_are_all_right_or_all_wrong_are_predicted_so(value):
    y = np.random.default_rng(1).normal(value, 0.1, (50, 3))
    assert np.abs(fit_logit_link(y, np.full((50, 3), value)).losses(y, ANY) - value).max() < 0.01


# Real-valued losses


def test_predictions_are_on_average_what_was_measured():
    rng = np.random.default_rng(0)
    y = rng.normal(2, 0.2, (300, 4))
    losses = y.min(axis=1, keepdims=True) + rng.exponential(5, y.shape)
    link = fit_log_gap_link(0.5, y, losses)
    best = y.min(axis=1, keepdims=True)
    assert link.losses(y, best).mean() == pytest.approx(losses.mean(), rel=1e-3)
    rows = np.arange(len(y))  # and those of the experts that would be chosen
    chosen = y.argmin(axis=1)
    predicted = link.losses(y, best)[rows, chosen].mean()
    assert predicted == pytest.approx(losses[rows, chosen].mean(), rel=0.1)


def test_no_two_predictions_become_one():
    y = np.random.default_rng(0).normal(2, 0.2, (60, 4))
    link = fit_log_gap_link(0.5, y, np.ones_like(y))  # every one of these predictions is wrong
    ordered = np.sort(np.append(y, [[0.0, 2.0, 5.0, 9.0]], axis=0), axis=1)
    assert (np.diff(link.losses(ordered, ordered[:, :1])) > 0).all()


def test_experts_that_are_predicted_about_equal_have_no_larger_standard_deviation_for_it():
    y = np.array([[2.0, 2.0 + 1e-6, 4.0]]).repeat(50, axis=0)
    link = fit_log_gap_link(0.5, y, np.array([[2.0, 2.4, 5.0]]).repeat(50, axis=0))
    assert link.std(y, np.full_like(y, 0.1), y[:, :1]).max() < 0.3


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([[1.0, 3.0], [np.nan, 2.0]], (0.0, 5.0)),
        ([[5.0, 6.0]], (4.0, 7.0)),
        ([[-1.0, 1.0]], (-3.0, 3.0)),
        ([[2.0, 2.0]], (0.0, 4.0)),
    ],
)
def test_feedback_may_exceed_the_measured_losses_by_their_width_but_not_fall_below_zero(
    losses, expected
):
    assert accepted_range(np.array(losses)) == expected


# Contenders


def test_contenders_are_weighted_prompt_by_prompt():
    losses = np.array([[0.0, 2.0, np.nan], [2.0, 0.0, 9.0]])
    predicted = np.array([[1.0, 1.5, -7.0], [1.5, 1.0, 9.0]])  # the first prompt lacks the third
    weights = prompt_contender_weights(predicted, losses)
    np.testing.assert_allclose(weights[:, :2], [[1, weights[0, 1]], [weights[0, 1], 1]], atol=1e-5)
    expected = np.exp(-0.5 / (CONTENDER_BANDWIDTH * typical_loss_std(losses)))
    assert 1e-4 < weights[0, 1] == pytest.approx(expected, 1e-2)
    assert weights[1, 2] < 1e-4
