"""Caution lowers predicted gains, keeps their order, and keeps a sure router as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tryage.learning.training.calibration import MARGINS, fit_soft_threshold
from tryage.perception.abilities import SoftThreshold

predictions = arrays(np.float64, (3, 5), elements=st.floats(-2, 2, width=32))


def test_gains_above_the_margin_are_lowered_by_it_and_the_others_lose():
    y = np.array([[0.5, 0.1, 0.45, 0.9]])
    believed = SoftThreshold(incumbent=0, margin=0.2)(y)[0]
    assert believed[0] == 0.5
    assert believed[1] == pytest.approx(0.3)  # a gain of .4 becomes one of .2
    assert 0.5 < believed[2] < 0.5002  # a gain of .05 becomes a hair less than nothing
    assert believed[3] == pytest.approx(0.9, abs=3e-4)


def test_without_a_margin_nothing_changes():
    y = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(SoftThreshold(1, 0.0)(y), y)


@given(y=predictions, margin=st.sampled_from([0.01, 0.3, 1.0, 5.0]))
def test_the_incumbent_keeps_its_prediction_and_the_others_their_order(y, margin):
    believed = SoftThreshold(2, margin)(y)
    np.testing.assert_array_equal(believed[:, 2], y[:, 2])
    others = [0, 1, 3, 4]
    for before, after in zip(y[:, others], believed[:, others], strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= -1e-12).all()


@given(y=predictions)
def test_under_the_greatest_margin_the_incumbent_wins_alone(y):
    believed = SoftThreshold(2, MARGINS[-1])(y)
    others = np.delete(believed, 2, axis=1)
    assert (believed[:, 2] < others.min(axis=1)).all()


@given(y=predictions, margin=st.floats(1e-3, 5))
def test_no_expert_becomes_better_than_predicted(y, margin):
    assert (SoftThreshold(0, margin)(y) >= y - 1e-9).all()


def test_where_predictions_are_noise_the_best_single_expert_is_taken():
    rng = np.random.default_rng(0)
    mean = np.linspace(0.45, 0.55, 10)
    losses = (rng.random((400, 10)) < mean).astype(float)
    y = mean + rng.normal(0, 0.2, losses.shape)
    caution = fit_soft_threshold(y, losses, mean, loss_std=0.5)
    assert caution == SoftThreshold(0, MARGINS[-1] * 0.5)


def test_a_gain_within_its_standard_error_is_not_believed():
    losses = np.full((50, 2), 0.5)
    losses[0, 1], losses[1, 1] = 0.0, 0.9
    y = np.full((50, 2), 0.5)
    y[:2, 1] = 0.2  # right once and wrong once: worth .002 a prompt, give or take .013
    assert (
        fit_soft_threshold(y, losses, np.array([0.49, 0.5]), loss_std=0.5).margin
        == MARGINS[-1] * 0.5
    )
    y[1, 1] = losses[1, 1] = 0.5
    losses[2:9, 1], y[2:9, 1] = 0.0, 0.2
    assert fit_soft_threshold(y, losses, np.array([0.49, 0.5]), loss_std=0.5).margin == 0


def test_where_predictions_are_right_they_are_believed():
    rng = np.random.default_rng(1)
    chance = rng.uniform(0, 1, (400, 4))
    losses = (rng.random(chance.shape) < chance).astype(float)
    caution = fit_soft_threshold(chance, losses, losses.mean(axis=0), loss_std=0.5)
    assert caution.margin < 0.06
    assert caution.incumbent == losses.mean(axis=0).argmin()


def test_the_margin_is_chosen_among_experts_that_were_measured():
    rng = np.random.default_rng(2)
    chance = rng.uniform(0, 1, (400, 3))
    losses = (rng.random(chance.shape) < chance).astype(float)
    chance[:, 2] = -1.0  # said to be by far the best, and never measured
    losses[:, 2] = np.nan
    caution = fit_soft_threshold(chance, losses, np.array([0.5, 0.5, 0.9]), loss_std=0.5)
    assert caution.margin < 0.5


@pytest.mark.parametrize("margin", [0.0, 0.05, 10.0])
def test_others_are_corrected_in_place_as_if_they_were_in_the_batch(margin):
    y = np.random.default_rng(0).normal(0.5, 0.2, (20, 6))
    caution = SoftThreshold(2, margin)
    others = y.astype(np.float32)
    caution.apply_inplace(others, caution.reference_losses(y).incumbent)
    np.testing.assert_allclose(
        np.delete(others, 2, axis=1), np.delete(caution(y), 2, axis=1), atol=1e-6
    )


@pytest.mark.parametrize("margin", [0.0, 0.05, 10.0])
def test_the_leader_is_the_lowest_of_the_corrected_predictions(margin):
    y = np.random.default_rng(0).normal(0.5, 0.2, (20, 6))
    caution = SoftThreshold(2, margin)
    best = caution.reference_losses(y).best
    np.testing.assert_allclose(best, caution(y).min(axis=1, keepdims=True), atol=1e-9)
