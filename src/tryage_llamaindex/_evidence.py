"""What an answer of LlamaIndex tells about itself: a cascade decides by it if it is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatResponse, CompletionResponse

from tryage.chat.log_probabilities import ARGUMENTS, LogProbabilities, read_log_probabilities
from tryage.chat.streams import PeekedStream
from tryage.core.usage import fields_of
from tryage.policies.evidence import AnswerEvidence
from tryage_llamaindex._answers import finish_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llama_index.core.llms import LLM, ChatMessage


def evidence_of(answer: Any) -> AnswerEvidence:
    """Return what an answer tells about itself; of a stream, what is read of it.

    The answer is a response, a model of pydantic, or a stream of either.
    """
    if isinstance(answer, PeekedStream):
        return _evidence_of_chunks(answer.first_chunks)
    return _evidence(answer, [answer])


def _evidence_of_chunks(chunks: Sequence[Any]) -> AnswerEvidence:
    """Return what chunks tell: each has the whole text so far, and the tokens that it adds."""
    return _evidence(chunks[-1], chunks) if chunks else AnswerEvidence()


def _evidence(last: Any, chunks: Sequence[Any]) -> AnswerEvidence:
    if not isinstance(last, (ChatResponse, CompletionResponse)):
        return AnswerEvidence(parsed=last)
    known = _log_probabilities(chunks)
    message = last.message if isinstance(last, ChatResponse) else None
    return AnswerEvidence(
        text=last.text if isinstance(last, CompletionResponse) else last.message.content,
        log_probabilities=None if known is None else known.tokens,
        top_log_probabilities=None if known is None else known.top,
        tool_calls=() if message is None else tuple(_tool_calls(message)),
        finish_reason=finish_reason(last.raw),
    )


def _log_probabilities(chunks: Sequence[Any]) -> LogProbabilities | None:
    """Return those of a provider's own response, else those that LlamaIndex has of it."""
    known = read_log_probabilities(report for chunk in chunks for report in _reports(chunk.raw))
    if known is not None:
        return known
    rows = [row for chunk in chunks for row in chunk.logprobs or () if row]
    places = [{"logprob": row[0].logprob, "top_logprobs": row} for row in rows]
    return read_log_probabilities([{"content": places}])


def _reports(raw: Any) -> Iterator[Any]:
    choices = fields_of(raw).get("choices")
    if choices:
        yield fields_of(choices[0]).get("logprobs")


def _tool_calls(message: ChatMessage) -> Iterator[Mapping[str, Any]]:
    """Yield the tools that a message calls, from its blocks, or as OpenAI's protocol has them."""
    blocks = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    for block in blocks:
        yield {"name": block.tool_name, "args": _arguments(block.tool_kwargs)}
    if not blocks:
        for call in message.additional_kwargs.get("tool_calls") or ():
            function = fields_of(fields_of(call).get("function") or call)
            yield {"name": function.get("name"), "args": _arguments(function.get("arguments"))}


def _arguments(arguments: object) -> object:
    """Return the arguments of a call, decoded if they are JSON."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:  # a model may write anything: the check of the answer sees it
        return arguments


def log_probability_settings(child: LLM) -> dict[str, Any]:
    """Return the fields that let an LLM ask for log probabilities; none if it does not know how."""
    fields = type(child).model_fields
    if "logprobs" not in fields or getattr(child, "logprobs", None):
        return {}
    return {name: value for name, value in ARGUMENTS.items() if name in fields}
