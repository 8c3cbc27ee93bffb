"""Estimators are weighted by the decisions they lead to."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.training.calibration import (
    COST_WEIGHTS,
    fit_ensemble_weights,
    penalty_grid,
    weight_gradient,
)
from tryage.perception.head import softmax

N, EXPERTS = 300, 4
NO_PENALTY = np.zeros((1, EXPERTS), np.float32)


@pytest.fixture
def losses():
    rng = np.random.default_rng(0)
    return (rng.random((N, EXPERTS)) < rng.choice([0.1, 0.8], (N, EXPERTS))).astype(np.float64)


@pytest.fixture
def predictions(losses):
    """The first is correlated with the losses, the second is noise of the same size."""
    rng = np.random.default_rng(1)
    return np.stack(
        [0.3 * losses + rng.normal(0, 0.15, losses.shape), rng.normal(0.2, 0.2, losses.shape)]
    )


def test_the_informative_estimator_gets_the_weight(predictions, losses):
    weights = fit_ensemble_weights(predictions, losses, NO_PENALTY, loss_std=0.5)
    assert weights[0] > 0.8
    assert weights.sum() == pytest.approx(1)
    assert weights.min() > 0


def test_the_order_of_estimators_does_not_matter(predictions, losses):
    forward = fit_ensemble_weights(predictions, losses, NO_PENALTY, loss_std=0.5)
    backward = fit_ensemble_weights(predictions[::-1], losses, NO_PENALTY, loss_std=0.5)
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-3)


def test_equal_estimators_share_the_weight(predictions, losses):
    weights = fit_ensemble_weights(predictions[[0, 0]], losses, NO_PENALTY, loss_std=0.5)
    np.testing.assert_allclose(weights, 0.5, atol=1e-6)


def test_predicting_how_hard_a_prompt_is_earns_no_weight():
    rng = np.random.default_rng(2)
    hard = rng.uniform(-1, 1, (N, 1))
    difference = rng.choice([0.0, 0.3], (N, EXPERTS))
    losses = hard + difference
    knows_hard = hard + rng.normal(0, 0.1, losses.shape)
    knows_difference = difference + rng.normal(0, 0.1, losses.shape)
    assert np.mean((knows_hard - losses) ** 2) < np.mean((knows_difference - losses) ** 2)
    weights = fit_ensemble_weights(
        np.stack([knows_hard, knows_difference]), losses, NO_PENALTY, loss_std=0.5
    )
    assert weights[1] > 0.7


def test_gaps_and_prompts_without_a_loss_are_left_out(predictions, losses):
    gaps = losses.copy()
    gaps[np.random.default_rng(3).random(gaps.shape) < 0.3] = np.nan
    gaps[:5] = np.nan
    assert fit_ensemble_weights(predictions, gaps, NO_PENALTY, loss_std=0.5)[0] > 0.8
    np.testing.assert_allclose(
        fit_ensemble_weights(predictions, gaps, NO_PENALTY, loss_std=0.5),
        fit_ensemble_weights(predictions[:, 5:], gaps[5:], NO_PENALTY, loss_std=0.5),
        atol=1e-9,
    )


def test_the_gradient_matches_finite_differences(predictions, losses):
    known = np.random.default_rng(4).random(losses.shape) < 0.8
    known[:, 0] = True
    weights, temperature = np.array([0.3, 0.7]), 0.2

    def expected_loss(weights):
        total = np.tensordot(weights, predictions, 1)
        chance = softmax(np.where(known, total / -temperature, -np.inf))
        return (chance * losses).sum(axis=1).mean()

    total = np.tensordot(weights, predictions, 1)
    gradient = weight_gradient(total, predictions, losses, known, temperature)
    step = 1e-6
    for i in range(2):
        shift = step * np.eye(2)[i]
        numeric = (expected_loss(weights + shift) - expected_loss(weights - shift)) / (2 * step)
        assert gradient[i] == pytest.approx(numeric, rel=1e-5)


def test_penalties_are_proportional_to_cost_and_the_first_is_zero():
    penalties = penalty_grid(np.array([0.0, 0.5, 1.0]), loss_std=2.0)
    assert penalties.shape == (len(COST_WEIGHTS), 3)
    np.testing.assert_array_equal(penalties[0], 0)
    np.testing.assert_allclose(penalties[-1], np.array([0, 0.5, 1]) * COST_WEIGHTS[-1] * 2)


def test_a_penalty_moves_the_weight_to_the_estimator_that_predicts_the_cheap_experts():
    rng = np.random.default_rng(5)
    losses = (rng.random((N, 4)) < 0.5).astype(np.float64)
    noise = rng.normal(0, 1.5, losses.shape)
    knows_expensive, knows_cheap = noise.copy(), noise.copy()
    knows_expensive[:, :2], knows_cheap[:, 2:] = losses[:, :2], losses[:, 2:]
    predictions = np.stack([knows_expensive, knows_cheap])
    without = fit_ensemble_weights(predictions, losses, NO_PENALTY, loss_std=0.5)
    with_penalty = fit_ensemble_weights(
        predictions, losses, np.float32([[9, 9, 0, 0]]), loss_std=0.5
    )
    assert with_penalty[1] > max(without[1], 0.7)
