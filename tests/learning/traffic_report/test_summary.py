"""The report's numbers, each against the rows that it is computed from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.traffic_report.summary import make_report, read_report
from tryage.traffic.records import DecisionRecord, Feedback


@pytest.fixture(scope="module")
def log(simulate_traffic):
    return simulate_traffic(500)


@pytest.fixture(scope="module")
def report(log):
    return make_report(*log)


def test_spending_and_savings_are_sums_over_the_outcomes(log, report):
    outcomes = [outcome for _, outcome, _ in log[0]]
    spending = report.spending
    assert spending.total == pytest.approx(sum(one.cost for one in outcomes))
    assert spending.best_single == pytest.approx(500 * 0.02)
    assert spending.saved == pytest.approx(500 * 0.02 - sum(one.cost for one in outcomes))
    assert spending.saved_share == pytest.approx(spending.saved / (500 * 0.02))
    assert (spending.known, spending.billed) == (500, 500)


def test_without_outcomes_the_expected_costs_count(log):
    rows = [(record, None, given) for record, _, given in log[0]]
    spending = make_report(rows).spending
    expected = [dict(zip(r.candidates, r.costs, strict=True))[r.chosen] for r, _, _ in rows]
    assert spending.total == pytest.approx(sum(expected))
    assert (spending.known, spending.billed) == (500, 0)
    assert spending.best_single_name == "large"
    assert spending.best_single == pytest.approx(500 * 0.02)


def test_an_unknown_price_is_never_free():
    rows = [
        (
            DecisionRecord(
                f"d{i}", i, "r", "x", candidates=("x",), losses=(0.1,), stds=(None,), costs=(None,)
            ),
            None,
            [],
        )
        for i in range(3)
    ]
    spending = make_report(rows).spending
    assert (spending.total, spending.best_single, spending.saved) == (None, None, None)


def test_shares_and_ratings_of_each_model_are_those_of_its_answers(log, report):
    for use in report.experts:
        rows = [row for row in log[0] if row[0].chosen == use.name]
        scores = [one.score for _, _, given in rows for one in given if one.kind == "thumb"]
        assert use.answers == len(rows)
        assert use.quality.value == pytest.approx(np.mean(scores))
        assert use.latency == pytest.approx(np.median([outcome.latency for _, outcome, _ in rows]))
    assert sum(use.share for use in report.experts) == pytest.approx(1.0)
    assert [use.answers for use in report.experts] == sorted(
        (use.answers for use in report.experts), reverse=True
    )


def test_the_parts_of_the_period_add_up(report):
    assert len(report.buckets) == 24
    assert sum(one.decisions for one in report.buckets) == 500
    assert sum(one.spending for one in report.buckets) == pytest.approx(report.spending.total)
    assert all(sum(one.answers.values()) == one.decisions for one in report.buckets)


@pytest.mark.parametrize("span", [0.0, 30.0, 3_000.0, 1e5, 1e6, 1e8])
def test_every_period_has_at_most_some_fifty_parts(span):
    rows = [(DecisionRecord(f"d{i}", 1e9 + i * span, "r", "x"), None, []) for i in range(2)]
    report = make_report(rows)
    assert len(report.buckets) <= 48 or report.buckets[0].seconds == 604_800
    assert sum(one.decisions for one in report.buckets) == 2


def test_the_front_is_the_lower_envelope_and_the_present_lies_on_or_above_it(log, report):
    front = report.front
    losses = np.array([record.losses for record, _, _ in log[0]])
    assert min(point.loss for point in front.points) == pytest.approx(losses.min(axis=1).mean())
    assert min(point.cost for point in front.points) == pytest.approx(0.0002)
    chosen = [dict(zip(r.candidates, r.losses, strict=True))[r.chosen] for r, _, _ in log[0]]
    assert front.present.loss == pytest.approx(np.mean(chosen))
    nearest = [point for point in front.points if point.cost <= front.present.cost]
    assert front.present.loss >= min(point.loss for point in nearest) - 1e-9
    assert {point.name for point in front.experts} == {"small", "medium", "large"}


def test_without_costs_there_is_no_front(log):
    rows = [(replace(record, costs=(None,) * 3), None, []) for record, _, _ in log[0]]
    assert make_report(rows).front is None


def test_surprises_are_the_largest_residuals_without_the_text_of_prompts(log, report):
    residuals = [
        abs(one.score - 1 + dict(zip(r.candidates, r.losses, strict=True))[r.chosen])
        for r, _, given in log[0]
        for one in given
        if one.kind == "thumb"
    ]
    found = [abs(one.score - one.predicted) for one in report.surprises]
    assert found == pytest.approx(sorted(residuals, reverse=True)[: len(found)])
    assert {one.prompt for one in report.surprises} == {None}


def test_a_rating_of_another_expert_than_the_chosen_one_is_no_surprise(log):
    rows = [(r, replace(o, served_by="another"), g) for r, o, g in log[0]]
    assert make_report(rows).surprises == ()


def test_alarms_are_the_events_of_the_period(log, report):
    (alarm,) = report.alarms
    assert (alarm.kind, alarm.expert, alarm.text) == (
        "drift",
        "medium",
        "rated .1 where .8 was expected",
    )
    old = replace(log[1][0], time=log[0][0][0].time - 10)
    assert make_report(log[0], [old]).alarms == ()


def test_an_event_without_a_message_shows_its_values(log):
    event = replace(log[1][0], values={"statistic": 7.123456, "kind": "code"})
    (alarm,) = make_report(log[0], [event]).alarms
    assert alarm.text == "statistic 7.12, kind code"


def test_losses_of_the_log_are_sums_over_processes_and_no_alarms(log, report):
    lost = [
        replace(log[1][0], kind="lost", expert=None, values={"decisions": n, "outcomes": 0})
        for n in (2, 3)
    ]
    found = make_report(log[0], [*log[1], *lost])
    assert found.lost == {"decisions": 5}
    assert found.alarms == report.alarms
    assert report.lost == {}


def test_the_best_single_model_is_the_one_that_outcomes_name(log):
    rows = [(r, replace(o, best_single="opus"), g) for r, o, g in log[0]]
    assert make_report(rows).spending.best_single_name == "opus"


def test_without_bills_the_costs_of_the_named_best_single_model_are_its_own(log):
    unbilled = {"cost": None, "best_single_cost": None, "best_single": "small"}
    rows = [(r, replace(o, **unbilled), g) for r, o, g in log[0]]
    spending = make_report(rows).spending
    expected = [dict(zip(r.candidates, r.costs, strict=True))["small"] for r, _, _ in rows]
    assert spending.best_single_name == "small"
    assert spending.best_single == pytest.approx(sum(expected))


def test_one_decision_is_enough_for_a_report():
    report = make_report([(DecisionRecord("d", 5.0, "r", "x"), None, [])])
    assert (report.decisions, report.quality, report.front, report.spending.total) == (
        1,
        None,
        None,
        None,
    )


def test_a_report_is_json(report):
    assert json.loads(json.dumps(report.to_dict()))["decisions"] == 500


def test_the_expected_rating_is_that_of_the_rated_answers():
    def row(i, loss, given):
        record = DecisionRecord(
            f"d{i}",
            float(i),
            "r",
            "x",
            candidates=("x",),
            losses=(loss,),
            stds=(None,),
            costs=(None,),
        )
        return record, None, given

    rated = [Feedback("f", "d0", 0.0, 1.0)]
    report = make_report([row(0, 0.25, rated), row(1, 0.95, [])])
    assert report.predicted_score == pytest.approx(0.75)


@pytest.mark.parametrize("traffic", [None, "sqlite:///tryage.db"])
def test_a_report_of_what_is_no_log_says_what_is_expected(traffic):
    with pytest.raises(InputError, match=r"expected a Traffic: .* router\.traffic"):
        read_report(traffic)
