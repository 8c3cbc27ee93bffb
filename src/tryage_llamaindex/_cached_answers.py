"""Answers as a cache keeps them: whole responses or parsed models, copied on both ways."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse
from pydantic import BaseModel

from tryage.chat.streams import PeekedStream
from tryage_llamaindex._answers import answer_problems

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping


def to_cache(answer: Any) -> Any:
    """Return a copy of an answer; of the chunks of a stream the last one, which has the whole text.

    None if it is not the whole answer.
    """
    if isinstance(answer, list):
        if any("length" in answer_problems(chunk) for chunk in answer):
            return None
        answer = answer[-1]
        if not isinstance(answer, (ChatResponse, CompletionResponse)):
            return None
    return deepcopy(answer)


def from_cache(kept: Any) -> Any:
    """Return a copy of a kept answer."""
    return deepcopy(kept)


def stream_from_cache(kept: Any) -> PeekedStream:
    """Return a kept answer as a stream of one chunk."""
    return PeekedStream([_chunk_of(kept)], iter(()))


def astream_from_cache(kept: Any) -> PeekedStream:
    """Return a kept answer as a stream of one chunk, which is awaited."""
    return PeekedStream([_chunk_of(kept)], _no_chunks())


def _chunk_of(kept: Any) -> Any:
    answer = deepcopy(kept)
    if isinstance(answer, ChatResponse):
        return answer.model_copy(update={"delta": answer.message.content or ""})
    if isinstance(answer, CompletionResponse):
        return answer.model_copy(update={"delta": answer.text})
    return answer


async def _no_chunks() -> AsyncIterator[Any]:
    chunks: tuple[Any, ...] = ()
    for chunk in chunks:
        yield chunk


def answer_settings(
    method: str,
    kwargs: Mapping[str, Any],
    output_cls: type | None = None,
    *,
    messages: Iterable[ChatMessage] = (),
) -> dict[str, object] | None:
    """Return plain values for all that shapes an answer beside the words of messages and tools.

    None if something has none; then no answer to the call is kept. Streams and async methods share
    their answers with the others.
    """
    schema: object = None
    if output_cls is not None:
        if not issubclass(output_cls, BaseModel):
            return None
        schema = [output_cls.__module__, output_cls.__qualname__, output_cls.model_json_schema()]
    name = method.replace("stream_", "").removeprefix("a")
    facts = [_facts(message) for message in messages]
    return {"method": name, "schema": schema, "call": dict(kwargs), "messages": facts}


def _facts(message: ChatMessage) -> list[str]:
    """Return what a model gets of a message beside its content, such as the name of a user."""
    known = message.additional_kwargs
    return [message.role.value, *(f"{key}={known[key]!r}" for key in sorted(known))]
