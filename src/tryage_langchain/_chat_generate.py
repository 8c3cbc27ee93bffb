"""ChatTryage for callers of `generate()` and of event protocol v3, which is no chain's run.

`generate()` begins a run of its own, in which children answer as parts of it.
"""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.
# ruff: noqa: SLF001 - `_generate` and its kin are what a chat model is made of.

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.runnables.config import ensure_config

from tryage.chat.fallback import Hands, adrive, asked, drive
from tryage_langchain import _fallback
from tryage_langchain._call import forwarded, plain
from tryage_langchain._chat_invoke import Batching
from tryage_langchain._fallback import KEY, abound_child, atell, bound_child, stamped, tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from typing import TypeAlias

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.router import Plan
    from tryage_langchain._call import Call, ChatDesk
    from tryage_langchain._clients import Child

    Plain: TypeAlias = tuple[BaseChatModel, dict[str, Any]]

_SILENT = ("message-start", "content-block-start")


class Generating(Batching):
    """Adds `_generate` and the third version of events."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        desk, config = self._desk, ensure_config()
        call, plan = self._planned(desk, messages, config, self._passed(stop, kwargs))
        asked_of = forwarded(call, plan)

        def ask(child: Plain, _: Any) -> ChatResult:
            model, bound = child
            passed = {**bound, **call.kwargs}
            return model._generate(asked_of, run_manager=run_manager, **passed)

        def make(name: str) -> Plain:
            return plain(bound_child(desk, call, name))

        hands = Hands(make, partial(tell, config=config), ask)
        return _all_stamped(*drive(asked(desk, plan, hands)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        desk, config = self._desk, ensure_config()
        passed = self._passed(stop, kwargs)
        call, plan = await self._pace.run(partial(self._planned, desk, messages, config, passed))
        asked_of = forwarded(call, plan)

        async def ask(child: Plain, _: Any) -> ChatResult:
            model, bound = child
            passed = {**bound, **call.kwargs}
            return await model._agenerate(asked_of, run_manager=run_manager, **passed)

        async def make(name: str) -> Plain:
            return plain(await abound_child(desk, call, name))

        hands = Hands(make, partial(atell, config=config), ask)
        return _all_stamped(*await adrive(asked(desk, plan, hands)))

    def stream_events(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stream events; of version 3 they are those of whoever answers."""
        if version != "v3":
            older: Any = super().stream_events
            return older(input, config, version=version, stop=stop, **kwargs)
        config, desk = ensure_config(self._own(config)), self._desk
        call, plan = self._planned(desk, input, config, self._passed(stop, kwargs))
        return relayed(desk, call, plan, config)

    def astream_events(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Do what `stream_events` does."""
        if version != "v3":
            older: Any = super().astream_events
            return older(input, config, version=version, stop=stop, **kwargs)
        return self._arelayed(input, config, self._passed(stop, kwargs))

    async def _arelayed(
        self, input: Any, config: RunnableConfig | None, passed: dict[str, Any]
    ) -> AsyncChatModelStream:
        config, desk = ensure_config(self._own(config)), self._desk
        call, plan = await self._pace.run(partial(self._planned, desk, input, config, passed))
        return arelayed(desk, call, plan, config)


def _all_stamped(result: ChatResult, record: dict[str, Any]) -> ChatResult:
    for generation in result.generations:
        generation.message = stamped(generation.message, record)
    return result


def relayed(desk: ChatDesk, call: Call, plan: Plan, config: RunnableConfig) -> ChatModelStream:
    """Return a stream that asks when it is read."""
    stream, events = ChatModelStream(), _fallback.stream(desk, call, plan, config, EVENTS)

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
            async with aclosing(_fallback.astream(desk, call, plan, config, EVENTS)) as events:
                async for event in events:
                    stream.dispatch(event)
        except BaseException as error:
            stream.fail(error)
            if not isinstance(error, Exception):
                raise

    async def start() -> None:
        if stream._producer_task is None:
            stream._producer_task = asyncio.create_task(produce())

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


EVENTS = _fallback.Way(_open, _aopen, says, EventStamper)
