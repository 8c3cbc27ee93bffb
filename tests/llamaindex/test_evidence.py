"""What answers of LlamaIndex tell about themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from llama_index.core.base.llms.types import LogProb, ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse
from pydantic import BaseModel

from tryage.chat.streams import PeekedStream
from tryage_llamaindex._evidence import evidence_of, log_probability_settings
from tryage_llamaindex.testing import ScriptedLLM

PLACE = {"logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -3.0}]}

RAW = {"choices": [{"finish_reason": "stop", "logprobs": {"content": [PLACE]}}]}


class City(BaseModel):
    name: str


class LogProbabilityLLM(ScriptedLLM):
    """Knows how to ask for log probabilities, as LlamaIndex's LLM of OpenAI does."""

    logprobs: bool | None = None
    top_logprobs: int = 0


@pytest.mark.parametrize("raw", [RAW, SimpleNamespace(**RAW)])
def test_a_response_tells_its_text_log_probabilities_and_why_it_ended(raw):
    for answer in (
        ChatResponse(message=ChatMessage("Rome", role="assistant"), raw=raw),
        CompletionResponse(text="Rome", raw=raw),
    ):
        evidence = evidence_of(answer)
        assert (evidence.text, evidence.finish_reason) == ("Rome", "stop")
        assert evidence.log_probabilities == (-0.1,)
        assert evidence.top_log_probabilities == ((-0.1, -3.0),)


def test_the_log_probabilities_that_only_llamaindex_has_are_read():
    rows = [[LogProb(logprob=-0.1), LogProb(logprob=-3.0)], []]
    answer = ChatResponse(message=ChatMessage("Rome", role="assistant"), logprobs=rows)
    evidence = evidence_of(answer)
    assert evidence.log_probabilities == (-0.1,)
    assert evidence.top_log_probabilities == ((-0.1, -3.0),)


def test_without_log_probabilities_none_are_known():
    answer = ChatResponse(message=ChatMessage("Rome", role="assistant"), raw={"choices": []})
    assert evidence_of(answer).log_probabilities is None


@pytest.mark.parametrize(
    "message",
    [
        ChatMessage(
            role="assistant",
            blocks=[ToolCallBlock(tool_name="weather", tool_kwargs={"city": "Rome"})],
        ),
        ChatMessage(
            role="assistant",
            additional_kwargs={
                "tool_calls": [
                    {"function": {"name": "weather", "arguments": '{"city": "Rome"}'}, "id": "1"}
                ]
            },
        ),
    ],
    ids=["block", "OpenAI's protocol"],
)
def test_tool_calls_are_read(message):
    (call,) = evidence_of(ChatResponse(message=message)).tool_calls
    assert call == {"name": "weather", "args": {"city": "Rome"}}


def test_a_model_of_pydantic_is_parsed():
    assert evidence_of(City(name="Rome")).parsed == City(name="Rome")
    assert evidence_of(PeekedStream([City(name="R"), City(name="Rome")], ())).parsed.name == "Rome"


def test_a_stream_tells_the_text_so_far_and_the_log_probabilities_of_all_chunks():
    chunks = [
        ChatResponse(message=ChatMessage(text, role="assistant"), delta="x", raw=RAW)
        for text in ("Ro", "Rome")
    ]
    evidence = evidence_of(PeekedStream(chunks, ()))
    assert (evidence.text, evidence.log_probabilities) == ("Rome", (-0.1, -0.1))
    assert evidence_of(PeekedStream([], ())).text is None


def test_only_an_llm_that_knows_the_fields_is_asked_for_log_probabilities():
    assert log_probability_settings(LogProbabilityLLM()) == {"logprobs": True, "top_logprobs": 2}
    assert log_probability_settings(LogProbabilityLLM(logprobs=True)) == {}
    assert log_probability_settings(ScriptedLLM()) == {}
