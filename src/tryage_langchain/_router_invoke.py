"""How TryageRouter runs: it decides, reports the decision, and runs the chosen runnable."""

# ruff: noqa: A002 - LangChain calls the argument `input` and lets it be of any type.

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables.config import patch_config, run_in_executor
from pydantic import PrivateAttr

from tryage.chat.batching import BatchingExecutor
from tryage.chat.call_observer import observe_decision
from tryage.chat.costs import PoolPrices
from tryage.chat.savings import AnswerCosts, SavingsCounter
from tryage.chat.settings import MODEL_KEY
from tryage.chat.streams import aclosing_stream
from tryage.core.cache import cached_property
from tryage.core.decision import Decision
from tryage.core.preferences import Preferences
from tryage.core.request import ConversationContext
from tryage.errors import InputError, TryageError
from tryage.telemetry.observer import measured, trace, tracing_failures
from tryage.traffic.imports import DECISION_ID_KEY
from tryage_langchain._batch import BatchMixin, arun_batch, run_batch
from tryage_langchain._call import innermost_model, log_keys, policy_metadata
from tryage_langchain._call_settings import (
    CallSettings,
    check_arguments,
    configurable_for_child,
    query_of,
    read_call_settings,
)
from tryage_langchain._child_runs import ChildBatch, ChildRun, begin_runs, run_outcome, with_id
from tryage_langchain._clients import client_with_effort
from tryage_langchain._efforts import own_effort
from tryage_langchain._fallback import aemit_decision, emit_decision
from tryage_langchain._messages import (
    add_chunk,
    clean_input,
    input_size,
    prompt_text,
    routed_input,
)
from tryage_langchain._usage import UsageCallback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from langchain_core.runnables import Runnable, RunnableConfig

    from tryage.chat.savings import Savings
    from tryage.core.expert import Expert
    from tryage.router import Router

ChainRunManager: TypeAlias = CallbackManagerForChainRun | AsyncCallbackManagerForChainRun

DecisionOrError: TypeAlias = Decision | TryageError

DecisionInput: TypeAlias = tuple["RunnableSession", Any, "RunnableConfig"]
"""A router with its runnables, an input, and the config of its call."""


