"""Choices, hits and calibration against cases worked by hand."""

import numpy as np
import pytest

from tryage.learning.evaluation.metrics import (
    calibration_metrics,
    choice_probabilities,
    expected_calibration_error,
    expected_value,
    optimal_hits,
)

NAN = float("nan")
LOSSES = np.array([[0.0, 1.0, 0.0], [1.0, 0.25, NAN]])
MEASURED = ~np.isnan(LOSSES)


def test_the_lowest_prediction_wins_among_the_measured():
    shares = choice_probabilities(np.array([[0.2, 0.1, 0.3], [0.5, 0.4, 0.0]]), MEASURED)
    assert shares.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert expected_value(shares, LOSSES).tolist() == [1.0, 0.25]


def test_experts_that_tie_in_the_prediction_share_the_prompt():
    shares = choice_probabilities(np.zeros((2, 3)), MEASURED)
    assert shares.tolist() == [[1 / 3] * 3, [0.5, 0.5, 0]]
    assert expected_value(shares, LOSSES).tolist() == [pytest.approx(1 / 3), 0.625]


def test_a_hit_is_any_expert_that_ties_for_best():
    first, third = np.eye(3)[[0, 1]], np.eye(3)[[2, 0]]
    assert optimal_hits(first, LOSSES).tolist() == [1, 1]
    assert optimal_hits(third, LOSSES).tolist() == [1, 0]
    assert optimal_hits(choice_probabilities(np.zeros((2, 3)), MEASURED), LOSSES).tolist() == [
        pytest.approx(2 / 3),
        0.5,
    ]


def test_ece_of_known_bins():
    # Two bins: (.2, .4 -> mean .3, real .5) and (.9 -> real 1): 2/3 * .2 + 1/3 * .1.
    guess, real = np.array([0.2, 0.4, 0.9]), np.array([0.0, 1.0, 1.0])
    error, predicted, observed, weight = expected_calibration_error(guess, real, n_bins=2)
    assert error == pytest.approx(2 / 3 * 0.2 + 1 / 3 * 0.1)
    np.testing.assert_allclose(predicted, [0.3, 0.9])
    np.testing.assert_allclose(observed, [0.5, 1.0])
    np.testing.assert_allclose(weight, [2 / 3, 1 / 3])


def test_a_prediction_outside_the_range_falls_in_the_end_bin():
    error, *_ = expected_calibration_error(np.array([1.2, -0.1]), np.array([1.0, 0.0]), 4)
    assert error == pytest.approx(0.15)


def test_a_perfect_forecast_has_no_calibration_error_and_a_low_one_is_optimistic():
    perfect = calibration_metrics(np.nan_to_num(LOSSES), LOSSES)
    assert (perfect.brier, perfect.ece, perfect.optimism) == (0, 0, 0)
    optimistic = calibration_metrics(np.nan_to_num(LOSSES) - 0.1, LOSSES)
    assert optimistic.brier == pytest.approx(0.01)
    assert optimistic.optimism == pytest.approx(0.1)
