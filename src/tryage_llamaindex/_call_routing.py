"""How a call is routed: by its own settings, those around it, and the step that makes it.

A step of a component, such as HyDE, is no answer. What it sends is not what a user asks: a
document, a judged answer, an old conversation. So each kind of step has a policy, and flags in its
text are never obeyed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from llama_index.core import evaluation
from llama_index.core.chat_engine import CondensePlusContextChatEngine, CondenseQuestionChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.program import LLMTextCompletionProgram
from llama_index.core.prompts import PromptTemplate
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import TransformComponent

from tryage.core.constraints import RequestBatch, expected_cost
from tryage.core.flags import extract_flags
from tryage.core.preferences import Preferences
from tryage.core.request import merge_preferences
from tryage.core.validation import did_you_mean
from tryage.errors import InputError
from tryage_llamaindex._answers import check_answer, check_parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from llama_index.core.llms import LLM
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.types import BaseOutputParser

    from tryage.chat.plan import RoutingPlan
    from tryage.core.library import Library
    from tryage_llamaindex._call import LLMCall
    from tryage_llamaindex._call_settings import CallSettings
    from tryage_llamaindex._components import Component
    from tryage_llamaindex._messages import TextCleaner

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


# Calls -----------------------------------------------------------------------------------------


def prepare_call(
    call: LLMCall,
    settings: CallSettings,
    component: Component | None,
    policies: Mapping[str, StepPolicy],
    num_output: int,
) -> LLMCall:
    """Return the call as it is routed.

    Args:
        call: The call as its arguments describe it.
        settings: What the `with` blocks around the call ask of routing.
        component: The component of LlamaIndex that makes the call.
        policies: How each step that is not an answer is routed.
        num_output: How many tokens are kept for the answer if the call sets no limit.
    """
    settings = settings.merged(call.settings)
    conversation = call.conversation
    step = call.step or component_step(component, call.method)
    query = conversation.query if settings.query is None else settings.query
    if query is None:
        query = _component_query(component, step)
    answer_tokens = conversation.answer_tokens
    call = replace(
        call,
        conversation=replace(
            conversation,
            query=query,
            answer_tokens=num_output if answer_tokens is None else answer_tokens,
            thread=settings.keys.get("thread_id", conversation.thread),
            keys=settings.keys,
            tags=settings.tags,
        ),
        preferences=settings.preferences,
        model=settings.model,
        sticky=settings.sticky,
        deadline=settings.deadline,
        settings=settings,
        step=step,
        output_parser=call.output_parser or _output_parser(component),
    )
    if call.output_parser is not None and "stream" not in call.method:
        call = replace(call, invoke=partial(_invoke_and_parse, call.invoke, call.output_parser))
    return call if step is None else _apply_policy(call, policies[step])


def _apply_policy(call: LLMCall, policy: StepPolicy) -> LLMCall:
    """Return the call of a step; a model that the settings name is asked whatever the policy is.

    Flags in the text of a step are data, so they are not routed on, and stay in the text.
    """
    query = extract_flags(call.conversation.request).text
    preferences, model = call.preferences or Preferences(), call.model
    if model is not None:
        pass
    elif isinstance(policy, Preferences):
        preferences = merge_preferences(preferences, policy)
    elif policy == CHEAP:
        preferences = merge_preferences(preferences, CHEAP_PREFERENCES)
    elif policy == FIXED:
        query = DESCRIPTIONS[call.step or ""]
    elif policy != QUERY:
        model = policy
    return replace(
        call,
        conversation=replace(call.conversation, query=query),
        preferences=preferences,
        model=model,
        sticky="call",
        cheapest_first=call.model is None and policy == CHEAP,
    )


def _component_query(component: Component | None, step: str | None) -> str | None:
    """Return the query that a component was called with, None if there is none.

    A chat engine answers to all messages, of which the last one is routed as usual.
    """
    if component is None or (step is None and component.is_a(BaseChatEngine)):
        return None
    return component.query


def _invoke_and_parse(
    invoke: Callable[[LLM, TextCleaner], Any],
    parser: BaseOutputParser,
    child: LLM,
    clean: TextCleaner,
) -> Any:
    """Call a child, and refuse an answer that does not parse."""
    return check_answer(invoke(child, clean), partial(check_parsed, parser))


def _output_parser(component: Component | None) -> BaseOutputParser | None:
    """Return the parser of the program that makes a call, None if there is none."""
    if component is None or not isinstance(component.instance, LLMTextCompletionProgram):
        return None
    return component.instance.prompt.output_parser


# Steps and their policies ----------------------------------------------------------------------


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
