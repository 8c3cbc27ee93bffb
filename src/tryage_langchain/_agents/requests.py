"""What an agent's model call asks for, and the same call as the chosen model can take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents.structured_output import ProviderStrategy
from langgraph.config import get_config

from tryage.flags import extract
from tryage_langchain._agents.foreign import (
    provider_of,
    settings_without_markers,
    tool_without_markers,
    without_foreign_reasoning,
    without_markers,
)
from tryage_langchain._conversation import conversation_of, of_a_person
from tryage_langchain._inputs import without_flags

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain.agents.middleware import ModelRequest
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tryage.chat import Conversation

_CACHING = "anthropic"  # whose models, wherever they are hosted, read cache markers in messages


def asked(request: ModelRequest[Any]) -> Conversation:
    """Return the conversation of a call, with the tools and the structure that it asks for.

    A response format that LangChain may turn into a tool counts as one.
    """
    structured = isinstance(request.response_format, ProviderStrategy)
    tools = [*request.tools, *([request.response_format] if request.response_format else [])]
    messages = [*([request.system_message] if request.system_message else []), *request.messages]
    return conversation_of(messages, tools=tools, structured_output=structured)


def turn_of(messages: Sequence[BaseMessage], before: Mapping[str, Any]) -> str:
    """Return the key of the turn: the id of the last message of a person.

    If a summary has taken that message's place, the turn is still the one before.
    """
    people = [message for message in messages if of_a_person(message)]
    if not people:
        return str(before.get("turn", ""))
    return people[-1].id or conversation_of(messages).keys[0]


def configured() -> RunnableConfig:
    """Return the config of the agent's run; outside of one it is empty."""
    try:
        return get_config()
    except RuntimeError:
        return {}


def suited(request: ModelRequest[Any], model: BaseChatModel) -> ModelRequest[Any]:
    """Return the call as the model can take it: without what was written for another provider."""
    changes: dict[str, Any] = {}
    messages = without_foreign_reasoning(request.messages, provider_of(model))
    if not _caches_as(model, request.model):
        messages = [without_markers(message) for message in messages]
        changes["tools"] = [tool_without_markers(tool) for tool in request.tools]
        changes["model_settings"] = settings_without_markers(request.model_settings)
        if request.system_message:
            changes["system_message"] = without_markers(request.system_message)
    return request.override(messages=messages, model=model, **changes)


def _caches_as(model: BaseChatModel, meant: BaseChatModel) -> bool:
    """Tell whether the model understands the cache markers that were meant for another one."""
    kind = model._llm_type  # noqa: SLF001 - the name by which LangChain itself decides this
    return _CACHING in kind or kind == meant._llm_type  # noqa: SLF001 - as above


def marked(model: BaseChatModel, record: Mapping[str, Any]) -> BaseChatModel:
    """Return a copy whose runs tell in traces who was chosen and why.

    A copy, since `with_config` makes a binding, which loses its tags when tools are bound to it.
    """
    name = record["model"]
    told = {"tryage_model": name, "tryage_reason": record["reason"], "model_route": name}
    return model.model_copy(
        update={
            "tags": [*(model.tags or []), f"tryage:{name}"],
            "metadata": {**(model.metadata or {}), **told},
        }
    )


def unflagged(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Return the call with the flags taken out of what people wrote, in this turn and before."""
    messages = [
        without_flags(message, lambda text: extract(text).text) if of_a_person(message) else message
        for message in request.messages
    ]
    return request.override(messages=messages)
