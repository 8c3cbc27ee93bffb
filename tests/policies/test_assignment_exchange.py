"""Moves of one or two prompts that improve an assignment."""

from __future__ import annotations

import numpy as np

from tryage.policies.assignment_exchange import exchange
from tryage.policies.assignment_problem import AssignmentProblem


def make(objective, resource, limit, capacity):
    objective, resource = np.array(objective), np.array(resource)
    allowed = np.ones(objective.shape, bool)
    return AssignmentProblem(objective, resource, allowed, limit, np.array(capacity, float))


def improved(given, experts):
    prices, rows = np.zeros(1 + given.n_experts), np.arange(given.n_prompts)
    return exchange(given, np.array(experts), prices, rows).tolist()


def test_what_is_left_of_the_limit_is_used_where_it_brings_most():
    given = make([[0.9, 0.1], [0.9, 0.5]], [[0.0, 1.0], [0.0, 1.0]], 1.5, [9, 9])
    assert improved(given, [0, 0]) == [1, 0]


def test_two_prompts_swap_full_experts():
    given = make([[0.9, 0.1], [0.2, 0.3]], [[0.0, 0.0], [0.0, 0.0]], 0.0, [1, 1])
    assert improved(given, [0, 1]) == [1, 0]


def test_one_prompt_pays_for_another():
    given = make([[0.9, 0.1], [0.4, 0.3]], [[0.0, 1.0], [0.0, 1.0]], 1.0, [9, 9])
    assert improved(given, [0, 1]) == [1, 0]


def test_limits_hold_and_the_objective_never_rises():
    rng = np.random.default_rng(0)
    resource = rng.random((60, 4))
    given = make(rng.random((60, 4)), resource, 0.0, [15] * 4)
    start = np.repeat(np.arange(4), 15)
    given = AssignmentProblem(
        given.objective, resource, given.allowed, given.sums(start)[1], given.capacity
    )
    found = np.array(improved(given, start))
    assert given.is_within_limits(found)
    assert given.sums(found)[0] < given.sums(start)[0] * 0.8
