"""Exploration: exact probabilities, limits in loss and dollars, a hard budget, a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage import Expert, Library, Preferences
from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.decision import DefaultExpert, score_batch
from tryage.core.exploration import Exploration, ExplorationBudget, explore
from tryage.core.perception import Prediction
from tryage.core.request import RoutingRequest
from tryage.core.request_batch import RequestBatch
from tryage.errors import InputError

PRICES = {"small": 1.0, "middle": 2.0, "large": 3.0}  # USD per million tokens
LOSSES = {"small": 0.12, "middle": 0.10, "large": 0.11}


def scored(preferences=None, losses=None, std=0.03, experts=None, batch=1):
    experts = experts or [
        Expert(name, input_price=price, output_price=price, output_tokens=500)
        for name, price in PRICES.items()
    ]
    values = [list((losses or LOSSES).values())] * batch
    prediction = Prediction(
        np.array(values, np.float32), np.full(np.shape(values), std, np.float32)
    )
    request = RequestBatch(np.full(batch, 500.0))
    preferences = preferences or Preferences()
    return score_batch(Library(experts), preferences, DEFAULT_CONSTRAINTS, prediction, request)


def decided(batch, default=None):
    return batch.decide(0, RoutingRequest("x", Preferences()), default, strict=False)


def draws(exploration, batch, n, seed=0, budget=None, **keywords):
    decision, random = decided(batch), np.random.default_rng(seed)
    keywords["budget"] = budget or ExplorationBudget(exploration.budget)
    return [explore(batch, 0, decision, exploration, random=random, **keywords) for _ in range(n)]


def explored_once(batch, decision):
    budget, random = ExplorationBudget(1.0), np.random.default_rng(0)
    return explore(batch, 0, decision, Exploration(), budget=budget, random=random)


def test_two_experts_are_drawn_with_the_probability_that_a_gaussian_difference_gives():
    found = Exploration().propensities(
        np.array([0.1, 0.13]), np.array([0.03, 0.04]), np.zeros(2), np.ones(2, bool)
    )
    # The difference of the totals is N(.03, .05^2), and P(N(.03, .05^2) > 0) = Phi(.6) = .7257.
    assert found == pytest.approx([0.7257, 0.2743], abs=2e-3)


def test_experts_beyond_the_tolerance_or_not_eligible_are_never_drawn():
    totals, stds = np.array([0.1, 0.14, 0.16, 0.11]), np.full(4, 0.5)
    eligible = np.array([True, True, True, False])
    found = Exploration(tolerance=0.05, optimism=0.0).propensities(
        totals, stds, np.zeros(4), eligible
    )
    assert found[2] == found[3] == 0
    assert found.sum() == pytest.approx(1)
    assert found[1] > 0.4


def test_an_uncertain_expert_is_within_the_tolerance_as_far_as_is_known():
    totals, costs = np.array([0.1, 0.3, 0.3]), np.zeros(3)
    stds = np.array([0.02, 0.151, 0.149])  # .3 - .151 <= .1 + .05 < .3 - .149
    found = Exploration(tolerance=0.05, optimism=1.0).propensities(totals, stds, costs)
    assert found[1] == pytest.approx(0.095, abs=0.005)  # Phi(-.2 / hypot(.02, .151)) = .0946
    assert found[2] == 0


def test_an_expert_that_costs_too_much_more_is_never_drawn():
    found = Exploration(max_extra_cost=0.01).propensities(
        np.array([0.1, 0.1, 0.1]), np.full(3, 0.1), np.array([0.01, 0.02, 0.021])
    )
    assert found == pytest.approx([0.5, 0.5, 0], abs=1e-3)


def test_an_expert_within_the_limits_has_at_least_the_lowest_propensity():
    found = Exploration(min_propensity=0.02).propensities(
        np.array([0.1, 0.14]), np.full(2, 1e-4), np.zeros(2)
    )
    assert found == pytest.approx([0.98, 0.02])


def test_an_unknown_std_counts_as_certain():
    found = Exploration().propensities(
        np.array([0.1, 0.14]), np.array([np.nan, np.nan]), np.zeros(2)
    )
    assert found == pytest.approx([1, 0])


def test_the_draws_have_the_logged_propensities():
    batch = scored()
    found = draws(Exploration(budget=1.0), batch, 3000)
    names = [decision.expert.name for decision in found]
    last = found[-1]
    for name in ("middle", "small"):
        assert names.count(name) / len(names) == pytest.approx(last.propensities[name], abs=0.03)
    assert last.propensity == last.propensities[last.expert.name]
    assert sum(last.propensities.values()) == pytest.approx(1)


def test_a_drawn_expert_is_first_in_the_ranking_and_the_explanation_says_that_it_is_explored():
    found = draws(Exploration(budget=1.0), scored(), 50)
    explored = next(decision for decision in found if decision.explored)
    assert [ranked.name for ranked in explored.ranking][:2] == [explored.expert.name, "middle"]
    assert len({ranked.name for ranked in explored.ranking}) == 3
    assert explored.chosen.name == explored.expert.name
    assert "drawn to explore" in explored.explain()
    assert not next(d for d in found if d.expert.name == "middle").explored


def test_exploring_never_adds_more_than_its_share_of_the_spending():
    exploration, batch = Exploration(budget=0.02), scored(std=0.3)
    budget = ExplorationBudget(exploration.budget)
    cost = dict(zip(PRICES, batch.counted_costs(0, np.arange(3)), strict=True))
    spent = extra = 0.0
    for decision in draws(exploration, batch, 2000, budget=budget):
        spent += cost["middle"]
        extra += max(cost[decision.expert.name] - cost["middle"], 0)
        assert extra <= 0.02 * spent + 1e-12
    assert extra > 0.015 * spent  # and the budget is used
    assert budget.extra == pytest.approx(extra)
    assert budget.spent == pytest.approx(spent)


def test_a_critical_request_is_never_explored():
    exploration = Exploration(budget=1.0)
    found = draws(exploration, scored(std=0.3), 100, tags=("critical", "other"))
    assert {(decision.expert.name, decision.propensity) for decision in found} == {("middle", 1.0)}
    assert any(d.explored for d in draws(exploration, scored(std=0.3), 20, tags=("other",)))


def test_the_same_seed_draws_the_same_experts():
    first, second = (
        [d.expert.name for d in draws(Exploration(budget=1.0), scored(), 50, seed=3)]
        for _ in range(2)
    )
    assert first == second
    assert len(set(first)) > 1


def test_the_default_and_an_only_expert_are_not_explored():
    nothing = scored(losses=dict.fromkeys(PRICES, np.nan))
    default = decided(nothing, DefaultExpert("large"))
    assert explored_once(nothing, default) is default
    single = scored(losses={"small": 0.1}, experts=[Expert("small")])
    decision = decided(single)
    assert explored_once(single, decision) is decision


def test_with_a_tolerance_of_the_preferences_the_probabilities_are_those_of_its_choice():
    preferences = Preferences(tolerance=0.02)
    batch = scored(preferences, std=0.02)
    last = draws(Exploration(budget=1.0), batch, 200)[-1]
    drawn = np.random.default_rng(0).normal(list(LOSSES.values()), 0.02, (200_000, 3))
    within = drawn <= drawn.min(axis=1, keepdims=True) + 0.02
    chosen = np.where(within, list(PRICES.values()), np.inf).argmin(axis=1)
    shares = np.bincount(chosen, minlength=3) / len(chosen)
    assert [last.propensities[name] for name in PRICES] == pytest.approx(shares, abs=0.005)


def test_a_probe_gets_its_share_whatever_its_total():
    batch = scored(losses={"small": 0.9, "middle": 0.1, "large": 0.5})
    exploration = Exploration(budget=0.02)
    probes = {"small": 0.05, "large": 0.1, "nobody": 0.5}
    found = draws(exploration, batch, 400, probes=probes)
    assert found[0].propensities == pytest.approx(
        {"middle": 0.95, "small": 0.05}
    )  # large costs more
    assert sum(d.expert.name == "small" for d in found) == pytest.approx(20, abs=12)


def test_without_exploration_probes_alone_are_drawn_whatever_they_cost():
    batch = scored(losses={"small": 0.9, "middle": 0.1, "large": 0.5})
    budget = ExplorationBudget(0.0)
    found = draws(None, batch, 400, probes={"large": 0.05}, budget=budget)
    assert found[0].propensities == pytest.approx({"middle": 0.95, "large": 0.05})
    assert sum(d.expert.name == "large" for d in found) == pytest.approx(20, abs=12)
    certain = draws(None, batch, 10, probes={"large": 0.05}, budget=budget, tags=["critical"])
    assert {(d.expert.name, d.propensity) for d in certain} == {("middle", 1.0)}


def test_an_unknown_price_counts_as_that_of_a_dear_model():
    experts = [Expert("cheap", input_price=1.0, output_price=1.0), Expert("unknown")]
    batch = scored(losses={"cheap": 0.1, "unknown": 0.1}, experts=experts)
    found = draws(Exploration(), batch, 50)
    assert {decision.expert.name for decision in found} == {"cheap"}


@pytest.mark.parametrize(
    "keywords",
    [
        {"tolerance": -0.1},
        {"tolerance": float("nan")},
        {"budget": 1.1},
        {"max_extra_cost": -1},
        {"min_propensity": 0.5},
        {"excluded_tags": "critical"},
        {"budget": None},
    ],
)
def test_a_setting_out_of_range_is_refused(keywords):
    with pytest.raises(InputError, match=next(iter(keywords))):
        Exploration(**keywords)


def test_what_is_unknown_of_the_prompt_is_not_explored_where_the_part_of_the_abilities_is_known():
    batch = scored(std=0.3)
    certain = replace(batch, ability_std=np.full((1, 3), 1e-6))
    assert draws(Exploration(budget=1.0), certain, 20)[-1].propensities == {}
    assert len(draws(Exploration(budget=1.0), batch, 20)[-1].propensities) == 3
