"""Rules from a TOML file."""

from __future__ import annotations

import contextlib
import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tryage.errors import InputError
from tryage.policies import Rule, Rules
from tryage.policies.rule_file import read_rules

EVERYTHING = """
title = "other tables are not read"

[[rules]]
name = "night"
only = ["small", "medium"]
ban = { license = "llama3" }
require = { max_cost = 0.01, capabilities = ["tools"] }
tag = "night"
key = { user_id = ["ann", "bob"] }
tool = ["search"]
min_tokens = 10
max_tokens = 20
time = "22:00-06:00"
weekday = ["sat", "sun"]
since = 2026-01-01
until = 2026-12-31
timezone = "Europe/Berlin"

[[rules]]
ban = "large"
"""


@pytest.fixture
def read(tmp_path):
    """Return a function that reads rules from a text."""

    def read_text(text: str) -> Rules:
        (tmp_path / "rules.toml").write_text(text, "utf-8")
        return Rules.from_file(tmp_path / "rules.toml")

    return read_text


def test_a_file_has_the_words_of_a_rule(read) -> None:
    assert read(EVERYTHING).rules == (
        Rule(
            name="night",
            only=["small", "medium"],
            ban={"license": "llama3"},
            require={"max_cost": 0.01, "capabilities": ["tools"]},
            tag="night",
            key={"user_id": ["ann", "bob"]},
            tool=["search"],
            min_tokens=10,
            max_tokens=20,
            time="22:00-06:00",
            weekday=["sat", "sun"],
            since=datetime.date(2026, 1, 1),
            until=datetime.date(2026, 12, 31),
            timezone="Europe/Berlin",
        ),
        Rule(ban="large"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rule; expected tables"),
        ("rules = 3", "has no rule"),
        ("[[rule]]\nonly = 'a'", "has no rule"),
        ("rules = [3]", "rule 1 is 3; expected a table"),
        ("[[rules]\n", "is not TOML: .*line 1"),
        ("[[rules]]\nban = 'a'\n\n[[rules]]\n", r"rule 2 \(line 4\): A rule says what it does"),
        ("[[rules]]\nonyl = 'a'", r"rule 1 \(line 1\): 'onyl' is no word .* Did you mean only\?"),
        ("[[rules]]\nban = 'a'\nwhen = 'f'", r"'when' is no word of a rule. .*Expected only, ban"),
        ("rules = [{ban = 'a', weekday = 'x'}]", "toml, rule 1: weekday is 'x'"),
    ],
)
def test_a_malformed_rule_is_an_error_with_its_line(read, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(text)


def test_a_missing_file_is_an_error(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Rules.from_file(tmp_path / "missing.toml")


WORDS = st.sampled_from([*Rule.__dataclass_fields__, "other"])
ODD = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["sat", "22:00-06:00", "(", "2025-02-30", "de", "UTC", "../x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(WORDS, ODD, max_size=5), st.sampled_from(["", "only"]))
def test_any_rule_is_read_or_refused_in_words(tmp_path, table, more):
    tomlkit = pytest.importorskip("tomlkit")
    path = tmp_path / "rules.toml"
    path.write_text(tomlkit.dumps({"rules": [{**table, **({more: "a"} if more else {})}]}), "utf-8")
    with contextlib.suppress(InputError):
        (rule,) = read_rules(path)
        assert rule.only is not None or rule.ban is not None or rule.required()
