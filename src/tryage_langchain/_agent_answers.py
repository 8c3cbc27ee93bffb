"""Answers of an agent's models: what they tell about themselves, and how a cache keeps them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage

from tryage.policies.evidence import AnswerEvidence
from tryage_langchain._answers import answer_problems, answer_size
from tryage_langchain._cached_answers import CacheHooks, from_cache, plain_schema
from tryage_langchain._evidence import evidence_of
from tryage_langchain._judges import text_of_answer
from tryage_langchain._messages import message_facts

if TYPE_CHECKING:
    from collections.abc import Collection

    from langchain.agents.middleware import ModelRequest, ModelResponse

    from tryage.chat.settings import RefusedAnswer


class AgentAnswer(NamedTuple):
    """A response, and whether the model that was asked has given it, not one that replaced it."""

    response: ModelResponse[Any]
    is_of_asked_model: bool


def text_of_response(answer: AgentAnswer) -> str | None:
    """Return the text of the last message of an answer."""
    texts = [text_of_answer(m) for m in answer.response.result if isinstance(m, AIMessage)]
    return texts[-1] if texts else None


def size_of_response(answer: AgentAnswer) -> int:
    """Return about how many characters the messages of an answer have."""
    return sum(map(answer_size, answer.response.result))


def evidence_of_response(answer: AgentAnswer) -> AnswerEvidence:
    """Return what the last message of an answer tells about itself, and its structure."""
    messages = [m for m in answer.response.result if isinstance(m, AIMessage)]
    evidence = evidence_of(messages[-1]) if messages else AnswerEvidence()
    return replace(evidence, parsed=answer.response.structured_response)


def answer_problems_of_response(answer: AgentAnswer) -> Collection[RefusedAnswer]:
    """Return whether an answer is empty or cut off."""
    messages = [m for m in answer.response.result if isinstance(m, AIMessage)]
    has_structure = answer.response.structured_response is not None
    return () if has_structure or not messages else answer_problems(messages[-1])


# Cached answers --------------------------------------------------------------------------------


def answer_settings(request: ModelRequest[Any]) -> dict[str, object] | None:
    """Return plain values for all that shapes an answer beside the words of messages and tools.

    None if something has none; then no answer to the call is kept.
    """
    settings: dict[str, object] = {
        "tool_choice": request.tool_choice,
        "settings": dict(request.model_settings),
        "messages": message_facts(request.messages),
    }
    if request.response_format is None:
        return settings
    schema = plain_schema(getattr(request.response_format, "schema", None))
    kind = type(request.response_format).__name__
    return None if schema is None else {**settings, "schema": schema, "kind": kind}


def _to_cache(answer: AgentAnswer) -> AgentAnswer | None:
    """Return a copy of an answer; None if another model than the one that was asked gave it."""
    return deepcopy(answer) if answer.is_of_asked_model else None


def _from_cache(kept: AgentAnswer) -> AgentAnswer:
    """Return a copy of a kept answer: its tokens count as free, and its messages are new ones."""
    response = deepcopy(kept.response)
    messages = [_new_message(message) for message in response.result]
    return AgentAnswer(replace(response, result=messages), is_of_asked_model=True)


def _new_message(message: BaseMessage) -> BaseMessage:
    found: BaseMessage = from_cache(message)
    return found.model_copy(update={"id": None})


AGENT_CACHE = CacheHooks(_to_cache, _from_cache)
