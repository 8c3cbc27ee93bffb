"""What asking models one after another is worth, beside a recursion without a grid."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.policies.cascade_values import (
    NO_STEP,
    CascadeSteps,
    best_paths,
    conditional_probabilities,
    fit_odds_ratio,
)
from tryage.policies.likelihood import Likelihood

TELLING = Likelihood((0.5,), right=(0.05, 0.95), wrong=(0.85, 0.15))
FINE = Likelihood((0.3, 0.7), right=(0.1, 0.3, 0.6), wrong=(0.5, 0.35, 0.15))


def make_steps(priors, prices, check_prices=0.0, likelihoods=TELLING, odds_ratio=1.0):
    priors = np.atleast_2d(np.asarray(priors, float))
    n = priors.shape[1]
    return CascadeSteps(
        priors,
        np.broadcast_to(np.asarray(prices, float), priors.shape),
        np.broadcast_to(np.asarray(check_prices, float), priors.shape),
        [likelihoods] * n,
        np.full((n, n), odds_ratio),
    )


def exact_value(steps: CascadeSteps, row: int, s: int, prior: float) -> float:
    """Return `W_s` of the module's equation for one prompt, by recursion without a grid."""
    likelihood = steps.likelihoods[s]
    checked = -float(steps.check_prices[row, s])
    weights = likelihood.level_probabilities(np.array([prior]))[0]
    for weight, q in zip(weights, likelihood.posteriors(np.array([prior]))[0], strict=True):
        options = [q]
        for j in range(s + 1, steps.n_steps):
            first, second = steps.priors[row, [s]], steps.priors[row, [j]]
            if_right, if_wrong = conditional_probabilities(
                first, second, float(steps.odds_ratios[s, j])
            )
            options.append(
                exact_value(steps, row, j, float(q * if_right[0] + (1 - q) * if_wrong[0]))
            )
        checked += weight * max(options)
    return max(prior, checked) - float(steps.prices[row, s])


def test_a_check_is_worth_what_asking_on_saves() -> None:
    # The level below has .7 x .05 + .3 x .85 = .29 of the answers, of which .035/.29 are right:
    # there .9 - .05 is more; above, .665/.71 are right. So -.001 + .29 x .85 + .71 x .665/.71.
    paths = best_paths(make_steps([0.7, 0.9], [0.001, 0.05]))
    assert paths.values[0] == pytest.approx(-0.001 + 0.29 * 0.85 + 0.665)
    assert paths.steps.tolist() == [[0, 1]]
    assert paths.thresholds[0, 0] == pytest.approx(0.85)


def test_values_are_those_of_the_recursion() -> None:
    rng = np.random.default_rng(0)
    steps = make_steps(
        rng.uniform(0.05, 0.95, (40, 3)), [0.01, 0.03, 0.1], 0.004, FINE, odds_ratio=4.0
    )
    expected = [
        max(exact_value(steps, row, s, float(steps.priors[row, s])) for s in range(3))
        for row in range(40)
    ]
    np.testing.assert_allclose(best_paths(steps, max_calls=3).values, expected, atol=2e-3)


def test_a_path_costs_what_is_asked_on_average() -> None:
    # The second step is asked after the level below, which .7 x .05 + .3 x .85 = .29 have.
    paths = best_paths(make_steps([[0.7, 0.9], [0.02, 0.9]], [0.001, 0.05], 0.0001))
    assert paths.shares[:, 0] == pytest.approx([0.29, 0.0])
    costs = paths.expected_costs(np.full((2, 2), (1.0, 10.0)), np.full((2, 2), 0.5))
    assert costs == pytest.approx([1.0 + 0.5 + 0.29 * 10.0, 10.0])


def test_no_more_steps_are_asked_than_allowed() -> None:
    steps = make_steps([0.4, 0.5, 0.95], [0.0, 0.0, 0.3])
    paths = [best_paths(steps, max_calls=calls) for calls in (1, 2, 3)]
    assert [(one.steps[0] != NO_STEP).sum() for one in paths] == [1, 2, 3]
    assert (np.diff([one.values[0] for one in paths]) > 0).all()


def test_a_hopeless_prompt_skips_the_cheap_step() -> None:
    paths = best_paths(make_steps([0.02, 0.9], [0.001, 0.05], 0.001))
    assert paths.steps.tolist() == [[1, NO_STEP]]


def test_an_easy_prompt_is_not_checked() -> None:
    paths = best_paths(make_steps([0.99, 0.992], [0.001, 0.05], 0.01))
    assert paths.steps.tolist() == [[0, NO_STEP]]
    assert np.isnan(paths.thresholds).all()


def test_a_check_that_costs_more_than_it_saves_is_left_out() -> None:
    dear = best_paths(make_steps([0.7, 0.9], [0.001, 0.05], 0.2))
    assert dear.steps.tolist() == [[1, NO_STEP]]


def test_an_expert_that_may_not_be_asked_is_in_no_path() -> None:
    paths = best_paths(make_steps([[0.7, np.nan, 0.9], [np.nan] * 3], [0.001, 0.002, 0.05]))
    assert paths.steps.tolist() == [[0, 2], [NO_STEP] * 2]
    assert paths.values[1] == -np.inf


def test_a_wrong_answer_says_that_the_prompt_is_hard() -> None:
    apart = best_paths(make_steps([0.5, 0.7], [0.0, 0.1]))
    together = best_paths(make_steps([0.5, 0.7], [0.0, 0.1], odds_ratio=8.0))
    assert together.priors[0, 1] < apart.priors[0, 1]
    assert together.values[0] < apart.values[0]


def test_joint_probabilities_keep_the_priors_and_have_the_odds_ratio() -> None:
    p, q = np.array([0.6]), np.array([0.8])
    if_right, if_wrong = conditional_probabilities(p, q, 5.0)
    assert p * if_right + (1 - p) * if_wrong == pytest.approx(q)
    assert if_right / (1 - if_right) / (if_wrong / (1 - if_wrong)) == pytest.approx([5.0])


def test_the_odds_ratio_is_found_again() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.uniform(0.2, 0.9, (2, 20_000))
    first = (rng.random(p.size) < p).astype(float)
    if_right, if_wrong = conditional_probabilities(p, q, 5.0)
    second = (rng.random(p.size) < np.where(first > 0, if_right, if_wrong)).astype(float)
    assert fit_odds_ratio(p, q, first, second) == pytest.approx(5.0, rel=0.15)
    assert fit_odds_ratio(*[np.full(3, np.nan)] * 4) == 1.0
