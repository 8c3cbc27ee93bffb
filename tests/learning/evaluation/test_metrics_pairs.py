"""Pair metrics against cases worked by hand (definitions of RouteLLM, arXiv 2406.18665)."""

import numpy as np
import pytest

from tryage.errors import QTableError
from tryage.learning.evaluation.metrics import apgr, cpt, pairwise_metrics, recovery_curve

# Four prompts: the strong expert wins on two, ties on one, loses on one; the gap is 1.
REAL = np.array([1.0, 1.0, 0.0, -1.0])


def test_the_perfect_order_of_four_prompts_by_hand():
    calls, recovered = recovery_curve(np.array([4.0, 3.0, 2.0, 1.0]), REAL)
    assert calls.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert recovered.tolist() == [0, 1, 2, 2, 1]
    # Trapezoids of width 1/4: (0+1)/2, (1+2)/2, (2+2)/2, (2+1)/2.
    assert apgr(np.array([4.0, 3.0, 2.0, 1.0]), REAL) == pytest.approx((0.5 + 1.5 + 2 + 1.5) / 4)


def test_equal_predictions_are_random_and_recover_half():
    assert apgr(np.zeros(4), REAL) == pytest.approx(0.5)
    assert cpt(np.zeros(4), REAL, 0.8) == pytest.approx(0.8)


def test_the_worst_order_mirrors_the_best():
    order = np.array([4.0, 3.0, 2.0, 1.0])
    assert apgr(order, REAL) + apgr(-order, REAL) == pytest.approx(1.0)


def test_cpt_interpolates_between_two_thresholds_and_takes_the_first_crossing():
    order = np.array([4.0, 3.0, 2.0, 1.0])
    assert cpt(order, REAL, 0.5) == pytest.approx(0.125)
    assert cpt(order, REAL, 1.0) == pytest.approx(0.25)
    assert cpt(-order, REAL, 0.5) == pytest.approx(0.5 + 0.25 * 1.5)


def test_a_random_order_of_many_prompts_recovers_about_half():
    rng = np.random.default_rng(0)
    real = rng.choice([-1.0, 0.0, 1.0], 20_000, p=[0.05, 0.7, 0.25])
    assert apgr(rng.normal(size=20_000), real) == pytest.approx(0.5, abs=0.02)


def test_the_stronger_column_is_found_and_gaps_are_left_out():
    losses = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [np.nan, 1.0]])
    predicted = np.array([[0.9, 0.0], [0.8, 0.0], [0.7, 0.0], [0.6, 0.0], [0.0, 9.0]])
    result = pairwise_metrics(predicted, losses, ("weak", "strong"))
    assert (result.strong, result.weak) == ("strong", "weak")
    assert result.apgr == pytest.approx(5.5 / 4)
    swapped = pairwise_metrics(predicted[:, ::-1], losses[:, ::-1], ("strong", "weak"))
    assert (swapped.strong, swapped.apgr) == ("strong", result.apgr)


def test_between_two_equal_experts_there_is_no_gap_to_recover():
    assert pairwise_metrics(np.zeros((2, 2)), np.zeros((2, 2)), ("a", "b")) is None
    with pytest.raises(QTableError, match="no gap"):
        apgr(np.zeros(2), np.zeros(2))
