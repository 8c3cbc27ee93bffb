"""Off-policy estimates: the values of the Open Bandit Pipeline, known intervals, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from tryage.errors import InputError
from tryage.learning.evaluation import off_policy
from tryage.learning.evaluation.off_policy import (
    LoggedChoices,
    doubly_robust,
    effective_sample_size,
    evaluate_policy,
    inverse_propensity,
    mean_interval,
    recalibrate,
    score_interval,
    self_normalized,
)

# Twelve decisions among three experts. The estimates are those of the Open Bandit Pipeline, version
# 0.4.1: InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting and
# SelfNormalizedDoublyRobust.
PROPENSITIES = [
    *([0.628, 0.245, 0.127], [0.068, 0.272, 0.66], [0.308, 0.154, 0.538], [0.437, 0.233, 0.33]),
    *([0.175, 0.66, 0.165], [0.145, 0.538, 0.317], [0.184, 0.515, 0.301], [0.221, 0.529, 0.25]),
    *([0.264, 0.471, 0.265], [0.392, 0.539, 0.069], [0.203, 0.748, 0.049], [0.242, 0.515, 0.243]),
]
CHOSEN = [1, 1, 0, 1, 2, 2, 2, 0, 1, 1, 0, 1]
SCORES = [1, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1]
TARGET = [
    *([0.12, 0.52, 0.36], [0.43, 0.33, 0.24], [0.32, 0.02, 0.66], [0.13, 0.62, 0.25]),
    *([0.37, 0.45, 0.18], [0.32, 0.29, 0.39], [0.03, 0.32, 0.65], [0.02, 0.78, 0.2]),
    *([0.14, 0.25, 0.61], [0.48, 0.19, 0.33], [0.42, 0.51, 0.07], [0.1, 0.69, 0.21]),
]
PREDICTIONS = [
    *([0.27, 0.51, 0.47], [0.69, 0.26, 0.32], [0.56, 0.48, 0.67], [0.43, 0.34, 0.85]),
    *([0.37, 0.3, 0.4], [0.44, 0.36, 0.58], [0.86, 0.29, 0.49], [0.67, 0.82, 0.9]),
    *([0.3, 0.58, 0.82], [0.24, 0.61, 0.32], [0.74, 0.86, 0.58], [0.21, 0.24, 0.49]),
]
PEER_VALUES = {
    inverse_propensity: 0.8296628114023963,
    self_normalized: 0.6262074699997356,
    doubly_robust: 0.6714333870965036,
}


def peer_log():
    return LoggedChoices(
        np.array(PROPENSITIES), np.array(PREDICTIONS), np.array(CHOSEN), np.array(SCORES, float)
    )


def simulated(n, seed=0, floor=0.1, clusters=None):
    """Return a log of two experts, which are right with .9 and .7, and the policy of the first."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(floor, 1 - floor, n)
    propensities = np.stack([first, 1 - first], axis=1)
    chosen = (rng.random(n) > first).astype(int)
    scores = (rng.random(n) < np.array([0.9, 0.7])[chosen]).astype(float)
    log = LoggedChoices(propensities, np.full((n, 2), 0.5), chosen, scores, clusters)
    return log, np.tile([1.0, 0.0], (n, 1))


@pytest.mark.parametrize("estimator", PEER_VALUES)
def test_the_estimates_are_those_of_the_open_bandit_pipeline(estimator, monkeypatch):
    monkeypatch.setattr(off_policy, "recalibrate", lambda log: log.predictions)
    found = estimator(peer_log(), np.array(TARGET)).mean()
    assert found == pytest.approx(PEER_VALUES[estimator], abs=1e-12)


@pytest.mark.parametrize("estimator", PEER_VALUES)
def test_the_policy_of_the_log_itself_has_the_mean_score(estimator):
    log = peer_log()
    assert estimator(log, log.propensities).mean() == pytest.approx(
        log.scores.mean(), abs=1e-12 if estimator is not doubly_robust else 0.1
    )


