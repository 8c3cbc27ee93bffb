"""The log as columns: what counts as a rating, who answered, and which requests belong together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.traffic_report.summary import make_report
from tryage.learning.traffic_report.table import UNKNOWN, read_table
from tryage.traffic.records import DecisionRecord, Feedback, Outcome


def record(i, chosen="small", **fields):
    return DecisionRecord(f"d{i}", float(i), "r", chosen, **fields)


def rating(i, score, kind="thumb", expert=None):
    return Feedback(f"f{i}{kind}{score}", f"d{i}", 0.0, score, kind, expert=expert)


def test_rows_are_ordered_by_time():
    table = read_table([(record(2), None, []), (record(1, "large"), None, [])])
    assert table.times.tolist() == [1.0, 2.0]
    assert [table.experts[i] for i in table.chosen] == ["large", "small"]


def test_a_log_without_decisions_says_where_to_look():
    with pytest.raises(InputError, match="no decision in this period; check --since"):
        read_table([])


def test_several_ratings_of_an_answer_count_as_their_mean():
    table = read_table([(record(1), None, [rating(1, 1.0), rating(1, 0.0, "judge")])])
    assert table.scores.tolist() == [0.5]
    assert table.ratings == {"judge": 1, "thumb": 1}


def test_signs_of_bad_answers_are_counted_and_are_no_ratings():
    table = read_table([(record(1), None, [rating(1, 0.0, "retry")]), (record(2), None, [])])
    assert np.isnan(table.scores).all()
    assert table.signals == {"retry": 1}


def test_one_kind_of_feedback_can_be_the_only_rating():
    rows = [(record(1), None, [rating(1, 1.0), rating(1, 0.2, "judge")])]
    table = read_table(rows, kind="judge")
    assert table.scores.tolist() == [0.2]
    assert table.ratings == {"judge": 1}


def test_who_answered_is_in_the_feedback_else_in_the_outcome_else_the_chosen():
    rows = [
        (record(1), Outcome("d1", 1.0, "large"), [rating(1, 1.0, expert="medium")]),
        (record(2), Outcome("d2", 2.0, "large"), []),
        (record(3), None, []),
        (record(4), Outcome("d4", 4.0, None, error="TimeoutError"), []),
    ]
    table = read_table(rows)
    served = [None if i == UNKNOWN else table.experts[i] for i in table.served]
    assert served == ["medium", "large", "small", None]
    assert table.failed.tolist() == [False, False, False, True]


def test_requests_of_a_key_are_one_cluster_and_others_stand_alone():
    keys = ["t1", None, "t1", None]
    table = read_table([(record(i, key=key), None, []) for i, key in enumerate(keys)])
    assert table.clusters[0] == table.clusters[2]
    assert np.unique(table.clusters).size == 3


def test_an_unknown_cost_is_nan_and_the_expected_one_takes_its_place():
    known = record(
        1, candidates=("large", "small"), losses=(0.1, 0.2), costs=(2.0, 0.5), stds=(None, None)
    )
    unknown = record(2, candidates=("small",), losses=(0.2,), costs=(None,), stds=(None,))
    table = read_table([(known, None, []), (unknown, None, [])])
    assert table.spending[0] == 0.5
    assert math.isnan(table.spending[1])
    billed = read_table([(known, Outcome("d1", 1.0, "small", cost=0.7), [])])
    assert billed.spending.tolist() == [0.7]


def test_a_choice_without_propensities_was_certain():
    table = read_table(
        [(record(1, candidates=("large", "small"), losses=(0.1, 0.2), costs=(1.0, 1.0)), None, [])]
    )
    assert table.experts == ("small", "large")
    assert table.propensities.tolist() == [[1.0, 0.0]]


def test_a_chosen_expert_that_is_no_candidate_has_its_probability():
    fields = {"candidates": ("a", "b"), "losses": (0.1, 0.2), "costs": (1.0, 1.0)}
    rows = [(record(1, chosen="default", propensities=(0.0, 0.0), **fields), None, [])]
    table = read_table(rows)
    assert table.propensities[0, table.chosen[0]] == 1.0


def test_arms_and_shadows_are_found_by_name(simulate_traffic):
    table = read_table(simulate_traffic(50)[0])
    assert {*table.arm_names} == {"a", "b"}
    assert table.shadow_names == ("b",)
    record = simulate_traffic(50)[0][17][0]
    assert table.arm_names[table.arms[17]] == record.arm
    assert table.experts[table.shadows["b"][17]] == record.shadow_choices["b"]


def test_parts_of_a_long_log_make_one_table(simulate_traffic, monkeypatch):
    rows = simulate_traffic(50)[0]
    rows = [
        (
            replace(
                r,
                shadow_choices={} if i < 20 else r.shadow_choices,
                chosen="first" if i < 5 else r.chosen,
            ),
            o,
            g,
        )
        for i, (r, o, g) in enumerate(rows)
    ]
    whole = read_table(rows)
    monkeypatch.setattr("tryage.learning.traffic_report.table._CHUNK_SIZE", 7)
    parts = read_table(iter(rows))
    assert {*parts.experts} == {*whole.experts}
    assert parts.records == [record for record, _, _ in rows]
    assert read_table(rows, keep_records=False).records == ()
    for name in ("times", "scores", "predicted", "expected", "billed", "clusters"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    order = [parts.experts.index(name) for name in whole.experts]
    np.testing.assert_array_equal(parts.losses[:, order], whole.losses)
    np.testing.assert_array_equal(parts.propensities[:, order], whole.propensities)
    shadows = [None if i == UNKNOWN else parts.experts[i] for i in parts.shadows["b"]]
    assert shadows == [r.shadow_choices.get("b") for r, _, _ in rows]


def test_more_experts_than_columns_still_have_their_choices(monkeypatch):
    monkeypatch.setattr("tryage.learning.traffic_report.table._MAX_EXPERTS", 2)
    names = ("a", "b", "c")
    fields = {"candidates": names, "losses": (0.1, 0.2, 0.3), "costs": (1.0, 2.0, 3.0)}
    rows = [
        (record(i, chosen=name, shadow_choices={"s": "c"}, **fields), None, [])
        for i, name in enumerate(names)
    ]
    assert read_table(rows).losses.shape == (3, 3)
    table = read_table(rows, keep_records=False)
    assert table.losses.shape == (3, 2)
    assert table.predicted.tolist() == [0.1, 0.2, 0.3]
    assert table.expected.tolist() == [1.0, 2.0, 3.0]
    assert make_report(rows).decisions == 3
