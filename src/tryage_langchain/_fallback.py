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

from tryage.chat.fallback import Hands, abegin, adrive, asked, awhole, begin, drive, whole
from tryage_langchain._call import child_config, forwarded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.router import Plan
    from tryage.core.decision import Decision
    from tryage_langchain._call import Call, ChatDesk
    from tryage_langchain._clients import Child

KEY = "tryage"

EVENT = "tryage_route"


def answer(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> Any:
    """Return the answer of the first model that does not fail."""
    messages = forwarded(call, plan)

    def ask(child: Child, record: dict[str, Any]) -> Any:
        return child.invoke(messages, child_config(config, record), **call.kwargs)

    return stamped(*drive(asked(desk, plan, hands(desk, call, config, ask))))


async def aanswer(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> Any:
    """Do what `answer` does."""
    messages = forwarded(call, plan)

    def ask(child: Child, record: dict[str, Any]) -> Any:
        return child.ainvoke(messages, child_config(config, record), **call.kwargs)

    return stamped(*await adrive(asked(desk, plan, ahands(desk, call, config, ask))))


@dataclass(frozen=True)
class Way:
    """How models stream: what is called, what of it is a part of the answer, and what stamps it.

    `open` and `aopen` take a model, messages, the config of its run and keyword arguments.
    """

    open: Callable[[Any, Any, RunnableConfig, dict[str, Any]], Iterator[Any]]
    aopen: Callable[[Any, Any, RunnableConfig, dict[str, Any]], AsyncIterator[Any]]
    says: Callable[[Any], bool]
    stamper: Callable[[dict[str, Any]], Callable[[Any], Any]]


class Stamper:
    """Stamps a stream. One chunk only carries the record: merging chunks adds what they carry."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record, self._fresh, self._named = record, True, False

    def __call__(self, chunk: Any) -> Any:
        """Return the next chunk, stamped if it is the first, named if it is the last."""
        if not isinstance(chunk, BaseMessage):
            return chunk
        told = dict(chunk.response_metadata)
        self._named = self._named or "model_name" in told
        if not self._named and _is_last(chunk):
            told["model_name"] = self._record["model"]
        if self._fresh:
            told[KEY] = self._record
        self._fresh = False
        return chunk if told == chunk.response_metadata else _with(chunk, told)


def says(chunk: Any) -> bool:
    """Tell whether a chunk holds a part of the answer: after it, another model cannot step in."""
    if not isinstance(chunk, BaseMessage):
        return True
    return bool(
        chunk.content or getattr(chunk, "tool_call_chunks", None) or chunk.additional_kwargs
    )


CHUNKS = Way(
    lambda child, messages, config, kwargs: child.stream(messages, config, **kwargs),
    lambda child, messages, config, kwargs: child.astream(messages, config, **kwargs),
    says,
    Stamper,
)


def stream(
    desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig, way: Way = CHUNKS
) -> Iterator[Any]:
    """Yield the answer of the first model that does not fail before it says something."""
    messages = forwarded(call, plan)

    def ask(child: Child, record: dict[str, Any]) -> Any:
        return begin(way.open(child, messages, child_config(config, record), call.kwargs), way.says)

    begun, record = drive(asked(desk, plan, hands(desk, call, config, ask)))
    yield from whole(begun, way.stamper(record))


async def astream(
    desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig, way: Way = CHUNKS
) -> AsyncGenerator[Any, None]:
    """Do what `stream` does."""
    messages = forwarded(call, plan)

    def ask(child: Child, record: dict[str, Any]) -> Any:
        own = child_config(config, record)
        return abegin(way.aopen(child, messages, own, call.kwargs), way.says)

    begun, record = await adrive(asked(desk, plan, ahands(desk, call, config, ask)))
    async with aclosing(awhole(begun, way.stamper(record))) as chunks:
        async for chunk in chunks:
            yield chunk


def hands(
    desk: ChatDesk, call: Call, config: RunnableConfig, ask: Callable[[Any, dict[str, Any]], Any]
) -> Hands:
    """Return how models are made, told of and asked."""
    return Hands(partial(bound_child, desk, call), partial(tell, config=config), ask)


def ahands(
    desk: ChatDesk, call: Call, config: RunnableConfig, ask: Callable[[Any, dict[str, Any]], Any]
) -> Hands:
    """Do what `hands` does, for calls that are awaited."""
    return Hands(partial(abound_child, desk, call), partial(atell, config=config), ask)


def bound_child(desk: ChatDesk, call: Call, name: str) -> Child:
    """Return a model with what is declared.

    Raises:
        Exception: it cannot be made, or has no such thing.
    """
    return call.bound.replay(desk.child(name))


async def abound_child(desk: ChatDesk, call: Call, name: str) -> Child:
    """Do what `bound_child` does; a model that has to be made first is made in an executor."""
    if desk.children.made(name):
        return bound_child(desk, call, name)
    return await run_in_executor(None, bound_child, desk, call, name)


def stamped(answer: Any, record: Mapping[str, Any]) -> Any:
    """Return an answer with the record; what is no message, and holds none, stays as it is."""
    if isinstance(answer, dict) and isinstance(answer.get("raw"), BaseMessage):
        return {**answer, "raw": stamped(answer["raw"], record)}
    if not isinstance(answer, BaseMessage):
        return answer
    # Chat models for local weights do not say their name, which usage is counted under.
    return _with(answer, {"model_name": record["model"], **answer.response_metadata, KEY: record})


def _is_last(chunk: BaseMessage) -> bool:
    return not isinstance(chunk, AIMessageChunk) or chunk.chunk_position == "last"


def _with(message: BaseMessage, metadata: Mapping[str, Any]) -> BaseMessage:
    return message.model_copy(update={"response_metadata": dict(metadata)})


def tell(record: dict[str, Any], config: RunnableConfig) -> None:
    """Send the custom event, and write to LangGraph's `custom` stream, which shows no events."""
    _write(record, config)
    if _heard(config):
        dispatch_custom_event(EVENT, record, config=config)


async def atell(record: dict[str, Any], config: RunnableConfig) -> None:
    """Do what `tell` does."""
    _write(record, config)
    if _heard(config):
        await adispatch_custom_event(EVENT, record, config=config)


def _heard(config: RunnableConfig) -> bool:
    """Tell whether there is a run to which an event can belong, and somebody who listens."""
    manager = config.get("callbacks")
    return bool(getattr(manager, "parent_run_id", None) and getattr(manager, "handlers", None))


def _write(record: dict[str, Any], config: RunnableConfig) -> None:
    runtime = config.get("configurable", {}).get("__pregel_runtime")
    if runtime is not None and "langgraph" in sys.modules:
        runtime.stream_writer({EVENT: record})


def announce(
    decision: Decision, manager: CallbackManagerForChainRun, config: RunnableConfig
) -> None:
    """Send the event if somebody listens: writing a whole decision down takes a while."""
    if manager.handlers:
        dispatch_custom_event(EVENT, decision.to_dict(), config=config)


async def aannounce(
    decision: Decision, manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
) -> None:
    """Do what `announce` does."""
    if manager.handlers:
        await adispatch_custom_event(EVENT, decision.to_dict(), config=config)
