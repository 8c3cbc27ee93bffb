"""Event protocol v3: a stream of ChatTryage's own, which relays the first model that answers."""

# ruff: noqa: ANN401 - events are mappings of many shapes.

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream

from tryage_langchain._chat import asking
from tryage_langchain._chat.stamping import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.runnables import RunnableConfig

    from tryage.chat import Plan
    from tryage_langchain._chat.chatting import Call, ChatDesk
    from tryage_langchain._chat.children import Child

_SILENT = ("message-start", "content-block-start")


def relayed(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> ChatModelStream:
    """Return a stream that asks when it is read."""
    stream, events = ChatModelStream(), asking.stream(desk, call, plan, config, EVENTS)

    def pump() -> bool:
        try:
            stream.dispatch(next(events))
        except StopIteration:
            return False
        except BaseException as error:  # noqa: BLE001 - whoever reads the stream raises it
            stream.fail(error)
            return False
        return True

    stream.bind_pump(pump)
    return stream


def arelayed(
    desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig
) -> AsyncChatModelStream:
    """Do what `relayed` does."""
    stream = AsyncChatModelStream()

    async def produce() -> None:
        try:
            async with aclosing(asking.astream(desk, call, plan, config, EVENTS)) as events:
                async for event in events:
                    stream.dispatch(event)
        except BaseException as error:
            stream.fail(error)
            if not isinstance(error, Exception):
                raise

    async def start() -> None:
        if stream._producer_task is None:  # noqa: SLF001 - what aclose() ends has no other place
            stream._producer_task = asyncio.create_task(produce())  # noqa: SLF001 - as above

    stream.set_start(start)
    return stream


def _open(
    child: Child, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
) -> Iterator[Any]:
    events: Any = child.stream_events(messages, config, version="v3", **kwargs)
    return iter(events)


async def _aopen(
    child: Child, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
) -> AsyncIterator[Any]:
    """Yield a child's events; who stops reading ends its run."""
    opened: Any = child.astream_events(messages, config, version="v3", **kwargs)
    async with await opened as events:
        async for event in events:
            yield event


def says(event: Mapping[str, Any]) -> bool:
    """Tell whether an event holds a part of the answer: after it, no other model can step in."""
    return event["event"] not in _SILENT


class EventStamper:
    """Writes the record into the event that ends a message, from where it reaches the message."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record, self._named = record, False

    def __call__(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the next event, stamped if it is the last."""
        told = event.get("metadata") or {}
        self._named = self._named or "model" in told or "model_name" in told
        if event["event"] != "message-finish":
            return event
        name = {} if self._named else {"model_name": self._record["model"]}
        return {**event, "metadata": {**name, **told, KEY: self._record}}


EVENTS = asking.Way(_open, _aopen, says, EventStamper)
