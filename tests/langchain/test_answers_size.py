"""An answer without end, or with a million calls, asks the next model or breaks off."""

# ruff: noqa: ARG002 - fakes have the signatures that LangChain calls.

from __future__ import annotations

import json

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from tryage import Router
from tryage.errors import InvalidAnswerError
from tryage.testing import FunctionPerception
from tryage_langchain import ChatTryage
from tryage_langchain._answers import answer_size
from tryage_langchain.testing import ScriptedChatModel

LIMIT = 1_000


@pytest.fixture(autouse=True)
def small_answers(monkeypatch):
    monkeypatch.setattr("tryage.chat.streams.MAX_ANSWER_SIZE", LIMIT)


class HostileModel(BaseChatModel):
    """Answers with messages; its streams are these again and again, without end."""

    message: AIMessage
    chunk: AIMessageChunk
    sent: list[int] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "hostile"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=self.message)])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        while True:
            self.sent.append(1)
            yield ChatGenerationChunk(message=self.chunk.model_copy())


def long_text(content):
    return HostileModel(
        message=AIMessage(content if isinstance(content, list) else content * LIMIT),
        chunk=AIMessageChunk(content=content),
    )


def many_calls():
    call = {"name": "f", "args": {"a": "x"}, "id": "1", "type": "tool_call"}
    part = tool_call_chunk(name="f", args=json.dumps({"a": "x" * 50}), id="1", index=0)
    return HostileModel(
        message=AIMessage("", tool_calls=[call] * LIMIT),
        chunk=AIMessageChunk(content="", tool_call_chunks=[part]),
    )


def blank():
    return HostileModel(message=AIMessage("x" * LIMIT * 2), chunk=AIMessageChunk(content=""))


MODELS = {
    "text": lambda: long_text("xx"),
    "blocks": lambda: long_text([{"type": "text", "text": "x" * LIMIT}] * 2),
    "calls": many_calls,
    "nothing": blank,
}


def make_chat(model):
    router = Router(FunctionPerception(["hostile", "healthy"], lambda _: [0.0, 1.0]))
    models = {"hostile": model, "healthy": ScriptedChatModel(model="healthy")}
    return ChatTryage.from_models(models, router=router)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("method", ["invoke", "ainvoke", "generate", "batch"])
async def test_a_whole_answer_that_is_too_long_asks_the_next_model(call_chat, kind, method):
    answer = await call_chat(method, make_chat(MODELS[kind]()), "question")
    assert answer.response_metadata["tryage"]["model"] == "healthy"
    assert "more than 1,000 characters" in answer.response_metadata["tryage"]["failed"]["hostile"]


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_a_stream_of_nothing_without_end_asks_the_next_model(call_chat, method):
    model = blank()
    answer = await call_chat(method, make_chat(model), "question")
    assert answer.response_metadata["tryage"]["model"] == "healthy"
    assert len(model.sent) < 2 * LIMIT / 64


@pytest.mark.parametrize("kind", ["text", "calls"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_stream_without_end_breaks_off_and_is_closed(kind, is_async):
    model, chunks = MODELS[kind](), []
    chat = make_chat(model)

    async def read():
        if is_async:
            async for chunk in chat.astream("question"):
                chunks.append(chunk)  # noqa: PERF401 - a list of all is never made
        else:
            chunks.extend(chat.stream("question"))

    with pytest.raises(InvalidAnswerError, match="more than 1,000 characters"):
        await read()
    assert 0 < sum(map(answer_size, chunks)) <= LIMIT
    assert len(model.sent) <= LIMIT / 64 + 2


def test_a_long_stream_below_the_limit_comes_whole(monkeypatch):
    monkeypatch.setattr("tryage.chat.streams.MAX_ANSWER_SIZE", 10 * LIMIT)
    chat = make_chat(ScriptedChatModel(model="m" * 400))
    assert "m" * 400 in "".join(chunk.text for chunk in chat.stream("question"))


def test_the_size_counts_texts_blocks_and_the_arguments_of_calls():
    assert answer_size(AIMessage("xyz")) == 3
    assert answer_size(AIMessage([{"type": "text", "text": "xyz"}])) >= 3
    assert answer_size(many_calls().message) >= LIMIT
    assert answer_size({"raw": AIMessage("xyz"), "parsed": None, "parsing_error": None}) == 3
    assert answer_size({"name": "a partial object"}) == 0
