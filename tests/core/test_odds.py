"""The odds of being best: certain, tied, and as the one comparison that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Router
from tryage.core.decision import best_probabilities
from tryage.core.ranking import RankedExpert
from tryage.testing import FixedPerception, demo_library, demo_perception


def ranked(*pairs):
    return [RankedExpert(f"m{i}", mean, std, {}, mean, ()) for i, (mean, std) in enumerate(pairs)]


def test_of_two_the_odds_are_the_confidence():
    decision = Router(FixedPerception({"a": 0.2, "b": 0.25}, std=0.1)).route("x")
    assert best_probabilities(decision.ranking)["a"] == pytest.approx(decision.confidence, abs=1e-6)


def test_of_many_they_agree_with_drawing():
    pairs = [(0.2, 0.1), (0.25, 0.02), (0.3, 0.3), (0.9, 0.05)]
    drawn = np.random.default_rng(0).normal(*np.array(pairs).T, size=(400_000, 4)).argmin(axis=1)
    found = list(best_probabilities(ranked(*pairs)).values())
    assert found == pytest.approx(np.bincount(drawn, minlength=4) / len(drawn), abs=0.003)


@pytest.mark.parametrize("std", [None, 0.0])
def test_what_is_known_exactly_is_certain_and_ties_are_shared(std):
    assert best_probabilities(ranked((0.1, std), (0.2, std))) == pytest.approx(
        {"m0": 1.0, "m1": 0.0}
    )
    assert best_probabilities(ranked((0.1, std), (0.1, std))) == pytest.approx(
        {"m0": 0.5, "m1": 0.5}
    )


def test_one_expert_is_surely_the_best_and_nobody_has_no_odds():
    assert best_probabilities(ranked((3.0, 0.2))) == {"m0": 1.0}
    assert best_probabilities([]) == {}


def test_they_add_up_to_one_over_a_whole_ranking():
    found = best_probabilities(Router(demo_perception(), demo_library()).route("x").ranking)
    assert sum(found.values()) == pytest.approx(1.0)
    assert max(found, key=found.get) == "frontier"
