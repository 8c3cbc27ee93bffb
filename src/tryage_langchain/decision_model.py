"""TryageDecisionModel decides for LangChain's own `ModelRouterMiddleware`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, Field, PrivateAttr

from tryage.core.decision import best_probabilities
from tryage.errors import InputError, MissingExtraError
from tryage.router import Router  # noqa: TC001 - pydantic reads the annotation at run time
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


class TryageDecisionModel(BaseDecisionModel):  # type: ignore[misc,unused-ignore]  # Any before 1.8
    """Answer a `Choice` among experts: the label of the one that the router chooses.

    The labels of a question are experts' names or aliases, or `experts` maps them to those.
    `probabilities` holds for each expert the probability that it has the lowest total, and
    `confidence` is that of the chosen one. If no choice is possible, the router's default is the
    answer, with confidence 0.

    Example:
        `ModelRouterMiddleware(choices=..., instructions="", classifier=TryageDecisionModel(r))`

    Raises:
        InputError: a question is not a `Choice`.
        LibraryError: a label stands for no expert.
        NoExpertError, PerceptionError: no choice is possible and the router has no default.
    """

    model: str = "tryage"
    router: Router = Field(exclude=True, repr=False)
    experts: dict[str, str] = Field(default_factory=dict)

    model_config = ConfigDict(arbitrary_types_allowed=True)
    _restricted_routers: dict[tuple[str, ...], Router] = PrivateAttr(default_factory=dict)

    def __init__(self, router: Router, **kwargs: Any) -> None:
        super().__init__(router=router, **kwargs)

    @property
    def _provider(self) -> str:
        return "tryage"

    def _classify(self, state: object, questions: Mapping[str, Any]) -> ClassifierResponse:
        text = _prompt_of_state(state)
        answers = {key: self._answer(text, question) for key, question in questions.items()}
        return ClassifierResponse(model=self.model, answers=answers)

    def _answer(self, text: str, question: object) -> ChoiceAnswer:
        if not isinstance(question, Choice):
            raise InputError(
                f"Tryage chooses among models and cannot answer a {type(question).__name__}. "
                "Expected a Choice whose labels are experts."
            )
        library = self.router.library
        names = {library[self.experts.get(name, name)].name: name for name in question.criteria}
        if len(names) < len(question.criteria):
            raise InputError(f"Two of the labels {[*question.criteria]} stand for one expert.")
        decision = self._restrict_router(tuple(names)).route(text)
        probabilities = {} if decision.default_used else best_probabilities(decision.ranking)
        label = names[decision.expert.name]
        return ChoiceAnswer(
            type="choice",
            choice=label,
            probabilities={label: probabilities.get(name, 0.0) for name, label in names.items()},
            confidence=probabilities.get(decision.expert.name, 0.0),
        )

    def _restrict_router(self, names: tuple[str, ...]) -> Router:
        if names not in self._restricted_routers:
            self._restricted_routers[names] = self.router.subset(names)
        return self._restricted_routers[names]


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
