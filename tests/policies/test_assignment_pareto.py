"""The front of assignments: its corners are what `assign` finds for their cost."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("scipy")

from tryage import Router
from tryage.core.library import Library
from tryage.errors import InfeasibleError
from tryage.policies import assign, assignment_front
from tryage.testing import FunctionPerception

NAMES = ("small", "medium", "large")
PROMPTS = [f"{letter} " * n for n in range(1, 21) for letter in "abc"]


def losses(prompt):
    generator = np.random.default_rng([ord(prompt[0]), len(prompt)])
    return (generator.random(3) * (0.6, 0.4, 0.2)).tolist()


@pytest.fixture
def router():
    library = Library.from_columns(NAMES, input_price=[0.1, 1, 10], output_price=[0.4, 4, 40])
    return Router(FunctionPerception(NAMES, losses), library)


@pytest.mark.parametrize("capacity", [None, {"large": 9, "small": 40}])
def test_each_corner_is_the_best_assignment_for_its_cost(router, capacity):
    front = assignment_front(router, PROMPTS, capacity=capacity, max_points=12)
    assert (np.diff(front.costs) > 0).all()
    assert (np.diff(front.qualities) > 0).all()
    for i in range(0, len(front), 7):
        found = assign(router, PROMPTS, budget=front.costs[i] * (1 + 1e-9), capacity=capacity)
        assert found.quality == pytest.approx(front.qualities[i], abs=1e-6)
        counts = {name: front.experts(i).count(name) for name in NAMES}
        assert all(counts[name] <= most for name, most in (capacity or {}).items())


def test_the_ends_are_the_cheapest_and_the_best(router):
    front = assignment_front(router, PROMPTS)
    assert set(front.experts(0)) == {"small"}
    assert front.experts(-1) == assign(router, PROMPTS).experts
    assert len(front) > 30


def test_a_budget_finds_its_corner(router):
    front = assignment_front(router, PROMPTS)
    i = front.within(float(front.costs[5] + front.costs[6]) / 2)
    assert i == 5
    with pytest.raises(InfeasibleError, match="the cheapest assignment costs") as caught:
        front.within(0)
    assert caught.value.least_budget == front.costs[0]


def test_a_front_is_shown_by_its_ends(router):
    front = assignment_front(router, PROMPTS)
    assert str(front).startswith(f"{len(front)} points, from {front.costs[0]:.6g} USD for a qual")


def test_a_front_within_capacities_has_the_corners_of_one_without_if_they_do_not_bind(router):
    free = assignment_front(router, PROMPTS)
    wide = assignment_front(router, PROMPTS, capacity={"large": 60}, max_points=300)
    assert len(wide) == pytest.approx(len(free), abs=3)
    assert wide.qualities[-1] == pytest.approx(free.qualities[-1])


def test_capacities_that_cannot_be_met_are_refused(router):
    with pytest.raises(InfeasibleError, match="add up to 3"):
        assignment_front(router, PROMPTS, capacity=dict.fromkeys(NAMES, 1))


def test_a_front_survives_pickling(router):
    front = assignment_front(router, PROMPTS)
    again = pickle.loads(pickle.dumps(front))  # noqa: S301 - our own bytes
    assert again.experts(3) == front.experts(3)
