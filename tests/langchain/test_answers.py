"""What the providers' messages say of an answer: empty, cut off, both or neither."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from tryage_langchain._answers import answer_problems

CALL = {"name": "look", "args": {}, "id": "1"}
BROKEN_CALL = {"name": "look", "args": "{", "id": "1", "error": "not JSON"}


@pytest.mark.parametrize(
    "message",
    [
        AIMessage(""),
        AIMessage("  \n"),
        AIMessage([]),
        AIMessage([{"type": "text", "text": " "}]),
        AIMessage([{"type": "reasoning", "reasoning": "let me think"}]),
        AIMessage(
            [{"type": "thinking", "thinking": "let me think", "signature": "x"}],
            response_metadata={"model_provider": "anthropic"},
        ),
        AIMessage("", additional_kwargs={"refusal": None, "reasoning_content": "let me think"}),
    ],
)
def test_an_answer_without_content_is_empty(message):
    assert answer_problems(message) == {"empty"}


@pytest.mark.parametrize(
    "message",
    [
        AIMessage("hello"),
        AIMessage("", tool_calls=[CALL]),
        AIMessage("", invalid_tool_calls=[BROKEN_CALL]),
        AIMessage("", additional_kwargs={"refusal": "I cannot help with this."}),
        AIMessage([{"type": "image", "url": "https://one.example/a.png"}]),
    ],
)
def test_an_answer_with_content_is_not_empty(message):
    assert answer_problems(message) == set()


@pytest.mark.parametrize(
    "metadata",
    [
        {"finish_reason": "length"},  # OpenAI, Mistral, Groq
        {"stop_reason": "max_tokens"},  # Anthropic
        {"stopReason": "max_tokens"},  # Bedrock
        {"finish_reason": "MAX_TOKENS"},  # Gemini
        {"done_reason": "length"},  # Ollama
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},  # OpenAI
    ],
)
def test_an_answer_that_a_limit_has_ended_is_cut_off(metadata):
    assert answer_problems(AIMessage("half an", response_metadata=metadata)) == {"length"}
    assert answer_problems(AIMessage("", response_metadata=metadata)) == {"empty", "length"}


@pytest.mark.parametrize("reason", ["stop", "end_turn", "tool_calls", "content_filter", None])
def test_an_answer_that_ends_by_itself_is_whole(reason):
    metadata = {"finish_reason": reason, "incomplete_details": None}
    assert answer_problems(AIMessage("hello", response_metadata=metadata)) == set()


def test_the_message_is_found_in_what_generate_and_structured_output_return():
    generation = ChatGeneration(message=AIMessage(""), generation_info={"finish_reason": "length"})
    assert answer_problems(ChatResult(generations=[generation])) == {"empty", "length"}
    assert answer_problems({"raw": AIMessage(""), "parsed": None}) == {"empty"}


@pytest.mark.parametrize("answer", [None, 7, {"parsed": 1}, HumanMessage(""), "text"])
def test_what_is_no_message_has_no_problem(answer):
    assert answer_problems(answer) == set()
