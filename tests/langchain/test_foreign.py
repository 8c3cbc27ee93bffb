"""What must not travel from one provider to another, in the shapes that integrations record."""

from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from tryage_langchain._agent_calls import (
    provider_of,
    strip_cache_markers,
    strip_cache_settings,
    strip_foreign_reasoning,
    strip_tool_cache_markers,
)

CALL = {"name": "look", "args": {"q": "x"}, "id": "call_1", "type": "tool_call"}
MARK = {"cache_control": {"type": "ephemeral"}}


def answer(provider, content, **kwargs):
    return AIMessage(content, response_metadata={"model_provider": provider}, **kwargs)


# As ChatAnthropic, ChatOpenAI (responses), ChatGoogleGenerativeAI and ChatDeepSeek record them.
ANTHROPIC = answer(
    "anthropic",
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "Eq"},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_1", "name": "look", "input": {"q": "x"}},
    ],
    tool_calls=[CALL],
)
OPENAI = answer(
    "openai",
    [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "text", "text": "Let me look.", "id": "msg_1"},
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_1"},
    ],
    tool_calls=[CALL],
)
GOOGLE = answer(
    "google_genai",
    [{"type": "text", "text": "Let me look.", "extras": {"signature": "CpQ"}}],
    additional_kwargs={"__gemini_function_call_thought_signatures__": {"call_1": "CpQ"}},
    tool_calls=[CALL],
)
DEEPSEEK = answer(
    "deepseek", "Let me look.", additional_kwargs={"reasoning_content": "Hm."}, tool_calls=[CALL]
)


@pytest.mark.parametrize("wrote", [ANTHROPIC, OPENAI, GOOGLE, DEEPSEEK])
def test_another_providers_answer_becomes_text_and_tool_calls(wrote):
    before = wrote.model_dump()
    (plain,) = strip_foreign_reasoning([wrote], "mistral")
    assert (plain.content, plain.additional_kwargs) == ("Let me look.", {})
    assert plain.tool_calls == [CALL]
    assert wrote.model_dump() == before, "the conversation in the state was changed"


@pytest.mark.parametrize(
    ("wrote", "reader"),
    [(ANTHROPIC, "anthropic"), (OPENAI, "openai"), (OPENAI, "azure"), (GOOGLE, "google_vertexai")],
)
def test_a_provider_keeps_its_own_reasoning_which_a_tool_loop_needs(wrote, reader):
    assert strip_foreign_reasoning([wrote], reader) == [wrote]


def test_unknown_providers_are_left_alone():
    unsaid = AIMessage([{"type": "reasoning", "reasoning": "Hm."}])
    assert strip_foreign_reasoning([unsaid, ANTHROPIC], None) == [unsaid, ANTHROPIC]
    assert strip_foreign_reasoning([unsaid], "openai") == [unsaid]


def test_only_answers_are_touched_and_an_answer_of_reasoning_alone_is_left_out():
    empty = answer("anthropic", [{"type": "thinking", "thinking": "Hm.", "signature": "E"}])
    others = [SystemMessage("s"), HumanMessage("h"), ToolMessage("t", tool_call_id="call_1")]
    assert strip_foreign_reasoning([*others, empty], "openai") == others


def test_pictures_in_an_answer_stay():
    image = {"type": "image", "base64": "AA==", "mime_type": "image/png"}
    drawn = answer("google_genai", [{"type": "text", "text": "Here."}, image])
    (plain,) = strip_foreign_reasoning([drawn], "openai")
    assert plain.content == [{"type": "text", "text": "Here."}, image]


@pytest.mark.parametrize("kind", [SystemMessage, HumanMessage, AIMessage])
def test_cache_markers_are_taken_out_of_blocks(kind):
    message = kind(
        [
            {"type": "text", "text": "a", **MARK},
            {"type": "text", "text": "b", "extras": MARK},
            {"type": "text", "text": "c", "extras": {**MARK, "x": 1}},
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


def test_without_a_marker_the_message_is_the_same_object():
    for message in (HumanMessage("x"), HumanMessage([{"type": "text", "text": "x"}])):
        assert strip_cache_markers(message) is message


def test_cache_markers_are_taken_out_of_tools_and_settings():
    @tool(extras={**MARK, "strict": True})
    def look(q: str) -> str:
        """Look."""
        return q

    assert strip_tool_cache_markers(look).extras == {"strict": True}
    assert look.extras == {**MARK, "strict": True}
    assert strip_tool_cache_markers({"name": "search", **MARK}) == {"name": "search"}
    settings = {**MARK, "prompt_cache_key": "k", "temperature": 0}
    assert strip_cache_settings(settings) == {"temperature": 0}


def test_a_model_says_who_serves_it():
    openai = pytest.importorskip("langchain_openai")
    assert provider_of(openai.ChatOpenAI(model="gpt-4o", api_key="x")) == "openai"
    assert provider_of(FakeListChatModel(responses=[])) == "fakelistchatmodel"
