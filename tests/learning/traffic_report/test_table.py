"""The log as columns: what counts as a rating, who answered, and which requests belong together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tryage.errors import InputError
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
    assert table.experts == ("large", "small")
    assert table.propensities.tolist() == [[0.0, 1.0]]


def test_arms_and_shadows_are_found_by_name(simulate_traffic):
    table = read_table(simulate_traffic(50)[0])
    assert table.arm_names == ("a", "b")
    assert [*table.shadows] == ["b"]
    row = 17
    assert table.arm_names[table.arms[row]] == table.records[row].arm
    assert table.experts[table.shadows["b"][row]] == table.records[row].shadow_choices["b"]
