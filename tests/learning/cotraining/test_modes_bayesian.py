"""The posterior over experts that change, against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.learning.cotraining.modes import BayesianLinear


def model(n_experts=2, n_features=2, prior_std=0.2, forgetting_factor=0.9):
    return BayesianLinear(
        n_experts, n_features, prior_std=prior_std, forgetting_factor=forgetting_factor
    )


def test_before_any_measurement_the_means_are_zero_and_draws_have_the_prior_deviation():
    posterior = model(2, 3, prior_std=0.5)
    assert not posterior.expert_means().any()
    draws = np.array([posterior.sample(np.random.default_rng(seed)) for seed in range(2000)])
    assert draws.std(axis=0) == pytest.approx(0.5, rel=0.1)


def test_the_means_are_the_posterior_worked_by_hand():
    """One feature. w = 3 / (2 + .01); the residual of expert 0 is 1 - w."""
    posterior = model(2, 1, prior_std=0.2, forgetting_factor=1.0)
    posterior.update(np.array([[1.0]]), np.array([[1.0, 2.0]]))
    w = 3 / 2.01
    assert posterior.shared_mean() == pytest.approx([w])
    precision = 1 / posterior.noise_variance + 1 / 0.2**2
    expected = [
        (1 - w) / posterior.noise_variance / precision,
        (2 - w) / posterior.noise_variance / precision,
    ]
    assert posterior.expert_means().ravel() == pytest.approx(expected)


def test_when_all_experts_improve_their_differences_do_not_change():
    """Expert 0 is measured only at first, expert 1 only after all have improved."""
    rng = np.random.default_rng(0)
    posterior = model(2, 3, forgetting_factor=0.5)
    x = np.column_stack([rng.normal(size=(200, 2)), np.ones(200)])
    for number, level in enumerate(np.linspace(3, 2, 20)):
        losses = np.full((200, 2), level) + rng.normal(size=(200, 2)) * 0.01
        losses[:, int(number < 10)] = np.nan
        posterior.update(x, losses)
    assert np.abs(np.diff(posterior.predict(x), axis=1)).max() < 0.05


def test_an_expert_that_is_good_at_a_kind_of_prompt_has_lower_predictions_there():
    rng = np.random.default_rng(1)
    posterior = model(2, 2)
    kind = rng.choice([-1.0, 1.0], size=300)
    x = np.column_stack([kind, np.ones(300)])
    losses = np.column_stack([2 + 0.3 * kind, 2 - 0.3 * kind]) + rng.normal(size=(300, 2)) * 0.05
    losses[rng.random((300, 2)) < 0.4] = np.nan
    posterior.update(x, losses)
    assert posterior.predict(np.array([[1.0, 1.0]]))[0] == pytest.approx([2.3, 1.7], abs=0.05)


def test_new_measurements_outweigh_old_ones():
    x = np.ones((50, 1))
    posterior = model(2, 1, forgetting_factor=0.5)
    for losses in ([1.0, 2.0], [2.0, 1.0]):
        for _ in range(8):
            posterior.update(x, np.tile(losses, (50, 1)))
    first, second = posterior.predict(x)[0]
    assert first > second


def test_a_restored_state_is_complete():
    rng = np.random.default_rng(0)
    one, other = model(), model()
    x, losses = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    one.update(x, losses)
    other.restore(one.state())
    for posterior in (one, other):
        posterior.update(x, losses)
    assert np.array_equal(
        one.sample(np.random.default_rng(3)), other.sample(np.random.default_rng(3))
    )
