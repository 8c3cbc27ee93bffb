"""Which router is better: arms of split traffic, and routers that only decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.learning.traffic_report.comparison import (
    compare_routers,
    effective_corrections,
)
from tryage.learning.traffic_report.table import read_table


def comparisons(rows):
    return {one.basis: one for one in compare_routers(read_table(rows))}


def changed(rows, **fields):
    return [(replace(record, **fields), outcome, given) for record, outcome, given in rows]


@pytest.fixture(scope="module")
def found(simulate_traffic):
    """Return the comparisons of the simulated log, in which "a" spends more and is better."""
    return comparisons(simulate_traffic(3_000)[0])


def test_the_difference_of_two_arms_is_that_of_their_mean_ratings(simulate_traffic, found):
    rows = simulate_traffic(3_000)[0]
    scores = {"a": [], "b": []}
    costs = {"a": [], "b": []}
    for record, outcome, given in rows:
        costs[record.arm].append(outcome.cost)
        scores[record.arm] += [one.score for one in given if one.kind == "thumb"]
    split = found["split"]
    assert {split.name, split.reference} == {"a", "b"}
    sign = 1 if split.name == "a" else -1
    assert split.quality.value == pytest.approx(
        sign * (np.mean(scores["a"]) - np.mean(scores["b"]))
    )
    assert split.cost.value == pytest.approx(sign * (np.mean(costs["a"]) - np.mean(costs["b"])))
    assert split.saved_share == pytest.approx(
        1 - np.mean(costs[split.name]) / np.mean(costs[split.reference])
    )


def test_a_better_arm_is_named_and_a_router_against_itself_is_not(simulate_traffic, found):
    better = "a is better." if found["split"].name == "a" else "b is worse."
    assert found["split"].verdict == better
    rows = changed(simulate_traffic(3_000)[0], arm="a")
    halves = [
        (replace(r, arm="b" if i % 2 else "a", key=None), o, g) for i, (r, o, g) in enumerate(rows)
    ]
    assert comparisons(halves)["split"].verdict.startswith("Not decided: ")


def test_the_doubly_robust_difference_of_a_shadow_is_near_the_truth(simulate_traffic):
    """The truth of the simulation: "b" instead of "a" for the requests that "a" decides about."""
    rows = simulate_traffic(4_000, rated=1.0, share=0.0)[0]
    true_differences = []
    for record, _, _ in rows:
        broken = record.time % 86_400 >= 43_200
        loss = dict(zip(record.candidates, record.losses, strict=True))
        if broken:
            loss["medium"] = 0.9
        live = sum(
            p * loss[name] for name, p in zip(record.candidates, record.propensities, strict=True)
        )
        true_differences.append(live - loss[record.shadow_choices["b"]])
    shadow = comparisons(rows)["shadow"]
    assert shadow.quality.low <= np.mean(true_differences) <= shadow.quality.high
    assert shadow.quality.half_width < 0.2
    assert shadow.agreement == pytest.approx(
        np.mean([r.chosen == r.shadow_choices["b"] for r, _, _ in rows])
    )


def test_a_shadow_that_agrees_differs_in_nothing(simulate_traffic):
    rows = [
        (replace(r, shadow_choices={"b": r.chosen}, propensity=1.0, propensities=()), o, g)
        for r, o, g in simulate_traffic(500)[0]
    ]
    shadow = comparisons(rows)["shadow"]
    assert shadow.agreement == 1.0
    assert shadow.quality.value == pytest.approx(0.0, abs=1e-9)
    assert shadow.cost.value == 0.0


def test_choices_that_are_never_tried_are_not_judged(simulate_traffic):
    rows = changed(simulate_traffic(1_000)[0], propensity=1.0, propensities=())
    shadow = comparisons(rows)["shadow"]
    assert shadow.quality is None
    assert "of its choices are never tried; switch exploration on" in shadow.verdict
    assert shadow.cost is not None


def test_a_log_without_ratings_compares_costs_alone(simulate_traffic):
    rows = [(record, outcome, []) for record, outcome, _ in simulate_traffic(500)[0]]
    found = comparisons(rows)
    assert found["shadow"].verdict == "It is open which one is better: no answer has been rated."
    assert "0 and 0 threads or users have ratings, and it takes 30" in found["split"].verdict
    assert found["split"].cost is not None


def test_few_threads_decide_nothing(simulate_traffic):
    rows = simulate_traffic(40)[0]
    assert comparisons(rows)["split"].quality is None


def test_an_answer_of_another_expert_says_nothing_about_the_chosen_one(simulate_traffic):
    rows = simulate_traffic(400)[0]
    fallback = [(r, replace(o, served_by="large"), g) for r, o, g in rows]
    assert comparisons(fallback)["shadow"].rated < comparisons(rows)["shadow"].rated


def test_traffic_of_one_router_has_nothing_to_compare(simulate_traffic):
    rows = changed(simulate_traffic(50)[0], arm=None, shadow_choices={}, frozen_choice=None)
    assert compare_routers(read_table(rows)) == ()


def test_many_certain_answers_do_not_make_up_for_a_few_rare_ones():
    rare, nearly_certain = np.full(3, 0.01), np.full(5_000, 0.97)
    assert effective_corrections(rare) == pytest.approx(3.0)
    assert effective_corrections(np.r_[rare, nearly_certain]) < 10
    assert effective_corrections(nearly_certain) == pytest.approx(5_000)
    assert effective_corrections(np.ones(10)) == np.inf
    assert effective_corrections(np.empty(0)) == 0.0


def test_a_shadow_of_which_chance_tried_little_is_not_judged(simulate_traffic):
    """It would ask "large" instead of "medium", and else agrees; chance tried "large" rarely."""
    rows = []
    for record, outcome, given in simulate_traffic(300)[0]:
        if record.chosen == "medium":
            changed = replace(
                record,
                shadow_choices={"b": "large"},
                propensity=0.98,
                propensities=(0.01, 0.98, 0.01),
            )
        else:
            changed = replace(
                record, shadow_choices={"b": record.chosen}, propensity=1.0, propensities=()
            )
        rows.append((changed, outcome, given))
    rare = next(
        i for i, (record, _, given) in enumerate(rows) if record.chosen == "large" and given
    )
    record, outcome, given = rows[rare]
    rows[rare] = replace(record, propensity=0.01, propensities=(0.98, 0.01, 0.01)), outcome, given
    reason = comparisons(rows)["shadow"].reason
    assert reason == ("the answers that went to its choice by chance count as 1, and it takes 30")
