"""What answers of LangChain tell about themselves."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel

from tryage.chat.streams import PeekedStream
from tryage_langchain._evidence import evidence_of, log_probability_arguments
from tryage_langchain.testing import ScriptedChatModel

LOGPROBS = {"content": [{"logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -3}]}]}

CALL = {"name": "weather", "args": {"city": "Rome"}, "id": "1", "type": "tool_call"}


class City(BaseModel):
    name: str


def test_a_message_tells_its_text_tool_calls_log_probabilities_and_why_it_ended():
    metadata = {"logprobs": LOGPROBS, "finish_reason": "stop"}
    evidence = evidence_of(AIMessage("Rome", tool_calls=[CALL], response_metadata=metadata))
    assert evidence.text == "Rome"
    assert evidence.tool_calls == ({"name": "weather", "args": {"city": "Rome"}},)
    assert evidence.log_probabilities == (-0.1,)
    assert evidence.top_log_probabilities == ((-0.1, -3.0),)
    assert evidence.finish_reason == "stop"
    assert evidence.parsed is None


def test_an_answer_of_generate_tells_the_same():
    generation = ChatGeneration(
        message=AIMessage("Rome"), generation_info={"logprobs": LOGPROBS, "finish_reason": "length"}
    )
    evidence = evidence_of(ChatResult(generations=[generation]))
    assert (evidence.text, evidence.log_probabilities) == ("Rome", (-0.1,))
    assert evidence.finish_reason == "length"


def test_structured_output_is_parsed_with_and_without_its_raw_message():
    city = City(name="Rome")
    assert evidence_of(city).parsed == city
    raw = AIMessage("", tool_calls=[CALL], response_metadata={"logprobs": LOGPROBS})
    whole = evidence_of({"raw": raw, "parsed": city, "parsing_error": None})
    assert (whole.parsed, whole.log_probabilities, whole.parsing_error) == (city, (-0.1,), None)
    broken = evidence_of({"raw": raw, "parsed": None, "parsing_error": ValueError("a secret")})
    assert (broken.parsed, broken.parsing_error) == (None, "ValueError")


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([], None),
        ([AIMessageChunk("Ro"), AIMessageChunk("me")], "Rome"),
        (["Rome"], "Rome"),
        (
            [
                {"event": "message-start"},
                {"event": "content-block-delta", "delta": {"type": "text-delta", "text": "Ro"}},
                {"event": "content-block-delta", "delta": {"type": "text-delta", "text": "me"}},
            ],
            "Rome",
        ),
    ],
)
def test_a_stream_tells_what_is_read_of_it(chunks, text):
    assert evidence_of(PeekedStream(chunks, iter(()))).text == text


def test_the_log_probabilities_of_chunks_are_joined():
    metadata = {"response_metadata": {"logprobs": LOGPROBS}}
    chunks = [AIMessageChunk("Ro", **metadata), AIMessageChunk("me", **metadata)]
    assert evidence_of(PeekedStream(chunks, iter(()))).log_probabilities == (-0.1, -0.1)


def test_only_a_model_that_knows_the_arguments_is_asked_for_log_probabilities():
    openai = pytest.importorskip("langchain_openai")
    model = openai.ChatOpenAI(model="gpt-4o-mini", api_key="none")
    assert log_probability_arguments(model) == {"logprobs": True, "top_logprobs": 2}
    assert log_probability_arguments(ScriptedChatModel()) == {}
    assert log_probability_arguments(None) == {}
    responses = openai.ChatOpenAI(model="gpt-4o-mini", api_key="none", use_responses_api=True)
    assert log_probability_arguments(responses) == {}
