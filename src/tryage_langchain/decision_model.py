"""TryageDecisionModel decides for LangChain's own `ModelRouterMiddleware`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict, Field, PrivateAttr

from tryage.chat.model_names import find_model
from tryage.core.cache import LRUCache
from tryage.core.preferences import Preferences
from tryage.core.probabilities import best_probabilities
from tryage.errors import InputError, LibraryError, MissingExtraError, PerceptionError
from tryage.router import Router  # noqa: TC001 - pydantic reads the annotation at run time
from tryage_langchain._call_settings import read_call_settings
from tryage_langchain._clients import ChatModelPool, candidate_pool, with_efforts
from tryage_langchain._messages import prompt_text

try:
    from langchain_core.decisions import (
        BaseDecisionModel,
        Choice,
        ChoiceAnswer,
        ClassifierResponse,
    )
except ImportError as error:
    raise MissingExtraError(
        f"TryageDecisionModel needs langchain-core 1.8 or newer, and {version('langchain-core')} "
        "is installed. Install it with: pip install --upgrade 'tryage[agents]' "
        "'langchain-core>=1.8'. TryageMiddleware works with both."
    ) from error

if TYPE_CHECKING:
    from tryage_langchain._call_settings import CallSettings

_log = logging.getLogger(__name__)


class TryageDecisionModel(BaseDecisionModel):  # type: ignore[misc,unused-ignore]  # Any before 1.8
    """Answer a `Choice` among experts: the label of the one that the router chooses.

    The labels of a question are experts' names or aliases, or `experts` maps them to those. A label
    that is new to the router, such as "gpt-5-mini" or "openai:gpt-5-mini", is estimated from what
    LangChain's profile says about the model; where the router cannot estimate, it is left out with
    a warning. `probabilities` holds for each label the probability that its expert has the lowest
    total, and `confidence` is that of the chosen one. If no choice is possible, the router's
    default is the answer, with confidence 0.

    Per run, `config["configurable"]` or the context of the graph may hold `tryage_preferences`,
    `tryage_model` and `tryage_query`.

    Example:
        `ModelRouterMiddleware(choices=..., instructions="", classifier=TryageDecisionModel(r))`

    Raises:
        InputError: a question is not a `Choice`, or a setting of the run is wrong.
        LibraryError: no label stands for an expert that the router can estimate.
        NoExpertError, PerceptionError: no choice is possible and the router has no default.
    """

    model: str = "tryage"
    router: Router = Field(exclude=True, repr=False)
    experts: dict[str, str] = Field(default_factory=dict)

    model_config = ConfigDict(arbitrary_types_allowed=True)
    _choosers: LRUCache[_Chooser] = PrivateAttr(default_factory=lambda: LRUCache(64))

    def __init__(self, router: Router, **kwargs: Any) -> None:
        super().__init__(router=router, **kwargs)

    @property
    def _provider(self) -> str:
        return "tryage"

    def _classify(self, state: object, questions: Mapping[str, Any]) -> ClassifierResponse:
        settings = read_call_settings(ensure_config())
        text = _prompt_of_state(state) if settings.query is None else settings.query
        answers = {
            key: self._answer(text, question, settings) for key, question in questions.items()
        }
        return ClassifierResponse(model=self.model, answers=answers)

    def _answer(self, text: str, question: object, settings: CallSettings) -> ChoiceAnswer:
        if not isinstance(question, Choice):
            raise InputError(
                f"Tryage chooses among models and cannot answer a {type(question).__name__}. "
                "Expected a Choice whose labels are experts."
            )
        chooser = self._chooser(tuple(question.criteria))
        decision = chooser.router.route(text, chooser.preferences(settings, self.experts))
        probabilities = {} if decision.default_used else best_probabilities(decision.ranking)
        names = {label: name for name, label in chooser.labels.items()}
        label = chooser.labels[decision.expert.name]
        return ChoiceAnswer(
            type="choice",
            choice=label,
            probabilities={
                label: probabilities.get(names.get(label, ""), 0.0) for label in question.criteria
            },
            confidence=probabilities.get(decision.expert.name, 0.0),
        )

    def _chooser(self, labels: tuple[str, ...]) -> _Chooser:
        chooser = self._choosers.get(labels)
        if chooser is None:
            chooser = _make_chooser(self.router, {x: self.experts.get(x, x) for x in labels})
            self._choosers.put(labels, chooser)
        return chooser


@dataclass(frozen=True)
class _Chooser:
    """A router over the experts of a question, and the label of each by its name."""

    router: Router
    labels: Mapping[str, str]

    def preferences(self, settings: CallSettings, experts: Mapping[str, str]) -> Preferences:
        """Return the preferences of a call; a model that it names is the only one allowed.

        Raises:
            LibraryError: the named model is none of the labels.
        """
        if settings.model is None:
            return settings.preferences
        names = {label: name for name, label in self.labels.items()}
        model = experts.get(settings.model, settings.model)
        name = names.get(settings.model) or find_model(self.router.library, model)
        return settings.preferences.tightened(Preferences(only=[name]))


def _make_chooser(router: Router, models: Mapping[str, str]) -> _Chooser:
    """Return the router over models by label; `models` are names of experts or of models.

    Raises:
        InputError: two labels stand for one expert.
        LibraryError: no model is known or can be estimated.
    """
    known = {label: name for label, name in models.items() if name in router.library}
    labels = {router.library[name].name: label for label, name in known.items()}
    if len(labels) < len(known):
        raise InputError(f"Two of the labels {[*known]} stand for one expert.")
    if len(known) == len(models):
        return _Chooser(router.subset(tuple(labels)), labels)
    try:
        pool = candidate_pool(ChatModelPool(with_efforts(models), {}), router, ())
        return _Chooser(pool.build_router(router, None, None), {name: name for name in models})
    except PerceptionError as error:
        new_labels = sorted(set(models) - set(known))
        if not known:
            raise LibraryError(
                f"The labels {new_labels} are none of the router's experts, and it cannot estimate "
                "them. Map them to experts: TryageDecisionModel(router, experts={label: expert})."
            ) from error
        _log.warning("The labels %s are left out: the router cannot estimate them.", new_labels)
        return _Chooser(router.subset(tuple(labels)), labels)


def _prompt_of_state(state: object) -> str:
    """Return the prompt of a state: the last human message, or a whole structure as JSON."""
    is_structured = isinstance(state, Mapping) or (
        isinstance(state, Sequence)
        and not isinstance(state, str)
        and not all(isinstance(part, BaseMessage) for part in state)
    )
    return (
        json.dumps(state, default=_json_default, ensure_ascii=False)
        if is_structured
        else prompt_text(state)
    )


def _json_default(value: object) -> object:
    return prompt_text(value) if isinstance(value, BaseMessage) else str(value)
