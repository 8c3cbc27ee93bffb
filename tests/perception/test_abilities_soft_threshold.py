"""Soft thresholding lowers gains over the incumbent, keeps their order, and may change its mind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tryage.perception.abilities import SoftThreshold

predictions = arrays(np.float64, (3, 5), elements=st.floats(-2, 2, width=32))


def test_gains_above_the_margin_are_lowered_by_it_and_the_others_become_slightly_negative():
    y = np.array([[0.5, 0.1, 0.45, 0.9]])
    corrected = SoftThreshold(incumbent=0, margin=0.2)(y)[0]
    assert corrected[0] == 0.5
    assert corrected[1] == pytest.approx(0.3)  # a gain of .4 becomes one of .2
    assert 0.5 < corrected[2] < 0.5002  # a gain of .05 becomes slightly negative
    assert corrected[3] == pytest.approx(0.9, abs=3e-4)


def test_without_a_margin_nothing_changes():
    y = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(SoftThreshold(1, 0.0)(y), y)


@given(y=predictions, margin=st.sampled_from([0.01, 0.3, 1.0, 5.0]))
def test_the_incumbent_keeps_its_prediction_and_the_others_their_order(y, margin):
    corrected = SoftThreshold(2, margin)(y)
    np.testing.assert_array_equal(corrected[:, 2], y[:, 2])
    others = [0, 1, 3, 4]
    for before, after in zip(y[:, others], corrected[:, others], strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= -1e-12).all()


@given(y=predictions)
def test_under_a_margin_above_every_gain_the_incumbent_wins_alone(y):
    corrected = SoftThreshold(2, 10.0)(y)
    others = np.delete(corrected, 2, axis=1)
    assert (corrected[:, 2] < others.min(axis=1)).all()


@given(y=predictions, margin=st.floats(1e-3, 5))
def test_no_expert_becomes_better_than_predicted(y, margin):
    assert (SoftThreshold(0, margin)(y) >= y - 1e-9).all()


@pytest.mark.parametrize("margin", [0.0, 0.05, 10.0])
def test_others_are_corrected_in_place_as_if_they_were_in_the_batch(margin):
    y = np.random.default_rng(0).normal(0.5, 0.2, (20, 6))
    threshold = SoftThreshold(2, margin)
    others = y.astype(np.float32)
    threshold.apply_inplace(others, threshold.reference_predictions(y).incumbent)
    np.testing.assert_allclose(
        np.delete(others, 2, axis=1), np.delete(threshold(y), 2, axis=1), atol=1e-6
    )


@pytest.mark.parametrize("margin", [0.0, 0.05, 10.0])
def test_the_best_reference_is_the_lowest_of_the_corrected_predictions(margin):
    y = np.random.default_rng(0).normal(0.5, 0.2, (20, 6))
    threshold = SoftThreshold(2, margin)
    best = threshold.reference_predictions(y).best
    np.testing.assert_allclose(best, threshold(y).min(axis=1, keepdims=True), atol=1e-9)


def test_an_expert_becomes_the_incumbent_once_its_lead_exceeds_the_standard_error():
    threshold, variance = SoftThreshold(0, 0.1), np.array([0.03, 0.01, 0.0])
    unsure = threshold.update_incumbent(np.array([0.5, 0.31, 0.9]), variance)
    assert unsure is threshold  # a lead of .19, give or take .2
    sure = threshold.update_incumbent(np.array([0.5, 0.29, 0.9]), variance)
    assert sure == SoftThreshold(1, 0.1)
