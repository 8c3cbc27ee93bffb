"""The scripted chat model answers by rule, calls tools, fails on demand and records its calls."""

from __future__ import annotations

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage, ToolMessage

from tryage_langchain.testing import ScriptedChatModel


def look(where: str, times: int) -> str:
    """Look somewhere."""
    return where * times


def search(q: str) -> str:
    """Search."""
    return q


async def test_it_answers_with_its_name_in_every_method(call_chat, chat_method):
    model = ScriptedChatModel(model="gpt-4o")
    answer = await call_chat(chat_method, model, "hello")
    assert answer.text == "Hello from gpt-4o today"
    assert answer.response_metadata["model_name"] == "gpt-4o"
    assert [message.text for message in model.calls[0]["messages"]] == ["hello"]


def test_every_answer_counts_ten_input_and_five_output_tokens():
    usage = UsageMetadataCallbackHandler()
    ScriptedChatModel(model="gpt-4o").batch(["a", "b"], {"callbacks": [usage]})
    counted = usage.usage_metadata["gpt-4o"]
    assert (counted["input_tokens"], counted["output_tokens"]) == (20, 10)


@pytest.mark.parametrize("streamed", [False, True])
def test_it_calls_the_first_tool_or_the_one_that_is_forced(streamed):
    model = ScriptedChatModel()

    def call(bound):
        if not streamed:
            return bound.invoke("hello").tool_calls[0]
        chunks = list(bound.stream("hello"))
        return sum(chunks[1:], chunks[0]).tool_calls[0]

    first = call(model.bind_tools([look, search]))
    assert (first["name"], first["args"]["times"]) == ("look", 3)
    assert call(model.bind_tools([look, search], tool_choice="search"))["name"] == "search"


def test_after_the_result_of_a_tool_it_answers():
    bound = ScriptedChatModel(model="gpt-4o").bind_tools([search])
    called = bound.invoke("hello")
    result = ToolMessage("nothing", tool_call_id=called.tool_calls[0]["id"])
    answer = bound.invoke([HumanMessage("hello"), called, result])
    assert (answer.text, answer.tool_calls) == ("Hello from gpt-4o today", [])


def test_it_fails_as_often_as_it_is_told():
    model = ScriptedChatModel(fails=[TimeoutError("slow"), None, ConnectionError()])
    with pytest.raises(TimeoutError, match="slow"):
        model.invoke("a")
    assert model.invoke("b").text
    with pytest.raises(ConnectionError):
        list(model.stream("c"))
    assert len(model.calls) == 3


def test_a_stream_may_break_off():
    chunks = ScriptedChatModel(breaks_after=2).stream("hello")
    assert [next(chunks).text for _ in range(2)] == ["", "Hello "]
    with pytest.raises(ConnectionError, match="broke off"):
        next(chunks)


def test_it_may_leave_out_its_name():
    answer = ScriptedChatModel(names_itself=False).invoke("hello")
    assert "model_name" not in answer.response_metadata
