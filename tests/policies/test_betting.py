"""Betting: the wealth by hand, the rate of false rejections, and how soon a fall is noticed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tryage.policies.betting import MeanTest, growth, p_values

ALPHA = 0.05


def run(values, highest=1.0):
    test = MeanTest()
    for i, value in enumerate(values):
        test = test.update(value, highest)
        if test.wealth >= 1 / ALPHA:
            return i + 1
    return None


def test_the_p_value_is_one_by_the_highest_wealth_of_bets_made_by_hand():
    # n = 2: the first stake is sqrt(2 log 20 / (2 * 1/4)) = 3.46, so 3/4 of what can be lost.
    # After a 1 the mean is 1/2, the variance (1/4 + 1) / 2 - 1/4 = 3/8, and the stake 3/4 again.
    won = p_values(np.array([[1.0], [1.0]]), -1.0, ALPHA)
    assert won[0] == pytest.approx(1 / 1.75**2)
    lost = p_values(np.array([[1.0], [-1.0]]), -1.0, ALPHA)
    assert lost[0] == pytest.approx(1 / 1.75)


def test_each_stake_is_fixed_before_its_value_as_the_paper_states_it():
    """The stake is sqrt(2 log(1 / alpha) / (n variance)), of the variance before the value."""
    values = np.random.default_rng(0).choice([-0.9, 0.05, 1.0], p=[0.2, 0.4, 0.4], size=80)
    wealth, highest, known = 1.0, 1.0, []
    for value in values:
        t = len(known)
        mean = sum(known) / (t + 1)
        variance = (0.25 + sum(x * x for x in known)) / (t + 1) - mean**2
        stake = min(math.sqrt(2 * math.log(1 / ALPHA) / (80 * variance)), 0.75 / 0.9)
        wealth *= 1 + stake * value
        highest = max(highest, wealth)
        known.append(value)
    assert p_values(values[:, None], -0.9, ALPHA)[0] == pytest.approx(1 / highest)
    assert highest > 1


@pytest.mark.parametrize("low", [-1.0, -0.05])
def test_a_mean_of_zero_is_rejected_in_at_most_five_percent_of_samples(low):
    """Values are 1 or `low`, skewed in both ways; 2,000 samples."""
    random = np.random.default_rng(0)
    values = np.where(random.random((300, 2_000)) < -low / (1 - low), 1.0, low)
    rejected = (p_values(values, low, ALPHA) <= ALPHA).mean()
    assert rejected <= ALPHA


def test_a_mean_above_zero_is_found():
    random = np.random.default_rng(0)
    values = random.choice([-1.0, 0.0, 1.0], p=[0.05, 0.8, 0.15], size=(300, 500))
    assert (p_values(values, -1.0, ALPHA) <= ALPHA).mean() > 0.8


def test_the_growth_is_that_of_kelly():
    """Of bets won with p = .6 at even odds it is log 2 less the entropy of p (Kelly, 1956)."""
    values = np.array([1.0] * 6 + [-1.0] * 4)
    expected = math.log(2) + 0.6 * math.log(0.6) + 0.4 * math.log(0.4)
    assert growth(values, -1.0) == pytest.approx(expected, rel=0.01)
    assert growth(-values, -1.0) == 0.0


def test_the_evidence_of_the_first_values_by_hand():
    test = MeanTest().update(-1.0, 2.0).update(1.0, 2.0)
    stakes = np.array([0.1, 0.3, 0.75]) / 2
    np.testing.assert_allclose(test.evidence, 0.5 * (1 + stakes) * (1 - stakes))
    assert (test.count, test.mean) == (2, 0.0)
    assert MeanTest().mean is None


def test_a_stream_with_a_mean_of_zero_stops_in_at_most_five_percent_of_cases():
    random = np.random.default_rng(0)
    streams = random.choice([-1.0, 1.0], size=(150, 1_000))
    stopped = sum(run(stream.tolist()) is not None for stream in streams)
    assert stopped <= 7  # 5% of 150


def test_a_fall_after_a_long_good_time_is_noticed():
    random = np.random.default_rng(0)
    good = random.choice([-1.0, 1.0], p=[0.45, 0.55], size=3_000)
    bad = random.choice([-1.0, 1.0], p=[0.75, 0.25], size=1_000)
    stopped = run([*good.tolist(), *bad.tolist()])
    assert stopped is not None
    assert 3_000 < stopped < 3_300


def test_a_value_above_the_highest_counts_as_that():
    assert MeanTest().update(5.0, 1.0).wealth == MeanTest().update(1.0, 1.0).wealth > 0
