"""ChatTryage as a runnable: `invoke`, `stream` and `batch`, each sync and async.

They replace LangChain's public methods, not `_generate`. So the run of ChatTryage is a chain run.
Inside it the chosen model does everything that a chat model does, with its own name, tools, cache
and usage. Where no callback listens there is no chain run: it would cost more than the choice.
"""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.
# ruff: noqa: ARG002 - LangChain passes the run managers by name.

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from tryage_langchain._batch import BatchMixin, arun_batch, run_batch
from tryage_langchain._call import (
    CallInput,
    RoutedChatModel,
    is_observed,
    plan_calls,
    without_run,
)
from tryage_langchain._fallback import (
    ainvoke_with_fallback,
    astream_with_fallback,
    invoke_with_fallback,
    stream_with_fallback,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.runnables import RunnableConfig

    from tryage_langchain._call import PlannedCall


class ChatInvokeMixin(BatchMixin, RoutedChatModel):
    """A chat model whose run is a decision, and inside it the run of the chosen model."""

    # One input -----------------------------------------------------------------------------

    def invoke(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Route the conversation and return the answer of the chosen model."""
        run: Any = self._invoke
        child_kwargs, run_config = self._child_kwargs(stop, kwargs), self._run_config(config)
        answer: AIMessage = (
            self._call_with_config(run, input, run_config, **child_kwargs)
            if is_observed(run_config)
            else run(input, without_run(run_config), **child_kwargs)
        )
        return answer

    async def ainvoke(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Do what `invoke` does, asynchronously."""
        run: Any = self._ainvoke
        child_kwargs, run_config = self._child_kwargs(stop, kwargs), self._run_config(config)
        answer: AIMessage = await (
            self._acall_with_config(run, input, run_config, **child_kwargs)
            if is_observed(run_config)
            else run(input, without_run(run_config), **child_kwargs)
        )
        return answer

    def _invoke(self, input: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        return invoke_with_fallback(self._plan_call(input, config, kwargs))

    async def _ainvoke(self, input: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        return await ainvoke_with_fallback(await self._aplan_call(input, config, kwargs))

    # A stream ------------------------------------------------------------------------------

    def stream(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Route the conversation, then yield the chunks of the chosen model as they arrive."""
        run: Any = self._stream_inputs
        child_kwargs, run_config = self._child_kwargs(stop, kwargs), self._run_config(config)
        yield from (
            self._transform_stream_with_config(iter([input]), run, run_config, **child_kwargs)
            if is_observed(run_config)
            else run(iter([input]), without_run(run_config), **child_kwargs)
        )

    async def astream(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Do what `stream` does, asynchronously."""

        async def inputs() -> AsyncIterator[Any]:
            yield input

        run: Any = self._astream_inputs
        child_kwargs, run_config = self._child_kwargs(stop, kwargs), self._run_config(config)
        chunks: Any = (
            self._atransform_stream_with_config(inputs(), run, run_config, **child_kwargs)
            if is_observed(run_config)
            else run(inputs(), without_run(run_config), **child_kwargs)
        )
        async with aclosing(chunks):  # the runs end even if the answer is not read to its end
            async for chunk in chunks:
                yield chunk

    def _stream_inputs(
        self, inputs: Iterator[Any], config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        for value in inputs:
            yield from stream_with_fallback(self._plan_call(value, config, kwargs))

    async def _astream_inputs(
        self, inputs: AsyncIterator[Any], config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async for value in inputs:
            planned_call = await self._aplan_call(value, config, kwargs)
            async with aclosing(astream_with_fallback(planned_call)) as chunks:
                async for chunk in chunks:
                    yield chunk

    # A batch -------------------------------------------------------------------------------

    def _batch(
        self,
        inputs: list[Any],
        run_manager: list[CallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        pairs = zip(inputs, config, strict=True)
        planned_calls = plan_calls([CallInput(self, *pair, kwargs) for pair in pairs])
        return run_batch(_invoke_or_error, planned_calls, config[0].get("max_concurrency"))

    async def _abatch(
        self,
        inputs: list[Any],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        pairs = zip(inputs, config, strict=True)
        plans = [self._aplan_call(*pair, kwargs) for pair in pairs]
        planned_calls: Any = await asyncio.gather(*plans, return_exceptions=True)
        return await arun_batch(_ainvoke_or_error, planned_calls, config[0].get("max_concurrency"))

    def _batch_arguments(
        self, config: RunnableConfig | list[RunnableConfig] | None, kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        child_kwargs = self._child_kwargs(kwargs.pop("stop", None), kwargs)
        if isinstance(config, list):
            return [self._run_config(call_config) for call_config in config], child_kwargs
        return self._run_config(config), child_kwargs


def _invoke_or_error(planned_call: PlannedCall | Exception) -> Any:
    if isinstance(planned_call, Exception):
        return planned_call
    try:
        return invoke_with_fallback(planned_call)
    except Exception as error:  # noqa: BLE001 - LangChain raises it, or returns it if the caller asks so
        return error


async def _ainvoke_or_error(planned_call: PlannedCall | Exception) -> Any:
    if isinstance(planned_call, Exception):
        return planned_call
    try:
        return await ainvoke_with_fallback(planned_call)
    except Exception as error:  # noqa: BLE001 - LangChain raises it, or returns it if the caller asks so
        return error