class RouterInvokeMixin(BatchMixin):
    """A runnable whose run is a decision and, if there are runnables, the run of the chosen one.

    Routing that takes long does not block the event loop.
    """

    _session: RunnableSession = PrivateAttr()
    _executor: BatchingExecutor[DecisionInput, Decision] = PrivateAttr(
        default_factory=lambda: BatchingExecutor(decide_inputs)
    )

    # One input -----------------------------------------------------------------------------

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Route the input and return what the chosen runnable returns, or the decision."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Do what `invoke` does, asynchronously."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self,
        input: Any,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        check_arguments(kwargs)
        with tracing_failures():
            decision = self._session.decide(input, config)
        emit_decision(decision, run_manager, config)
        if not self._session.runnables:
            trace([decision])
            return decision
        run = self._session.child_run(decision, input, run_manager, config)
        with self._session.counting(run):
            return with_id(run.asking(run.child.invoke)(**kwargs), run)

    async def _ainvoke(
        self,
        input: Any,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        check_arguments(kwargs)
        decision = await self._adecide(input, config)
        await aemit_decision(decision, run_manager, config)
        if not self._session.runnables:
            trace([decision])
            return decision
        run = self._session.child_run(decision, input, run_manager, config)
        with self._session.counting(run):
            return with_id(await run.asking(run.child.ainvoke)(**kwargs), run)

    async def _adecide(self, input: Any, config: RunnableConfig) -> Decision:
        with tracing_failures():
            return await self._executor.run((self._session, input, config), input_size(input))

    # A stream ------------------------------------------------------------------------------

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Route the input, then yield the chunks of the chosen runnable as they arrive."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Do what `stream` does, asynchronously."""

        async def inputs() -> AsyncIterator[Any]:
            yield input

        async with aclosing_stream(self.atransform(inputs(), config, **kwargs)) as chunks:
            async for chunk in chunks:
                yield chunk

    def transform(
        self, input: Iterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Read the whole input, because a part cannot be routed, then stream the answer."""
        yield from self._transform_stream_with_config(input, self._transform, config, **kwargs)

    async def atransform(
        self, input: AsyncIterator[Any], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Do what `transform` does, asynchronously."""
        stream = self._atransform_stream_with_config(input, self._atransform, config, **kwargs)
        async with aclosing_stream(stream) as chunks:  # the runs end with the reader
            async for chunk in chunks:
                yield chunk

    def _transform(
        self,
        inputs: Iterator[Any],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Any]:
        check_arguments(kwargs)
        value: Any = reduce(add_chunk, inputs, None)
        with tracing_failures():
            decision = self._session.decide(value, config)
        emit_decision(decision, run_manager, config)
        if not self._session.runnables:
            trace([decision])
            yield decision
            return
        run = self._session.child_run(decision, value, run_manager, config)
        with self._session.counting(run):
            run.begin()
            for i, chunk in enumerate(run.child.stream(run.input, run.config, **kwargs)):
                yield chunk if i else with_id(chunk, run)

    async def _atransform(
        self,
        inputs: AsyncIterator[Any],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        check_arguments(kwargs)
        value: Any = None
        async for chunk in inputs:
            value = add_chunk(value, chunk)
        decision = await self._adecide(value, config)
        await aemit_decision(decision, run_manager, config)
        if not self._session.runnables:
            trace([decision])
            yield decision
            return
        run = self._session.child_run(decision, value, run_manager, config)
        is_first = True
        with self._session.counting(run):
            run.begin()
            stream = run.child.astream(run.input, run.config, **kwargs)
            async with aclosing_stream(stream) as chunks:
                async for chunk in chunks:
                    yield with_id(chunk, run) if is_first else chunk
                    is_first = False

    # A batch -------------------------------------------------------------------------------

    def _batch(
        self,
        inputs: list[Any],
        run_manager: list[CallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        check_arguments(kwargs)
        outcomes = self._session.decide_batch(inputs, config)
        for outcome, manager, child_config in zip(outcomes, run_manager, config, strict=True):
            if isinstance(outcome, Decision):
                emit_decision(outcome, manager, child_config)
        batches = self._session.group_by_child(outcomes, inputs, run_manager, config)
        trace([] if batches else [one for one in outcomes if isinstance(one, Decision)])
        begin_runs(batches)
        with self._session.counting_interrupt(batches):
            answers = run_batch(
                lambda batch: batch.child.batch(*batch.arguments, return_exceptions=True, **kwargs),
                batches,
                _max_parallel_batches(config),
            )
        self._session.count_batches(batches, answers)
        return _merge_answers(outcomes, batches, answers)

    async def _abatch(
        self,
        inputs: list[Any],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        check_arguments(kwargs)
        outcomes = await run_in_executor(config[0], self._session.decide_batch, inputs, config)
        for outcome, manager, child_config in zip(outcomes, run_manager, config, strict=True):
            if isinstance(outcome, Decision):
                await aemit_decision(outcome, manager, child_config)
        batches = self._session.group_by_child(outcomes, inputs, run_manager, config)
        trace([] if batches else [one for one in outcomes if isinstance(one, Decision)])
        begin_runs(batches)
        with self._session.counting_interrupt(batches):
            answers = await arun_batch(
                lambda batch: batch.child.abatch(
                    *batch.arguments, return_exceptions=True, **kwargs
                ),
                batches,
                _max_parallel_batches(config),
            )
        self._session.count_batches(batches, answers)
        return _merge_answers(outcomes, batches, answers)


@dataclass(frozen=True)
class RunnableSession:
    """A router over the experts that can be run, and the runnable of each.

    `runnables` are under the experts' names; empty if the caller wants the decision itself. If the
    input is a dict, its value under `input_key` is the prompt. `savings_counter` adds up what the
    answers cost.
    """

    router: Router
    runnables: Mapping[str, Runnable[Any, Any]] = field(default_factory=dict)
    input_key: str | None = None
    savings_counter: SavingsCounter = field(default_factory=SavingsCounter)

    @cached_property
    def prices(self) -> PoolPrices:
        """What tokens cost at the experts, computed when first used."""
        return PoolPrices(self.router)

    def savings(self, *, reset: bool = False) -> Savings:
        """Return the totals of the answers so far; with `reset`, the next start from zero."""
        return self.savings_counter.read(self.prices.best_single, reset=reset)

    @contextmanager
    def counting(self, run: ChildRun) -> Iterator[None]:
        """Count what the answer of a run costs, or the run that has failed or was cancelled."""
        error: BaseException | None = None
        try:
            yield
        except GeneratorExit:  # the reader of a stream has enough of the answer
            raise
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._count(run, error)

    @contextmanager
    def counting_interrupt(self, batches: Sequence[ChildBatch]) -> Iterator[None]:
        """Count all runs of a batch as failed if it has no end, such as one that is cancelled."""
        try:
            yield
        except BaseException as error:
            for batch in batches:
                for run in batch.runs:
                    self._count(run, error)
            raise

    def count_batches(
        self, batches: Sequence[ChildBatch], answers: Sequence[Sequence[Any]]
    ) -> None:
        """Count what the answers of a batch cost."""
        for batch, batch_answers in zip(batches, answers, strict=True):
            for run, answer in zip(batch.runs, batch_answers, strict=True):
                self._count(run, answer if isinstance(answer, Exception) else None)

    def _count(self, run: ChildRun, error: BaseException | None) -> None:
        """Count one run by the tokens that its models have reported; without any, it failed."""
        is_answer, usage = error is None, run.usage.usage
        costs = self.prices.compare(run.name, usage)
        run.settle(costs, error)
        outcome = run_outcome(run, costs, self.prices.best_single, error)
        served_by, latency = outcome.served_by, outcome.latency
        self.router.settle(run.decision_id, served_by, cost=costs.billed, latency=latency)
        if self.router.log is not None:
            self.router.log.record_outcome(outcome)
        if not is_answer and not run.usage.has_answered:
            return
        if not is_answer:  # another model might have failed at no cost
            costs = AnswerCosts(costs.billed, 0.0, 0.0)
        self.savings_counter.add(costs, is_answer=is_answer)

    def decide(self, value: Any, config: RunnableConfig) -> Decision:
        """Choose for one input.

        Raises:
            InputError: the input cannot be routed, or the config has wrong preferences.
            LibraryError: the config names an unknown model.
            NoExpertError, PerceptionError: as in `Router.route`.
        """
        settings = read_call_settings(config)
        text, preferences = self._text(value, settings), call_preferences(settings, self.router)
        return self._decide([text], [preferences], [log_context(config)])[0]

    def decide_batch(
        self, values: Sequence[Any], configs: Sequence[RunnableConfig]
    ) -> list[DecisionOrError]:
        """Decide in one encoder pass; if that fails, one by one, to tell which cannot be routed."""
        try:
            settings = [read_call_settings(config) for config in configs]
            texts = [self._text(*pair) for pair in zip(values, settings, strict=True)]
            preferences = [call_preferences(call, self.router) for call in settings]
            contexts = [log_context(config) for config in configs]
            return [*self._decide(texts, preferences, contexts)]
        except TryageError:
            pairs = zip(values, configs, strict=True)
            return [self._decide_or_error(value, config) for value, config in pairs]

    def _decide(
        self,
        texts: Sequence[str],
        preferences: Sequence[Preferences],
        contexts: Sequence[ConversationContext],
    ) -> list[Decision]:
        """Decide and write the log; the trace of each decision is that of the run of its input."""
        decide = partial(self.router.decide_batch, texts, preferences, contexts=contexts)
        decisions = measured(decide)
        if self.router.records:
            for decision in decisions:
                self.router.record(decision)
        return decisions

    def child_run(
        self, decision: Decision, value: Any, manager: ChainRunManager, config: RunnableConfig
    ) -> ChildRun:
        """Return the run of the chosen runnable; its tag and metadata name the expert."""
        name = decision.expert.name
        child_manager, usage = manager.get_child(f"tryage:{name}"), UsageCallback()
        child_manager.add_handler(usage)
        child_config = patch_config(config, callbacks=child_manager)
        child_config["metadata"] = {
            **child_config["metadata"],
            MODEL_KEY: name,
            DECISION_ID_KEY: decision.id,
            **policy_metadata([change.to_dict() for change in decision.changes]),
        }
        child_config["configurable"] = configurable_for_child(child_config)
        child_input = clean_input(decision, value, self.input_key)
        return ChildRun(
            *(self.runnables[name], child_input, child_config, name, usage, decision.id),
            policies=[change.to_dict() for change in decision.changes],
            expected=None if decision.chosen is None else decision.chosen.cost,
            observer=observe_decision(decision, self.runnables),
        )

    def group_by_child(
        self,
        outcomes: Sequence[DecisionOrError],
        inputs: Sequence[Any],
        managers: Sequence[ChainRunManager],
        configs: Sequence[RunnableConfig],
    ) -> list[ChildBatch]:
        """Return the rows of a batch by chosen runnable; empty without runnables."""
        if not self.runnables:
            return []
        batches: dict[str, ChildBatch] = {}
        rows = zip(outcomes, inputs, managers, configs, strict=True)
        for row, (outcome, value, manager, config) in enumerate(rows):
            if isinstance(outcome, Decision):
                run = self.child_run(outcome, value, manager, config)
                batches.setdefault(outcome.expert.name, ChildBatch(run.child)).add(row, run)
        return list(batches.values())

    def _text(self, value: Any, settings: CallSettings) -> str:
        if settings.query is not None:
            return settings.query
        prompt = routed_input(value, self.input_key)
        query = query_of(prompt)
        return prompt_text(prompt) if query is None else query

    def _decide_or_error(self, value: Any, config: RunnableConfig) -> DecisionOrError:
        try:
            return self.decide(value, config)
        except TryageError as error:
            return error


def decide_inputs(inputs: Sequence[DecisionInput]) -> list[DecisionOrError]:
    """Decide about inputs of one or several routers, in one encoder pass for each."""
    sessions = {id(session): session for session, _, _ in inputs}
    outcomes = {}
    for key, session in sessions.items():
        rows = [(value, config) for owner, value, config in inputs if owner is session]
        values, configs = zip(*rows, strict=True)
        outcomes[key] = iter(session.decide_batch(values, configs))
    return [next(outcomes[id(session)]) for session, _, _ in inputs]


def build_session(
    router: Router,
    runnables: Mapping[str, Runnable[Any, Any]] | None,
    input_key: str | None,
    savings_counter: SavingsCounter | None = None,
) -> RunnableSession:
    """Return the router over the experts that can be run, each under one name only.

    Without a `savings_counter` it has one of its own.

    Raises:
        InputError: `runnables` is empty, or two of them are the same expert.
        LibraryError: a runnable has the name of an unknown expert.
    """
    counter = savings_counter or SavingsCounter()
    if runnables is None:
        return RunnableSession(router, {}, input_key, counter)
    if not runnables:
        raise InputError("runnables is empty. Give one runnable per expert, or None.")
    names = [router.library[name].name for name in runnables]
    duplicates = [name for name in names if names.count(name) > 1]
    if duplicates:
        raise InputError(
            f"Two runnables stand for the expert {duplicates[0]!r}. Expected one each."
        )
    runnables_by_name = {
        name: _with_effort(child, router.library[name])
        for name, child in zip(names, runnables.values(), strict=True)
    }
    return RunnableSession(router.subset(names), runnables_by_name, input_key, counter)


def _with_effort(child: Runnable[Any, Any], expert: Expert) -> Runnable[Any, Any]:
    """Return a chat model that answers with the effort of its expert; a chain stays as it is.

    Raises:
        InputError: the chat model has no parameter for it that is known.
    """
    is_chain = innermost_model(child) is None
    if expert.effort is None or is_chain or own_effort(child) is not None:
        return child
    return client_with_effort(child, expert.effort)


def call_preferences(settings: CallSettings, router: Router) -> Preferences:
    """Return the preferences of one call; a model that the call names is the only one allowed.

    Raises:
        LibraryError: the router does not know the named model.
    """
    if settings.model is None:
        return settings.preferences
    return settings.preferences.tightened(Preferences(only=[router.library[settings.model].name]))


def log_context(config: RunnableConfig) -> ConversationContext:
    """Return the keys and tags of a config, for the log of traffic."""
    return ConversationContext(keys=log_keys(config), tags=tuple(config.get("tags") or ()))


def _merge_answers(
    outcomes: Sequence[DecisionOrError],
    batches: Sequence[ChildBatch],
    answers: Sequence[Sequence[Any]],
) -> list[Any]:
    """Return the outcomes with the answers, or exceptions, in the rows of their runnables."""
    results: list[Any] = list(outcomes)
    for batch, batch_answers in zip(batches, answers, strict=True):
        for row, run, answer in zip(batch.rows, batch.runs, batch_answers, strict=True):
            results[row] = with_id(answer, run)
    return results


def _max_parallel_batches(configs: Sequence[RunnableConfig]) -> int | None:
    """Return how many runnables may answer at the same time; None means all.

    Each runnable obeys `max_concurrency` within its own batch. Under such a limit the batches
    therefore run one after another: in parallel they would exceed it.
    """
    return 1 if configs[0].get("max_concurrency") else None
