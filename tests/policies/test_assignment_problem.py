"""The assignment problem as arrays."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.policies.assignment_problem import AssignmentProblem

PROBLEM = AssignmentProblem(
    objective=np.array([[0.1, 0.5], [0.4, 0.2]]),
    resource=np.array([[3.0, 1.0], [3.0, 1.0]]),
    allowed=np.array([[True, True], [True, False]]),
    limit=4.0,
    capacity=np.array([1.0, np.inf]),
)


def test_reduced_values_add_prices_and_bar_what_is_not_allowed():
    reduced = PROBLEM.reduced(np.array([0.1, 0.05, 0.0]), slice(0, 2))
    assert reduced == pytest.approx(np.array([[0.45, 0.6], [0.75, np.inf]]))


def test_the_lower_bound_is_the_lagrange_dual_function():
    prices = np.array([0.1, 0.05, 0.0])
    assert PROBLEM.lower_bound(prices) == pytest.approx(0.45 + 0.75 - 0.1 * 4 - 0.05)
    assert PROBLEM.lower_bound(np.zeros(3)) == pytest.approx(0.5)


def test_a_part_has_its_share_of_the_limits():
    part = PROBLEM.take(np.array([1]))
    assert (part.n_prompts, part.limit, part.capacity.tolist()) == (1, 2.0, [0.5, np.inf])


def test_limits_are_checked_for_all():
    assert PROBLEM.is_within_limits(np.array([1, 0]))
    assert not PROBLEM.is_within_limits(np.array([0, 0]))
    assert PROBLEM.sums(np.array([1, 0])) == pytest.approx((0.9, 4.0))


def test_blocks_are_all_prompts_once():
    wide = AssignmentProblem(*(np.zeros((700, 400)),) * 3, limit=1.0, capacity=np.zeros(400))
    assert sum(len(range(700)[rows]) for rows in wide.blocks()) == 700
    assert len(wide.blocks()) > 1
