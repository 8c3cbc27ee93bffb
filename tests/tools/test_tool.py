"""A tool is read from every framework's schema, and weighed as an expert is."""

from __future__ import annotations

import pytest

from tryage.errors import InputError
from tryage.tools import Tool
from tryage.tools.tool import identifier_to_words

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}}
WEATHER = {"name": "get_weather", "description": "Weather of a city"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "function", "function": {**WEATHER, "parameters": SCHEMA}},
        {**WEATHER, "parameters": SCHEMA},
        {**WEATHER, "input_schema": SCHEMA},
        {**WEATHER, "inputSchema": SCHEMA},
    ],
    ids=["OpenAI", "bare", "Anthropic", "MCP"],
)
def test_every_schema_tells_the_same_tool(schema):
    tool = Tool.from_schema(schema)
    assert tool == Tool("get_weather", "Weather of a city", {"city": "Where"})


def test_a_schema_without_arguments_or_description_is_a_tool_all_the_same():
    assert Tool.from_schema({"name": "now"}) == Tool("now")
    assert Tool.from_schema({"name": "now", "parameters": None, "description": None}) == Tool("now")
    odd = {"name": "now", "parameters": {"properties": {"zone": True}}}
    assert Tool.from_schema(odd).arguments == {"zone": ""}


@pytest.mark.parametrize("schema", [{}, {"function": {}}, {"type": "web_search"}, "name", None])
def test_what_has_no_name_is_no_tool(schema):
    with pytest.raises(InputError, match=r"schema"):
        Tool.from_schema(schema)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " "},
        {"name": 3},
        {"name": "t", "description": None},
        {"name": "t", "arguments": ["city"]},
        {"name": "t", "cost": -1.0},
        {"name": "t", "cost": "free"},
        {"name": "t", "latency": float("nan")},
        {"name": "t", "risk": 1.5},
        {"name": "t", "permissions": "write"},
    ],
)
def test_wrong_fields_are_refused_in_a_sentence(wrong):
    with pytest.raises(InputError):
        Tool(**wrong)


def test_names_are_split_as_programmers_join_them():
    assert identifier_to_words("getUserName") == "get User Name"
    assert identifier_to_words("get_user_name") == "get user name"
    assert identifier_to_words("user.name/get-all") == "user name get all"


def test_a_call_has_one_price_whatever_the_query():
    expert = Tool("t", cost=0.01).as_expert()
    assert expert.input_price == 0
    assert expert.output_price * expert.output_tokens / 1e6 == pytest.approx(0.01)


def test_what_is_unknown_of_a_tool_is_unknown_of_its_expert():
    expert = Tool("t").as_expert()
    assert expert.output_price is None
    assert expert.security is None
    assert expert.latency is None


def test_risk_is_the_opposite_of_security():
    assert Tool("t", risk=0.25).as_expert().security == 0.75
