"""Answers that a caller may refuse: those without content, and those that a limit has cut off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatResult

if TYPE_CHECKING:
    from tryage.chat.settings import RefusedAnswer

# Where the providers' metadata says why an answer ended.
_REASON_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason", "incomplete_details")

_CUT_OFF_REASONS = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})

_REASONING_KEYS = frozenset({"reasoning_content", "reasoning"})


def answer_problems(answer: Any) -> set[RefusedAnswer]:
    """Return whether an answer is empty, cut off by its limit of tokens, both or neither."""
    metadata: Mapping[str, Any] = {}
    if isinstance(answer, ChatResult):
        generation = answer.generations[0]
        answer, metadata = generation.message, generation.generation_info or {}
    if isinstance(answer, Mapping):  # structured output with its raw message
        answer = answer.get("raw")
    if not isinstance(answer, AIMessage):
        return set()
    problems: set[RefusedAnswer] = set()
    if not _says_something(answer):
        problems.add("empty")
    if _is_cut_off({**metadata, **answer.response_metadata}):
        problems.add("length")
    return problems


def _says_something(message: AIMessage) -> bool:
    """Tell whether a message has more than reasoning and white space."""
    if message.tool_calls or message.invalid_tool_calls:
        return True
    kwargs = message.additional_kwargs  # such as a refusal, or an answer in sound
    if any(value for key, value in kwargs.items() if key not in _REASONING_KEYS):
        return True
    blocks = [block for block in message.content_blocks if block["type"] != "reasoning"]
    return any(block["type"] != "text" or str(block.get("text", "")).strip() for block in blocks)


def _is_cut_off(metadata: Mapping[str, Any]) -> bool:
    for key in _REASON_KEYS:
        reason = metadata.get(key)
        if isinstance(reason, Mapping):  # {"reason": "max_output_tokens"}
            reason = reason.get("reason")
        if str(getattr(reason, "name", reason)).casefold() in _CUT_OFF_REASONS:
            return True
    return False
