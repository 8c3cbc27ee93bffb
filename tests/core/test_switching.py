"""Conversations: what leaving the serving expert costs, and lengths that count all of it."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.core.constraints import ConversationState, RequestBatch, cost, switching
from tryage.core.preferences import Requirement
from tryage.core.request import ConversationContext
from tryage.errors import InputError
from tryage.testing import FixedPerception

# 1,000 prompt and 500 answer tokens on the dearest: 0.002 + 0.004 = $0.006, the reference.
LIBRARY = Library(
    [
        Expert("dear", input_price=2, output_price=8, cached_input_price=0.5),
        Expert("cheap", input_price=1, output_price=2),
        Expert("unpriced"),
    ]
)


def request(current, cached):
    tokens = np.array(cached, dtype=np.float64)
    return RequestBatch(tokens + 100, conversation=ConversationState(np.array(current), tokens))


def test_leaving_costs_the_discount_on_the_scale_of_cost():
    found = switching(LIBRARY, request([0], [1_000]))
    np.testing.assert_allclose(found, [[0, 0.0015 / 0.006, 0.0015 / 0.006]])


def test_of_an_unknown_cached_price_the_whole_price_is_at_stake_and_of_an_unknown_price_all():
    found = switching(LIBRARY, request([1, 2], [1_000, 1_000]))
    np.testing.assert_allclose(found[0], [0.001 / 0.006, 0, 0.001 / 0.006])
    np.testing.assert_array_equal(found[1], [np.nan, np.nan, 0])


def test_nothing_is_lost_where_nobody_serves_yet_or_nothing_is_cached():
    assert not switching(LIBRARY, request([-1, 0, 2], [1_000, 0, 0])).any()
    assert not switching(LIBRARY, RequestBatch(np.ones(2))).any()


def test_a_very_long_conversation_costs_at_most_one():
    np.testing.assert_array_equal(switching(LIBRARY, request([0], [1e9])), [[0, 1, 1]])


def test_with_the_same_weight_cost_and_switching_add_up_to_the_dollars():
    asked = request([0], [900])
    dollars = 0.006 * (cost(LIBRARY, asked) + switching(LIBRARY, asked))[0]
    stays = 100 * 2e-6 + 900 * 0.5e-6 + 500 * 8e-6
    leaves = 1_000 * 1e-6 + 500 * 2e-6
    np.testing.assert_allclose(dollars[1] - dollars[0], leaves - stays)


@pytest.fixture
def router():
    return Router(FixedPerception({"dear": 0.3, "cheap": 0.2, "unpriced": 0.9}), LIBRARY)


STAY = Preferences(weights={"switching": 1.0})


def test_a_router_stays_with_who_serves_the_conversation_while_its_prefix_is_worth_it(router):
    long, short = ConversationContext(1_100, "dear", 1_000), ConversationContext(20, "dear", 10)
    names = [d.expert.name for d in router.route_batch(["a"] * 2, STAY, contexts=[long, short])]
    assert names == ["dear", "cheap"]
    assert router.route("a", STAY).expert.name == "cheap"


def test_an_expert_that_is_no_longer_a_candidate_holds_nothing(router):
    (decision,) = router.route_batch(
        ["a"], STAY, contexts=[ConversationContext(9_999, "gone", 9_000)]
    )
    assert decision.expert.name == "cheap"
    assert decision.chosen.terms == {"switching": 0.0}


def test_cost_counts_the_whole_conversation(router):
    weights = Preferences(weights={"cost": 1.0})
    long, alone = router.route_batch(
        ["a", "a"], weights, contexts=[ConversationContext(2_000), ConversationContext(0.25)]
    )
    assert long.ranking.entry("cheap").terms["cost"] == pytest.approx(0.003 / 0.006)
    assert alone.ranking.entry("cheap").terms["cost"] == pytest.approx(0.001 / 0.006, rel=1e-3)


def test_contexts_are_as_many_as_prompts(router):
    with pytest.raises(InputError, match="1 contexts for 2 prompts"):
        router.route_batch(["a", "b"], contexts=[ConversationContext(1)])


def test_a_requirement_may_filter_only_those_known_to_fail_it():
    library = Library(
        [
            Expert("sees", capabilities=["vision"], context_length=100),
            Expert("blind", capabilities=[], context_length=10),
            Expert("unknown"),
        ]
    )
    for parts in (("capabilities", "has", ["vision"]), ("context_length", ">=", 50)):
        assert Requirement(*parts).satisfied(library).tolist() == [True, False, False]
        lenient = Requirement(*parts, unknown_passes=True)
        assert lenient.satisfied(library).tolist() == [True, False, True]
        assert Requirement.from_dict(lenient.to_dict()) == lenient != Requirement(*parts)


@pytest.mark.parametrize("parts", [("cost", "<=", 1.0, True), ("size", ">", 1, "yes")])
def test_an_unknown_price_never_passes(parts):
    with pytest.raises(InputError):
        Requirement(*parts)
