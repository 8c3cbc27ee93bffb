"""The drivers of the router, sync beside async: decide, announce, let the chosen child run."""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import get_executor_for_config, patch_config, run_in_executor
from langchain_core.runnables.utils import gather_with_concurrency
from pydantic import PrivateAttr

from tryage.chat.clients import AdaptiveExecutor
from tryage.core.decision import Decision
from tryage.core.preferences import Preferences
from tryage.errors import InputError, TryageError
from tryage_langchain._call import MODEL_KEY, configurable_without_model, preferences_from_config
from tryage_langchain._fallback import aemit_decision, emit_decision
from tryage_langchain._messages import add_chunk, clean_input, prompt_text, routed_input

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from langchain_core.runnables import Runnable

    from tryage.router import Router

ChainRunManager: TypeAlias = CallbackManagerForChainRun | AsyncCallbackManagerForChainRun

DecisionOrError: TypeAlias = Decision | TryageError


class RouterInvokeMixin(RunnableSerializable[Any, Any]):
    """A runnable whose run is a decision of its desk and, if there is one, the chosen child's."""

    _session: RunnableSession = PrivateAttr()
    _executor: AdaptiveExecutor = PrivateAttr(default_factory=AdaptiveExecutor)

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
        decision = self._session.decide(input, config)
        emit_decision(decision, run_manager, config)
        if not self._session.runnables:
            return decision
        child, forwarded, own = self._session.prepare_child_run(
            decision, input, run_manager, config
        )
        return child.invoke(forwarded, own, **kwargs)

    async def _ainvoke(
        self,
        input: Any,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        decision = await self._executor.run(partial(self._session.decide, input, config))
        await aemit_decision(decision, run_manager, config)
        if not self._session.runnables:
            return decision
        child, forwarded, own = self._session.prepare_child_run(
            decision, input, run_manager, config
        )
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
            whole = add_chunk(whole, chunk)
        decision = self._session.decide(whole, config)
        emit_decision(decision, run_manager, config)
        if not self._session.runnables:
            yield decision
            return
        child, forwarded, own = self._session.prepare_child_run(
            decision, whole, run_manager, config
        )
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
            whole = add_chunk(whole, chunk)
        decision = await self._executor.run(partial(self._session.decide, whole, config))
        await aemit_decision(decision, run_manager, config)
        if not self._session.runnables:
            yield decision
            return
        child, forwarded, own = self._session.prepare_child_run(
            decision, whole, run_manager, config
        )
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
        outcomes = self._session.decide_batch(inputs, config)
        for outcome, manager, own in zip(outcomes, run_manager, config, strict=True):
            if isinstance(outcome, Decision):
                emit_decision(outcome, manager, own)
        results: list[Any] = list(outcomes)
        if not self._session.runnables:
            return results
        shares = self._session.group_by_child(outcomes, inputs, run_manager, config)

        def answer(share: ChildBatch) -> list[Any]:
            return share.child.batch(share.inputs, share.configs, return_exceptions=True, **kwargs)

        with get_executor_for_config({"max_concurrency": max_parallel_batches(config)}) as executor:
            for share, answers in zip(shares, executor.map(answer, shares), strict=True):
                share.scatter(answers, results)
        return results

    async def _abatch(
        self,
        inputs: list[Any],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        outcomes = await run_in_executor(config[0], self._session.decide_batch, inputs, config)
        for outcome, manager, own in zip(outcomes, run_manager, config, strict=True):
            if isinstance(outcome, Decision):
                await aemit_decision(outcome, manager, own)
        results: list[Any] = list(outcomes)
        if not self._session.runnables:
            return results
        shares = self._session.group_by_child(outcomes, inputs, run_manager, config)
        answers = await gather_with_concurrency(
            max_parallel_batches(config),
            *(
                share.child.abatch(share.inputs, share.configs, return_exceptions=True, **kwargs)
                for share in shares
            ),
        )
        for share, answered in zip(shares, answers, strict=True):
            share.scatter(answered, results)
        return results


@dataclass
class ChildBatch:
    """The rows of a batch that one runnable answers."""

    child: Runnable[Any, Any]
    rows: list[int] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    configs: list[RunnableConfig] = field(default_factory=list)

    def add(self, row: int, forwarded: Any, config: RunnableConfig) -> None:
        """Take one row of the batch."""
        self.rows.append(row)
        self.inputs.append(forwarded)
        self.configs.append(config)

    def scatter(self, answers: Sequence[Any], results: list[Any]) -> None:
        """Write the answers, or exceptions, to the rows they belong to."""
        for row, answer in zip(self.rows, answers, strict=True):
            results[row] = answer


def max_parallel_batches(configs: Sequence[RunnableConfig]) -> int | None:
    """Return how many runnables may answer side by side; None is all of them.

    Each runnable holds `max_concurrency` within its own share, so under such a limit the shares
    go one after another: side by side they would exceed it.
    """
    return 1 if configs[0].get("max_concurrency") else None


@dataclass(frozen=True)
class RunnableSession:
    """A router over the experts that can be run, and what runs each of them.

    `children` is by the experts' names, empty if the decision itself is wanted; of an input that is
    a dict, `input_key` holds the prompt.
    """

    router: Router
    runnables: Mapping[str, Runnable[Any, Any]] = field(default_factory=dict)
    input_key: str | None = None

    def decide(self, value: Any, config: RunnableConfig) -> Decision:
        """Choose for one input.

        Raises:
            InputError: the input cannot be routed, or the config asks for what is not there.
            NoExpertError, PerceptionError: as in `Router.route`.
        """
        return self.router.route(self._text(value), call_preferences(config, self.router))

    def decide_batch(
        self, values: Sequence[Any], configs: Sequence[RunnableConfig]
    ) -> list[DecisionOrError]:
        """Decide in one encoder pass; only where that fails, one by one to find the culprits."""
        try:
            texts = [self._text(value) for value in values]
            preferences = [call_preferences(config, self.router) for config in configs]
            return list(self.router.route_batch(texts, preferences))
        except TryageError:
            pairs = zip(values, configs, strict=True)
            return [self._decide_or_error(value, config) for value, config in pairs]

    def prepare_child_run(
        self, decision: Decision, value: Any, manager: ChainRunManager, config: RunnableConfig
    ) -> tuple[Runnable[Any, Any], Any, RunnableConfig]:
        """Return the chosen runnable, the input it gets and the config of its run."""
        name = decision.expert.name
        own = patch_config(config, callbacks=manager.get_child(f"tryage:{name}"))
        own["metadata"] = {**own["metadata"], MODEL_KEY: name}
        own["configurable"] = configurable_without_model(own)
        return self.runnables[name], clean_input(decision, value, self.input_key), own

    def group_by_child(
        self,
        outcomes: Sequence[DecisionOrError],
        inputs: Sequence[Any],
        managers: Sequence[ChainRunManager],
        configs: Sequence[RunnableConfig],
    ) -> list[ChildBatch]:
        """Return what each chosen runnable has to answer of a batch."""
        shares: dict[str, ChildBatch] = {}
        rows = zip(outcomes, inputs, managers, configs, strict=True)
        for row, (outcome, value, manager, config) in enumerate(rows):
            if isinstance(outcome, Decision):
                child, *rest = self.prepare_child_run(outcome, value, manager, config)
                shares.setdefault(outcome.expert.name, ChildBatch(child)).add(row, *rest)
        return list(shares.values())

    def _text(self, value: Any) -> str:
        return prompt_text(routed_input(value, self.input_key))

    def _decide_or_error(self, value: Any, config: RunnableConfig) -> DecisionOrError:
        try:
            return self.decide(value, config)
        except TryageError as error:
            return error


def call_preferences(config: RunnableConfig, router: Router) -> Preferences:
    """Return the preferences of one call, with a model that is asked for as the only one.

    Raises:
        InputError: the preferences are of another type.
        LibraryError: the model asked for is not one of the router's.
    """
    preferences, model = preferences_from_config(config)
    if model is None:
        return preferences
    return preferences.tightened(Preferences(only=[router.library[model].name]))


def build_session(
    router: Router, runnables: Mapping[str, Runnable[Any, Any]] | None, input_key: str | None
) -> RunnableSession:
    """Return the router over the experts that can be run, each under one name only.

    Raises:
        InputError: there are no children, or two stand for the same expert.
        LibraryError: a child stands for nobody.
    """
    if runnables is None:
        return RunnableSession(router, {}, input_key)
    if not runnables:
        raise InputError("runnables is empty. Give one runnable per expert, or None.")
    names = [router.library[name].name for name in runnables]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"Two runnables stand for the expert {repeated[0]!r}. Expected one each.")
    return RunnableSession(
        router.subset(names), dict(zip(names, runnables.values(), strict=True)), input_key
    )