@pytest.mark.parametrize("estimator", PEER_VALUES)
def test_95_percent_intervals_contain_the_truth_as_often_as_they_say(estimator):
    inside = []
    for seed in range(300):
        log, target = simulated(400, seed)
        value = evaluate_policy(log, target, estimator)
        inside.append(value.score.low <= 0.9 <= value.score.high)
    assert 0.92 <= np.mean(inside) <= 0.98


def test_good_predictions_make_the_doubly_robust_interval_narrower():
    rng = np.random.default_rng(0)
    n = 2000
    probability = rng.choice([0.05, 0.95], n)
    chosen, propensities = rng.integers(0, 2, n), np.full((n, 2), 0.5)
    scores = (rng.random(n) < probability).astype(float)
    log = LoggedChoices(propensities, np.stack([probability] * 2, 1), chosen, scores)
    target = np.tile([1.0, 0.0], (n, 1))
    widths = [
        score.high - score.low
        for score in (evaluate_policy(log, target, e).score for e in PEER_VALUES)
    ]
    assert widths[2] < 0.8 * widths[1] < 0.8 * widths[0]


def test_predictions_are_recalibrated_by_other_decisions_alone():
    log, _ = simulated(1000)
    biased = LoggedChoices(log.propensities, np.full((1000, 2), 0.2), log.chosen, log.scores)
    assert recalibrate(biased).mean(axis=0) == pytest.approx([0.9, 0.7], abs=0.05)
    changed = log.scores.copy()
    changed[0] = 1 - changed[0]
    other = LoggedChoices(log.propensities, log.predictions, log.chosen, changed)
    assert (recalibrate(other)[0] == recalibrate(log)[0]).all()
    assert (recalibrate(other)[1] != recalibrate(log)[1]).all()


def test_the_interval_of_equal_weights_is_that_of_wilson():
    scores = np.repeat([1.0, 0.0], [900, 100])
    found = score_interval(scores, 1000)
    # Wilson (1927) for 900 of 1,000: .8799 to .9170.
    assert (found.low, found.high) == pytest.approx((0.8799, 0.9170), abs=5e-4)
    perfect = score_interval(np.ones(1000), 1000)
    assert (perfect.low, perfect.high) == pytest.approx((1 - 0.00384, 1.0), abs=1e-4)


def test_the_interval_of_gaussian_numbers_is_that_of_student():
    numbers = np.random.default_rng(0).normal(0.3, 2.0, 5000)
    found = mean_interval(numbers)
    low, high = student.interval(
        0.95, 4999, numbers.mean(), numbers.std(ddof=1) / np.sqrt(len(numbers))
    )
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3)


def test_heavy_weights_widen_the_interval():
    numbers = np.zeros(1000)
    numbers[:5] = 50.0
    found, error = mean_interval(numbers), numbers.std(ddof=1) / np.sqrt(1000)
    assert (found.high - found.value) / error > 2.15


def test_ratings_of_one_thread_count_together():
    log, target = simulated(600)
    every_twice = LoggedChoices(
        *(
            np.repeat(part, 2, axis=0)
            for part in (log.propensities, log.predictions, log.chosen, log.scores)
        ),
        clusters=np.repeat(np.arange(600), 2),
    )
    once = evaluate_policy(log, target, self_normalized)
    twice = evaluate_policy(every_twice, np.repeat(target, 2, axis=0), self_normalized)
    assert twice.score.low == pytest.approx(once.score.low, abs=1e-4)
    assert twice.difference.high == pytest.approx(once.difference.high, abs=1e-4)


def test_the_effective_sample_size_is_that_of_kish_or_what_the_propensities_let_expect():
    log, target = simulated(2000, floor=0.01)
    weights = (log.chosen == 0) / log.propensities[:, 0]
    kish = weights.sum() ** 2 / (weights**2).sum()
    expected = 2000 / (1 / log.propensities[:, 0]).mean()
    assert effective_sample_size(log, target) == pytest.approx(min(kish, expected))
    assert effective_sample_size(log, log.propensities) == pytest.approx(2000)


