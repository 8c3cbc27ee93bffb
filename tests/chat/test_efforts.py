"""Names with efforts, what models offer by their names, and the models that they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.chat.efforts import (
    DEFAULT_EFFORTS,
    EFFORTS,
    EffortSource,
    add_efforts,
    check_efforts,
    claude_takes_levels,
    join_effort,
    known_efforts,
    split_effort,
    thinking_budget,
)
from tryage.errors import InputError


@pytest.mark.parametrize(
    ("name", "model", "effort"),
    [("openai:gpt-5.6@low", "openai:gpt-5.6", "low"), ("gpt-5@HIGH", "gpt-5", "high"),
     ("claude-3-5-sonnet@20241022", "claude-3-5-sonnet@20241022", None),
     ("claude@20241022@max", "claude@20241022", "max"), ("@low", "@low", None), ("", "", None),
     ("low", "low", None)],
)  # fmt: skip
def test_an_effort_is_what_follows_the_last_at_sign(name, model, effort):
    assert split_effort(name) == (model, effort)


def test_joining_replaces_an_effort():
    assert join_effort("m@low", "high") == "m@high"
    assert join_effort("m@low", None) == "m@low"


@pytest.mark.parametrize(
    ("name", "efforts"),
    [("openai:gpt-5.6", DEFAULT_EFFORTS), ("o3", DEFAULT_EFFORTS), ("o1-mini", ()),
     ("gpt-5-pro", ()), ("gpt-5-chat-latest", ()), ("gpt-4o", ()), ("chatgpt-4o-latest", ()),
     ("anthropic:claude-opus-5-5", DEFAULT_EFFORTS), ("claude-3-7-sonnet", DEFAULT_EFFORTS),
     ("claude-3-5-sonnet-latest", ()), ("claude-3-haiku-20240307", ()),
     ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", DEFAULT_EFFORTS),
     ("gemini-3-pro-preview", ("low", "high")), ("gemini-2.5-flash", DEFAULT_EFFORTS),
     ("gemini-2.0-flash", ()), ("gemini-2.5-flash-image", ()),
     ("groq:openai/gpt-oss-120b", DEFAULT_EFFORTS), ("ollama:gemma3", ()), ("qwen3-32b", ()),
     ("my-own", ()), ("", ())],
)  # fmt: skip
def test_what_a_model_offers_is_told_by_its_name(name, efforts):
    assert known_efforts(name) == efforts


@pytest.mark.parametrize(
    ("name", "takes_levels"),
    [
        ("claude-opus-4-8", True),
        ("claude-sonnet-4-6-20260217", True),
        ("claude-opus-5", True),
        ("claude-sonnet-4-5-20250929", False),
        ("claude-opus-4-20250514", False),
        ("claude-3-7-sonnet-20250219", False),  # the first of Claude that thinks
        ("claude-3-5-haiku-latest", False),
        ("", False),
    ],
)
def test_claude_takes_a_level_since_opus_4_5_and_before_a_budget_alone(name, takes_levels):
    assert claude_takes_levels(name) is takes_levels


def test_every_effort_has_a_budget_and_they_rise():
    budgets = [thinking_budget(effort) for effort in EFFORTS if effort != "thinking"]
    assert budgets == sorted(budgets)
    assert budgets[0] == 0


def test_which_efforts_the_argument_means():
    assert check_efforts(True) == ("low", "medium", "high")
    assert check_efforts(False) == check_efforts([]) == ()
    assert check_efforts(["high", "low", "high"]) == ("high", "low")
    for wrong in ("low", 3, None, {"low": 1}, ["turbo"], [None], [["low"]]):
        with pytest.raises(InputError):
            check_efforts(wrong)


def offer_two(_, model):
    return ("low", "high", "none") if model == "thinker" else ()


def test_a_model_becomes_one_for_each_effort_that_it_takes():
    models = {"a": "thinker", "b": "plain", "c@max": "plain", "d": "plain@none"}
    assert add_efforts(models, ["high", "low", "xhigh"], offer_two) == {
        "a@high": EffortSource("thinker", "high"),
        "a@low": EffortSource("thinker", "low"),
        "b": "plain",
        "c@max": EffortSource("plain", "max"),
        "d": EffortSource("plain", "none"),
    }
    assert add_efforts(models, (), offer_two)["a"] == "thinker"


def test_adding_efforts_twice_changes_nothing():
    once = add_efforts({"a": "thinker"}, ["low"], offer_two)
    assert add_efforts(once, ["low", "high"], offer_two) == once


def test_a_name_that_an_effort_makes_may_not_exist_already():
    with pytest.raises(InputError, match="Two models are called 'a@low'"):
        add_efforts({"a@low": "plain", "a": "thinker"}, ["low"], offer_two)


@given(st.text(max_size=20), st.sampled_from(EFFORTS))
def test_an_effort_that_is_joined_to_any_name_is_split_off_again(name, effort):
    model, own = split_effort(name)
    if model:
        assert split_effort(join_effort(name, effort)) == (model, effort)
    assert own is None or own in EFFORTS
