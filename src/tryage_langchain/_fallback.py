"""Ask the planned models one after another until one answers: at once or as a stream."""

from __future__ import annotations

import sys
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks.manager import adispatch_custom_event, dispatch_custom_event
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.runnables.config import run_in_executor

from tryage.chat.fallback import (
    FallbackHooks,
    apeek_stream,
    aresume_stream,
    arun_steps,
    fallback_steps,
    peek_stream,
    resume_stream,
    run_steps,
)
from tryage_langchain._call import child_config, forwarded_messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.router import RoutingPlan
    from tryage.core.decision import Decision
    from tryage_langchain._call import BoundCall, ChatSession
    from tryage_langchain._clients import ChatClient

RECORD_KEY = "tryage"

ROUTE_EVENT = "tryage_route"


def invoke_with_fallback(
    session: ChatSession, call: BoundCall, plan: RoutingPlan, config: RunnableConfig
) -> Any:
    """Return the answer of the first model that does not fail."""
    messages = forwarded_messages(call, plan)

    def ask(child: ChatClient, record: dict[str, Any]) -> Any:
        return child.invoke(messages, child_config(config, record), **call.kwargs)

    return annotate(
        *run_steps(fallback_steps(session, plan, build_hooks(session, call, config, ask)))
    )


async def ainvoke_with_fallback(
    session: ChatSession, call: BoundCall, plan: RoutingPlan, config: RunnableConfig
) -> Any:
    """Do what `answer` does."""
    messages = forwarded_messages(call, plan)

    def ask(child: ChatClient, record: dict[str, Any]) -> Any:
        return child.ainvoke(messages, child_config(config, record), **call.kwargs)

    return annotate(
        *await arun_steps(
            fallback_steps(session, plan, build_async_hooks(session, call, config, ask))
        )
    )


@dataclass(frozen=True)
class StreamAdapter:
    """How models stream: what is called, what of it is a part of the answer, and what stamps it.

    `open` and `aopen` take a model, messages, the config of its run and keyword arguments.
    """

    open: Callable[[Any, Any, RunnableConfig, dict[str, Any]], Iterator[Any]]
    aopen: Callable[[Any, Any, RunnableConfig, dict[str, Any]], AsyncIterator[Any]]
    has_content: Callable[[Any], bool]
    annotator: Callable[[dict[str, Any]], Callable[[Any], Any]]


