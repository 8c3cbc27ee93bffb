"""Prompts are assigned at the least total, within the limits of every expert."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tryage.learning.cotraining.modes import balanced_assignment, effective_experts


def test_without_a_limit_every_prompt_gets_its_lowest_total():
    totals = np.array([[0.1, 0.2], [0.3, 0.5], [0.9, 0.1]])
    assert balanced_assignment(totals, slack=2).tolist() == [0, 0, 1]


def test_at_equal_shares_the_prompt_that_loses_least_moves():
    """Three prompts prefer expert 0, which may take two: the one that loses .05 moves."""
    totals = np.array([[0.1, 0.9], [0.1, 0.15], [0.1, 0.5], [0.8, 0.1]])
    assert balanced_assignment(totals, slack=1).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("slack", [1.0, 1.4])
def test_the_sum_is_the_least_of_all_assignments_within_the_limit(slack):
    totals = np.random.default_rng(0).random((6, 3))
    limit = np.ceil(slack * 6 / 3)
    possible = [
        choice
        for choice in itertools.product(range(3), repeat=6)
        if np.bincount(choice).max() <= limit
    ]
    best = min(totals[np.arange(6), list(choice)].sum() for choice in possible)
    chosen = balanced_assignment(totals, slack)
    assert np.bincount(chosen).max() <= limit
    assert totals[np.arange(6), chosen].sum() == pytest.approx(best)


def test_at_equal_shares_every_expert_gets_the_same_number_of_prompts():
    totals = np.random.default_rng(0).random((64, 4))
    totals[:, 2] -= 100
    assert np.bincount(balanced_assignment(totals, 1.0)).tolist() == [16, 16, 16, 16]


def test_the_effective_number_of_experts_follows_from_their_shares():
    assert effective_experts(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)
    assert effective_experts(np.array([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert 1 < effective_experts(np.array([0.9, 0.1])) < 2
