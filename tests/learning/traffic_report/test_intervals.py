"""Intervals of means and differences: against formulas, and in how many experiments they hold."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.traffic_report import intervals
from tryage.learning.traffic_report.intervals import (
    MIN_CLUSTERS,
    anytime_factor,
    mean_score,
    paired_difference,
    score_difference,
    value_difference,
)


def test_the_interval_of_independent_binary_scores_is_that_of_wilson():
    # 81 of 263, the example of Newcombe (1998): the score interval is .2553 to .3662.
    scores = np.r_[np.ones(81), np.zeros(182)]
    found = mean_score(scores, np.arange(263))
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=2e-4)


def test_equal_scores_are_not_certain():
    found = mean_score(np.ones(10), np.arange(10))
    assert found.high == 1.0
    assert found.low == pytest.approx(0.7225, abs=1e-3)  # Wilson's bound for 10 of 10


def test_copies_of_a_score_in_one_thread_count_once():
    scores = np.random.default_rng(0).integers(0, 2, 100).astype(float)
    once = mean_score(scores, np.arange(100))
    copied = mean_score(np.repeat(scores, 7), np.repeat(np.arange(100), 7))
    assert copied.half_width == pytest.approx(once.half_width, rel=1e-6)


def test_nothing_is_known_without_scores():
    assert mean_score(np.empty(0), np.empty(0, dtype=np.intp)) is None


def test_the_standard_error_of_independent_values_is_that_of_their_mean():
    values = np.random.default_rng(1).gamma(2, 3, 400)
    variance = intervals._variance(values, np.arange(400))
    assert np.sqrt(variance) == pytest.approx(values.std(ddof=1) / 20, rel=1e-6)


def test_a_difference_needs_thirty_threads_on_each_side():
    few, many = np.ones(MIN_CLUSTERS - 1), np.ones(500)
    clusters = np.arange(MIN_CLUSTERS - 1), np.arange(500)
    assert score_difference((few, many), clusters) is None
    assert value_difference((few, many), clusters) is None
    assert paired_difference(few, clusters[0]) is None
    same_thread = np.zeros(500, dtype=np.intp)
    assert paired_difference(many, same_thread) is None


def test_equal_scores_on_both_sides_leave_room_for_a_difference():
    ones, clusters = np.ones(40), np.arange(40)
    found = score_difference((ones, ones), (clusters, clusters))
    assert found.low < -0.05 < 0.05 < found.high


def test_the_factor_is_that_of_the_asymptotic_confidence_sequence():
    # Theorem 2.2 with rho^2 = (-2 log a + log(1 - 2 log a)) / 500, worked by hand for t = 500:
    # t rho^2 = 5.9915 + log(6.9915) = 7.9362; sqrt(2 * 8.9362 / 7.9362 * log(sqrt(8.9362) / .05)).
    assert anytime_factor(500) == pytest.approx(np.sqrt(2.25201 * np.log(2.98935 / 0.05)), rel=1e-4)
    assert anytime_factor(500) < min(anytime_factor(50), anytime_factor(50_000))


def test_looking_every_day_is_wrong_in_one_of_twenty_experiments_at_most():
    """Two equal arms, 12 looks: a fixed interval excludes 0 far too often, this one does not."""
    rng, looks = np.random.default_rng(2), np.linspace(120, 1_500, 12).astype(int)
    n_wrong, n_wrong_fixed, n_experiments = 0, 0, 120
    for _ in range(n_experiments):
        arms, scores = rng.integers(0, 2, 1_500), rng.integers(0, 2, 1_500).astype(float)
        found = [_at(arms[:n], scores[:n]) for n in looks]
        n_wrong += any(abs(one.value) > one.half_width for one in found)
        fixed = [one.half_width * 1.959964 / anytime_factor(one.n) for one in found]
        n_wrong_fixed += any(abs(one.value) > half for one, half in zip(found, fixed, strict=True))
    assert n_wrong / n_experiments <= 0.05
    assert n_wrong_fixed / n_experiments > 0.1


def _at(arms, scores):
    parts = scores[arms == 0], scores[arms == 1]
    return score_difference(parts, tuple(np.arange(one.size) for one in parts))


def test_threads_of_several_ratings_do_not_make_a_difference_look_sure():
    """Each thread has 8 equal ratings; taken one by one they would be wrong far too often."""
    rng, n_wrong, n_wrong_single = np.random.default_rng(3), 0, 0
    for _ in range(200):
        threads = [rng.integers(0, 2, 100).astype(float) for _ in range(2)]
        scores = tuple(np.repeat(one, 8) for one in threads)
        clusters = tuple(np.repeat(np.arange(100), 8) for _ in range(2))
        found = score_difference(scores, clusters)
        single = score_difference(scores, tuple(np.arange(800) for _ in range(2)))
        n_wrong += abs(found.value) > found.half_width
        n_wrong_single += abs(single.value) > single.half_width
    assert n_wrong / 200 <= 0.05
    assert n_wrong_single / 200 > 0.15
