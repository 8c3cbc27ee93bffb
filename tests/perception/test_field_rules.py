"""A rule takes what a field may hold; its message says what is there and what is expected."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.perception import persistence
from tryage.perception.field_rules import (
    Array,
    Either,
    Index,
    Interval,
    Names,
    Number,
    Part,
    Parts,
    Size,
    Sizes,
    WholeNumber,
    check_field,
    show,
)
from tryage.tools import persistence as tool_persistence

ROWS = np.ones((2, 3), np.float32)


def sizes():
    return Sizes({"experts": 2, "rank": 2}, nonempty={"experts", "prototypes"})


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (Array("experts", ("rank", 1)), ROWS),
        (Array("new", "new"), np.eye(4)),
        (Array(None, 3), ROWS),
        (Array("any"), np.zeros(0)),
        (Array(2, low=0, high=np.inf), np.array([1, np.inf])),
        (Array(2, allow_nan=True), np.array([np.nan, np.nan])),
        (Array(3, kind=np.int8), np.array([1, 1, 2], np.int8)),
        (Array(3, increasing=True), np.array([1.0, 2.0, 3.0])),
        (Number(), 0),
        (Number(low=0), 1e9),
        (WholeNumber(1, 5), 5),
        (Interval(), (-1, 2.5)),
        (Size("experts"), 2),
        (Index("experts"), 1),
        (Names("experts"), ["a", "b"]),
        (Names("new"), ()),
        (Part(Sizes), Sizes({})),
        (Parts("parts", Sizes, int), (Sizes({}), 1)),
        (Either(Number(), Names("experts")), ("a", "b")),
        (Either(Number(), or_none=True), None),
    ],
)
def test_a_value_that_fits_is_taken(rule, value):
    check_field("field", value, rule, sizes())


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        (Array("experts"), ROWS[0], r"is \(3,\) numbers \(float32\) between 1 and 1; .* \(2\)"),
        (Array("experts", ("rank", 1)), ROWS.T, r"expected \(2, 3\) numbers \(floating\)"),
        (Array("experts"), [1.0, 2.0], r"is \[1.0, 2.0\]; expected"),
        (Array("new", "new"), ROWS, r"expected \(new, new\)"),
        (Array(("rank", 1)), np.zeros(2), r"expected \(3\)"),
        (Array("prototypes"), np.zeros(0), r"is \(0,\) numbers"),
        (Array(2), np.array([0, np.nan]), "between nan and nan"),
        (Array(2), np.array([0, np.inf]), "between 0 and inf"),
        (Array(2), np.array([0, 1e30]), r"between 0 and 1e\+30; .* from -1e\+12 to 1e\+12"),
        (Array(2, low=0), np.array([0, -1.0]), "between -1 and 0"),
        (Array(2, allow_nan=True), np.array([np.nan, -np.inf]), "between nan"),
        (Array(2, kind=np.int32), np.zeros(2), r"\(float64\).*\(int32\)"),
        (Array(2), np.zeros(2, bool), r"is \(2,\) numbers \(bool\)"),
        (Array(2, increasing=True), np.zeros(2), "increasing numbers"),
        (Number(), True, "is True; expected a number"),
        (Number(), "1", "is '1'"),
        (Number(), float("nan"), "is nan"),
        (Number(), float("inf"), "is inf"),
        (Number(), 10**400, "is 1000"),
        (Number(low=0), -1, "is -1; expected a number, from 0"),
        (WholeNumber(1, 5), 2.0, "is 2.0; expected a whole number, from 1 to 5"),
        (WholeNumber(1, 5), 6, "is 6"),
        (Interval(), (2, 1), r"is \(2, 1\); expected a lower and a higher number"),
        (Interval(), (2, None), r"is \(2, None\)"),
        (Interval(), 2, "is 2"),
        (Size("experts"), 3, "is 3; expected a whole number, 2"),
        (Size("experts"), True, "is True"),
        (Size("new"), 10**30, "is 1000"),
        (Index("experts"), 2, "is 2; expected a whole number from 0, below 2"),
        (Index("experts"), -1, "is -1"),
        (Index("unknown"), 0, "is 0"),
        (Names("experts"), ["a", "a"], r"is \['a', 'a'\]; expected \(2\) different texts"),
        (Names("experts"), ["a"], r"is \['a'\]"),
        (Names("experts"), [["a"], "b"], "is "),
        (Names("experts"), "ab", "is 'ab'"),
        (Part(Sizes), None, "is None; expected Sizes"),
        (Parts("parts", Sizes), (Sizes({}), 1), r"expected \(parts\) Sizes"),
        (Parts("experts", int), (1,), r"expected \(2\) int"),
        (Either(Number(), Names("experts")), None, "expected a number, .*, or .* texts"),
        (Either(Number(), or_none=True), "x", "or null"),
    ],
)  # fmt: skip
def test_any_other_value_is_refused_with_what_is_expected(rule, value, message):
    with pytest.raises(InputError, match=rf"(?s)^field {message}|^field is .*{message}"):
        check_field("field", value, rule, sizes())


def test_the_first_array_of_a_dimension_sets_its_size():
    known = sizes()
    check_field("first", np.zeros((2, 7)), Array("experts", "features"), known)
    with pytest.raises(InputError, match=r"second is \(6,\).*expected \(7\)"):
        check_field("second", np.zeros(6), Array("features"), known)


def test_without_a_dimension_the_next_array_sets_its_size_and_it_may_be_empty():
    other = sizes().without("experts")
    check_field("observed", (), Names("experts"), other)
    check_field("means", np.zeros((0, 3)), Array("experts", ("rank", 1)), other)
    check_field("known", ("a", "b"), Names("experts"), sizes())


def test_a_part_may_have_rules_of_its_place():
    @dataclasses.dataclass
    class Scaler:
        mean: np.ndarray

    rule = Part(Scaler, mean=Array(3))
    check_field("scaler", Scaler(np.zeros(3)), rule, sizes())
    with pytest.raises(InputError, match=r"is a Scaler; expected Scaler, with mean \(3\) numbers"):
        check_field("scaler", Scaler(np.zeros(2)), rule, sizes())


def test_a_value_is_shown_in_a_few_words():
    assert show(np.zeros(0)) == "(0,) numbers (float64)"
    assert len(show([["x" * 10_000] * 1_000])) < 200
    assert len(show({str(i): i for i in range(10_000)})) < 200


@pytest.mark.parametrize("rules", [persistence.FIELD_RULES, tool_persistence.FIELD_RULES])
def test_each_field_of_a_saved_class_has_a_rule(rules):
    for kind, field_rules in rules.items():
        assert {field.name for field in dataclasses.fields(kind)} == set(field_rules), kind
