"""The joint objective has the gradient worked by hand; modes learn, and resume from their state."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tryage.learning.cotraining.modes import Decoupled, Joint, joint_objective
from tryage.learning.cotraining.protocols import TrainingRound

torch = pytest.importorskip("torch")


def gradient(predicted, penalties, losses, propensity, temperature):
    given = torch.tensor(predicted, dtype=torch.float64, requires_grad=True)
    rest = (torch.tensor(part, dtype=torch.float64) for part in (penalties, losses, propensity))
    value = joint_objective(given, *rest, temperature)
    torch.autograd.backward(value)
    return value.item(), given.grad.numpy()


def test_the_gradient_with_two_experts_is_the_one_worked_by_hand():
    """T = .5, both are predicted 1, the second is penalised .5: p = 1 / (1 + e^-1) and 1 - p.

    The losses are 2 and 1, so the expected loss is 1 + p, its slope in Q^_1 is -p (1-p) (2-1) / T,
    and in Q^_2 the opposite. The squared errors are 1 and 0, their slope 2 (1 - 2) / 2 and 0.
    """
    p = 1 / (1 + math.exp(-1))
    value, slopes = gradient([[1.0, 1.0]], [[0.0, 0.5]], [[2.0, 1.0]], [[1.0, 1.0]], 0.5)
    assert value == pytest.approx(1 + p + 0.5)
    slope = p * (1 - p) / 0.5
    assert slopes[0] == pytest.approx([-slope - 1, slope])


def test_a_loss_that_was_not_measured_is_taken_as_predicted_and_has_no_gradient():
    """The second loss is a gap: its estimate is 1.5, the first is 1 + (2 - 1) / 1 = 2."""
    p = 1 / (1 + math.exp(-0.5 / 0.5))
    value, slopes = gradient([[1.0, 1.5]], [[0.0, 0.0]], [[2.0, math.nan]], [[1.0, 0.25]], 0.5)
    assert value == pytest.approx(p * 2 + (1 - p) * 1.5 + 0.5)
    slope = p * (1 - p) * (2 - 1.5) / 0.5
    assert slopes[0] == pytest.approx([-slope - 1, slope])


def test_with_gaps_the_gradient_is_unbiased():
    rng = np.random.default_rng(0)
    predicted, penalties, losses = rng.random((3, 1, 3))
    propensity = np.array([[1.0, 0.25, 0.25]])
    _, whole = gradient(predicted, penalties, losses, np.ones((1, 3)), 0.3)
    total, n = np.zeros((1, 3)), 3000
    for _ in range(n):
        seen = np.where(rng.random((1, 3)) < propensity, losses, np.nan)
        total += gradient(predicted, penalties, seen, propensity, 0.3)[1]
    assert total / n == pytest.approx(whole, abs=0.05)


def make_round(seed=0):
    """Make a round of eight prompts in which every loss is measured, and linear in the features."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(8, 3))
    losses = x @ rng.normal(size=(3, 2))
    return TrainingRound(
        rows=np.arange(8),
        x=x,
        penalties=np.zeros((8, 2)),
        exploration_rate=1.0,
        rng=rng,
        assign=lambda scores: scores.argmin(axis=1),
        measure=lambda chosen: losses,  # noqa: ARG005 - all losses, whatever was chosen
    )


@pytest.mark.parametrize("mode", [Joint, Decoupled])
def test_a_restored_mode_learns_as_the_original_does(mode):
    one, other = mode(2, 3), mode(2, 3)
    one(make_round(0))
    other.restore(one.state())
    assert np.array_equal(one(make_round(1)), other(make_round(1)))
    for name, array in one.state().items():
        np.testing.assert_array_equal(array, other.state()[name])


def test_a_step_lowers_the_squared_error_of_the_head():
    mode, batch = Joint(2, 3), make_round()
    losses = batch.measure(np.zeros(8, int))
    before = np.mean((mode.predict(batch.x) - losses) ** 2)
    for _ in range(30):
        mode(batch)
    assert np.mean((mode.predict(batch.x) - losses) ** 2) < 0.5 * before


def test_a_mode_that_has_not_learned_yet_can_be_saved_too():
    one, other = Joint(2, 3, seed=1), Joint(2, 3, seed=2)
    other.restore(one.state())
    assert np.array_equal(one.predict(np.eye(3)), other.predict(np.eye(3)))
