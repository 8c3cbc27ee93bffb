"""An answer without end asks the next LLM, or breaks off."""

# ruff: noqa: ARG002 - fakes have the signatures that LlamaIndex calls.

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse
from pydantic import Field

from tryage import Router
from tryage.errors import InvalidAnswerError
from tryage.testing import FunctionPerception
from tryage_llamaindex import TryageLLM
from tryage_llamaindex._answers import answer_size, chunk_size
from tryage_llamaindex.testing import ScriptedLLM

LIMIT = 1_000


@pytest.fixture(autouse=True)
def small_answers(monkeypatch):
    monkeypatch.setattr("tryage.chat.streams.MAX_ANSWER_SIZE", LIMIT)


class EndlessLLM(ScriptedLLM):
    """Streams the same word without end."""

    word: str = "word " * 20
    sent: list[int] = Field(default_factory=list)

    def stream_chat(self, messages, **kwargs):
        def chunks():
            text = ""
            while True:
                self.sent.append(1)
                text += self.word
                yield ChatResponse(message=ChatMessage(text), delta=self.word)

        return chunks()

    async def astream_chat(self, messages, **kwargs):
        async def chunks():
            for chunk in self.stream_chat(messages):
                yield chunk

        return chunks()


def make_llm(hostile):
    router = Router(FunctionPerception(["hostile", "healthy"], lambda _: [0.0, 1.0]))
    llms = {"hostile": hostile, "healthy": ScriptedLLM(model="healthy")}
    return TryageLLM.from_llms(llms, router=router)


@pytest.mark.parametrize("method", ["chat", "achat", "complete", "acomplete"])
async def test_a_whole_answer_that_is_too_long_asks_the_next_llm(call, method):
    hostile = ScriptedLLM(model="hostile", replies=["x" * (LIMIT + 1)])
    (answer,) = await call(make_llm(hostile), method, "question")
    assert "more than 1,000" in answer.additional_kwargs["tryage"]["failed"]["hostile"]
    assert answer.additional_kwargs["tryage"]["model"] == "healthy"


@pytest.mark.parametrize("method", ["stream_chat", "astream_chat"])
async def test_a_stream_of_nothing_without_end_asks_the_next_llm(call, method):
    hostile = EndlessLLM(model="hostile", word="")
    *_, last = await call(make_llm(hostile), method, "question")
    assert last.additional_kwargs["tryage"]["model"] == "healthy"
    assert len(hostile.sent) < 2 * LIMIT / 64


@pytest.mark.parametrize("method", ["stream_chat", "astream_chat"])
async def test_a_stream_without_end_breaks_off(call, method):
    hostile = EndlessLLM(model="hostile")
    with pytest.raises(InvalidAnswerError, match="more than 1,000 characters"):
        await call(make_llm(hostile), method, "question")
    assert len(hostile.sent) == LIMIT // 128 + 1


def test_the_size_is_that_of_the_text():
    assert answer_size(ChatResponse(message=ChatMessage("xyz"))) == 3
    assert answer_size(CompletionResponse(text="xyz")) == 3
    assert answer_size(object()) == chunk_size(object()) == 0
    assert chunk_size(ChatResponse(message=ChatMessage("all of it"), delta="it")) == 2
