"""`assign`: many prompts within limits, as a user calls it."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

pytest.importorskip("scipy")

from tryage import Preferences, Router
from tryage.core.library import Library
from tryage.errors import InfeasibleError, InputError, LibraryError
from tryage.policies import Rule, Rules, Split, assign
from tryage.testing import FunctionPerception

NAMES = ("small", "medium", "large")
PROMPTS = [f"{letter} " * n for n in range(1, 41) for letter in "abc"]


def losses(prompt):
    generator = np.random.default_rng([ord(prompt[0]), len(prompt)])
    return (generator.random(3) * (0.6, 0.4, 0.2)).tolist()


def library(prices=(0.1, 1.0, 10.0)):
    return Library.from_columns(NAMES, input_price=prices, output_price=[4 * p for p in prices])


@pytest.fixture
def router():
    return Router(FunctionPerception(NAMES, losses), library())


@pytest.fixture
def predicted():
    return np.array([losses(prompt) for prompt in PROMPTS])


def test_without_limits_each_prompt_gets_the_lowest_loss(router, predicted):
    found = assign(router, PROMPTS)
    assert found.experts == tuple(NAMES[i] for i in predicted.argmin(axis=1))
    assert found.quality == pytest.approx(1 - predicted.min(axis=1).mean())
    assert found.gap == pytest.approx(0, abs=1e-9)


def test_a_budget_is_kept_and_used(router):
    free = assign(router, PROMPTS)
    found = assign(router, PROMPTS, budget=free.cost / 3)
    assert free.cost / 3 * 0.95 < found.cost <= free.cost / 3
    assert found.quality <= found.bound < free.quality
    assert found.gap < 1e-2
    assert found.limit_price > 0


def test_an_expert_gets_at_most_its_capacity(router):
    found = assign(router, PROMPTS, capacity={"large": 7, "medium": 50})
    assert found.counts["large"] == 7
    assert found.counts["medium"] <= 50
    assert found.capacity_prices["large"] > 0
    assert len(found) == len(PROMPTS) == sum(found.counts.values())


def test_a_quality_is_reached_for_the_least_money(router):
    found = assign(router, PROMPTS, min_quality=0.85)
    assert found.goal == "cost"
    assert found.quality >= 0.85 - 1e-9
    assert found.bound <= found.cost <= found.bound * 1.05
    again = assign(router, PROMPTS, budget=found.cost)
    assert again.quality == pytest.approx(0.85, abs=2e-3)


def test_a_budget_that_is_too_low_says_what_is_enough(router):
    with pytest.raises(InfeasibleError, match="the least that these prompts cost is") as caught:
        assign(router, PROMPTS, budget=1e-4)
    found = assign(router, PROMPTS, budget=caught.value.least_budget)
    assert set(found.experts) == {"small"}


def test_a_quality_that_is_too_high_says_which_is_possible(router, predicted):
    with pytest.raises(InfeasibleError, match="best mean quality that is predicted is") as caught:
        assign(router, PROMPTS, min_quality=0.99)
    assert caught.value.best_quality == pytest.approx(1 - predicted.min(axis=1).mean(), abs=1e-6)
    assert assign(router, PROMPTS, min_quality=caught.value.best_quality).quality > 0.9
    with pytest.raises(InfeasibleError, match=r"within 0\.05 USD is"):
        assign(router, PROMPTS, budget=0.05, min_quality=0.9)


def test_capacities_that_are_too_low_say_how_many_places_are_missing(router):
    with pytest.raises(InfeasibleError, match="add up to 6 for 120 prompts: raise them by 114"):
        assign(router, PROMPTS, capacity=dict.fromkeys(NAMES, 2))
    only = Preferences(only=["large"])
    with pytest.raises(InfeasibleError, match="Prompt 0 may only go to large, whose capacity is 0"):
        assign(router, PROMPTS, capacity={"large": 0}, preferences=only)


def test_requirements_and_rules_of_the_router_hold(router):
    preferences = Preferences(max_cost=0.01)
    assert "large" not in assign(router, PROMPTS, preferences=preferences).counts
    ruled = router.with_policy(
        Rules([Rule(when=lambda request: request.text.startswith("a"), only="small")])
    )
    found = assign(ruled, PROMPTS, budget=0.5)
    assert {e for p, e in zip(PROMPTS, found.experts, strict=True) if p[0] == "a"} == {"small"}


def test_an_unknown_price_is_not_free():
    router = Router(FunctionPerception(NAMES, losses), library((0.1, float("nan"), 10.0)))
    found = assign(router, PROMPTS)
    unknown = found.costs[np.array(found.experts) == "medium"]
    assert unknown.min() > found.costs[np.array(found.experts) == "small"].max()
    without = Router(FunctionPerception(NAMES, losses))
    assert len(assign(without, PROMPTS, capacity={"large": 3})) == len(PROMPTS)
    with pytest.raises(InputError, match="need prices"):
        assign(without, PROMPTS, budget=1.0)


def test_wrong_names_prompts_and_routers_are_refused(router):
    with pytest.raises(LibraryError, match="Did you mean large"):
        assign(router, PROMPTS, capacity={"lage": 3})
    with pytest.raises(InputError, match="at least one prompt"):
        assign(router, [])
    with pytest.raises(InputError, match="expected a list of strings"):
        assign(router, "hello")
    with pytest.raises(InputError, match="expected one tryage"):
        assign("router", PROMPTS)
    with pytest.raises(InputError, match="give one of its `routers`"):
        assign(Split({"a": router, "b": router}, {"a": 0.5, "b": 0.5}), PROMPTS)


def test_one_prompt_and_one_expert_are_enough(router):
    assert assign(router.subset(["small"]), ["hello"], budget=1.0).experts == ("small",)


def test_the_result_can_be_read_by_people_and_programs(router):
    found = assign(router, PROMPTS, budget=0.5, capacity={"large": 5})
    assert str(found).startswith("120 prompts for 0.")
    assert json.loads(json.dumps(found.to_dict()))["counts"] == found.counts
    assert pickle.loads(pickle.dumps(found)).experts == found.experts  # noqa: S301 - our own bytes


def test_progress_counts_prompts(router):
    seen = []
    assign(router, PROMPTS, progress=seen.append)
    assert seen == [len(PROMPTS)]
