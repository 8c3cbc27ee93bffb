"""JSON of the Hub, read defensively: a value of the right type, or nothing."""

from __future__ import annotations

import datetime

import pytest

from tryage.hub import record


def test_text_in_other_scripts_is_kept(parse):
    model = parse(tags=["日本語", "emoji 🤗"], author="Ünï")
    assert (model.tags, model.author) == (("日本語", "emoji 🤗"), "Ünï")


@pytest.mark.parametrize(
    "honest",
    [
        "通義\u3000千問",  # an ideographic space
        "Apache\N{NO-BREAK SPACE}2.0",
        "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
        "می\N{ZERO WIDTH NON-JOINER}خواهم",  # as Persian is spelled
    ],
)
def test_spaces_and_joiners_of_other_scripts_are_kept(parse, honest):
    model = parse(author=honest, tags=[honest])
    assert (model.author, model.tags) == (honest, (honest,))


@pytest.mark.parametrize("odd", ["\ud800", "a\0b", " ", "x" * 501])
def test_a_text_that_cannot_be_stored_is_unknown(parse, odd):
    model = parse(author=odd, tags=[odd, "en", f"license:{odd}"], pipeline_tag=odd)
    assert (model.task, model.tags[0]) == (None, "en")
    assert model.author == "acme"


@pytest.mark.parametrize(
    ("reader", "valid", "value", "invalid"),
    [
        (record.as_str, " a ", "a", ["", " ", 7, None, True, [], "x" * 501]),
        (record.as_strings, ["a", 7, " b "], ("a", "b"), []),
        (record.as_nonnegative_float, 0, 0.0, [-1, True, "1", float("nan"), 10**400, None]),
        (record.as_positive_float, 2, 2.0, [0, -1, False, float("inf")]),
        (record.as_size, 7e9, 7e9, [0, 1e16, "7B"]),
        (record.as_bool, False, False, [0, 1, "true", None]),
    ],
)
def test_a_reader_returns_a_value_of_its_type_or_none(reader, valid, value, invalid):
    assert reader(valid) == value
    assert type(reader(valid)) is type(value)
    assert [reader(other) for other in invalid] == [None] * len(invalid)


@pytest.mark.parametrize("other", [None, 7, "text", True])
def test_where_an_object_or_a_list_is_expected_anything_else_is_empty(other):
    assert dict(record.as_mapping(other)) == {}
    assert list(record.as_list(other)) == []
    assert dict(record.as_mapping([1])) == {}
    assert list(record.as_list({"a": 1})) == []


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2025-01-02T03:04:05.000Z", (2025, 1, 2, 3, 4, 5)),
        ("2025-01-02T03:04:05+02:00", (2025, 1, 2, 1, 4, 5)),
        ("2025-01-02T03:04:05", (2025, 1, 2, 3, 4, 5)),  # no zone: UTC
        ("yesterday", None),
        ("9999-12-31T23:59:59-23:00", None),  # after the last year
        (1750000000, None),
    ],
)
def test_a_time_is_read_as_utc(text, time):
    found = record.as_datetime(text)
    assert found == (time and datetime.datetime(*time, tzinfo=datetime.timezone.utc))
