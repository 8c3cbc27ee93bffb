"""Records and rows: what goes into a row comes out of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest

from tryage.errors import TrafficError
from tryage.traffic.records import DecisionRecord, Event, Outcome

pytest.importorskip("sqlalchemy")

from tryage.traffic.rows import (
    ENCODING_ERRORS,
    MAX_KEY,
    decision_record,
    decision_row,
    event_record,
    event_row,
    feedback_record,
    feedback_row,
    outcome_record,
    outcome_row,
    pack_lists,
    stored_key,
    to_text,
    unpack_lists,
)
from tryage.traffic.schema import DECISIONS, OUTCOMES


def stored(record, *, keep_prompt=False):
    """Return the row of a decision as the store returns it: by names of columns."""
    return dict(
        zip(DECISIONS.columns.keys(), decision_row(record, keep_prompt=keep_prompt), strict=True)
    )


def stored_outcome(outcome):
    return dict(zip(OUTCOMES.columns.keys(), outcome_row(outcome), strict=True))


def test_a_decision_comes_back_from_its_row(decision, plain):
    assert plain(decision_record(stored(decision(), keep_prompt=True))) == plain(decision())


def test_every_field_of_a_decision_has_a_place_in_its_row(decision):
    plainest = DecisionRecord("", 0.0, "", "")
    fields = [one.name for one in dataclasses.fields(DecisionRecord)]
    same = [name for name in fields if getattr(decision(), name) is getattr(plainest, name)]
    assert same == []  # so the test above compares all of them


def test_the_smallest_decision_comes_back_from_its_row(plain):
    record = DecisionRecord("d1", 1.0, "r", "a")
    assert plain(decision_record(stored(record, keep_prompt=True))) == plain(record)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("position", b"xx"),
        ("content", "{"),
        ("content", "[]"),
        ("numbers", b""),
        ("numbers", b"\5"),
    ],
)
def test_a_damaged_row_is_an_error_of_the_log_that_names_its_decision(decision, column, value):
    with pytest.raises(TrafficError, match="'d1' in the log of traffic is damaged"):
        decision_record({**stored(decision()), column: value})


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "content",
    [
        {"candidates": "ab"},
        {"candidates": [1]},
        {"kind": {"a": 1}},
        {"router": None},
        {"shadow_choices": []},
        {"shadow_choices": {"a": 1}},
        {"changes": [{"policy": "p"}]},
        {"changes": [{"policy": "p", "reason": 1}]},
        {"changes": ["x"]},
        {"tags": {}},
    ],
)
def test_a_text_of_a_wrong_type_in_a_decision_is_damage(decision, content):
    row = stored(decision())
    row["content"] = json.dumps(json.loads(row["content"]) | content)
    with pytest.raises(TrafficError, match="'d1' in the log of traffic is damaged"):
        decision_record(row)


@pytest.mark.parametrize(
    ("read", "row", "damage"),
    [
        (outcome_record, "outcome", {"content": "{"}),
        (outcome_record, "outcome", {"content": DEEP}),
        (outcome_record, "outcome", {"content": '{"latency": "x"}'}),
        (outcome_record, "outcome", {"content": '{"cost": Infinity}'}),
        (outcome_record, "outcome", {"content": '{"failed": 3}'}),
        (outcome_record, "outcome", {"content": '{"other": 3}'}),
        (outcome_record, "outcome", {"served_by": 3}),
        (outcome_record, "outcome", {"time": "noon"}),
        (feedback_record, "feedback", {"score": 1e300}),
        (feedback_record, "feedback", {"score": None}),
        (feedback_record, "feedback", {"score": "good"}),
        (feedback_record, "feedback", {"kind": b"thumb"}),
        (feedback_record, "feedback", {"time": math.inf}),
        (event_record, "event", {"content": "[]"}),
        (event_record, "event", {"content": DEEP}),
        (event_record, "event", {"sequence": "x"}),
        (event_record, "event", {"kind": None}),
    ],
)
def test_damage_of_any_row_names_the_row_and_its_table(read, row, damage, outcome, feedback):
    rows = {
        "outcome": stored_outcome(outcome()),
        "feedback": feedback_row(feedback()),
        "event": {"sequence": 1, **event_row(Event(1, "e1", 1.0, "drift", {"a": 1}))},
    }
    read(rows[row])
    with pytest.raises(TrafficError, match=rf"is damaged: \w+. Delete it from .*tryage_{row}"):
        read(rows[row] | damage)


def test_an_outcome_comes_back_from_its_row(outcome):
    failed = outcome(error="RateLimitError", failed=("a", "b"), input_tokens=3, best_single="c")
    assert outcome_record(stored_outcome(failed)) == failed
    assert outcome_record(stored_outcome(Outcome("d1", 1.0))) == Outcome("d1", 1.0)


def test_propensities_are_exact():
    values = (1 / 3, 2 / 3, 1e-300)
    assert unpack_lists(pack_lists([(), values]), 2)[1] == values


def test_an_unknown_number_is_none():
    lists = unpack_lists(pack_lists([(0.5, None), (float("nan"),)]), 3)
    assert lists == [(0.5, None), (None,), ()]  # the last one is of a later version


def test_a_position_is_float32_whatever_it_was():
    record = DecisionRecord("d1", 1.0, "r", "a", position=np.array([0.1, 2.0]))
    position = decision_record(stored(record)).position
    assert position.dtype == np.float32
    assert position.tolist() == [np.float32(0.1), 2.0]


def test_a_text_has_neither_nul_nor_half_a_pair():
    assert to_text("a\0b") == "a\N{REPLACEMENT CHARACTER}b"
    assert to_text("é\ud800") == "é?"
    assert to_text("日本") == "日本"


@pytest.mark.parametrize("name", ["k" * (MAX_KEY + 1), "nul\0", "half \ud800 of a pair"])
def test_a_name_that_an_index_cannot_hold_is_kept_as_its_hash(name):
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    assert stored_key(name) == f"sha256:{digest}"


@pytest.mark.parametrize("name", ["", "ann", "50%", "k" * MAX_KEY, "\N{GRINNING FACE}"])
def test_any_other_name_is_kept_as_it_is(name):
    assert stored_key(name) == name


@pytest.mark.parametrize(
    "fields",
    [
        {"chosen": 3},
        {"losses": ("x",)},
        {"time": None},
        {"tags": 5},
        {"shadow_choices": 1},
        {"time": float("nan")},
        {"user_id": 3},
        {"tags": (["x"],)},
    ],
)
def test_a_value_of_another_type_is_an_error(decision, fields):
    with pytest.raises(ENCODING_ERRORS):
        decision_row(decision(**fields), keep_prompt=False)
