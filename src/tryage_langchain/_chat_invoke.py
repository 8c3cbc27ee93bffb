"""The drivers of ChatTryage, sync beside async: plan, tell, ask; the child's run is the only one.

They are LangChain's public methods, not `_generate`: the run of ChatTryage is a chain run, inside
which the chosen child does everything a chat model does, with its own name, tools, cache and usage.
"""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.
# ruff: noqa: A002, ARG002 - LangChain gives inputs of any type, and managers by name.

from __future__ import annotations

from abc import abstractmethod
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import ensure_config, get_executor_for_config, merge_configs
from langchain_core.runnables.utils import gather_with_concurrency
from pydantic import ConfigDict, Field, PrivateAttr

from tryage.chat.clients import AdaptiveExecutor
from tryage.chat.router import RoutingPlan
from tryage_langchain import _fallback
from tryage_langchain._call import BoundCall, build_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.runnables import RunnableConfig

    from tryage_langchain._call import ChatSession

PlannedCall: TypeAlias = tuple[BoundCall, RoutingPlan] | Exception


class ChatInvokeMixin(BaseChatModel):
    """A chat model whose run is a decision of its desk, and the chosen child's run inside."""

    temperature: float | None = None
    """Sampling temperature, passed to whoever is chosen; None leaves it to each model."""

    max_tokens: int | None = None
    """How long an answer may be, passed to whoever is chosen; the context must have room for it."""

    stop: list[str] | None = Field(default=None, alias="stop_sequences")
    """Texts that end an answer, passed to whoever is chosen."""

    model_config = ConfigDict(populate_by_name=True)
    _executor: AdaptiveExecutor = PrivateAttr(default_factory=AdaptiveExecutor)

    @property
    @abstractmethod
    def _session(self) -> ChatSession:
        """What chooses and who answers."""

    @abstractmethod
    def _forced_model(self) -> str | None:
        """Return the model to ask whatever the conversation says, if there is one."""

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
        passed = self._child_kwargs(stop, kwargs)
        answer: AIMessage = self._call_with_config(
            run, input, self._merge_own_config(config), **passed
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
        """Do what `invoke` does."""
        run: Any = self._ainvoke
        passed = self._child_kwargs(stop, kwargs)
        answer: AIMessage = await self._acall_with_config(
            run, input, self._merge_own_config(config), **passed
        )
        return answer

    def _invoke(self, input: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        session = self._session
        call, plan = self._plan_call(session, input, config, kwargs)
        return _fallback.invoke_with_fallback(session, call, plan, config)

    async def _ainvoke(self, input: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        session = self._session
        call, plan = await self._executor.run(
            partial(self._plan_call, session, input, config, kwargs)
        )
        return await _fallback.ainvoke_with_fallback(session, call, plan, config)

    # A stream ------------------------------------------------------------------------------

    def stream(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Route the conversation, then yield the chunks of the chosen model as they come."""
        run: Any = self._stream_one
        passed = self._child_kwargs(stop, kwargs)
        chunks: Any = self._transform_stream_with_config(
            iter([input]), run, self._merge_own_config(config), **passed
        )
        yield from chunks

    async def astream(
        self,
        input: Any,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Do what `stream` does."""

        async def one() -> AsyncIterator[Any]:
            yield input

        run: Any = self._astream_one
        passed = self._child_kwargs(stop, kwargs)
        chunks: Any = self._atransform_stream_with_config(
            one(), run, self._merge_own_config(config), **passed
        )
        async with aclosing(chunks):  # an answer that is not read to its end still ends its runs
            async for chunk in chunks:
                yield chunk

    def _stream_one(
        self, inputs: Iterator[Any], config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        session = self._session
        for given in inputs:
            call, plan = self._plan_call(session, given, config, kwargs)
            yield from _fallback.stream_with_fallback(session, call, plan, config)

    async def _astream_one(
        self, inputs: AsyncIterator[Any], config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Any]:
        session = self._session
        async for given in inputs:
            plan_one = partial(self._plan_call, session, given, config, kwargs)
            call, plan = await self._executor.run(plan_one)
            async with aclosing(
                _fallback.astream_with_fallback(session, call, plan, config)
            ) as chunks:
                async for chunk in chunks:
                    yield chunk

    # What the drivers share ----------------------------------------------------------------

    def _plan_call(
        self, session: ChatSession, input: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> tuple[BoundCall, RoutingPlan]:
        """Read a call and choose for it: all that happens before anybody is asked."""
        call = self._build_call(input, config, kwargs)
        return call, session.plan(call)

    def _build_call(self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]) -> BoundCall:
        messages = self._convert_input(input).to_messages()
        return build_call(messages, config, kwargs, self._forced_model())

    def _child_kwargs(self, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of a call with those that ChatTryage itself was given."""
        own = {"stop": stop or self.stop, "temperature": self.temperature,
               "max_tokens": self.max_tokens}  # fmt: skip
        return {**{key: value for key, value in own.items() if value is not None}, **kwargs}

    def _merge_own_config(self, config: RunnableConfig | None) -> RunnableConfig | None:
        """Return the config of a call with what observes every call of this model."""
        own = {"callbacks": self.callbacks, "tags": self.tags, "metadata": self.metadata}
        given: Any = {key: value for key, value in own.items() if value}
        return merge_configs(ensure_config(config), given) if given else config


class ChatBatchMixin(ChatInvokeMixin):
    """Adds `batch` and `abatch`."""

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Route all conversations in one encoder pass, then let the chosen models answer."""
        passed = self._child_kwargs(kwargs.pop("stop", None), kwargs)
        own = self._merge_own_configs(config)
        return self._batch_with_config(
            self._batch, inputs, own, return_exceptions=return_exceptions, **passed
        )

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Do what `batch` does."""
        passed = self._child_kwargs(kwargs.pop("stop", None), kwargs)
        own = self._merge_own_configs(config)
        return await self._abatch_with_config(
            self._abatch, inputs, own, return_exceptions=return_exceptions, **passed
        )

    def _batch(
        self,
        inputs: list[Any],
        run_manager: list[CallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        rows = self._plan_inputs(inputs, config, kwargs)
        with get_executor_for_config(config[0]) as executor:
            return list(executor.map(self._invoke_planned, rows, config))

    async def _abatch(
        self,
        inputs: list[Any],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        rows = await self._executor.run(partial(self._plan_inputs, inputs, config, kwargs))
        asked = map(self._ainvoke_planned, rows, config)
        return await gather_with_concurrency(config[0].get("max_concurrency"), *asked)

    def _plan_inputs(
        self, inputs: list[Any], configs: list[RunnableConfig], kwargs: dict[str, Any]
    ) -> list[PlannedCall]:
        """Read all calls and choose for all in one pass; what is wrong with one stays with it."""
        calls = [
            self._build_call_or_error(*one, kwargs) for one in zip(inputs, configs, strict=True)
        ]
        good = [call for call in calls if isinstance(call, BoundCall)]
        plans = iter(self._session.plan_batch(good))
        return [
            _planned_call(call, next(plans)) if isinstance(call, BoundCall) else call
            for call in calls
        ]

    def _build_call_or_error(
        self, input: Any, config: RunnableConfig, kwargs: dict[str, Any]
    ) -> BoundCall | Exception:
        try:
            return self._build_call(input, config, kwargs)
        except (ValueError, TypeError, NotImplementedError) as error:  # InputError is a ValueError
            return error

    def _invoke_planned(self, planned: PlannedCall, config: RunnableConfig) -> Any:
        if isinstance(planned, Exception):
            return planned
        try:
            return _fallback.invoke_with_fallback(self._session, *planned, config)
        except Exception as error:  # noqa: BLE001 - it is raised, or returned if so asked
            return error

    async def _ainvoke_planned(self, planned: PlannedCall, config: RunnableConfig) -> Any:
        if isinstance(planned, Exception):
            return planned
        try:
            return await _fallback.ainvoke_with_fallback(self._session, *planned, config)
        except Exception as error:  # noqa: BLE001 - as above
            return error

    def _merge_own_configs(self, config: Any) -> Any:
        if isinstance(config, list):
            return [self._merge_own_config(one) for one in config]
        return self._merge_own_config(config)


def _planned_call(call: BoundCall, plan: RoutingPlan | Exception) -> PlannedCall:
    return plan if isinstance(plan, Exception) else (call, plan)
