"""Preferences in dollars and with a tolerance: ranges, combinations, files, and old pickles."""

from __future__ import annotations

import pickle

import pytest

from tryage.core.preferences import Preferences, Requirement
from tryage.errors import InputError

DOLLARS = Preferences(answer_value=0.05, latency_value=0.001, quality="preferred", max_cost=0.1)


@pytest.mark.parametrize(
    "keywords",
    [
        {"answer_value": 0},
        {"answer_value": -1},
        {"answer_value": float("nan")},
        {"answer_value": "0.05"},
        {"answer_value": True},
        {"tolerance": -0.01},
        {"tolerance": 2},
        {"tolerance": None, "latency_value": 0.1},
        {"answer_value": 1, "latency_value": -1},
        {"quality": "good"},
        {"quality": 1},
    ],
)
def test_a_value_out_of_range_is_refused(keywords):
    with pytest.raises(InputError):
        Preferences(**keywords)


BOTH = Preferences(answer_value=1, tolerance=0.02)


@pytest.mark.parametrize(
    ("mine", "other", "overridden", "tightened"),
    [
        (BOTH, Preferences(answer_value=2), Preferences(answer_value=2), BOTH),
        (
            BOTH,
            Preferences(tolerance=0.1),
            Preferences(tolerance=0.1),
            Preferences(answer_value=1, tolerance=0.1),
        ),
        (Preferences(answer_value=2), BOTH, BOTH, Preferences(answer_value=1)),
        (Preferences(tolerance=0.01), BOTH, BOTH, Preferences(tolerance=0.02)),
    ],
)
def test_answer_value_and_tolerance_are_replaced_together_and_tightened_apart(
    mine, other, overridden, tightened
):
    assert mine.overridden(other) == overridden
    assert mine.tightened(other) == tightened
    assert Preferences.from_dict(mine.to_dict()) == mine


def test_a_latency_value_needs_an_answer_value():
    with pytest.raises(InputError, match="needs answer_value="):
        Preferences(latency_value=0.01)


@pytest.mark.parametrize(
    "preferences", [DOLLARS, Preferences(tolerance=0.02), Preferences.preset("thrifty")]
)
def test_a_round_trip_through_a_dict_and_a_pickle_keeps_everything(preferences):
    assert Preferences.from_dict(preferences.to_dict()) == preferences
    assert pickle.loads(pickle.dumps(preferences)) == preferences  # noqa: S301 - our own bytes
    assert len({preferences, Preferences.from_dict(preferences.to_dict())}) == 1


def test_a_dict_of_an_older_version_says_nothing_of_dollars():
    old = Preferences.from_dict({"weights": {"size": 1.0}, "requirements": []})
    assert old == Preferences({"size": 1.0})
    assert old.to_dict() == {"weights": {"size": 1.0}, "requirements": []}


def test_preferences_that_an_older_version_pickled_say_nothing_of_dollars():
    old = Preferences.__new__(Preferences)
    old.__dict__.update({"weights": {"size": 1.0}, "requirements": ()})
    assert old == Preferences({"size": 1.0})


VALUE = Preferences(answer_value=1)
WAITING = Preferences(answer_value=1, latency_value=0.1)
TOLERANCE = Preferences(tolerance=0.1)
COST, SIZE, LATENCY = ({name: 1.0} for name in ("cost", "size", "latency"))
PREFERRED, ADEQUATE = Preferences(quality="preferred"), Preferences(quality="adequate")


@pytest.mark.parametrize(
    ("own", "call", "expected"),
    [
        (VALUE, Preferences(answer_value=0.1), Preferences(answer_value=0.1)),
        (VALUE, TOLERANCE, TOLERANCE),
        (TOLERANCE, VALUE, VALUE),
        (WAITING, TOLERANCE, TOLERANCE),
        (VALUE, Preferences(SIZE), Preferences(SIZE, answer_value=1)),
        (VALUE, Preferences(COST), Preferences(COST)),
        (Preferences({**COST, **SIZE}), TOLERANCE, Preferences(SIZE, tolerance=0.1)),
        (
            WAITING,
            Preferences(answer_value=2),
            Preferences(answer_value=2, latency_value=0.1),
        ),
        (WAITING, Preferences(LATENCY), Preferences(LATENCY, answer_value=1)),
        (Preferences(LATENCY), WAITING, WAITING),
        (PREFERRED, VALUE, Preferences(answer_value=1, quality="preferred")),
        (PREFERRED, ADEQUATE, ADEQUATE),
    ],
)
def test_what_a_call_says_replaces_what_the_router_says_of_the_same(own, call, expected):
    assert own.overridden(call) == expected


@pytest.mark.parametrize(
    ("own", "flag", "expected"),
    [
        (VALUE, Preferences(COST), Preferences(COST, answer_value=1)),
        (TOLERANCE, Preferences(SIZE), Preferences(SIZE, tolerance=0.1)),
        (VALUE, Preferences(answer_value=2), VALUE),
        (VALUE, Preferences(answer_value=0.5), Preferences(answer_value=0.5)),
        (VALUE, TOLERANCE, VALUE),
        (TOLERANCE, WAITING, TOLERANCE),
        (TOLERANCE, Preferences(tolerance=0.05), TOLERANCE),
        (Preferences(), TOLERANCE, TOLERANCE),
        (PREFERRED, ADEQUATE, PREFERRED),
    ],
)
def test_flags_tighten_and_never_loosen_what_dollars_count(own, flag, expected):
    assert own.tightened(flag) == expected


def test_more_requirements_keep_everything_else():
    more = DOLLARS.with_requirements([Requirement("parameters", "<", 1e9)])
    assert more.requirements[:-1] == DOLLARS.requirements
    assert (more.answer_value, more.latency_value, more.quality) == (0.05, 0.001, "preferred")


def test_a_front_of_a_constraint_leaves_out_what_is_said_of_it():
    weighted = Preferences({"cost": 1, "size": 2}, answer_value=1, latency_value=0.1)
    assert weighted.without_constraint("cost") == Preferences({"size": 2})
    assert weighted.without_constraint("latency").latency_value is None
    assert weighted.without_constraint("latency").answer_value == 1
    assert Preferences(tolerance=0.1).without_constraint("size") == Preferences()


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({}, False),
        ({"max_cost": 1}, False),
        ({"quality": "preferred"}, False),
        ({"weights": {"size": 0}}, True),
        ({"answer_value": 1}, True),
        ({"tolerance": 0}, True),
    ],
)
def test_a_trade_off_is_said_by_weights_dollars_or_a_tolerance(keywords, said):
    assert Preferences(**keywords).has_trade_off is said
