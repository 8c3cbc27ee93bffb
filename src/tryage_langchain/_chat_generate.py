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

from tryage.chat.fallback import FallbackHooks, arun_steps, fallback_steps, run_steps
from tryage_langchain import _fallback
from tryage_langchain._call import forwarded_messages, unwrap_model
from tryage_langchain._chat_invoke import ChatBatchMixin
from tryage_langchain._fallback import (
    RECORD_KEY,
    abound_client,
    aemit_event,
    annotate,
    bound_client,
    emit_event,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from typing import TypeAlias

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.router import RoutingPlan
    from tryage_langchain._call import BoundCall, ChatSession
    from tryage_langchain._clients import ChatClient

    UnwrappedModel: TypeAlias = tuple[BaseChatModel, dict[str, Any]]

_EVENTS_WITHOUT_CONTENT = ("message-start", "content-block-start")


class ChatGenerateMixin(ChatBatchMixin):
    """Adds `_generate` and the third version of events."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        session, config = self._session, ensure_config()
        call, plan = self._plan_call(session, messages, config, self._child_kwargs(stop, kwargs))
        child_messages = forwarded_messages(call, plan)

        def ask(child: UnwrappedModel, _: Any) -> ChatResult:
            model, bound = child
            passed = {**bound, **call.kwargs}
            return model._generate(child_messages, run_manager=run_manager, **passed)

        def make(name: str) -> UnwrappedModel:
            return unwrap_model(bound_client(session, call, name))

        hooks = FallbackHooks(make, partial(emit_event, config=config), ask)
        return _annotate_all(*run_steps(fallback_steps(session, plan, hooks)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        session, config = self._session, ensure_config()
        passed = self._child_kwargs(stop, kwargs)
        call, plan = await self._executor.run(
            partial(self._plan_call, session, messages, config, passed)
        )
        child_messages = forwarded_messages(call, plan)

        async def ask(child: UnwrappedModel, _: Any) -> ChatResult:
            model, bound = child
            passed = {**bound, **call.kwargs}
            return await model._agenerate(child_messages, run_manager=run_manager, **passed)

        async def make(name: str) -> UnwrappedModel:
            return unwrap_model(await abound_client(session, call, name))

        hooks = FallbackHooks(make, partial(aemit_event, config=config), ask)
        return _annotate_all(*await arun_steps(fallback_steps(session, plan, hooks)))

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
        config, session = ensure_config(self._merge_own_config(config)), self._session
        call, plan = self._plan_call(session, input, config, self._child_kwargs(stop, kwargs))
        return relay_events(session, call, plan, config)

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
        return self._arelay_events(input, config, self._child_kwargs(stop, kwargs))

    async def _arelay_events(
        self, input: Any, config: RunnableConfig | None, child_kwargs: dict[str, Any]
    ) -> AsyncChatModelStream:
        config, session = ensure_config(self._merge_own_config(config)), self._session
        call, plan = await self._executor.run(
            partial(self._plan_call, session, input, config, child_kwargs)
        )
        return arelay_events(session, call, plan, config)


def _annotate_all(result: ChatResult, record: dict[str, Any]) -> ChatResult:
    for generation in result.generations:
        generation.message = annotate(generation.message, record)
    return result


def relay_events(
    session: ChatSession, call: BoundCall, plan: RoutingPlan, config: RunnableConfig
) -> ChatModelStream:
    """Return a stream that asks when it is read."""
    stream, events = (
        ChatModelStream(),
        _fallback.stream_with_fallback(session, call, plan, config, EVENT_ADAPTER),
    )

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


def arelay_events(
    session: ChatSession, call: BoundCall, plan: RoutingPlan, config: RunnableConfig
) -> AsyncChatModelStream:
    """Do what `relayed` does."""
    stream = AsyncChatModelStream()

    async def produce() -> None:
        try:
            async with aclosing(
                _fallback.astream_with_fallback(session, call, plan, config, EVENT_ADAPTER)
            ) as events:
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


def _open_events(
    child: ChatClient, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
) -> Iterator[Any]:
    events: Any = child.stream_events(messages, config, version="v3", **kwargs)
    return iter(events)


async def _aopen_events(
    child: ChatClient, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
) -> AsyncIterator[Any]:
    """Yield a child's events; who stops reading ends its run."""
    opened: Any = child.astream_events(messages, config, version="v3", **kwargs)
    async with await opened as events:
        async for event in events:
            yield event


def event_has_content(event: Mapping[str, Any]) -> bool:
    """Tell whether an event holds a part of the answer: after it, no other model can step in."""
    return event["event"] not in _EVENTS_WITHOUT_CONTENT


class EventAnnotator:
    """Writes the record into the event that ends a message, from where it reaches the message."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._record, self._has_model_name = record, False

    def __call__(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the next event, stamped if it is the last."""
        told = event.get("metadata") or {}
        self._has_model_name = self._has_model_name or "model" in told or "model_name" in told
        if event["event"] != "message-finish":
            return event
        name = {} if self._has_model_name else {"model_name": self._record["model"]}
        return {**event, "metadata": {**name, **told, RECORD_KEY: self._record}}


EVENT_ADAPTER = _fallback.StreamAdapter(
    _open_events, _aopen_events, event_has_content, EventAnnotator
)