def test_a_policy_that_the_log_could_not_have_followed_is_refused():
    log, target = simulated(1000)
    propensities = log.propensities.copy()
    never = np.arange(1000) < 600
    propensities[never] = np.eye(2)[1]
    chosen = np.where(never, 1, log.chosen)
    value = evaluate_policy(
        LoggedChoices(propensities, log.predictions, chosen, log.scores), target
    )
    assert value.score is value.difference is None
    assert value.unsupported == pytest.approx(0.6)
    assert "60% of the rated prompts" in value.refusal
    assert "explore" in value.refusal


def test_a_few_choices_that_the_log_could_not_have_made_widen_the_interval_by_their_share():
    log, target = simulated(1000)
    before = evaluate_policy(log, target, self_normalized).score
    propensities, chosen = log.propensities.copy(), log.chosen.copy()
    rows = np.flatnonzero(chosen == 1)[:30]
    propensities[rows] = np.eye(2)[1]
    partly = LoggedChoices(propensities, log.predictions, chosen, log.scores)
    after = evaluate_policy(partly, target, self_normalized)
    assert after.unsupported == pytest.approx(0.03)
    assert after.score.high - after.score.low == pytest.approx(
        before.high - before.low + 0.03, abs=2e-3
    )


def test_what_rests_on_a_few_heavy_weights_is_uncertain_even_if_none_occurred():
    n, rare = 5000, np.arange(5000) < 50
    # The policy differs from the log on 1% of the prompts, where the log had 1 in 1,000 chances.
    first = np.where(rare, 0.001, 1 - 1e-9)
    propensities, chosen = np.stack([first, 1 - first], axis=1), np.where(rare, 1, 0)
    scores = (np.random.default_rng(0).random(n) < 0.8).astype(float)
    log = LoggedChoices(propensities, np.full((n, 2), 0.8), chosen, scores)
    target = np.tile([1.0, 0.0], (n, 1))
    value = evaluate_policy(log, target)
    # The standard error of the difference is sqrt(.01 * 1000 * .8 * .2 / 5000) = .018.
    assert value.difference.high - value.difference.low == pytest.approx(4 * 0.018, abs=0.01)


def test_too_few_ratings_and_too_few_users_are_refused():
    log, target = simulated(120)
    assert "fewer than 100" in evaluate_policy(log, target).refusal
    few_users, target = simulated(2000, clusters=np.arange(2000) % 10)
    assert "10 threads or users" in evaluate_policy(few_users, target).refusal
    nothing = LoggedChoices(np.empty((0, 2)), np.empty((0, 2)), np.empty(0, int), np.empty(0))
    assert "feedback" in evaluate_policy(nothing, np.empty((0, 2))).refusal


def test_an_expert_without_a_prediction_counts_as_the_mean_one():
    log, target = simulated(500)
    predictions = log.predictions.copy()
    predictions[:, 1] = np.nan
    partly = LoggedChoices(log.propensities, predictions, log.chosen, log.scores)
    assert evaluate_policy(partly, target).score.value == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"scores": np.full(12, 1.5)}, "between 0 and 1"),
        ({"scores": np.full(12, np.nan)}, "between 0 and 1"),
        ({"scores": np.ones(3)}, "shape|expected"),
        ({"propensities": np.zeros((12, 3))}, "propensity 0"),
    ],
)
def test_a_log_that_cannot_be_is_refused(change, match):
    parts = {
        "propensities": np.array(PROPENSITIES),
        "predictions": np.array(PREDICTIONS),
        "chosen": np.array(CHOSEN),
        "scores": np.array(SCORES, float),
    }
    with pytest.raises(InputError, match=match):
        LoggedChoices(**{**parts, **change})


def test_a_policy_of_another_shape_or_with_impossible_probabilities_is_refused():
    with pytest.raises(InputError, match="shape"):
        evaluate_policy(peer_log(), np.ones((12, 2)))
    with pytest.raises(InputError, match="distribution"):
        evaluate_policy(peer_log(), np.ones((12, 3)))
