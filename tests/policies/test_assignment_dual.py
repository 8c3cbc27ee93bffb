"""The dual prices of an assignment problem, beside those of the linear program."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy.optimize import linprog

from tryage.policies.assignment_dual import dual_prices, evaluate
from tryage.policies.assignment_problem import AssignmentProblem


def make(n, m, seed=0, levels=None):
    rng = np.random.default_rng(seed)
    losses, costs = rng.random((n, m)), rng.random((n, m)) * np.arange(1, m + 1)
    if levels:
        losses, costs = np.round(losses * levels) / levels, np.tile(np.arange(1.0, m + 1), (n, 1))
    capacity = np.full(m, np.ceil(1.5 * n / m))
    return AssignmentProblem(
        losses, costs, np.ones((n, m), bool), (0.5 if levels else 0.3) * m * n, capacity
    )


@pytest.mark.parametrize("levels", [None, 4])
def test_the_dual_function_reaches_the_linear_program(levels):
    given = make(200, 4, levels=levels)
    n, m = given.objective.shape
    shared = np.vstack([given.resource.ravel(), np.tile(np.eye(m), n)])
    optimum = linprog(
        given.objective.ravel(),
        A_ub=shared,
        b_ub=given.limits,
        A_eq=np.kron(np.eye(n), np.ones(m)),
        b_eq=np.ones(n),
    ).fun
    prices, _ = dual_prices(given)
    bound = given.lower_bound(prices)
    assert optimum * (1 - 1e-5) <= bound <= optimum * (1 + 1e-9)


def test_the_gradient_and_the_curvature_are_those_of_the_smoothed_function():
    given, prices, temperature = make(50, 3), np.array([0.1, 0.2, 0.05, 0.0]), 0.05
    point, step = evaluate(given, prices, temperature), 1e-5
    for i in range(4):
        shift = step * np.eye(4)[i]
        above, below = (evaluate(given, prices + s * shift, temperature) for s in (1, -1))
        assert point.gradient[i] == pytest.approx(
            (above.value - below.value) / (2 * step), rel=1e-6
        )
        slopes = (above.gradient - below.gradient) / (2 * step)
        assert point.curvature[i] == pytest.approx(-slopes, rel=1e-5, abs=1e-6)


def test_limits_that_do_not_bind_cost_nothing():
    given = make(100, 3)
    loose = AssignmentProblem(
        given.objective, given.resource, given.allowed, 1e6, np.full(3, np.inf)
    )
    prices, _ = dual_prices(loose)
    assert prices == pytest.approx(np.zeros(4))


@pytest.mark.parametrize("levels", [1, 2])
def test_prompts_that_are_all_alike_cause_no_overflow(levels):
    given = make(3_000, 6, levels=levels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prices, _ = dual_prices(given)
    assert np.isfinite(prices).all()


def test_the_dual_function_grows_without_end_where_the_limits_cannot_be_met():
    given = make(300, 4)
    narrow = AssignmentProblem(given.objective, given.resource, given.allowed, 0.0, given.capacity)
    prices, _ = dual_prices(narrow)
    assert narrow.lower_bound(prices) > 300 * given.objective.max()
