"""Policies of the log: each chooses as the router would have, and none sees a rating."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tryage import Library, Preferences, Router
from tryage.errors import InputError
from tryage.learning.traffic_report.policies import (
    always,
    best_single,
    cost_weight,
    frozen,
    greedy,
    logged,
    router_at,
    saved_router,
    shadow,
)
from tryage.learning.traffic_report.table import read_table
from tryage.testing import FixedPerception
from tryage.traffic.records import DecisionRecord

pytest.importorskip("sqlalchemy")

from tryage.traffic.traffic import Traffic


def record(i, chosen="b", **fields):
    values = {
        "candidates": ("b", "a", "c"),
        "losses": (0.10, 0.12, 0.20),
        "totals": (0.15, 0.16, 0.21),
        "cost_terms": (0.05, 0.04, 0.01),
        "costs": (0.05, 0.04, 0.01),
        "propensities": (0.6, 0.3, 0.1),
    }
    return DecisionRecord(f"d{i}", float(i), "r", chosen, **{**values, **fields})


def table(*records):
    return read_table([(one, None, ()) for one in records])


def names(policy, log):
    """Return which expert a policy chooses for each decision, None for one outside of the log."""
    target = policy(log)
    assert set(np.unique(target)) <= {0.0, 1.0}
    return [log.experts[row.argmax()] if row.any() else None for row in target]


def test_the_greedy_policy_chooses_the_lowest_total_whatever_was_drawn():
    assert names(greedy, table(record(0), record(1, "c"))) == ["b", "b"]


def test_costs_that_count_more_lead_to_cheaper_experts():
    log = table(record(0))
    assert names(cost_weight(1.0), log) == ["b"]
    assert names(cost_weight(2.5), log) == ["a"]  # .10 + .125, .12 + .1, .20 + .025
    assert names(cost_weight(3), log) == ["c"]  # .10 + .15, .12 + .12, .20 + .03
    assert names(cost_weight(0), log) == ["b"]


def test_within_the_tolerance_the_cheapest_is_chosen():
    assert names(greedy, table(record(0, tolerance=0.02))) == ["a"]
    assert names(greedy, table(record(0, tolerance=0.1))) == ["c"]
    unknown = record(0, tolerance=0.1, costs=(0.05, 0.04, None))
    assert names(greedy, table(unknown)) == ["a"]


def test_where_a_default_answered_it_answers_again():
    default = DecisionRecord("d1", 1.0, "r", "c", is_default=True)
    assert names(greedy, table(record(0), default)) == ["b", "c"]


def test_costs_that_do_not_count_in_the_log_cannot_be_doubled():
    with pytest.raises(InputError, match="no answer_value"):
        cost_weight(2)(table(record(0, cost_terms=(0.0, 0.0, 0.0))))
    with pytest.raises(InputError, match="factor"):
        cost_weight(-1)


def test_one_expert_can_get_every_prompt():
    assert names(always("c"), table(record(0), record(1))) == ["c", "c"]
    with pytest.raises(InputError, match=r"'sonet' is not in the log.*Did you mean sonnet"):
        always("sonet")(table(record(0, candidates=("b", "sonnet", "c"))))


def test_the_best_single_expert_is_the_one_of_the_lowest_mean_prediction_and_often_a_candidate():
    rare = record(2, candidates=("b", "a", "d"), losses=(0.10, 0.12, 0.01))
    assert names(best_single, table(record(0), record(1), rare)) == ["b"] * 3


def test_choices_of_the_frozen_router_and_of_shadows_are_policies():
    log = table(record(0, frozen_choice="a", shadow_choices={"next": "c"}), record(1))
    assert names(frozen, log) == ["a", None]
    assert names(shadow("next"), log) == ["c", None]
    with pytest.raises(InputError, match="it has next"):
        shadow("last")(log)


def test_the_policy_of_the_log_has_its_propensities():
    log = table(record(0))
    (found,) = logged(log).tolist()
    assert dict(zip(log.experts, found, strict=True)) == {"a": 0.3, "b": 0.6, "c": 0.1}


def test_another_router_decides_about_kept_prompts():
    other = Router(FixedPerception({"a": 0.3, "b": 0.2}, {"code": {"a": 0.1}}), ["a", "b"])
    log = table(record(0, prompt="code"), record(1, prompt="poem"))
    assert names(saved_router(other), log) == ["a", "b"]


def test_without_prompts_and_positions_another_router_is_refused():
    other = Router(FixedPerception({"a": 0.3, "b": 0.2}), ["a", "b"])
    with pytest.raises(InputError, match="keep_prompts=True"):
        saved_router(other)(table(record(0)))


@pytest.fixture
def bundled():
    everything = Router.from_pretrained()
    return everything.subset(everything.library.names[:4]).with_preferences(
        Preferences(answer_value=1e9)
    )


PROMPTS = ["prove that 7 is prime", "a poem about rain", "def f(x):", "who was Ada Lovelace?"]


def test_the_router_that_decided_needs_no_prompts(bundled, tmp_path):
    expected = [one.expert.name for one in bundled.route_batch(PROMPTS)]
    with Traffic(f"sqlite:///{tmp_path}/log.db") as traffic:
        _logging(bundled, traffic).route_batch(PROMPTS)
        log = read_table(traffic.decisions())
    assert all(one.prompt is None for one in log.records)
    assert sorted(names(saved_router(bundled), log)) == sorted(expected)


def test_a_router_with_what_it_had_learned_by_a_time_chooses_as_it_did_then(bundled, tmp_path):
    with Traffic(f"sqlite:///{tmp_path}/log.db") as traffic:
        learning = _logging(bundled, traffic)
        before = [one.expert.name for one in learning.route_batch(PROMPTS)]
        middle = time.time()
        for _ in range(60):
            for decision in learning.route_batch(PROMPTS):
                bad = decision.expert.name in before
                learning.feedback(decision.id, score=0.0 if bad else 1.0, kind="test")
        # A probe may put another expert first.
        after = {min(one.ranking, key=_total).name for one in learning.decide_batch(PROMPTS)}
        end = time.time()
        learning.route_batch(PROMPTS)
        log = read_table(traffic.decisions(since=end))
        policies = [router_at(_fresh(bundled), traffic, at) for at in (middle, end)]
        everything = read_table(traffic.decisions())
    assert sorted(names(policies[0], log)) == sorted(before)
    assert set(names(policies[1], log)) == after != set(before)
    with pytest.raises(InputError, match="looks too good on decisions before"):
        policies[1](everything)


def _total(ranked):
    return ranked.total


def _logging(router, traffic):
    return Router(
        _fresh(router).perception,
        Library(router.library),
        preferences=router.preferences,
        traffic=traffic,
    )


def _fresh(router):
    """Return the router with a perception of its own, because learning changes it."""
    return Router(
        router.perception.innermost().copy(),
        Library(router.library),
        preferences=router.preferences,
    )
