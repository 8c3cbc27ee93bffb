"""The table, the sentences and the figures of a simulation."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from tryage.simulation.metrics import Interval
from tryage.simulation.result import RunSummary, SettingPoint, Simulation, best_first, summarize
from tryage.simulation.run import SimulatedRun


def summary(name: str, score: float, cost: float, **fields) -> RunSummary:
    values = {"total": 10 * cost, "coverage": 1.0, **fields}
    return RunSummary(name, Interval(score, score, score), Interval(cost, cost, cost), **values)


def make_simulation(**fields) -> Simulation:
    parts = {
        "policies": (summary("Budget", 0.7, 0.2, outcomes={"refused": 0.1}, coverage=0.9),),
        "plain": summary("plain routing", 0.8, 0.4, shares={"large": 1.0}),
        "thresholds": (SettingPoint(0.0, 0.4, 0.8), SettingPoint(1.0, 0.1, 0.5)),
        "experts": (summary("large", 0.75, 0.5), summary("small", 0.5, 0.1)),
        "random": summary("random", 0.6, 0.3),
        "oracle": summary("oracle", 0.9, 0.2),
        "notes": ("A note.",),
    }
    return Simulation(10, **parts | fields)


def test_the_figures_are_read_off_the_hull_of_the_thresholds():
    # From (.1, .5) straight to (.4, .8): .745 is at .345 USD, .69 of the .5 of the best single.
    figures = make_simulation().figures()
    assert figures["relative_cost_at_parity"] == pytest.approx(0.69)
    assert figures["score_at_half_cost"] == pytest.approx(0.65)
    assert figures["aiq"] == pytest.approx((0.3 * 0.65 + 0.1 * 0.8) / 0.4)


def test_without_an_expert_that_answered_nearly_all_there_is_no_best_single():
    rare = (summary("rare", 0.99, 0.1, coverage=0.2),)
    found = make_simulation(experts=rare)
    assert found.best_single is None
    assert set(found.figures().values()) == {None}
    assert "No expert answered nearly all requests" in str(found)


def test_experts_measured_on_few_requests_come_last():
    experts = [
        summary("rare", 0.9, 0.1, coverage=0.2),
        summary("bad", 0.2, 0.1),
        summary("good", 0.5, 0.1),
    ]
    assert [one.name for one in best_first(experts)] == ["good", "bad", "rare"]


def test_the_table_says_what_each_costs_and_how_far_it_leads_the_thresholds():
    head, budget, *_ = make_simulation().rows()
    cells = dict(zip(head, budget, strict=True))
    assert cells["of best single"] == "40%"
    assert cells["lead"] == "+0.100"  # .7 less .6 at .2 USD
    assert cells["remarks"] == "10% refused"


def test_of_many_experts_the_table_has_the_best():
    experts = tuple(summary(f"expert {i}", 0.5, 0.1) for i in range(30))
    names = [row[0] for row in make_simulation(experts=experts).rows()]
    assert "18 more experts" in names
    assert "expert 12" not in names


def test_the_text_has_reasons_and_notes_and_the_dictionary_is_json():
    policy = summary("Budget", 0.7, 0.2, reasons={"Budget: a dollar counts # times": 7})
    found = make_simulation(policies=(policy,))
    assert "7 times Budget: a dollar counts # times" in str(found)
    assert "A note." in str(found)
    content = json.loads(json.dumps(found.to_dict()))
    assert content["best_single"] == "large"
    assert content["policies"][0]["score"]["value"] == 0.7


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(KeyError, match="there are"):
        make_simulation()["other"]


def test_a_summary_counts_refused_requests_apart():
    run = SimulatedRun(
        name="Budget",
        names=("small", "large"),
        experts=np.array([0, 1, 1, -1]),
        scores=np.array([1.0, 0.0, 0.5, np.nan]),
        costs=np.array([1.0, 2.0, np.nan, 0.0]),
        latencies=np.full(4, np.nan),
        estimated=np.array([False, False, True, False]),
        groups=np.arange(4),
        times=np.arange(4.0),
        outcomes=Counter({"refused": 1}),
    )
    found = summarize(run)
    assert found.score.value == 0.5
    assert found.cost.value == 1.0
    assert (found.total, found.coverage) == (3.0, 0.75)
    assert found.shares == {"large": 2 / 3, "small": 1 / 3}
    assert found.outcomes == {"refused": 0.25}
    assert found.estimated == pytest.approx(1 / 3)
    assert found.spending == ((0.0, 1.0), (1.0, 3.0), (2.0, 3.0), (3.0, 3.0))
