"""What an answer of LangChain tells about itself: a cascade decides by it if it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, BaseMessageChunk
from langchain_core.outputs import ChatResult

from tryage.chat.log_probabilities import ARGUMENTS, read_log_probabilities
from tryage.chat.streams import PeekedStream
from tryage.policies.evidence import AnswerEvidence
from tryage_langchain._answers import finish_reason, is_raw_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel


def evidence_of(answer: Any) -> AnswerEvidence:
    """Return what an answer tells about itself; of a stream, what is read of it.

    The answer is a message, a `ChatResult`, structured output with or without its raw message, or
    a stream of message chunks, of parts of structured output, or of events.
    """
    if isinstance(answer, PeekedStream):
        return _evidence_of_chunks(answer.first_chunks)
    if isinstance(answer, ChatResult):
        generation = answer.generations[0]
        return _evidence_of_message(generation.message, generation.generation_info or {})
    if is_raw_answer(answer):
        error = answer["parsing_error"]
        raw = evidence_of(answer["raw"])
        return AnswerEvidence(
            text=raw.text,
            log_probabilities=raw.log_probabilities,
            top_log_probabilities=raw.top_log_probabilities,
            tool_calls=raw.tool_calls,
            parsed=answer["parsed"],
            parsing_error=None if error is None else type(error).__name__,
            finish_reason=raw.finish_reason,
        )
    if isinstance(answer, BaseMessage):
        return _evidence_of_message(answer, {})
    return AnswerEvidence(text=answer) if isinstance(answer, str) else AnswerEvidence(parsed=answer)


def _evidence_of_message(message: BaseMessage, metadata: Mapping[str, Any]) -> AnswerEvidence:
    metadata = {**metadata, **message.response_metadata}
    known = read_log_probabilities([metadata.get("logprobs")])
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return AnswerEvidence(
        text=str(message.text),
        log_probabilities=None if known is None else known.tokens,
        top_log_probabilities=None if known is None else known.top,
        tool_calls=tuple({"name": call["name"], "args": call["args"]} for call in calls),
        finish_reason=finish_reason(metadata),
    )


def _evidence_of_chunks(chunks: Sequence[Any]) -> AnswerEvidence:
    messages = [chunk for chunk in chunks if isinstance(chunk, BaseMessageChunk)]
    if messages:
        return evidence_of(reduce(add, messages))
    if not chunks:
        return AnswerEvidence()
    if all(isinstance(chunk, Mapping) and "event" in chunk for chunk in chunks):
        return AnswerEvidence(text="".join(map(_text_of_event, chunks)))
    return evidence_of(chunks[-1])  # parts of structured output grow: the last one is the whole


def _text_of_event(event: Mapping[str, Any]) -> str:
    """Return what an event of protocol v3 adds to the text."""
    delta = event.get("delta")
    return str(delta.get("text", "")) if isinstance(delta, Mapping) else ""


def log_probability_arguments(model: BaseChatModel | None) -> dict[str, Any]:
    """Return what asks a chat model for log probabilities; nothing if it does not know how."""
    fields = () if model is None else type(model).model_fields
    if "logprobs" not in fields or getattr(model, "use_responses_api", None):
        return {}
    return {name: value for name, value in ARGUMENTS.items() if name in fields}
