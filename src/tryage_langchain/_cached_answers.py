"""Answers as a cache keeps them: whole messages or parsed objects, copied on both ways."""

from __future__ import annotations

from copy import deepcopy
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, get_origin

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel

from tryage.chat.streams import PeekedStream
from tryage_langchain._messages import message_facts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from tryage_langchain._arguments import BoundArguments


class CacheHooks(NamedTuple):
    """How answers are kept and returned; the default neither keeps nor reads any."""

    to_cache: Callable[[Any], Any] = lambda _: None
    from_cache: Callable[[Any], Any] | None = None


def to_cache(answer: Any) -> Any:
    """Return a copy of an answer; what has several parts is one message, None if that fails."""
    if isinstance(answer, ChatResult):
        return _message_of_result(answer)
    if isinstance(answer, list):
        if not all(isinstance(chunk, AIMessageChunk) for chunk in answer):
            return None
        answer = message_chunk_to_message(reduce(add, answer))
    return deepcopy(answer)


def _message_of_result(result: ChatResult) -> AIMessage | None:
    """Return the one message of a result, with what `invoke` would say of it."""
    generation, *others = result.generations
    if others or not isinstance(generation.message, AIMessage):
        return None
    message = deepcopy(generation.message)
    metadata = {**(generation.generation_info or {}), **message.response_metadata}
    return message.model_copy(update={"response_metadata": metadata})


def from_cache(kept: Any) -> Any:
    """Return a copy of a kept answer: its tokens count as free, and it is a message of its own."""
    answer = deepcopy(kept)
    if isinstance(answer, dict) and isinstance(answer.get("raw"), AIMessage):
        return {**answer, "raw": _free_message(answer["raw"])}
    return _free_message(answer) if isinstance(answer, AIMessage) else answer


def _free_message(message: AIMessage) -> AIMessage:
    """Return a message without an id, whose tokens cost nothing, as LangChain's cache marks it."""
    usage = message.usage_metadata
    free = None if usage is None else {**usage, "total_cost": 0}
    return message.model_copy(update={"id": None, "usage_metadata": free})


def result_from_cache(kept: Any) -> ChatResult:
    """Return a kept answer as the result of `generate`."""
    return ChatResult(generations=[ChatGeneration(message=from_cache(kept))])


def stream_from_cache(kept: Any) -> PeekedStream:
    """Return a kept answer as a stream of one chunk."""
    return PeekedStream([_chunk_of(from_cache(kept))], iter(()))


def astream_from_cache(kept: Any) -> PeekedStream:
    """Return a kept answer as a stream of one chunk, which is awaited."""
    return PeekedStream([_chunk_of(from_cache(kept))], _no_chunks())


def _chunk_of(answer: Any) -> Any:
    if not isinstance(answer, AIMessage):
        return answer
    fields = answer.model_dump(exclude={"type"})
    return AIMessageChunk(**fields, chunk_position="last")


async def _no_chunks() -> AsyncIterator[Any]:
    chunks: tuple[Any, ...] = ()
    for chunk in chunks:
        yield chunk


WHOLE = CacheHooks(to_cache, from_cache)
RESULT = CacheHooks(to_cache, result_from_cache)
STREAM = CacheHooks(to_cache, stream_from_cache)
ASYNC_STREAM = CacheHooks(to_cache, astream_from_cache)


def answer_settings(
    arguments: BoundArguments, kwargs: Mapping[str, Any], messages: Sequence[BaseMessage] = ()
) -> dict[str, object] | None:
    """Return plain values for all that shapes an answer beside the words of messages and tools.

    None if something has none; then no answer to the call is kept.
    """
    schema = None
    if arguments.structured_output and arguments.argument is not None:
        schema = plain_schema(arguments.argument)
        if schema is None:
            return None
    return {
        "method": arguments.method,
        "bound": dict(arguments.kwargs),
        "schema": schema,
        "messages": message_facts(messages),
        "call": {key: value for key, value in kwargs.items() if key != "timeout"},
    }


def plain_schema(schema: object) -> object | None:
    """Return a schema as plain values that tell it from all others, None if it has none."""
    if not isinstance(schema, type) or get_origin(schema) is not None:
        return schema  # before Python 3.11 dict[str, int] is a type, too
    if not issubclass(schema, BaseModel):
        return None
    return [schema.__module__, schema.__qualname__, schema.model_json_schema()]
