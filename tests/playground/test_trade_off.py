"""Who wins at which worth of a right answer, against a hand-worked case and the router itself."""

import math

import pytest

from tryage.core.preferences import Preferences
from tryage.core.ranking import RankedExpert
from tryage_playground.trade_off import trade_off


def ranked(name, loss, cost, **terms):
    return RankedExpert(name, loss, None, terms, loss + sum(terms.values()), (), cost)


def test_the_steps_are_where_two_lines_cross():
    small, medium, large = (
        ranked("small", 0.5, 0.001),
        ranked("medium", 0.3, 0.011),
        ranked("large", 0.2, 0.111),
    )
    dominated = ranked("dominated", 0.6, 0.01)
    found = trade_off([large, medium, small, dominated])
    steps = [
        (step.name, pytest.approx(step.start), pytest.approx(step.end)) for step in found.steps
    ]
    # .2 of loss for 1 cent is worth it from 5 cents on, .1 for 10 cents from a dollar on
    assert steps == [("small", 0, 0.05), ("medium", 0.05, 1.0), ("large", 1.0, math.inf)]
    assert [found.winner(worth) for worth in (0.04, 0.06, 2.0)] == ["small", "medium", "large"]


def test_dollars_and_tolerance_of_a_total_do_not_count_twice():
    one = ranked("a", 0.5, 0.001, answer_value=0.3, tolerance=0.1)
    other = ranked("b", 0.4, 0.011)
    step = trade_off([one, other]).steps[1]
    assert (step.name, step.start) == ("b", pytest.approx(0.1))


def test_other_weights_count():
    assert trade_off([ranked("a", 0.5, 0.001), ranked("b", 0.4, 0.01, size=0.2)]).steps == (
        trade_off([ranked("a", 0.5, 0.001)]).steps
    )


def test_a_model_without_a_price_is_left_out_and_told():
    found = trade_off([ranked("a", 0.5, None), ranked("b", 0.4, 0.01)])
    assert found.unpriced == ("a",)
    assert [step.name for step in found.steps] == ["b"]
    assert trade_off([ranked("a", 0.5, None)]).steps == ()


def test_a_free_model_and_equal_models_leave_one_step():
    found = trade_off([ranked("a", 0.5, 0.0), ranked("b", 0.5, 0.0)])
    assert [(step.name, step.start, step.end) for step in found.steps] == [("a", 0.0, math.inf)]


@pytest.mark.parametrize("worth", [0.0003, 0.01, 0.3, 10.0, 1e4])
def test_the_router_chooses_as_the_steps_say(base_router, worth):
    preferences = Preferences({"recency": 0.1}, answer_value=worth)
    decision = base_router.route("How many primes are below 100?", preferences, context=None)
    priced = [one for one in decision.ranking if one.cost is not None]
    assert trade_off(decision.ranking[:]).winner(worth) == priced[0].name
