"""How a call is routed: by its own settings, those around it, and the component that makes it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.program import LLMTextCompletionProgram

from tryage.core.flags import extract_flags
from tryage.core.preferences import Preferences
from tryage.core.request import merge_preferences
from tryage_llamaindex._answers import check_answer, check_parsed
from tryage_llamaindex._steps import (
    CHEAP,
    CHEAP_PREFERENCES,
    DESCRIPTIONS,
    FIXED,
    QUERY,
    component_step,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llama_index.core.llms import LLM
    from llama_index.core.types import BaseOutputParser

    from tryage_llamaindex._call import LLMCall
    from tryage_llamaindex._call_settings import CallSettings
    from tryage_llamaindex._components import Component
    from tryage_llamaindex._messages import TextCleaner
from tryage_llamaindex._steps import StepPolicy


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
