"""Steps of LlamaIndex's components that are not answers, such as HyDE, and how each is routed.

What such a step sends is not what a user asks: a document, a judged answer, an old conversation. So
each kind of step has a policy, and flags in its text are never obeyed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from llama_index.core import evaluation
from llama_index.core.chat_engine import CondensePlusContextChatEngine, CondenseQuestionChatEngine
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.prompts import PromptTemplate
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import TransformComponent

from tryage.core.constraints import RequestBatch, expected_cost
from tryage.core.preferences import Preferences
from tryage.core.validation import did_you_mean
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from llama_index.core.prompts import BasePromptTemplate

    from tryage.chat.plan import RoutingPlan
    from tryage.core.library import Library
    from tryage_llamaindex._components import Component

StepPolicy: TypeAlias = str | Preferences
"""How a step is routed: "cheap", "fixed", "query", the name of a model, or preferences."""

CHEAP, FIXED, QUERY = "cheap", "fixed", "query"

_WORDS = (CHEAP, FIXED, QUERY)

DEFAULT_POLICIES: Mapping[str, StepPolicy] = MappingProxyType(
    {
        "condense": CHEAP,
        "transform": CHEAP,
        "generate_queries": CHEAP,
        "extract": CHEAP,
        "evaluate": FIXED,
    }
)

# What a step with the policy "fixed" is routed on: it is the same for every sample of a run.
DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "condense": "Rewrite a follow-up message as a question that stands alone.",
        "transform": "Rewrite a question so that documents which answer it are found.",
        "generate_queries": "Write several search queries for a question.",
        "extract": "Extract the title, keywords, questions and a summary of a document.",
        "evaluate": "Judge whether an answer is correct, relevant, and supported by its context.",
    }
)

# The cheaper of two models wins, whatever its predicted loss is.
CHEAP_PREFERENCES = Preferences({"cost": 1e6})

# Evaluators open no span. These arguments of their templates are theirs alone.
_EVALUATION_ARGUMENTS = (
    frozenset({"query", "response", "guidelines"}),
    frozenset({"query", "generated_answer", "reference_answer"}),
    frozenset({"query", "answer_1", "answer_2", "reference"}),
)

_STEP_BY_COMPONENT: tuple[tuple[type, str], ...] = (
    (CondenseQuestionChatEngine, "condense"),
    (BaseQueryTransform, "transform"),
    (QueryFusionRetriever, "generate_queries"),
    (TransformComponent, "extract"),
)


def read_policies(given: Mapping[str, Any], models: Collection[str]) -> dict[str, StepPolicy]:
    """Return the policy of every step: those given, and the defaults of the others.

    Raises:
        InputError: a name is no step, or a policy is neither one of the words, nor the name of a
            model, nor preferences.
    """
    for step, policy in given.items():
        if step not in DEFAULT_POLICIES:
            raise InputError(
                f"step_policies names {step!r}. Expected one of {list(DEFAULT_POLICIES)}."
                f"{did_you_mean(str(step), DEFAULT_POLICIES)}"
            )
        if not isinstance(policy, Preferences) and policy not in (*_WORDS, *models):
            raise InputError(
                f"The policy of the step {step!r} is {policy!r:.80}. Expected one of {_WORDS}, one "
                f"of the models {list(models)}, or Preferences."
            )
    return {**DEFAULT_POLICIES, **given}


def template_step(prompt: BasePromptTemplate, arguments: Collection[str]) -> str | None:
    """Return the step that fills a template with these arguments, None if it is an answer.

    An evaluator is known by its arguments, or by LlamaIndex's own template for it.
    """
    if frozenset(arguments) in _EVALUATION_ARGUMENTS:
        return "evaluate"
    text = prompt.template if isinstance(prompt, PromptTemplate) else None
    return "evaluate" if text in _evaluation_texts() else None


def component_step(component: Component | None, method: str) -> str | None:
    """Return the step of the component that calls a method of an LLM, None if it is an answer."""
    if component is None:
        return None
    if component.is_a(CondensePlusContextChatEngine):  # it completes to rewrite a message
        return "condense" if "complete" in method else None
    steps = (step for kind, step in _STEP_BY_COMPONENT if component.is_a(kind))
    return next(steps, None)


def order_by_cost(plan: RoutingPlan, library: Library, tokens: float) -> RoutingPlan:
    """Return the plan with the experts in the order of their cost, those of unknown cost last.

    The constraint `cost` alone cannot tell them apart where all cost more than its reference, such
    as with a long document.
    """
    if plan.context is not None or plan.decision.default_used:
        return plan
    names = [expert.name for expert in plan.decision.ranking]
    (costs,) = expected_cost(library, RequestBatch(np.array([tokens])))
    known_costs = dict(zip(library.names, np.nan_to_num(costs, nan=np.inf), strict=True))
    names.sort(key=lambda name: known_costs[name])
    return replace(plan, first=names[0], next_names=tuple(names[1:]))


@cache
def _evaluation_texts() -> frozenset[str]:
    """Return the texts of LlamaIndex's own templates for evaluators."""
    modules = (
        evaluation.answer_relevancy,
        evaluation.context_relevancy,
        evaluation.faithfulness,
        evaluation.relevancy,
    )
    values = [value for module in modules for value in vars(module).values()]
    catalogs = [value.values() for value in values if isinstance(value, dict)]
    templates = [value for value in chain(values, *catalogs) if isinstance(value, PromptTemplate)]
    return frozenset(template.template for template in templates)
