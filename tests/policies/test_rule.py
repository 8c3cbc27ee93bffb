"""What one rule allows and bans."""

from __future__ import annotations

import datetime

import pytest

from tryage import Expert, Library, Preferences
from tryage.core.preferences import Requirement
from tryage.errors import InputError
from tryage.policies import Rule
from tryage.policies.rule_conditions import Moment

LIBRARY = Library(
    [
        Expert("small", aliases=["tiny"], license="mit", metadata={"provider": "acme"}),
        Expert("large", license="llama3", capabilities=["tools"], metadata={"provider": "Other"}),
        Expert("unknown", metadata={"region": ["eu", "us"]}),
    ]
)


def allowed(rule: Rule) -> list[str]:
    met = Preferences(requirements=rule.requirements(LIBRARY)).satisfied(LIBRARY)
    return [name for name, one in zip(LIBRARY.names, met, strict=True) if one]


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (Rule(only="tiny"), ["small"]),
        (Rule(only=["small", "large"], ban=["large"]), ["small"]),
        (Rule(ban="tiny"), ["large", "unknown"]),
        (Rule(only={"license": "MIT"}), ["small"]),
        (Rule(ban={"license": ["mit", "apache-2.0"]}), ["large", "unknown"]),
        (Rule(only={"capabilities": "tools", "provider": "other"}), ["large"]),
        (Rule(only={"region": "eu"}), ["unknown"]),
        (Rule(ban={"provider": "nobody"}), ["small", "large", "unknown"]),
        (Rule(only={"license": ["mit", "none"]}), ["small"]),
        (Rule(require={"licenses": ["llama3"]}), ["large"]),
        (Rule(require=Preferences(ban=["small"])), ["large", "unknown"]),
    ],
)
def test_experts_are_named_or_described(rule: Rule, names: list[str]) -> None:
    assert allowed(rule) == names


def test_a_rule_says_what_it_does() -> None:
    rule = Rule(only=["a", "b"], ban={"license": ["mit", "gpl"]}, require={"max_cost": 0.01})
    assert rule.describe() == "only a, b; not license mit or gpl; cost <= $0.01"
    assert rule.required() == (Requirement("cost", "<=", 0.01),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give it only="),
        ({"tag": "x"}, "give it only="),
        ({"only": "a", "name": 3}, "name must hold"),
        ({"only": "a", "when": "x"}, "when is 'x'; expected a function"),
        ({"only": 3}, "only must hold"),
        ({"ban": [None]}, "ban must hold"),
        ({"ban": {}}, "expected names, or fields"),
        ({"ban": {"parameters": 7e9}}, "expected a limit"),
        ({"require": "thrifty"}, "expected Preferences"),
        ({"require": {"max_cots": 1}}, "'max_cots', no word .* Did you mean max_cost"),
        ({"require": {"answer_value": 1}}, "holds more than requirements"),
        (
            {"only": "a", "since": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)},
            "date",
        ),
        ({"only": "a", "timezone": None}, "timezone must hold"),
    ],
)
def test_malformed_rules_are_errors(arguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Rule(**arguments)


@pytest.mark.parametrize(
    "nothing",
    [
        {"only": []},
        {"ban": []},
        {"require": {}},
        {"require": Preferences()},
        {"only": "a", "ban": []},
    ],
)
def test_a_rule_without_experts_or_requirements_is_an_error(nothing) -> None:
    with pytest.raises(InputError, match=r"give it only=|(only|ban) is \[\]; expected names"):
        Rule(**nothing)


def test_a_date_may_be_a_text() -> None:
    day = datetime.date(2026, 11, 29)
    requests = [
        condition(None, Moment(0.0))
        for condition in (
            Rule(only="a", since="1970-01-01").conditions()[0],
            Rule(only="a", since="1970-1-2").conditions()[0],
        )
    ]
    assert requests == [True, False]
    assert Rule(only="a", until=str(day)).until == "2026-11-29"


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({"min_tokens": 10, "max_tokens": 5}, "min_tokens is 10 and max_tokens is 5"),
        ({"since": "2026-12-01", "until": datetime.date(2026, 11, 1)}, "since is 2026-12-01 and"),
    ],
)
def test_a_rule_that_never_applies_is_an_error(ends, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Rule(only="a", **ends)
