"""The drivers of the router, sync beside async: decide, announce, let the chosen child run."""

# ruff: noqa: A002, ANN401 - LangChain calls the argument `input` and lets it be of any type.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import get_executor_for_config, run_in_executor
from langchain_core.runnables.utils import gather_with_concurrency
from pydantic import PrivateAttr

from tryage.chat.pace import Pace
from tryage.decision import Decision
from tryage_langchain._inputs import joined
from tryage_langchain._router.announcing import aannounce, announce
from tryage_langchain._router.sharing import Share, shares_at_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun

    from tryage_langchain._router.routing import Desk


class Running(RunnableSerializable[Any, Any]):
    """A runnable whose run is a decision of its desk and, if there is one, the chosen child's."""

    _desk: Desk = PrivateAttr()
    _pace: Pace = PrivateAttr(default_factory=Pace)

    # One input -----------------------------------------------------------------------------

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Route the input and return what the chosen runnable returns, or the decision."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Do what `invoke` does; a routing that takes long is done beside the loop."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self,
        input: Any,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        decision = self._desk.decide(input, config)
        announce(decision, run_manager, config)
        if not self._desk.children:
            return decision
        child, forwarded, own = self._desk.hand_over(decision, input, run_manager, config)
        return child.invoke(forwarded, own, **kwargs)

    async def _ainvoke(
        self,
        input: Any,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        decision = await self._pace.run(partial(self._desk.decide, input, config))
        await aannounce(decision, run_manager, config)
        if not self._desk.children:
            return decision
        child, forwarded, own = self._desk.hand_over(decision, input, run_manager, config)
        return await child.ainvoke(forwarded, own, **kwargs)

    # A stream ------------------------------------------------------------------------------

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Route the input, then yield the chunks of the chosen runnable as they come."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Do what `stream` does; a routing that takes long is done beside the loop."""

        async def one() -> AsyncIterator[Any]:
            yield input

        async for chunk in self.atransform(one(), config, **kwargs):
            yield chunk

    def transform(
        self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Gather the input, which must be whole to be routed, then stream the answer."""
        yield from self._transform_stream_with_config(input, self._transform, config, **kwargs)

    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Do what `transform` does; a routing that takes long is done beside the loop."""
        chunks = self._atransform_stream_with_config(input, self._atransform, config, **kwargs)
        async for chunk in chunks:
            yield chunk

    def _transform(
        self,
        inputs: Iterator[Any],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Any]:
        whole: Any = None
        for chunk in inputs:
            whole = joined(whole, chunk)
        decision = self._desk.decide(whole, config)
        announce(decision, run_manager, config)
        if not self._desk.children:
            yield decision
            return
        child, forwarded, own = self._desk.hand_over(decision, whole, run_manager, config)
        yield from child.stream(forwarded, own, **kwargs)

    async def _atransform(
        self,
        inputs: AsyncIterator[Any],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        whole: Any = None
        async for chunk in inputs:
            whole = joined(whole, chunk)
        decision = await self._pace.run(partial(self._desk.decide, whole, config))
        await aannounce(decision, run_manager, config)
        if not self._desk.children:
            yield decision
            return
        child, forwarded, own = self._desk.hand_over(decision, whole, run_manager, config)
        async for chunk in child.astream(forwarded, own, **kwargs):
            yield chunk

    # A batch -------------------------------------------------------------------------------

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> list[Any]:
        """Route all inputs in one encoder pass, then let every chosen runnable batch its share."""
        return self._batch_with_config(
            self._batch, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any | None,
    ) -> list[Any]:
        """Do what `batch` does, with the routing in an executor."""
        return await self._abatch_with_config(
            self._abatch, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def _batch(
        self,
        inputs: list[Any],
        run_manager: list[CallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        outcomes = self._desk.decide_all(inputs, config)
        for outcome, manager, own in zip(outcomes, run_manager, config, strict=True):
            if isinstance(outcome, Decision):
                announce(outcome, manager, own)
        results: list[Any] = list(outcomes)
        if not self._desk.children:
            return results
        shares = self._desk.shares(outcomes, inputs, run_manager, config)

        def answer(share: Share) -> list[Any]:
            return share.child.batch(share.inputs, share.configs, return_exceptions=True, **kwargs)

        with get_executor_for_config({"max_concurrency": shares_at_once(config)}) as executor:
            for share, answers in zip(shares, executor.map(answer, shares), strict=True):
                share.place(answers, results)
        return results

    async def _abatch(
        self,
        inputs: list[Any],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        outcomes = await run_in_executor(config[0], self._desk.decide_all, inputs, config)
        for outcome, manager, own in zip(outcomes, run_manager, config, strict=True):
            if isinstance(outcome, Decision):
                await aannounce(outcome, manager, own)
        results: list[Any] = list(outcomes)
        if not self._desk.children:
            return results
        shares = self._desk.shares(outcomes, inputs, run_manager, config)
        answers = await gather_with_concurrency(
            shares_at_once(config),
            *(
                share.child.abatch(share.inputs, share.configs, return_exceptions=True, **kwargs)
                for share in shares
            ),
        )
        for share, answered in zip(shares, answers, strict=True):
            share.place(answered, results)
        return results
