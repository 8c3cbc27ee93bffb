"""Shares and dollars over time against a log worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.charts.chart import Bars, Rule
from tryage.learning.plots.shares import make_shares, shares_plot
from tryage.traffic.records import DecisionRecord, Event, Outcome

START = 1_700_006_400.0  # 2023-11-15 00:00 UTC


def row(i, hour, served, cost=None, expected=None):
    record = DecisionRecord(
        f"d{i}", START + 3_600 * hour, "r", served, candidates=(served,), losses=(0.2,),
        stds=(0.1,), totals=(0.2,), costs=(expected,), propensities=(1.0,),
    )  # fmt: skip
    return record, Outcome(record.id, record.time, served, cost=cost), []


ROWS = [
    row(0, 0.1, "a", 0.01),
    row(1, 0.2, "a", 0.02),
    row(2, 0.3, "b", 0.10),
    row(3, 2.5, "b", 0.30),
    row(4, 2.6, "b", None, 0.40),
]
DRIFT = Event(1, "e", START + 3_600, "drift", {"message": "worse"}, "org/a")


def test_answers_and_dollars_are_counted_by_part_and_model():
    found = make_shares(ROWS, [DRIFT], seconds=3_600)
    assert found.names == ("b", "a")
    assert found.times == (START, START + 3_600, START + 7_200)
    assert found.answers.tolist() == [[1, 2], [0, 0], [2, 0]]
    assert np.allclose(found.dollars, [[0.10, 0.03], [0, 0], [0.70, 0]])
    assert found.billed == 0.8
    assert found.title() == "b gave 60% of the answers"


def test_the_title_says_whose_share_has_changed_if_there_are_enough_answers():
    names = ["a"] * 30 + ["b"] * 10 + ["c"] * 40
    rows = [row(i, 0.025 * i, name) for i, name in enumerate(names)]
    found = make_shares(rows, seconds=3_600)
    assert found.title() == "c went from 0% of the answers in the first half to 100% in the second"
    few = [row(i, 0.1 * i, name) for i, name in enumerate("abcc")]
    assert make_shares(few).title() == "c gave 50% of the answers"


def test_the_bars_of_a_part_fill_it_and_dollars_are_stacked():
    above, below = make_shares(ROWS, seconds=3_600).chart().panels
    shares = [mark for mark in above.marks if isinstance(mark, Bars)]
    assert [sum(values) for values in zip(*(bar.y for bar in shares), strict=True)] == [1, 0, 1]
    dollars = [mark for mark in below.marks if isinstance(mark, Bars)]
    assert dollars[1].base == pytest.approx([0.10, 0, 0.70])
    assert below.y.label == "USD per hour"


def test_a_drift_is_a_line_with_the_name_of_its_model():
    chart = make_shares(ROWS, [DRIFT], seconds=3_600).chart()
    for panel in chart.panels:
        (rule,) = (mark for mark in panel.marks if isinstance(mark, Rule))
        assert (rule.name, rule.value) == ("drift: a", START + 3_600)
    later = Event(2, "f", START + 5 * 3_600, "drift", {}, "a")
    chart = make_shares(ROWS, [later], seconds=3_600).chart()
    assert not [mark for mark in chart.panels[0].marks if isinstance(mark, Rule)]


def test_without_any_cost_there_are_shares_alone_and_unknown_is_none():
    found = make_shares([row(0, 0.1, "a"), row(1, 0.2, "b")])
    assert len(found.chart().panels) == 1
    assert found.to_dict()["models"]["a"]["dollars"] == [None] * len(found.times)
    assert found.title() == "a gave 50% of the answers"


def test_the_least_used_models_share_a_gray():
    rows = [row(i, 0.01 * i, f"m{min(i // 2, 7)}", 0.1) for i in range(16)]
    above = make_shares(rows, seconds=3_600).chart().panels[0]
    assert [mark.name for mark in above.marks][-1] == "others"
    assert len(above.marks) == 7


def test_too_many_parts_and_no_answer_are_refused():
    with pytest.raises(InputError, match="give longer parts"):
        make_shares([row(0, 0, "a"), row(1, 24 * 30, "a")], seconds=3_600)
    record, _, _ = row(0, 0, "a")
    with pytest.raises(InputError, match="but no answer"):
        make_shares([(record, Outcome("d0", START, None, error="Timeout"), [])])


def test_a_log_is_read_and_anything_else_is_refused(traffic):
    for record, outcome, _ in ROWS:
        traffic.record_decision(record)
        traffic.record_outcome(outcome)
    assert shares_plot(traffic, by="hour").answers.sum() == 5
    assert shares_plot(traffic, START + 7_200, by="hour").names == ("b",)
    with pytest.raises(InputError, match="expected one of auto, hour, day, week"):
        shares_plot(traffic, by="month")
    with pytest.raises(InputError, match="expected a Traffic"):
        shares_plot("sqlite:///x.db")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "per 5 seconds"), (300, "per 5 minutes"), (3_600, "per hour"), (7_200, "per 2 hours")],
)
def test_the_length_of_a_part_is_told_in_a_fitting_unit(seconds, text):
    chart = make_shares(ROWS[:1], [], seconds=seconds).chart()
    assert chart.panels[1].y.label == f"USD {text}"
    assert chart.note.startswith("1 answer, ")
