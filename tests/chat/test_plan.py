"""A plan says who is asked, in which order and why, in values that hold nothing of the prompt."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from tryage import Preferences, Router
from tryage.chat.plan import RoutingPlan, recorded_choice
from tryage.errors import NoExpertError
from tryage.testing import FunctionPerception

ROUTER = Router(
    FunctionPerception(("a", "b", "c"), lambda prompt: [0.2, 0.1 + len(prompt) / 100, 0.5]),
    prompt_flags=True,
)


def plan_of(text="hello", **fields):
    decision = ROUTER.route(text)
    arguments = {"first": decision.expert.name, "reason_kind": "routed"}
    arguments |= {"decide": lambda: decision, **fields}
    return RoutingPlan(key=("turn", Preferences()), **arguments)


def fail():
    raise NoExpertError("nobody")


def test_the_experts_are_asked_in_the_order_of_the_ranking():
    assert list(plan_of().order()) == ["b", "a", "c"]
    assert list(plan_of(first="c", reason_kind="kept for the thread").order()) == ["c", "b", "a"]


def test_an_expert_asked_for_by_name_is_the_only_one():
    assert list(plan_of(first="c", reason_kind="asked for").order()) == ["c"]


def test_a_given_order_counts_more_than_the_ranking():
    plan = plan_of(first="c", next_names=("c", "a", "b"), context="too long")
    assert list(plan.order()) == ["c", "a", "b"]
    assert (plan.reason, plan.record()["context"]) == ("the largest context", "too long")


def test_a_drawn_expert_is_not_said_to_have_the_lowest_total():
    decision = replace(ROUTER.route("hello"), explored=True, propensity=0.25)
    assert plan_of(decide=lambda: decision).reason == "drawn to explore, with probability 0.25"


def test_a_record_is_json_with_the_scores_and_without_the_prompt():
    record = plan_of("a secret [Flag: size<3B]").record()
    assert json.loads(json.dumps(record)) == record
    assert "secret" not in repr(record)
    assert list(record["scores"]) == ["b", "a", "c"]
    assert re.fullmatch("[0-9a-f]{16}", record["id"])


def test_a_record_has_the_typicality_where_it_was_measured():
    decision = replace(ROUTER.route("hello"), typicality=0.123456)
    first = plan_of(decide=lambda: decision)
    assert first.record()["typicality"] == 0.1235
    kept = plan_of(
        reason_kind="kept for the turn", turn_choice=recorded_choice(first.record(), "b")
    )
    assert kept.record()["typicality"] == 0.1235
    assert "typicality" not in plan_of().record()


def test_a_record_of_another_expert_says_that_the_first_failed():
    plan = plan_of()
    assert plan.record("a")["reason"] == "b failed"
    assert plan.record("a")["id"] == plan.record()["id"] == plan.id


def test_flags_that_the_router_dropped_must_leave_the_prompt_too():
    dropped = plan_of("hello [Flag: size<3B]")
    assert not dropped.decision.flags
    assert dropped.decision.dropped_flags
    assert dropped.has_flags
    assert dropped.record()["dropped_flags"] == list(dropped.decision.dropped_flags)
    assert plan_of("hello [Flag: model=c]").has_flags
    assert not plan_of().has_flags


def test_a_remembered_choice_gives_the_record_without_deciding_again():
    first = plan_of("hello [Flag: model=b]")
    kept = plan_of(first="a", reason_kind="kept for the turn", turn_choice=first.choice("a"))
    object.__setattr__(kept, "decide", fail)
    assert kept.has_flags
    assert kept.record()["scores"] == first.record()["scores"]
    assert kept.record()["flags"] == first.record()["flags"]
    assert (kept.record()["model"], kept.record()["reason"]) == ("a", "kept for the turn")


def test_a_choice_from_a_record_repeats_its_reason():
    record = {**plan_of().record(), "turn": "7", "served_by": "a", "failed": {"b": "down"}}
    kept = plan_of(
        first="a", reason_kind="kept for the turn", turn_choice=recorded_choice(record, "a")
    )
    again = kept.record()
    assert (again["reason"], again["how"]) == ("lowest total of 3", "kept for the turn")
    assert not {"turn", "served_by", "failed"} & set(again)
    assert kept.record("c")["reason"] == "a failed"


def test_a_decision_that_is_not_possible_ends_the_order_and_is_an_error_where_it_is_read():
    plan = plan_of(first="a", reason_kind="kept for the turn")
    object.__setattr__(plan, "decide", fail)
    assert list(plan.order()) == ["a"]
    with pytest.raises(NoExpertError):
        _ = plan.decision
