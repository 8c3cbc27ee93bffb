"""ChatTryage for callers of `generate()` and of event protocol v3, which do not start a chain run.

`generate()` begins a run of its own, and the chosen models answer as parts of it.
"""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.
# ruff: noqa: SLF001 - `_generate` and `_agenerate` are how LangChain asks a chat model.

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.runnables.config import ensure_config

from tryage.core.usage import read_usage
from tryage_langchain._cached_answers import RESULT
from tryage_langchain._call import RoutedChatModel, unwrap_model
from tryage_langchain._fallback import (
    RECORD_KEY,
    StreamAdapter,
    annotate,
    arun_with_fallback,
    astream_with_fallback,
    run_with_fallback,
    stream_with_fallback,
)
from tryage_langchain._usage import UsageMeter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.plan import RoutingRecord
    from tryage_langchain._call import ClientCall, PlannedCall
    from tryage_langchain._clients import ChatClient
    from tryage_langchain._fallback import Settle

_EVENTS_WITHOUT_CONTENT = ("message-start", "content-block-start")


class ChatGenerateMixin(RoutedChatModel):
    """A chat model whose `_generate` and events of version 3 are those of the chosen model."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        planned_call = self._plan_call(messages, ensure_config(), self._child_kwargs(stop, kwargs))

        def get_client(name: str) -> ClientCall:
            return unwrap_model(planned_call.get_client(name))

        def call(child: ClientCall, _: RoutingRecord) -> ChatResult:
            model: Any = child.client
            result: ChatResult = model._generate(
                child.messages, run_manager=run_manager, **child.kwargs
            )
            return result

        answer = run_with_fallback(
            planned_call, call, get_client, meter=UsageMeter(), cached=RESULT
        )
        return _annotate_all(*answer)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        child_kwargs = self._child_kwargs(stop, kwargs)
        planned_call = await self._aplan_call(messages, ensure_config(), child_kwargs)

        async def get_client(name: str) -> ClientCall:
            return unwrap_model(await planned_call.aget_client(name))

        async def call(child: ClientCall, _: RoutingRecord) -> ChatResult:
            model: Any = child.client
            result: ChatResult = await model._agenerate(
                child.messages, run_manager=run_manager, **child.kwargs
            )
            return result

        answer = await arun_with_fallback(
            planned_call, call, get_client, meter=UsageMeter(), cached=RESULT
        )
        return _annotate_all(*answer)

    def stream_events(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Stream events; those of version 3 are the events of the chosen model."""
        if version != "v3":
            base_method: Any = super().stream_events
            return base_method(input, config, version=version, stop=stop, **kwargs)
        config, child_kwargs = self._run_config(config), self._child_kwargs(stop, kwargs)
        return relay_events(self._plan_call(input, config, child_kwargs, uses_cache=False))

    def astream_events(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        version: str = "v2",
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Do what `stream_events` does, asynchronously."""
        if version != "v3":
            base_method: Any = super().astream_events
            return base_method(input, config, version=version, stop=stop, **kwargs)
        return self._arelay_events(input, config, self._child_kwargs(stop, kwargs))

    async def _arelay_events(
        self, input: Any, config: RunnableConfig | None, child_kwargs: dict[str, Any]
    ) -> AsyncChatModelStream:
        config = self._run_config(config)
        planned_call = await self._aplan_call(input, config, child_kwargs, uses_cache=False)
        return arelay_events(planned_call)


def _annotate_all(result: ChatResult, record: RoutingRecord) -> ChatResult:
    for generation in result.generations:
        generation.message = annotate(generation.message, record)
    return result


def relay_events(planned_call: PlannedCall) -> ChatModelStream:
    """Return a stream that asks the models when it is read."""
    stream, events = ChatModelStream(), stream_with_fallback(planned_call, EVENT_ADAPTER)

    def pump() -> bool:
        try:
            stream.dispatch(next(events))
        except StopIteration:
            return False
        except BaseException as error:  # noqa: BLE001 - the reader of the stream gets it
            stream.fail(error)
            return False
        return True

    stream.bind_pump(pump)
    return stream


def arelay_events(planned_call: PlannedCall) -> AsyncChatModelStream:
    """Do what `relay_events` does, asynchronously."""
    stream = AsyncChatModelStream()

    async def produce() -> None:
        try:
            async with aclosing(astream_with_fallback(planned_call, EVENT_ADAPTER)) as events:
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


# Events of version 3: how they are opened, checked and annotated --------------------------------


def _open_events(
    child: ChatClient, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
) -> Iterator[Any]:
    events: Any = child.stream_events(messages, config, version="v3", **kwargs)
    return iter(events)


async def _aopen_events(
    child: ChatClient, messages: Any, config: RunnableConfig, kwargs: dict[str, Any]
) -> AsyncIterator[Any]:
    """Yield a model's events; a reader that stops early ends the model's run."""
    event_stream: Any = child.astream_events(messages, config, version="v3", **kwargs)
    async with await event_stream as events:
        async for event in events:
            yield event


def event_has_content(event: Mapping[str, Any]) -> bool:
    """Tell whether an event holds a part of the answer: after it no other model can answer."""
    return event["event"] not in _EVENTS_WITHOUT_CONTENT


class EventAnnotator:
    """Writes the record into the event that ends a message; LangChain copies it to the message."""

    def __init__(self, record: RoutingRecord, settle: Settle) -> None:
        self._record, self._settle, self._has_model_name = record, settle, False

    def __call__(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the next event, with the record if it is the last."""
        metadata = event.get("metadata") or {}
        self._has_model_name |= "model" in metadata or "model_name" in metadata
        if event["event"] != "message-finish":
            return event
        self._settle(read_usage(event.get("usage")))
        model_name = {} if self._has_model_name else {"model_name": self._record["model"]}
        return {**event, "metadata": {**model_name, **metadata, RECORD_KEY: self._record}}


EVENT_ADAPTER = StreamAdapter(_open_events, _aopen_events, event_has_content, EventAnnotator)
