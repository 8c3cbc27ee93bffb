"""Typicality, widened std, intervals and odds, against hand-worked cases and Rasch's model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tryage.errors import InputError


def test_the_typicality_is_the_conformal_p_value(calibration):
    found = calibration(similarities=np.array([0.2, 0.4, 0.6])).typicality(
        np.array([0.1, 0.2, 0.5, 0.9])
    )
    assert found.tolist() == [1 / 4, 2 / 4, 3 / 4, 1.0]


def test_the_std_of_typical_prompts_stays(calibration):
    std = np.array([[0.1, 0.2], [0.3, 0.4]])
    std = calibration().widened(std, np.array([0.05, 1.0]))
    assert std.tolist() == [[0.1, 0.2], [0.3, 0.4]]


def test_the_std_grows_with_the_square_where_the_typicality_is_low(calibration):
    std = np.array([[0.1, 0.2]])
    std = calibration(unfamiliar_std=0.4).widened(std, np.array([0.025]))
    np.testing.assert_allclose(std, np.sqrt([[0.1**2 + 0.5 * 0.4**2, 0.2**2 + 0.5 * 0.4**2]]))


def test_a_std_is_at_most_half_the_range(calibration):
    std = np.array([[0.1]])
    std = calibration(unfamiliar_std=0.8).widened(std, np.array([0.001]))
    assert std.item() == 0.5


def test_the_interval_of_an_answer_has_the_chance_of_the_answer_and_that_of_a_mean_less(
    calibration,
):
    """Quantiles are 10 times the level for answers and 20 times for means, outcomes have .03."""
    one = calibration(
        outcome_stds=np.array([0.03, 0.03]),
        answer_quantiles=np.arange(1, 100) / 10,
        mean_quantiles=np.arange(1, 100) / 5,
    )
    half = 5 * math.hypot(0.04, 0.03)
    assert one.interval(0.4, 0.04, 0.5) == pytest.approx((0.4 - half, 0.4 + half))
    half = (10 - 5 / 9) * math.hypot(0.004, 0.03 / 3)
    assert one.interval(0.4, 0.004, 0.5, prompts=9) == pytest.approx((0.4 - half, 0.4 + half))


def test_an_interval_ends_at_the_range_of_losses(calibration):
    low, high = calibration().interval(0.05, 0.2, 0.9)
    assert low == 0.0
    assert high < 1.0
    assert calibration(loss_range=None).interval(0.05, 0.2, 0.9)[0] < 0


def test_where_nothing_is_known_the_interval_is_the_whole_range(calibration):
    assert calibration().interval(0.05, 0.5, 0.5, prompts=1_000) == (0.0, 1.0)


@pytest.mark.parametrize(
    "arguments", [(0.0,), (1.0,), (90,), ("most",), (None,), (0.9, 0), (0.9, 1.5)]
)
def test_a_wrong_level_or_number_of_prompts_is_refused(calibration, arguments):
    with pytest.raises(InputError, match=r"level|prompts"):
        calibration().interval(0.2, 0.1, *arguments)


def test_with_slope_one_the_odds_are_those_of_independent_answers(calibration):
    """P(first passes and second fails | one of them fails), the conditional model of Rasch."""
    first, second = 0.1 * (1 - 0.2), 0.2 * (1 - 0.1)
    found = calibration().better_probability((0.1, 0.2), (0.0, 0.0), 0.1, has_terms=False)
    assert found == pytest.approx(second / (first + second))


def test_a_lead_in_the_total_counts_as_much_as_one_in_the_loss(calibration):
    by_loss = calibration().better_probability((0.1, 0.2), (0.0, 0.0), 0.1, has_terms=True)
    by_terms = calibration().better_probability((0.15, 0.15), (0.0, 0.0), 0.1, has_terms=True)
    assert by_terms == pytest.approx(by_loss)


def test_equal_predictions_have_even_odds_with_terms_and_those_of_the_choice_without(calibration):
    one = calibration(odds_intercept=0.4)
    assert one.better_probability((0.2, 0.2), (0.1, 0.1), 0.0, has_terms=True) == 0.5
    alone = one.better_probability((0.2, 0.2), (0.1, 0.1), 0.0, has_terms=False)
    assert alone == pytest.approx(1 / (1 + math.exp(-0.4)))


def test_a_wider_std_than_usual_brings_the_odds_nearer_to_even(calibration):
    one = calibration(typical_std=0.1)
    usual, wide = (
        one.better_probability((0.1, 0.3), (std, std), 0.2, has_terms=False) for std in (0.1, 0.3)
    )
    assert usual == one.better_probability((0.1, 0.3), (0.0, 0.0), 0.2, has_terms=False)
    assert 0.5 < wide < usual


def test_the_odds_of_losses_without_a_range_count_in_std_of_an_outcome(calibration):
    one = calibration(loss_range=None, outcome_stds=np.array([3.0, 3.0]))
    found = one.better_probability((10.0, 13.0), (0.0, 0.0), 3.0, has_terms=False)
    assert found == pytest.approx(1 / (1 + math.exp(-3 / math.hypot(3, 3))))


def test_certain_predictions_and_huge_gaps_stay_probabilities(calibration):
    for losses, gap in (((0.0, 1.0), 1.0), ((0.0, 0.0), 0.0), ((0.5, 0.5), 1e6)):
        found = calibration(odds_slope=9.0).better_probability(
            losses, (0.0, 0.0), gap, has_terms=False
        )
        assert 0.5 <= found <= 1


def test_no_std_is_below_the_standard_error_of_a_mean_loss(calibration):
    std = np.array([[0.001, 0.2]])
    std = calibration(min_std=0.04).widened(std, np.array([1.0]))
    np.testing.assert_array_equal(std, [[0.04, 0.2]])
