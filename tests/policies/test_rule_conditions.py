"""When a rule applies."""

from __future__ import annotations

import datetime

import pytest

from tryage import Preferences
from tryage.core.request import ConversationContext, RoutingRequest
from tryage.errors import InputError
from tryage.policies import rule_conditions
from tryage.policies.rule_conditions import MAX_READ, Moment

UTC = datetime.timezone.utc
SATURDAY = datetime.datetime(2026, 11, 28, 23, 30, tzinfo=UTC)  # in Berlin it is Sunday, 00:30


def holds(condition, text: str = "", *, at: datetime.datetime = SATURDAY, **context) -> bool:
    request = RoutingRequest(text, Preferences(), context=ConversationContext(**context))
    return condition(request, Moment(at.timestamp()))


def test_a_request_without_a_conversation_has_no_tag_key_or_tool() -> None:
    request = RoutingRequest("", Preferences())
    for condition in (
        rule_conditions.tag_condition("a"),
        rule_conditions.tool_condition("a"),
        rule_conditions.key_condition({"user_id": "a"}),
    ):
        assert not condition(request, Moment(0))


def test_one_of_the_words_is_enough() -> None:
    condition = rule_conditions.tag_condition(["batch", "night"])
    assert holds(condition, tags=("night", "x"))
    assert not holds(condition, tags=("x",))
    condition = rule_conditions.tool_condition("search")
    assert holds(condition, tools=("search",))
    assert not holds(condition, tools=("research",))


def test_all_keys_must_have_one_of_their_values() -> None:
    condition = rule_conditions.key_condition({"user_id": ["ann", "bob"], "team": 7})
    assert holds(condition, keys={"user_id": "bob", "team": 7})
    assert not holds(condition, keys={"user_id": "bob"})


def test_tokens_are_those_of_the_conversation_else_of_the_prompt() -> None:
    long = rule_conditions.min_tokens_condition(1000)
    assert holds(long, tokens=1000.0)
    assert holds(long, "word " * 2000)
    assert not holds(long, "word")
    assert holds(rule_conditions.max_tokens_condition(1000), "word")


@pytest.mark.parametrize(
    ("time", "timezone", "expected"),
    [
        ("23:00-23:45", "UTC", True),
        ("23:30-23:31", "UTC", True),
        ("23:00-23:30", "UTC", False),
        ("22:00-06:00", "UTC", True),
        ("06:00-22:00", "UTC", False),
        ("9:00 - 23:45", "UTC", True),
        ("00:00-01:00", "Europe/Berlin", True),
        ("23:00-23:45", "Europe/Berlin", False),
    ],
)
def test_a_time_of_day_is_local_and_may_go_over_midnight(time, timezone, expected) -> None:
    assert holds(rule_conditions.time_condition(time, timezone)) == expected


def test_weekdays_and_dates_are_local() -> None:
    assert holds(rule_conditions.weekday_condition(["fri", "sat"], "UTC"))
    assert holds(rule_conditions.weekday_condition("sun", "Europe/Berlin"))
    day = datetime.date(2026, 11, 28)
    for zone, is_over in (("UTC", False), ("Europe/Berlin", True)):
        assert holds(rule_conditions.until_condition(day, zone)) != is_over
        assert holds(rule_conditions.since_condition(day, zone))
        assert holds(rule_conditions.since_condition(datetime.date(2026, 11, 29), zone)) == is_over


@pytest.mark.parametrize(
    ("make", "value", "message"),
    [
        (rule_conditions.tag_condition, [], "tag is empty"),
        (rule_conditions.tag_condition, [3], "tag must hold"),
        (rule_conditions.tool_condition, None, "tool must be a list"),
        (rule_conditions.key_condition, {}, "expected a table"),
        (rule_conditions.key_condition, "user_id", "expected a table"),
        (rule_conditions.min_tokens_condition, "10k", "must be a number"),
        (rule_conditions.max_tokens_condition, -1, "must be finite and at least 0"),
        (lambda value: rule_conditions.time_condition(value, "UTC"), "9 to 5", "time is '9 to 5'"),
        (lambda value: rule_conditions.time_condition(value, "UTC"), "09:00", "time is '09:00'"),
        (lambda value: rule_conditions.time_condition(value, "UTC"), "09:00-25:00", "time is"),
        (lambda value: rule_conditions.time_condition(value, "UTC"), "09:00-17:00Z", "time is"),
        (lambda value: rule_conditions.weekday_condition(value, "UTC"), "Saturday", "expected mon"),
        (lambda value: rule_conditions.since_condition(value, "UTC"), "24.12.2026", "a date"),
        (rule_conditions.check_timezone, "Berlin", "expected a name of the IANA"),
        (rule_conditions.check_timezone, "../etc/passwd", "expected a name of the IANA"),
    ],
)
def test_malformed_conditions_are_errors(make, value, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(value)


def test_a_pattern_is_searched_in_the_beginning_of_a_prompt() -> None:
    pytest.importorskip("regex")
    condition = rule_conditions.pattern_condition(r"(?i)\bdiagnos")
    assert holds(condition, "My Diagnosis")
    assert not holds(condition, "Undiagnosed")
    assert not holds(condition, " " * MAX_READ + "diagnosis")


def test_a_pattern_that_takes_too_long_counts_as_found() -> None:
    pytest.importorskip("regex")
    assert holds(rule_conditions.pattern_condition("^(a|aa)+$"), "a" * 100 + "!")


@pytest.mark.parametrize("value", ["(", 3, "", None])
def test_a_malformed_pattern_is_an_error(value) -> None:
    pytest.importorskip("regex")
    with pytest.raises(InputError, match="pattern"):
        rule_conditions.pattern_condition(value)


def test_a_language_is_one_of_those_that_are_told_apart() -> None:
    pytest.importorskip("py3langid")
    condition = rule_conditions.language_condition(["de", "fr"])
    assert holds(condition, "Wie geht es dir heute?")
    assert not holds(condition, "How are you today, my friend?")
    with pytest.raises(InputError, match="language is 'german'"):
        rule_conditions.language_condition("german")
