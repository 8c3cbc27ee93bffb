"""The router as a Runnable: it yields the decision, or runs the chosen child in its own place."""

# ruff: noqa: A002, ANN401 - LangChain calls the argument `input` and lets it be of any type.

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.callbacks.manager import adispatch_custom_event, dispatch_custom_event
from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.base import coerce_to_runnable
from langchain_core.runnables.config import (
    get_executor_for_config,
    merge_configs,
    patch_config,
    run_in_executor,
)
from langchain_core.runnables.utils import (
    ConfigurableFieldSpec,
    gather_with_concurrency,
    get_unique_config_specs,
)
from pydantic import ConfigDict, PrivateAttr

from tryage.decision import Decision
from tryage.errors import InputError, TryageError
from tryage.flags import extract
from tryage.preferences import Preferences
from tryage.router import Router  # noqa: TC001 - pydantic reads the annotation at run time
from tryage_langchain._inputs import joined, prompt_text, without_flags
from tryage_langchain._sharing import Share, shares_at_once

EVENT = "tryage_route"
PREFERENCES = "tryage_preferences"
MODEL = "tryage_model"

_Manager = CallbackManagerForChainRun | AsyncCallbackManagerForChainRun


class TryageRouter(RunnableSerializable[LanguageModelInput, Any]):
    """Route each input and run the chosen runnable; without runnables, yield the `Decision`.

    The input is a string, a prompt value, a message or messages; it is routed on the text of the
    last human message and reaches the chosen runnable unchanged, except that prompt flags are
    removed when the router allows them. Only experts that have a runnable are candidates.

    Per call, `config["configurable"]` may hold `tryage_preferences` (`Preferences` or its dict,
    which tighten the router's own) and `tryage_model` (the name of the one expert to use).

    The choice is visible: the child's run carries the tag `tryage:<name>` and the metadata
    `tryage_model`, and a custom event `tryage_route` with the whole decision precedes it.

    Example:
        `prompt | TryageRouter(router=router, runnables={"small": a, "big": b}) | StrOutputParser()`

    Raises:
        InputError: the input cannot be routed, or `runnables` is empty.
        LibraryError: a runnable or `tryage_model` names an expert that the router does not know.
    """

    router: Router
    runnables: dict[str, Runnable[Any, Any]] | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True)
    _candidates: Router = PrivateAttr()
    _children: dict[str, Runnable[Any, Any]] = PrivateAttr(default_factory=dict)

    def __init__(
        self, router: Router, runnables: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        children = {name: coerce_to_runnable(child) for name, child in (runnables or {}).items()}
        kwargs["runnables"] = None if runnables is None else children
        super().__init__(**{"router": router, **kwargs})
        self._candidates = router
        if runnables is not None:
            self._candidates = _narrowed(router, children)
            self._children = {router.library[name].name: child for name, child in children.items()}

    @property
    def InputType(self) -> Any:  # noqa: N802 - the name is LangChain's
        """What can be routed."""
        return LanguageModelInput

    @property
    def OutputType(self) -> Any:  # noqa: N802 - the name is LangChain's
        """The decision, or whatever the runnables yield."""
        return Decision if self.runnables is None else Any

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The per-call settings of the router and of its runnables."""
        own = [
            ConfigurableFieldSpec(id=PREFERENCES, annotation=Any, name="Tryage preferences"),
            ConfigurableFieldSpec(id=MODEL, annotation=str | None, name="Tryage model"),
        ]
        children = (spec for child in self._children.values() for spec in child.config_specs)
        return get_unique_config_specs([*own, *children])

    # One input -----------------------------------------------------------------------------

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Route the input and return what the chosen runnable returns, or the decision."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """Do what `invoke` does, with the routing in an executor."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self,
        input: LanguageModelInput,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        decision = self._decide(input, config)
        _announce(decision, run_manager, config)
        if self.runnables is None:
            return decision
        child, forwarded, child_config = self._hand_over(decision, input, run_manager, config)
        return child.invoke(forwarded, child_config, **kwargs)

    async def _ainvoke(
        self,
        input: LanguageModelInput,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Any:
        decision = await run_in_executor(config, self._decide, input, config)
        await _aannounce(decision, run_manager, config)
        if self.runnables is None:
            return decision
        child, forwarded, child_config = self._hand_over(decision, input, run_manager, config)
        return await child.ainvoke(forwarded, child_config, **kwargs)

    # A stream ------------------------------------------------------------------------------

    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """Route the input, then yield the chunks of the chosen runnable as they come."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Do what `stream` does, with the routing in an executor."""

        async def one() -> AsyncIterator[LanguageModelInput]:
            yield input

        async for chunk in self.atransform(one(), config, **kwargs):
            yield chunk

    def transform(
        self,
        input: Iterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Gather the input, which must be whole to be routed, then stream the answer."""
        yield from self._transform_stream_with_config(input, self._transform, config, **kwargs)

    async def atransform(
        self,
        input: AsyncIterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Do what `transform` does, with the routing in an executor."""
        chunks = self._atransform_stream_with_config(input, self._atransform, config, **kwargs)
        async for chunk in chunks:
            yield chunk

    def _transform(
        self,
        inputs: Iterator[LanguageModelInput],
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> Iterator[Any]:
        whole: Any = None
        for chunk in inputs:
            whole = joined(whole, chunk)
        decision = self._decide(whole, config)
        _announce(decision, run_manager, config)
        if self.runnables is None:
            yield decision
            return
        child, forwarded, child_config = self._hand_over(decision, whole, run_manager, config)
        yield from child.stream(forwarded, child_config, **kwargs)

    async def _atransform(
        self,
        inputs: AsyncIterator[LanguageModelInput],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        whole: Any = None
        async for chunk in inputs:
            whole = joined(whole, chunk)
        decision = await run_in_executor(config, self._decide, whole, config)
        await _aannounce(decision, run_manager, config)
        if self.runnables is None:
            yield decision
            return
        child, forwarded, child_config = self._hand_over(decision, whole, run_manager, config)
        async for chunk in child.astream(forwarded, child_config, **kwargs):
            yield chunk

    # A batch -------------------------------------------------------------------------------

    def batch(
        self,
        inputs: list[LanguageModelInput],
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
        inputs: list[LanguageModelInput],
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
        inputs: list[LanguageModelInput],
        run_manager: list[CallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        outcomes = self._decide_all(inputs, config)
        for outcome, manager, own in zip(outcomes, run_manager, config, strict=True):
            if isinstance(outcome, Decision):
                _announce(outcome, manager, own)
        results: list[Any] = list(outcomes)
        if self.runnables is None:
            return results
        shares = self._shares(outcomes, inputs, run_manager, config)

        def answer(share: Share) -> list[Any]:
            return share.child.batch(share.inputs, share.configs, return_exceptions=True, **kwargs)

        with get_executor_for_config({"max_concurrency": shares_at_once(config)}) as executor:
            for share, answers in zip(shares, executor.map(answer, shares), strict=True):
                share.place(answers, results)
        return results

    async def _abatch(
        self,
        inputs: list[LanguageModelInput],
        run_manager: list[AsyncCallbackManagerForChainRun],
        config: list[RunnableConfig],
        **kwargs: Any,
    ) -> list[Any]:
        outcomes = await run_in_executor(config[0], self._decide_all, inputs, config)
        for outcome, manager, own in zip(outcomes, run_manager, config, strict=True):
            if isinstance(outcome, Decision):
                await _aannounce(outcome, manager, own)
        results: list[Any] = list(outcomes)
        if self.runnables is None:
            return results
        shares = self._shares(outcomes, inputs, run_manager, config)
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

    # Deciding and handing over -------------------------------------------------------------

    def _decide(self, value: Any, config: RunnableConfig) -> Decision:
        return self._candidates.route(prompt_text(value), self._preferences(config))

    def _decide_all(
        self, values: Sequence[Any], configs: Sequence[RunnableConfig]
    ) -> list[Decision | TryageError]:
        """Decide in one encoder pass; only where that fails, one by one to find the culprits."""
        try:
            texts = [prompt_text(value) for value in values]
            preferences = [self._preferences(config) for config in configs]
            return list(self._candidates.route_batch(texts, preferences))
        except TryageError:
            pairs = zip(values, configs, strict=True)
            return [self._decide_or_error(value, config) for value, config in pairs]

    def _decide_or_error(self, value: Any, config: RunnableConfig) -> Decision | TryageError:
        try:
            return self._decide(value, config)
        except TryageError as error:
            return error

    def _preferences(self, config: RunnableConfig) -> Preferences:
        asked = config.get("configurable", {})
        preferences = asked.get(PREFERENCES, Preferences())
        if isinstance(preferences, Mapping):
            preferences = Preferences.from_dict(preferences)
        if not isinstance(preferences, Preferences):
            raise InputError(
                f"{PREFERENCES} is a {type(preferences).__name__}. Expected Preferences or a dict."
            )
        if (model := asked.get(MODEL)) is None:
            return preferences
        forced = self._candidates.library[model].name
        return preferences.tightened(Preferences(only=[forced]))

    def _hand_over(
        self, decision: Decision, value: Any, run_manager: _Manager, config: RunnableConfig
    ) -> tuple[Runnable[Any, Any], Any, RunnableConfig]:
        """Return the chosen runnable, the input it gets and the config of its run."""
        name = decision.expert.name
        forwarded = without_flags(value, _unflagged) if decision.flags else value
        tagged = patch_config(config, callbacks=run_manager.get_child(f"tryage:{name}"))
        child_config = merge_configs(tagged, {"metadata": {MODEL: name}})
        # A forced name is obeyed here; a router further down knows other names.
        child_config["configurable"] = {
            key: given for key, given in config.get("configurable", {}).items() if key != MODEL
        }
        return self._children[name], forwarded, child_config

    def _shares(
        self,
        outcomes: Sequence[Decision | TryageError],
        inputs: Sequence[Any],
        run_managers: Sequence[_Manager],
        configs: Sequence[RunnableConfig],
    ) -> list[Share]:
        shares: dict[str, Share] = {}
        rows = zip(outcomes, inputs, run_managers, configs, strict=True)
        for row, (outcome, value, manager, config) in enumerate(rows):
            if isinstance(outcome, Decision):
                child, *rest = self._hand_over(outcome, value, manager, config)
                shares.setdefault(outcome.expert.name, Share(child)).add(row, *rest)
        return list(shares.values())


def _narrowed(router: Router, runnables: Mapping[str, Any]) -> Router:
    """Return the router over the experts that can be run, each under one name only."""
    if not runnables:
        raise InputError("runnables is empty. Give one runnable per expert, or None.")
    names = [router.library[name].name for name in runnables]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"Two runnables stand for the expert {repeated[0]!r}. Expected one each.")
    return router.among(names)


def _unflagged(text: str) -> str:
    return extract(text).text


def _announce(
    decision: Decision, run_manager: CallbackManagerForChainRun, config: RunnableConfig
) -> None:
    if run_manager.handlers:
        dispatch_custom_event(EVENT, decision.to_dict(), config=config)


async def _aannounce(
    decision: Decision, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig
) -> None:
    if run_manager.handlers:
        await adispatch_custom_event(EVENT, decision.to_dict(), config=config)
