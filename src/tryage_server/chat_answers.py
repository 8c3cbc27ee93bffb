"""Answers of ChatTryage as OpenAI's chat completions, whole or as the chunks of a stream."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.utils import convert_to_openai_messages

from tryage.core.decision import new_id
from tryage.policies.evidence import CUT_OFF_REASONS
from tryage_langchain._answers import finish_reason as provider_reason
from tryage_server.chat_requests import COMPLETION_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD_KEY = "tryage"

# What providers call the end of an answer, in OpenAI's words; all others are "stop".
_FINISH_REASONS = {
    **dict.fromkeys(CUT_OFF_REASONS, "length"),
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
}


def to_completion(answer: AIMessage | Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole answer as a chat completion, with the record of the choice as `tryage`.

    An answer with a schema has its object as JSON.
    """
    message, text = _read_answer(answer)
    record = message.response_metadata.get(RECORD_KEY, {})
    choice = {
        "index": 0,
        "message": _message(message, text),
        "logprobs": message.response_metadata.get("logprobs"),
        "finish_reason": finish_reason(message),
    }
    return {
        "id": f"{COMPLETION_PREFIX}{record.get('id', new_id())}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": record.get("model", "tryage"),
        "choices": [choice],
        "usage": usage_of(message),
        RECORD_KEY: record,
    }


def _read_answer(answer: AIMessage | Mapping[str, Any]) -> tuple[AIMessage, str | None]:
    """Return the message of an answer, and its object as JSON if it has a schema."""
    if isinstance(answer, AIMessage):
        return answer, None
    parsed = answer["parsed"]
    return answer["raw"], None if parsed is None else json.dumps(parsed, ensure_ascii=False)


def _message(message: AIMessage, text: str | None) -> dict[str, Any]:
    if text is not None:
        return {"role": "assistant", "content": text, "refusal": None}
    calls = convert_to_openai_messages(message).get("tool_calls")
    refusal = message.additional_kwargs.get("refusal")
    found = {"role": "assistant", "content": str(message.text) or None, "refusal": refusal}
    return {**found, "tool_calls": calls} if calls else found


def finish_reason(message: AIMessage) -> str:
    """Return why an answer ended: "stop", "length", "tool_calls" or "content_filter"."""
    if message.tool_calls:
        return "tool_calls"
    return _FINISH_REASONS.get(provider_reason(message.response_metadata) or "", "stop")


def usage_of(message: AIMessage) -> dict[str, Any] | None:
    """Return the tokens of an answer, None if the provider reports none."""
    usage = message.usage_metadata
    if usage is None:
        return None
    found: dict[str, Any] = {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
    }
    cached = usage.get("input_token_details", {}).get("cache_read")
    reasoning = usage.get("output_token_details", {}).get("reasoning")
    if cached is not None:
        found["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return found


@dataclass
class CompletionStream:
    """Turns the chunks of one answer into those of OpenAI's protocol.

    With `include_usage`, a last chunk has the tokens.
    """

    include_usage: bool = False
    id: str = field(default_factory=lambda: f"{COMPLETION_PREFIX}{new_id()}")
    created: int = field(default_factory=lambda: int(time.time()))
    model: str = "tryage"
    _whole: AIMessageChunk | None = None
    _is_first: bool = True

    def chunk(self, part: AIMessageChunk) -> dict[str, Any] | None:
        """Return the next chunk, None if it has nothing for the caller."""
        self._whole = part if self._whole is None else self._whole + part
        record = part.response_metadata.get(RECORD_KEY, {})
        if "id" in record:
            self.id, self.model = f"{COMPLETION_PREFIX}{record['id']}", record["model"]
        delta: dict[str, Any] = {"role": "assistant"} if self._is_first else {}
        if text := str(part.text):
            delta["content"] = text
        if part.tool_call_chunks:
            delta["tool_calls"] = [_tool_call_delta(one) for one in part.tool_call_chunks]
        if not delta:
            return None
        self._is_first = False
        return self._chunk([{"index": 0, "delta": delta, "finish_reason": None}])

    def last_chunks(self) -> list[dict[str, Any]]:
        """Return the chunks after the answer: why it ended, with the record, and its tokens."""
        whole = AIMessageChunk(content="") if self._whole is None else self._whole
        ending = {"index": 0, "delta": {}, "finish_reason": finish_reason(whole)}
        record = whole.response_metadata.get(RECORD_KEY, {})
        chunks = [{**self._chunk([ending]), RECORD_KEY: record}]
        if self.include_usage:
            chunks.append({**self._chunk([]), "usage": usage_of(whole)})
        return chunks

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
        return {**chunk, "usage": None} if self.include_usage else chunk


def _tool_call_delta(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a tool call; OpenAI sends the id and the name only once."""
    delta: dict[str, Any] = {"index": call.get("index") or 0}
    if call.get("id"):
        delta |= {"id": call["id"], "type": "function"}
    function = {"name": call["name"]} if call.get("name") else {}
    return {**delta, "function": {**function, "arguments": call.get("args") or ""}}


def structured_chunk(answer: Mapping[str, Any]) -> AIMessageChunk:
    """Return a whole answer with a schema as the only chunk of a stream."""
    message, text = _read_answer(answer)
    content = str(message.text) if text is None else text
    return AIMessageChunk(
        content=content,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
    )
