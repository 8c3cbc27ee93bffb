"""What the router believes of experts that change."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.cotraining.modes import BayesianLinear


def belief(n_experts=2, width=2, spread=0.2, memory=0.9):
    return BayesianLinear(n_experts, width, prior_std=spread, forgetting_factor=memory)


def test_before_anything_is_measured_experts_are_alike_and_draws_differ_by_the_spread():
    found = belief(2, 3, spread=0.5)
    assert not found.expert_means().any()
    draws = np.array([found.sample(np.random.default_rng(seed)) for seed in range(2000)])
    assert draws.std(axis=0) == pytest.approx(0.5, rel=0.1)


def test_the_means_are_the_posterior_worked_by_hand():
    """One feature. w = 3 / (2 + .01); the rest of expert 0 is .5 - w / 2, hence its v."""
    found = belief(2, 1, spread=0.2, memory=1.0)
    found.update(np.array([[1.0]]), np.array([[1.0, 2.0]]))
    w = 3 / 2.01
    assert found.shared_mean() == pytest.approx([w])
    precision = 1 / found.noise_variance + 1 / 0.2**2
    expected = [
        (1 - w) / found.noise_variance / precision,
        (2 - w) / found.noise_variance / precision,
    ]
    assert found.expert_means().ravel() == pytest.approx(expected)


def test_what_all_experts_lose_falls_without_a_trace_in_their_differences():
    """Expert 0 is measured only at first, expert 1 only when everyone has become better."""
    rng = np.random.default_rng(0)
    found = belief(2, 3, memory=0.5)
    x = np.column_stack([rng.normal(size=(200, 2)), np.ones(200)])
    for turn, level in enumerate(np.linspace(3, 2, 20)):
        losses = np.full((200, 2), level) + rng.normal(size=(200, 2)) * 0.01
        losses[:, int(turn < 10)] = np.nan
        found.update(x, losses)
    assert np.abs(np.diff(found.predict(x), axis=1)).max() < 0.05


def test_an_expert_that_is_good_at_a_kind_of_prompt_is_predicted_so():
    rng = np.random.default_rng(1)
    found = belief(2, 2)
    kind = rng.choice([-1.0, 1.0], size=300)
    x = np.column_stack([kind, np.ones(300)])
    losses = np.column_stack([2 + 0.3 * kind, 2 - 0.3 * kind]) + rng.normal(size=(300, 2)) * 0.05
    losses[rng.random((300, 2)) < 0.4] = np.nan
    found.update(x, losses)
    assert found.predict(np.array([[1.0, 1.0]]))[0] == pytest.approx([2.3, 1.7], abs=0.05)


def test_old_measurements_give_way_to_new_ones():
    x = np.ones((50, 1))
    found = belief(2, 1, memory=0.5)
    for losses in ([1.0, 2.0], [2.0, 1.0]):
        for _ in range(8):
            found.update(x, np.tile(losses, (50, 1)))
    first, second = found.predict(x)[0]
    assert first > second


def test_the_state_is_all_there_is():
    rng = np.random.default_rng(0)
    one, other = belief(), belief()
    x, losses = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    one.update(x, losses)
    other.restore(one.state())
    for found in (one, other):
        found.update(x, losses)
    assert np.array_equal(
        one.sample(np.random.default_rng(3)), other.sample(np.random.default_rng(3))
    )
