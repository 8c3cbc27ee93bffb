"""The probability of each expert to be best: certain, tied, and compared with sampling."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Router
from tryage.core.probabilities import best_probabilities, choice_probabilities
from tryage.core.ranking import RankedExpert
from tryage.testing import FixedPerception, demo_library, demo_perception


def ranked(*pairs):
    return [RankedExpert(f"m{i}", mean, std, {}, mean, ()) for i, (mean, std) in enumerate(pairs)]


def test_with_two_experts_the_probability_is_the_confidence():
    decision = Router(FixedPerception({"a": 0.2, "b": 0.25}, std=0.1)).route("x")
    assert best_probabilities(decision.ranking)["a"] == pytest.approx(decision.confidence, abs=1e-6)


def test_with_many_experts_the_probabilities_agree_with_sampling():
    pairs = [(0.2, 0.1), (0.25, 0.02), (0.3, 0.3), (0.9, 0.05)]
    drawn = np.random.default_rng(0).normal(*np.array(pairs).T, size=(400_000, 4)).argmin(axis=1)
    found = list(best_probabilities(ranked(*pairs)).values())
    assert found == pytest.approx(np.bincount(drawn, minlength=4) / len(drawn), abs=0.003)


@pytest.mark.parametrize("std", [None, 0.0])
def test_without_a_std_the_best_is_certain_and_ties_share_the_probability(std):
    assert best_probabilities(ranked((0.1, std), (0.2, std))) == pytest.approx(
        {"m0": 1.0, "m1": 0.0}
    )
    assert best_probabilities(ranked((0.1, std), (0.1, std))) == pytest.approx(
        {"m0": 0.5, "m1": 0.5}
    )


def test_a_single_expert_is_certainly_the_best_and_an_empty_ranking_has_no_probabilities():
    assert best_probabilities(ranked((3.0, 0.2))) == {"m0": 1.0}
    assert best_probabilities([]) == {}


def test_the_probabilities_of_a_ranking_add_up_to_one():
    found = best_probabilities(Router(demo_perception(), demo_library()).route("x").ranking)
    assert sum(found.values()) == pytest.approx(1.0)
    assert max(found, key=found.get) == "frontier"


@pytest.mark.parametrize("tolerance", [0.01, 0.1])
def test_the_choice_within_a_tolerance_agrees_with_sampling(tolerance):
    means, stds = np.array([0.15, 0.1, 0.2, 0.12]), np.array([0.05, 0.01, 0.2, 0.0])
    costs = np.array([1.0, 3.0, 2.0, 2.5])
    totals = np.random.default_rng(0).normal(means, stds, (400_000, 4))
    within = totals <= totals.min(axis=1, keepdims=True) + tolerance
    chosen = np.where(within, costs, np.inf).argmin(axis=1)
    found = choice_probabilities(means, stds, costs, tolerance)
    assert found == pytest.approx(np.bincount(chosen, minlength=4) / len(chosen), abs=0.003)


def test_few_points_of_the_grid_give_nearly_the_same_probabilities():
    means, stds = np.array([0.15, 0.1, 0.2]), np.array([0.05, 0.001, 0.2])
    coarse = choice_probabilities(means, stds, n_steps=33)
    assert coarse == pytest.approx(choice_probabilities(means, stds), abs=0.005)
