"""The pure part of the router: what is asked of it, what it decides, what a chosen child gets."""

# ruff: noqa: ANN401 - LangChain lets inputs be of any type.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables.config import patch_config

from tryage.decision import Decision
from tryage.errors import InputError, TryageError
from tryage.preferences import Preferences
from tryage_langchain._inputs import chosen_part, cleaned, prompt_text
from tryage_langchain._router.sharing import Share

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable, RunnableConfig

    from tryage.router import Router

PREFERENCES = "tryage_preferences"
MODEL = "tryage_model"

_NONE = Preferences()

Manager: TypeAlias = CallbackManagerForChainRun | AsyncCallbackManagerForChainRun
Outcome: TypeAlias = Decision | TryageError


@dataclass(frozen=True)
class Desk:
    """A router over the experts that can be run, and what runs each of them.

    `children` is by the experts' names, empty if the decision itself is wanted; of an input that is
    a dict, `input_key` holds the prompt.
    """

    router: Router
    children: Mapping[str, Runnable[Any, Any]] = field(default_factory=dict)
    input_key: str | None = None

    def decide(self, value: Any, config: RunnableConfig) -> Decision:
        """Choose for one input.

        Raises:
            InputError: the input cannot be routed, or the config asks for what is not there.
            NoExpertError, PerceptionError: as in `Router.route`.
        """
        return self.router.route(self._text(value), asked(config, self.router))

    def decide_all(self, values: Sequence[Any], configs: Sequence[RunnableConfig]) -> list[Outcome]:
        """Decide in one encoder pass; only where that fails, one by one to find the culprits."""
        try:
            texts = [self._text(value) for value in values]
            preferences = [asked(config, self.router) for config in configs]
            return list(self.router.route_batch(texts, preferences))
        except TryageError:
            pairs = zip(values, configs, strict=True)
            return [self._decide_or_error(value, config) for value, config in pairs]

    def hand_over(
        self, decision: Decision, value: Any, manager: Manager, config: RunnableConfig
    ) -> tuple[Runnable[Any, Any], Any, RunnableConfig]:
        """Return the chosen runnable, the input it gets and the config of its run."""
        name = decision.expert.name
        own = patch_config(config, callbacks=manager.get_child(f"tryage:{name}"))
        own["metadata"] = {**own["metadata"], MODEL: name}
        own["configurable"] = without_model(own)
        return self.children[name], cleaned(decision, value, self.input_key), own

    def shares(
        self,
        outcomes: Sequence[Outcome],
        inputs: Sequence[Any],
        managers: Sequence[Manager],
        configs: Sequence[RunnableConfig],
    ) -> list[Share]:
        """Return what each chosen runnable has to answer of a batch."""
        shares: dict[str, Share] = {}
        rows = zip(outcomes, inputs, managers, configs, strict=True)
        for row, (outcome, value, manager, config) in enumerate(rows):
            if isinstance(outcome, Decision):
                child, *rest = self.hand_over(outcome, value, manager, config)
                shares.setdefault(outcome.expert.name, Share(child)).add(row, *rest)
        return list(shares.values())

    def _text(self, value: Any) -> str:
        return prompt_text(chosen_part(value, self.input_key))

    def _decide_or_error(self, value: Any, config: RunnableConfig) -> Outcome:
        try:
            return self.decide(value, config)
        except TryageError as error:
            return error


def wishes(config: RunnableConfig) -> tuple[Preferences, str | None]:
    """Return what one call asks for: `tryage_preferences`, and the name in `tryage_model`.

    Raises:
        InputError: the preferences are of another type.
    """
    given = config.get("configurable", {})
    preferences = given.get(PREFERENCES, _NONE)
    if isinstance(preferences, Mapping):
        preferences = Preferences.from_dict(preferences)
    if not isinstance(preferences, Preferences):
        raise InputError(
            f"{PREFERENCES} is a {type(preferences).__name__}. Expected Preferences or a dict."
        )
    return preferences, given.get(MODEL)


def without_model(config: RunnableConfig) -> dict[str, Any]:
    """Return what is configured for a child: a forced name is obeyed here, others know others."""
    return {key: given for key, given in config["configurable"].items() if key != MODEL}


def asked(config: RunnableConfig, router: Router) -> Preferences:
    """Return the preferences of one call, with a model that is asked for as the only one.

    Raises:
        InputError: the preferences are of another type.
        LibraryError: the model asked for is not one of the router's.
    """
    preferences, model = wishes(config)
    if model is None:
        return preferences
    return preferences.tightened(Preferences(only=[router.library[model].name]))


def desk(
    router: Router, children: Mapping[str, Runnable[Any, Any]] | None, input_key: str | None
) -> Desk:
    """Return the router over the experts that can be run, each under one name only.

    Raises:
        InputError: there are no children, or two stand for the same expert.
        LibraryError: a child stands for nobody.
    """
    if children is None:
        return Desk(router, {}, input_key)
    if not children:
        raise InputError("runnables is empty. Give one runnable per expert, or None.")
    names = [router.library[name].name for name in children]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"Two runnables stand for the expert {repeated[0]!r}. Expected one each.")
    return Desk(router.among(names), dict(zip(names, children.values(), strict=True)), input_key)
