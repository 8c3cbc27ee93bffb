"""The link makes a predicted loss mean what it says, and moves no choice."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tryage.learning.training.calibration import fit_logit_link
from tryage.perception.abilities import LogitLink

ANY = np.zeros((1, 1), np.float32)  # a score means the same whatever the best one is


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    y = rng.normal(0.4, 0.3, (300, 4))
    losses = (rng.random(y.shape) < 1 / (1 + np.exp(1 - 3 * y))).astype(np.float32)
    return y, losses


def test_after_the_fit_the_mean_predicted_is_the_mean_measured(scored):
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


def test_the_link_rises_and_stays_within_zero_and_one():
    y = np.linspace(-500, 500, 101)[None]
    link = LogitLink(-2.0, 4.0)
    losses = link.losses(y, ANY)
    assert (np.diff(losses) >= 0).all()
    assert (losses >= 0).all()
    assert (losses <= 1).all()
    assert (np.diff(link.losses(y / 500, ANY)) > 0).all()


def test_predictions_that_point_the_wrong_way_still_predict_the_mean(scored):
    y, losses = scored
    link = fit_logit_link(-y, losses)
    assert link.slope > 0
    assert link.losses(-y, ANY).mean() == pytest.approx(losses.mean(), abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_answers_that_are_all_right_or_all_wrong_are_predicted_so(value):
    y = np.random.default_rng(1).normal(value, 0.1, (50, 3))
    assert np.abs(fit_logit_link(y, np.full((50, 3), value)).losses(y, ANY) - value).max() < 0.01


def test_a_standard_deviation_passes_by_the_slope_of_the_link():
    link, step = LogitLink(-1.0, 3.0), 1e-5
    y = np.array([[-0.5, 0.2, 1.5]])
    slope = (link.losses(y + step, ANY) - link.losses(y - step, ANY)) / (2 * step)
    np.testing.assert_allclose(link.std(y, np.full_like(y, 0.1), ANY), 0.1 * slope, rtol=1e-6)


def test_in_place_is_what_it_is_apart():
    link = LogitLink(-1.0, 3.0)
    y = np.linspace(-40, 40, 1_001, dtype=np.float32)[None]
    losses, std = y.copy(), np.full_like(y, 0.1)
    link.apply_inplace(losses, std, ANY)
    np.testing.assert_allclose(losses, link.losses(y, ANY), atol=1e-6)
    np.testing.assert_allclose(std, link.std(y, np.float32(0.1), ANY), atol=1e-6)
    assert (std >= 0).all()


def test_scores_are_learned_as_they_are(scored):
    _, losses = scored
    assert LogitLink(-1.0, 3.0).training_targets(losses, ANY) is losses