class ChunkAnnotator:
    """Stamps a stream. One chunk only carries the record: merging chunks adds what they carry."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record, self._is_first, self._has_model_name = record, True, False

    def __call__(self, chunk: Any) -> Any:
        """Return the next chunk, stamped if it is the first, named if it is the last."""
        if not isinstance(chunk, BaseMessage):
            return chunk
        told = dict(chunk.response_metadata)
        self._has_model_name = self._has_model_name or "model_name" in told
        if not self._has_model_name and _is_last(chunk):
            told["model_name"] = self._record["model"]
        if self._is_first:
            told[RECORD_KEY] = self._record
        self._is_first = False
        return chunk if told == chunk.response_metadata else _with_metadata(chunk, told)


def has_content(chunk: Any) -> bool:
    """Tell whether a chunk holds a part of the answer: after it, another model cannot step in."""
    if not isinstance(chunk, BaseMessage):
        return True
    return bool(
        chunk.content or getattr(chunk, "tool_call_chunks", None) or chunk.additional_kwargs
    )


CHUNK_ADAPTER = StreamAdapter(
    lambda child, messages, config, kwargs: child.stream(messages, config, **kwargs),
    lambda child, messages, config, kwargs: child.astream(messages, config, **kwargs),
    has_content,
    ChunkAnnotator,
)


def stream_with_fallback(
    session: ChatSession,
    call: BoundCall,
    plan: RoutingPlan,
    config: RunnableConfig,
    adapter: StreamAdapter = CHUNK_ADAPTER,
) -> Iterator[Any]:
    """Yield the answer of the first model that does not fail before it says something."""
    messages = forwarded_messages(call, plan)

    def ask(child: ChatClient, record: dict[str, Any]) -> Any:
        return peek_stream(
            adapter.open(child, messages, child_config(config, record), call.kwargs),
            adapter.has_content,
        )

    peeked, record = run_steps(
        fallback_steps(session, plan, build_hooks(session, call, config, ask))
    )
    yield from resume_stream(peeked, adapter.annotator(record))


async def astream_with_fallback(
    session: ChatSession,
    call: BoundCall,
    plan: RoutingPlan,
    config: RunnableConfig,
    adapter: StreamAdapter = CHUNK_ADAPTER,
) -> AsyncGenerator[Any, None]:
    """Do what `stream` does."""
    messages = forwarded_messages(call, plan)

    def ask(child: ChatClient, record: dict[str, Any]) -> Any:
        own = child_config(config, record)
        return apeek_stream(adapter.aopen(child, messages, own, call.kwargs), adapter.has_content)

    peeked, record = await arun_steps(
        fallback_steps(session, plan, build_async_hooks(session, call, config, ask))
    )
    async with aclosing(aresume_stream(peeked, adapter.annotator(record))) as chunks:
        async for chunk in chunks:
            yield chunk


def build_hooks(
    session: ChatSession,
    call: BoundCall,
    config: RunnableConfig,
    ask: Callable[[Any, dict[str, Any]], Any],
) -> FallbackHooks:
    """Return how models are made, told of and asked."""
    return FallbackHooks(
        partial(bound_client, session, call), partial(emit_event, config=config), ask
    )


def build_async_hooks(
    session: ChatSession,
    call: BoundCall,
    config: RunnableConfig,
    ask: Callable[[Any, dict[str, Any]], Any],
) -> FallbackHooks:
    """Do what `hands` does, for calls that are awaited."""
    return FallbackHooks(
        partial(abound_client, session, call), partial(aemit_event, config=config), ask
    )


def bound_client(session: ChatSession, call: BoundCall, name: str) -> ChatClient:
    """Return a model with what is declared.

    Raises:
        Exception: it cannot be made, or has no such thing.
    """
    return call.bound.apply_to(session.get_client(name))


async def abound_client(session: ChatSession, call: BoundCall, name: str) -> ChatClient:
    """Do what `bound_child` does; a model that has to be made first is made in an executor."""
    if session.clients.is_built(name):
        return bound_client(session, call, name)
    return await run_in_executor(None, bound_client, session, call, name)


def annotate(answer: Any, record: Mapping[str, Any]) -> Any:
    """Return an answer with the record; what is no message, and holds none, stays as it is."""
    if isinstance(answer, dict) and isinstance(answer.get("raw"), BaseMessage):
        return {**answer, "raw": annotate(answer["raw"], record)}
    if not isinstance(answer, BaseMessage):
        return answer
    # Chat models for local weights do not say their name, which usage is counted under.
    return _with_metadata(
        answer, {"model_name": record["model"], **answer.response_metadata, RECORD_KEY: record}
    )


def _is_last(chunk: BaseMessage) -> bool:
    return not isinstance(chunk, AIMessageChunk) or chunk.chunk_position == "last"


def _with_metadata(message: BaseMessage, metadata: Mapping[str, Any]) -> BaseMessage:
    return message.model_copy(update={"response_metadata": dict(metadata)})


def emit_event(record: dict[str, Any], config: RunnableConfig) -> None:
    """Send the custom event, and write to LangGraph's `custom` stream, which shows no events."""
    _write_to_stream(record, config)
    if _has_listener(config):
        dispatch_custom_event(ROUTE_EVENT, record, config=config)


async def aemit_event(record: dict[str, Any], config: RunnableConfig) -> None:
    """Do what `tell` does."""
    _write_to_stream(record, config)
    if _has_listener(config):
        await adispatch_custom_event(ROUTE_EVENT, record, config=config)


def _has_listener(config: RunnableConfig) -> bool:
    """Tell whether there is a run to which an event can belong, and somebody who listens."""
    manager = config.get("callbacks")
    return bool(getattr(manager, "parent_run_id", None) and getattr(manager, "handlers", None))


def _write_to_stream(record: dict[str, Any], config: RunnableConfig) -> None:
    runtime = config.get("configurable", {}).get("__pregel_runtime")
    if runtime is not None and "langgraph" in sys.modules:
        runtime.stream_writer({ROUTE_EVENT: record})


def emit_decision(
    decision: Decision, manager: CallbackManagerForChainRun, config: RunnableConfig
) -> None:
    """Send the event if somebody listens: writing a whole decision down takes a while."""
    if manager.handlers:
        dispatch_custom_event(ROUTE_EVENT, decision.to_dict(), config=config)


async def aemit_decision(
    decision: Decision, manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
) -> None:
    """Do what `announce` does."""
    if manager.handlers:
        await adispatch_custom_event(ROUTE_EVENT, decision.to_dict(), config=config)
