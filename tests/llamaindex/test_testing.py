"""The fakes that Tryage gives to users' tests: a scripted LLM and bundled embeddings."""

from __future__ import annotations

import math

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool

from tryage_llamaindex.testing import BundledEmbedding, ScriptedLLM


async def test_a_scripted_llm_answers_with_its_name_by_every_method(method, call):
    llm = ScriptedLLM(model="one")
    last = (await call(llm, method, "question"))[-1]
    assert str(last).endswith("Hello from one today")
    assert llm.calls[0]["messages"][0].content == "question"
    assert llm.closed_streams == int("stream" in method)


def test_its_replies_and_errors_come_in_order():
    llm = ScriptedLLM(model="one", replies=["first"], fails=[None, TimeoutError("slow")])
    assert str(llm.complete("question")) == "first"
    with pytest.raises(TimeoutError, match="slow"):
        llm.complete("question")
    assert str(llm.complete("question")) == "Hello from one today"
    assert len(llm.calls) == 3


def test_its_stream_can_break_after_some_chunks():
    stream = ScriptedLLM(model="one", breaks_after=2).stream_chat([ChatMessage("question")])
    chunks = []
    with pytest.raises(ConnectionError, match="one broke off"):
        chunks.extend(stream)
    assert [chunk.delta for chunk in chunks] == ["", "Hello ", "from "]


def test_with_tools_it_calls_the_first_one_with_example_arguments():
    def double(n: int, unit: str) -> str:
        """Double a number."""
        return f"{2 * n} {unit}"

    llm = ScriptedLLM()
    response = llm.chat_with_tools([FunctionTool.from_defaults(double)], "question")
    (selection,) = llm.get_tool_calls_from_response(response)
    assert (selection.tool_name, selection.tool_kwargs["n"]) == ("double", 3)
    assert isinstance(selection.tool_kwargs["unit"], str)
    with pytest.raises(ValueError, match="at least one tool call"):
        llm.get_tool_calls_from_response(llm.chat([ChatMessage("question")]))


async def test_bundled_embeddings_are_unit_vectors():
    embedding = BundledEmbedding()
    vector = embedding.get_text_embedding("a text about whales")
    assert len(vector) == 256
    assert math.hypot(*vector) == pytest.approx(1)
    assert embedding.get_query_embedding("a text about whales") == vector
    assert await embedding.aget_query_embedding("a text about whales") == vector


def test_the_former_names_of_what_a_scripted_llm_keeps_still_work():
    llm = ScriptedLLM(model="one")
    llm.chat([ChatMessage(content="hi")])
    for _ in llm.stream_chat([ChatMessage(content="hi")]):
        pass
    assert llm.heard is llm.calls
    assert len(llm.heard) == 2
    assert llm.closed == llm.closed_streams == 1
