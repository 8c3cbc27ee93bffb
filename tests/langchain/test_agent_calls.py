"""How a model call of an agent is read, adapted to another provider, and traced to its model."""

from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from tryage_langchain._agent_calls import (
    ServedModelCallback,
    current_config,
    model_of_response,
    provider_of,
    strip_cache_markers,
    strip_cache_settings,
    strip_foreign_reasoning,
    strip_tool_cache_markers,
    turn_key,
    with_trace_metadata,
)
from tryage_langchain.testing import ScriptedChatModel

# Other providers' content ------------------------------------------------------------------------


CALL = {"name": "look", "args": {"q": "x"}, "id": "call_1", "type": "tool_call"}
MARKER = {"cache_control": {"type": "ephemeral"}}


def answer_of(provider, content, **kwargs):
    return AIMessage(content, response_metadata={"model_provider": provider}, **kwargs)


# Answers as ChatAnthropic, ChatOpenAI (responses), ChatGoogleGenerativeAI and ChatDeepSeek record
# them.
ANTHROPIC = answer_of(
    "anthropic",
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "Eq"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"q": "x"}},
    ],
    tool_calls=[CALL],
)
OPENAI = answer_of(
    "openai",
    [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "text", "text": "Let me look.", "id": "msg_1"},
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_1"},
    ],
    tool_calls=[CALL],
)
GOOGLE = answer_of(
    "google_genai",
    [{"type": "text", "text": "Let me look.", "extras": {"signature": "CpQ"}}],
    additional_kwargs={"__gemini_function_call_thought_signatures__": {"call_1": "CpQ"}},
    tool_calls=[CALL],
)
DEEPSEEK = answer_of(
    "deepseek", "Let me look.", additional_kwargs={"reasoning_content": "Hm."}, tool_calls=[CALL]
)


@pytest.mark.parametrize("answer", [ANTHROPIC, OPENAI, GOOGLE, DEEPSEEK])
def test_the_answer_of_another_provider_becomes_text_and_tool_calls(answer):
    before = answer.model_dump()
    (plain,) = strip_foreign_reasoning([answer], "mistral")
    assert (plain.content, plain.additional_kwargs) == ("Let me look.", {})
    assert plain.tool_calls == [CALL]
    assert answer.model_dump() == before, "the conversation in the state was changed"


@pytest.mark.parametrize(
    ("answer", "reader"),
    [(ANTHROPIC, "anthropic"), (OPENAI, "openai"), (OPENAI, "azure"), (GOOGLE, "google_vertexai")],
)
def test_a_provider_gets_its_own_reasoning_which_a_tool_loop_needs(answer, reader):
    assert strip_foreign_reasoning([answer], reader) == [answer]


def test_answers_of_an_unknown_provider_stay_as_they_are():
    unnamed = AIMessage([{"type": "reasoning", "reasoning": "Hm."}])
    assert strip_foreign_reasoning([unnamed, ANTHROPIC], None) == [unnamed, ANTHROPIC]
    assert strip_foreign_reasoning([unnamed], "openai") == [unnamed]


def test_only_answers_change_and_an_answer_of_reasoning_alone_is_left_out():
    empty = answer_of("anthropic", [{"type": "thinking", "thinking": "Hm.", "signature": "E"}])
    others = [SystemMessage("s"), HumanMessage("h"), ToolMessage("t", tool_call_id="call_1")]
    assert strip_foreign_reasoning([*others, empty], "openai") == others


def test_images_in_an_answer_stay():
    image = {"type": "image", "base64": "AA==", "mime_type": "image/png"}
    drawn = answer_of("google_genai", [{"type": "text", "text": "Here."}, image])
    (plain,) = strip_foreign_reasoning([drawn], "openai")
    assert plain.content == [{"type": "text", "text": "Here."}, image]


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


def test_a_model_names_its_provider():
    openai = pytest.importorskip("langchain_openai")
    assert provider_of(openai.ChatOpenAI(model="gpt-4o", api_key="x")) == "openai"
    assert provider_of(FakeListChatModel(responses=[])) == "fakelistchatmodel"


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


def test_a_traced_copy_has_tags_and_metadata_and_reports_its_answer():
    model = ScriptedChatModel(model="gpt-4o", tags=["mine"])
    callback = ServedModelCallback()
    record = {"model": "gpt-4o", "reason": "lowest total of 2"}
    traced = callback.attach(with_trace_metadata(model, record))
    assert traced.tags == ["mine", "tryage:gpt-4o"]
    assert traced.metadata["tryage_reason"] == "lowest total of 2"
    assert not callback.has_answered
    traced.invoke("hello")
    assert callback.has_answered
    assert (model.tags, model.callbacks) == (["mine"], None)
