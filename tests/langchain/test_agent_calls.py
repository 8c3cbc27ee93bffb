"""How a model call of an agent is read, adapted to another provider, and traced to its model."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool

from tryage_langchain._agent_calls import (
    AgentUsageMeter,
    _warn_of_hidden_config,
    current_config,
    model_of_response,
    strip_cache_markers,
    strip_cache_settings,
    strip_tool_cache_markers,
    traced_model,
    turn_key,
)
from tryage_langchain.testing import ScriptedChatModel

# Other providers' content ------------------------------------------------------------------------


MARKER = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize("kind", [SystemMessage, HumanMessage, AIMessage])
def test_cache_markers_are_removed_from_blocks(kind):
    message = kind(
        [
            {"type": "text", "text": "a", **MARKER},
            {"type": "text", "text": "b", "extras": MARKER},
            {"type": "text", "text": "c", "extras": {**MARKER, "x": 1}},
            {"cachePoint": {"type": "default"}},
            "d",
        ]
    )
    assert strip_cache_markers(message).content == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
        {"type": "text", "text": "c", "extras": {"x": 1}},
        "d",
    ]
    assert message.content[0]["cache_control"], "the caller's message was changed"


def test_a_message_without_a_marker_is_the_same_object():
    for message in (HumanMessage("x"), HumanMessage([{"type": "text", "text": "x"}])):
        assert strip_cache_markers(message) is message


def test_cache_markers_are_removed_from_tools_and_settings():
    @tool(extras={**MARKER, "strict": True})
    def look(q: str) -> str:
        """Look."""
        return q

    assert strip_tool_cache_markers(look).extras == {"strict": True}
    assert look.extras == {**MARKER, "strict": True}
    assert strip_tool_cache_markers({"name": "search", **MARKER}) == {"name": "search"}
    settings = {**MARKER, "prompt_cache_key": "k", "temperature": 0}
    assert strip_cache_settings(settings) == {"temperature": 0}


# Reading a call ----------------------------------------------------------------------------------


def test_the_key_of_a_turn_is_the_id_of_the_last_message_from_a_person():
    summary = HumanMessage("so far", id="9", additional_kwargs={"lc_source": "summarization"})
    talk = [HumanMessage("one", id="1"), AIMessage("yes"), HumanMessage("two", id="2"), summary]
    assert turn_key(talk, {}) == "2"
    assert turn_key([summary], {"turn": "2"}) == "2"
    assert turn_key([summary], {}) == ""


def test_a_message_without_an_id_has_a_key_that_depends_on_its_text():
    assert turn_key([HumanMessage("a")], {}) == turn_key([HumanMessage("a")], {})
    assert turn_key([HumanMessage("a")], {}) != turn_key([HumanMessage("b")], {})


def test_outside_of_a_run_the_config_is_empty():
    assert current_config() == {}


# Tracing -----------------------------------------------------------------------------------------


def test_a_reply_is_traced_to_the_model_that_it_names():
    models = {"mine": ScriptedChatModel(model="gpt-4o"), "other": "openai:gpt-4o-mini"}

    def reply(**metadata):
        return [AIMessage("hi", response_metadata=metadata)]

    assert model_of_response(reply(model_name="gpt-4o"), models) == "mine"
    assert model_of_response(reply(model="gpt-4o-mini"), models) == "other"
    assert model_of_response(reply(model_name="claude"), models) == "claude"
    assert model_of_response(reply(), models) is None
    assert model_of_response([], models) is None


def test_a_traced_model_has_tags_and_metadata_and_reports_its_answer():
    model = ScriptedChatModel(model="gpt-4o", tags=["mine"])
    callback = AgentUsageMeter().start("gpt-4o")
    record = {"model": "gpt-4o", "reason": "lowest total of 2"}
    traced = traced_model(model, record, callback)
    assert traced.tags == ["mine", "tryage:gpt-4o"]
    assert traced.metadata["tryage_reason"] == "lowest total of 2"
    assert not callback.has_answered
    traced.invoke("hello")
    assert callback.has_answered
    assert (model.tags, model.callbacks) == (["mine"], None)


async def test_settings_of_a_run_that_python_3_10_hides_are_warned_of_once(monkeypatch, caplog):
    monkeypatch.setattr("tryage_langchain._agent_calls.HIDES_CONFIG", True)
    _warn_of_hidden_config.cache_clear()
    assert [current_config(), current_config()] == [{}, {}]
    (record,) = caplog.records
    assert "tryage_preferences, do not count" in record.getMessage()


async def test_where_the_config_is_not_hidden_nothing_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr("tryage_langchain._agent_calls.HIDES_CONFIG", False)
    _warn_of_hidden_config.cache_clear()
    assert current_config() == {}
    assert not caplog.records


def test_hooks_that_are_not_async_see_the_config_and_nothing_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr("tryage_langchain._agent_calls.HIDES_CONFIG", True)
    _warn_of_hidden_config.cache_clear()
    assert current_config() == {}
    assert not caplog.records
