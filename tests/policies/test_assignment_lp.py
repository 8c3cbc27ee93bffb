"""The solver of assignments, beside exact integer programs and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix, eye, kron, vstack

from tryage.policies.assignment_lp import solve_assignment
from tryage.policies.assignment_problem import AssignmentProblem


def problem(objective, resource=None, allowed=None, limit=np.inf, capacity=None):
    objective = np.asarray(objective, float)
    return AssignmentProblem(
        objective,
        np.zeros_like(objective) if resource is None else np.asarray(resource, float),
        np.ones(objective.shape, bool) if allowed is None else allowed,
        limit,
        np.full(objective.shape[1], np.inf) if capacity is None else np.asarray(capacity, float),
    )


def random_problem(seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.choice([1, 2, 5, 20, 60, 150])), int(rng.choice([1, 2, 3, 5, 12]))
    objective, resource = rng.random((n, m)), rng.random((n, m)) * 10 ** rng.uniform(-5, 1, (1, m))
    if rng.random() < 0.3:
        objective = np.round(objective, 1)
    if rng.random() < 0.2:
        resource = np.tile(resource[:1], (n, 1))
    allowed = rng.random((n, m)) < rng.choice([0.5, 1])
    allowed[np.arange(n), rng.integers(m, size=n)] = True
    lowest = np.where(allowed, resource, np.inf).min(axis=1).sum()
    highest = np.where(allowed, resource, 0).max(axis=1).sum()
    limit = lowest + (highest - lowest) * rng.choice([-0.05, 0, 0.01, 0.1, 0.5, 1])
    capacity = np.ceil(rng.dirichlet(np.ones(m)) * n * rng.choice([1, 1.2, 2]))
    capacity = capacity if rng.random() < 0.6 else np.full(m, np.inf)
    limit = limit if rng.random() < 0.7 else np.inf
    allowed &= capacity > 0
    allowed[~allowed.any(axis=1), capacity.argmax()] = True
    return problem(objective, resource, allowed, limit, capacity)


def exact_optimum(given):
    """Return the objective of HiGHS's integer program, None if there is no assignment."""
    n, m = given.objective.shape
    rows = [kron(eye(n), np.ones((1, m))), kron(np.ones((1, n)), eye(m))]
    low, high = [np.ones(n), np.full(m, -np.inf)], [np.ones(n), given.capacity]
    if np.isfinite(given.limit):
        rows.append(csr_matrix(given.resource.reshape(1, -1)))
        low, high = [*low, [-np.inf]], [*high, [given.limit]]
    result = milp(
        given.objective.ravel(),
        constraints=LinearConstraint(vstack(rows), np.concatenate(low), np.concatenate(high)),
        integrality=np.ones(n * m),
        bounds=Bounds(0, given.allowed.ravel().astype(float)),
        options={"node_limit": 500},
    )
    return None if result.x is None else result.fun


def test_the_best_of_two_prompts_gets_the_only_place():
    found = solve_assignment(problem([[0.1, 0.5], [0.1, 0.9]], capacity=[1, 2]))
    assert found.experts.tolist() == [1, 0]
    assert found.objective == pytest.approx(0.6)
    assert found.bound == pytest.approx(0.6)


def test_a_dollar_goes_where_it_buys_most():
    losses, costs = [[0.9, 0.1], [0.9, 0.5], [0.9, 0.8]], [[0, 1], [0, 1], [0, 1]]
    found = solve_assignment(problem(losses, costs, limit=2))
    assert found.experts.tolist() == [1, 1, 0]
    assert 0.1 - 1e-6 <= found.prices[0] <= 0.4 + 1e-6  # the third gains .1, the second gains .4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", [*range(24), 438])  # the last has a curvature of nearly 0
def test_the_solution_is_as_good_as_the_exact_one_and_the_bound_holds(seed):
    given = random_problem(seed)
    found, exact = solve_assignment(given), exact_optimum(given)
    assert (found is None) == (exact is None)
    if found is None:
        return
    assert given.is_within_limits(found.experts)
    assert given.allowed[np.arange(given.n_prompts), found.experts].all()
    assert found.bound <= exact + 1e-6 * abs(exact)
    assert found.objective - exact <= 1e-2 * exact + 1e-9  # of 20 prompts one is much


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_prompts_are_within_a_thousandth_of_the_optimum(seed):
    rng = np.random.default_rng(seed)
    skill = np.linspace(0, 1, 6)
    losses = 1 / (1 + np.exp(6 * (skill - rng.random((1_000, 1))) + rng.normal(size=(1_000, 6))))
    costs = 10 ** (3 * skill - 4) * rng.lognormal(size=(1_000, 1))
    capacity = np.full(6, 300.0)
    given = problem(losses, costs, limit=0.2 * costs[:, -1].sum(), capacity=capacity)
    found = solve_assignment(given)
    assert given.is_within_limits(found.experts)
    assert found.gap < 1e-3


@pytest.mark.parametrize("n_levels", [None, 10])
def test_the_gap_is_tiny_with_a_budget_and_tight_capacities(n_levels):
    rng = np.random.default_rng(0)
    losses, costs = rng.random((5_000, 8)), rng.random((5_000, 8)) * np.arange(1, 9)
    if n_levels is not None:  # many prompts are equally good choices
        losses = np.round(losses * n_levels) / n_levels
        costs = np.tile(np.arange(1.0, 9.0), (5_000, 1))
    given = problem(losses, costs, limit=15_000.0, capacity=np.full(8, 5_000 / 5))
    found = solve_assignment(given)
    assert given.is_within_limits(found.experts)
    assert found.gap < 1e-4


def test_capacities_that_are_just_enough_are_all_used():
    rng = np.random.default_rng(0)
    found = solve_assignment(problem(rng.random((3_000, 6)), capacity=np.full(6, 500)))
    assert np.bincount(found.experts).tolist() == [500] * 6
    assert found.gap < 1e-6


def test_full_experts_of_equal_prompts_give_some_away():
    rng = np.random.default_rng(1)
    losses = np.round(rng.random((6_000, 10)), 1)
    found = solve_assignment(problem(losses, capacity=np.full(10, 600)))
    assert np.bincount(found.experts).tolist() == [600] * 10
    assert found.gap < 1e-4


def test_capacities_that_the_allowed_experts_exceed_have_no_assignment():
    allowed = np.array([[True, False]] * 3 + [[True, True]])
    assert solve_assignment(problem(np.zeros((4, 2)), allowed=allowed, capacity=[2, 9])) is None


def test_a_limit_below_the_lowest_sum_has_no_assignment():
    costs = np.random.default_rng(0).random((50, 3))
    lowest = costs.min(axis=1).sum()
    losses = 1 - costs
    assert solve_assignment(problem(losses, costs, limit=lowest * 0.999)) is None
    found = solve_assignment(problem(losses, costs, limit=lowest))
    assert found.experts.tolist() == costs.argmin(axis=1).tolist()


def test_the_same_problem_has_the_same_solution_each_time():
    given = random_problem(3)
    first, second = solve_assignment(given), solve_assignment(given)
    assert first.experts.tolist() == second.experts.tolist()


def test_nothing_is_printed(capfd):
    for seed in range(8):
        solve_assignment(random_problem(seed))
    assert capfd.readouterr() == ("", "")
