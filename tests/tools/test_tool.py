"""A tool is read from every framework's schema, and becomes an expert that can be scored."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.errors import InputError
from tryage.tools import Tool
from tryage.tools.tool import check_tool_names, check_tools, identifier_to_words, unique_names

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
def test_every_schema_gives_the_same_tool(schema):
    tool = Tool.from_schema(schema)
    assert tool == Tool("get_weather", "Weather of a city", {"city": "Where"})


def test_a_schema_without_arguments_or_description_is_a_tool():
    assert Tool.from_schema({"name": "now"}) == Tool("now")
    assert Tool.from_schema({"name": "now", "parameters": None, "description": None}) == Tool("now")
    odd = {"name": "now", "parameters": {"properties": {"zone": True}}}
    assert Tool.from_schema(odd).arguments == {"zone": ""}


@pytest.mark.parametrize("schema", [{}, {"function": {}}, {"type": "web_search"}, "name", None])
def test_a_schema_without_a_name_is_refused(schema):
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
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(InputError):
        Tool(**wrong)


def test_a_title_describes_a_schema_without_a_description():
    schema = {"name": "gw", "title": "Weather of a city", "inputSchema": {"type": "object"}}
    assert Tool.from_schema(schema).description == "Weather of a city"


def test_a_schema_takes_what_is_known_beside_it():
    tool = Tool.from_schema(WEATHER, cost=0.1, permissions=["read"])
    assert (tool.cost, tool.permissions) == (0.1, frozenset({"read"}))


def test_metadata_comes_from_the_known_tool_and_texts_stay():
    known = Tool("other", "another", cost=0.1, latency=2, risk=0.5, permissions={"read"})
    tool = Tool("get_weather", "Weather of a city", {"city": "Where"})
    assert tool.with_metadata(known) == replace(
        tool, cost=0.1, latency=2.0, risk=0.5, permissions=frozenset({"read"})
    )
    assert tool.with_metadata(None) is tool


def test_texts_are_the_name_the_description_and_the_arguments_in_words():
    tool = Tool("searchWeb", "Finds pages", {"maxPages": "How many", "q": "What"})
    assert tool.title == "search Web. Finds pages"
    assert tool.arguments_text == "max Pages: How many; q: What"
    assert tool.full_text == f"{tool.title} {tool.arguments_text}"


def test_a_fingerprint_depends_on_name_and_description_alone():
    tool = Tool("weather_forecast", "Weather of the coming days")
    same = replace(tool, arguments={"city": "Name"}, cost=0.1, permissions=frozenset({"read"}))
    others = [replace(tool, name="weather_report"), replace(tool, description="Weather")]
    assert same.fingerprint == tool.fingerprint
    assert len({one.fingerprint for one in (tool, *others)}) == 3
    assert Tool("\ud800").fingerprint < 2**64


def test_tools_are_checked_one_by_one():
    assert check_tools(iter([Tool("a")])) == (Tool("a"),)
    with pytest.raises(InputError, match="got a dict in it; read a schema"):
        check_tools([Tool("a"), WEATHER])


def test_names_that_no_tool_has_are_listed():
    check_tool_names("known", ["a"], ["a", "b"])
    with pytest.raises(InputError, match=r"known names \['c'\].*available are \['a', 'b'\]"):
        check_tool_names("known", ["a", "c"], {"b", "a"})


def test_identifiers_are_split_into_words():
    assert identifier_to_words("getUserName") == "get User Name"
    assert identifier_to_words("get_user_name") == "get user name"
    assert identifier_to_words("user.name/get-all") == "user name get all"


def test_the_price_of_a_call_is_that_of_one_output_token():
    expert = Tool("t", cost=0.01).as_expert()
    assert expert.input_price == 0
    assert expert.output_price * expert.output_tokens / 1e6 == pytest.approx(0.01)


def test_a_fact_unknown_for_a_tool_is_unknown_for_its_expert():
    expert = Tool("t").as_expert()
    assert expert.output_price is None
    assert expert.security is None
    assert expert.latency is None


def test_risk_is_the_opposite_of_security():
    assert Tool("t", risk=0.25).as_expert().security == 0.75


def test_a_name_that_one_tool_has_stays():
    assert unique_names([Tool("a", server="s"), Tool("b")]) == ("a", "b")


def test_tools_of_one_name_get_their_server_or_their_position():
    tools = [Tool("Get", server="maps"), Tool("get"), Tool("get"), Tool("get", server="mail")]
    assert unique_names(tools) == ("maps/Get", "get#1", "get#2", "mail/get")


def test_names_that_clash_after_that_get_a_position_as_well():
    tools = [Tool("a", server="s"), Tool("a", server="s"), Tool("s/a#0"), Tool("A")]
    assert unique_names(tools) == ("s/a#0#0", "s/a#1", "s/a#0#2", "A#3")


def test_the_name_of_the_server_is_read_with_that_of_the_tool():
    tool = Tool.from_schema(WEATHER, server="open-meteo")
    assert tool.title == "open meteo get weather. Weather of a city"
    with pytest.raises(InputError, match="server is a string"):
        Tool("a", server=None)


KEYS = (
    "name",
    "description",
    "title",
    "function",
    "parameters",
    "input_schema",
    "properties",
    "type",
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=10,
)
METADATA = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("cost", "latency", "risk", "permissions", "server"), ODD)
)


@settings(max_examples=60)
@given(ODD, METADATA)
def test_any_schema_is_a_tool_or_is_refused_in_words(schema, metadata):
    try:
        tool = Tool.from_schema(schema, **metadata)
    except InputError:
        return
    assert 0 <= tool.fingerprint < 2**64
    assert tool.as_expert().name == tool.name
