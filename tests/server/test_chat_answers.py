"""Messages of LangChain's providers as OpenAI's completions."""

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from tryage_server.chat_answers import CompletionStream, finish_reason, to_completion, usage_of


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"finish_reason": "stop"}, "stop"),  # OpenAI
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "content_filter"}, "content_filter"),
        ({"stop_reason": "end_turn"}, "stop"),  # Anthropic
        ({"stop_reason": "max_tokens"}, "length"),
        ({"stop_reason": "refusal"}, "content_filter"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),  # Gemini
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"done_reason": "length"}, "length"),  # Ollama
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({}, "stop"),
    ],
)
def test_the_end_of_an_answer_has_openais_word(metadata, reason):
    assert finish_reason(AIMessage("text", response_metadata=metadata)) == reason


def test_blocks_of_text_are_joined_and_reasoning_is_left_out():
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "The answer "},
        {"type": "text", "text": "is 4."},
    ]
    message = to_completion(AIMessage(blocks))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "The answer is 4.", "refusal": None}


def test_cached_and_reasoning_tokens_are_told():
    usage = {
        "input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
        "input_token_details": {"cache_read": 4}, "output_token_details": {"reasoning": 3},
    }  # fmt: skip
    found = usage_of(AIMessage("text", usage_metadata=usage))
    assert found["prompt_tokens_details"] == {"cached_tokens": 4}
    assert found["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert usage_of(AIMessage("text")) is None


def test_an_answer_with_a_schema_is_its_object_as_json():
    raw = AIMessage("", tool_calls=[{"name": "place", "args": {"city": "Ōsaka"}, "id": "1"}])
    answer = to_completion({"raw": raw, "parsed": {"city": "Ōsaka"}, "parsing_error": None})
    assert answer["choices"][0]["message"]["content"] == '{"city": "Ōsaka"}'


def test_an_empty_stream_still_ends():
    (last,) = CompletionStream().last_chunks()
    assert last["choices"][0]["finish_reason"] == "stop"


def test_the_id_of_a_tool_call_is_sent_once():
    stream = CompletionStream()
    parts = [
        AIMessageChunk(
            content="",
            tool_call_chunks=[
                {"name": name, "args": args, "id": call_id, "index": 0, "type": "tool_call_chunk"}
            ],
        )
        for name, args, call_id in [("place", "", "c1"), (None, '{"a"', None), (None, ": 1}", None)]
    ]
    calls = [stream.chunk(part)["choices"][0]["delta"]["tool_calls"][0] for part in parts]
    assert calls[0] == {
        "index": 0, "id": "c1", "type": "function", "function": {"name": "place", "arguments": ""}
    }  # fmt: skip
    assert "".join(call["function"]["arguments"] for call in calls) == '{"a": 1}'
    assert all("id" not in call for call in calls[1:])
    assert stream.last_chunks()[0]["choices"][0]["finish_reason"] == "tool_calls"
