"""Model calls of LangChain's agents: read as conversations, adapted to the chosen model, traced."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from langchain.agents.structured_output import ProviderStrategy, StructuredOutputError
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool
from langgraph.config import get_config

from tryage.chat.plan import COST_KEY
from tryage.chat.settings import MODEL_KEY
from tryage.core.flags import extract_flags
from tryage.errors import InvalidAnswerError
from tryage.traffic.imports import DECISION_ID_KEY
from tryage_langchain._agent_answers import answer_settings
from tryage_langchain._call import EXPECTED_COST_KEY, log_keys, policy_metadata
from tryage_langchain._clients import chat_model_name, view_model
from tryage_langchain._messages import (
    is_from_user,
    readable_messages,
    to_conversation,
    transform_prompt_text,
)
from tryage_langchain._usage import UsageCallback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain.agents.middleware import ModelRequest
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.conversation import Conversation
    from tryage.chat.plan import RoutingRecord
    from tryage.core.usage import TokenUsage

_log = logging.getLogger(__name__)

MessageT = TypeVar("MessageT", bound=BaseMessage)

ToolT = TypeVar("ToolT", bound=BaseTool | dict[str, Any])

# The models of this company read cache markers in messages, at whatever provider they run.
_CACHE_PROVIDER = "anthropic"

_CACHE_MARKERS = ("cache_control", "cachePoint", "cache_point")

HIDES_CONFIG = sys.version_info < (3, 11)  # LangGraph, from async hooks

_CACHE_SETTINGS = (*_CACHE_MARKERS, "prompt_cache_key", "prompt_cache_retention")

# Reading a call --------------------------------------------------------------------------------


def conversation_from_request(
    request: ModelRequest[Any], config: RunnableConfig, query: str | None = None
) -> Conversation:
    """Return the conversation of a call, with the tools and the structure that it asks for.

    A response format that LangChain may turn into a tool counts as one. `config` is that of the
    run: it says whose conversation this is. `query` is what is routed, instead of the last message.
    """
    structured_output = isinstance(request.response_format, ProviderStrategy)
    tools = [*request.tools, *([request.response_format] if request.response_format else [])]
    messages = [*([request.system_message] if request.system_message else []), *request.messages]
    conversation = to_conversation(messages, tools=tools, structured_output=structured_output)
    tags = tuple(config.get("tags") or ())
    settings = answer_settings(request)
    return replace(conversation, query=query, keys=log_keys(config), tags=tags, settings=settings)


def turn_key(messages: Sequence[BaseMessage], previous_record: Mapping[str, Any]) -> str:
    """Return the key of the turn: the id of the last message from a person.

    If a summary has replaced that message, the turn is still that of the previous record.
    """
    user_messages = [message for message in messages if is_from_user(message)]
    if not user_messages:
        return str(previous_record.get("turn", ""))
    return user_messages[-1].id or to_conversation(messages).turn_keys[0]


def current_config() -> RunnableConfig:
    """Return the config of the agent's run; empty outside of a run."""
    try:
        return get_config()
    except RuntimeError:
        if HIDES_CONFIG and asyncio._get_running_loop():  # noqa: SLF001 - the other one raises
            _warn_of_hidden_config()
        return {}


@cache
def _warn_of_hidden_config() -> None:
    """Say once that settings of a run do not arrive: limits among them must not be lost quietly."""
    _log.warning(
        "On Python 3.10, LangGraph hides the config of an agent's run from async hooks, so "
        "settings of one run, such as tryage_preferences, do not count. Give them to "
        "TryageMiddleware, call the agent with invoke(), or use Python 3.11."
    )


# Adapting a call to the chosen model -----------------------------------------------------------


def remove_flags(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Return the call without the flags in the messages of people, in this turn and before."""
    messages = [
        transform_prompt_text(message, lambda text: extract_flags(text).text)
        if is_from_user(message)
        else message
        for message in request.messages
    ]
    return request.override(messages=messages)


def adapt_request(request: ModelRequest[Any], model: BaseChatModel) -> ModelRequest[Any]:
    """Return the call for a model, without content that only another provider can read."""
    changes: dict[str, Any] = {}
    messages = [*readable_messages(request.messages, model)]
    if not _same_cache_format(model, request.model):
        messages = [strip_cache_markers(message) for message in messages]
        changes["tools"] = [strip_tool_cache_markers(tool) for tool in request.tools]
        changes["model_settings"] = strip_cache_settings(request.model_settings)
        if request.system_message:
            changes["system_message"] = strip_cache_markers(request.system_message)
    return request.override(messages=messages, model=model, **changes)


def _same_cache_format(model: BaseChatModel, intended_model: BaseChatModel) -> bool:
    """Tell whether the model understands the cache markers that are meant for another one."""
    kind = model._llm_type  # noqa: SLF001 - LangChain itself decides by this name
    return _CACHE_PROVIDER in kind or kind == intended_model._llm_type  # noqa: SLF001 - LangChain itself decides by this name


def strip_cache_markers(message: MessageT) -> MessageT:
    """Return the message without the markers that tell a provider what to cache."""
    if isinstance(message.content, str):
        return message
    content = [_strip_block(block) for block in message.content]
    content = [block for block in content if block != {}]  # a marker can be a block of its own
    if content == message.content:
        return message
    return message.model_copy(update={"content": content})


def strip_tool_cache_markers(tool: ToolT) -> ToolT:
    """Return the tool without cache markers."""
    if isinstance(tool, dict):
        stripped_tool: ToolT = _strip_block(tool)
        return stripped_tool
    if not tool.extras or (extras := _strip_block(tool.extras)) == tool.extras:
        return tool
    return tool.model_copy(update={"extras": extras or None})


def strip_cache_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a call without those of a provider's cache."""
    return {key: value for key, value in settings.items() if key not in _CACHE_SETTINGS}


def _strip_block(block: Any) -> Any:
    """Return a block without markers, also where LangChain keeps a provider's own fields."""
    if not isinstance(block, Mapping):
        return block
    stripped_block = {key: value for key, value in block.items() if key not in _CACHE_MARKERS}
    for key in ("extras", "metadata"):
        if isinstance(stripped_block.get(key), Mapping):
            stripped_block[key] = _strip_block(stripped_block[key])
            if not stripped_block[key] and block[key]:
                del stripped_block[key]
    return stripped_block


# Tracing which model answers -------------------------------------------------------------------


def traced_model(
    model: BaseChatModel,
    record: RoutingRecord,
    callback: BaseCallbackHandler,
    tags: Sequence[str] = (),
) -> BaseChatModel:
    """Return a view of a model whose runs show what was chosen and why, and reach the callback.

    It is not `with_config`, which makes a binding that loses its tags when tools are bound to it.
    """
    name = record["model"]
    metadata = {MODEL_KEY: name, "tryage_reason": record["reason"], "model_route": name}
    if "id" in record:
        metadata[DECISION_ID_KEY] = record["id"]
    if (expected := record.get(COST_KEY, {}).get("expected")) is not None:
        metadata[EXPECTED_COST_KEY] = expected
    metadata |= policy_metadata(record.get("policies", ()))
    return view_model(
        model,
        {
            "tags": [*(model.tags or []), f"tryage:{name}", *tags],
            "metadata": {**(model.metadata or {}), **metadata},
            "callbacks": _with_handler(model.callbacks, callback),
        },
    )


class AgentUsageMeter:
    """Counts the tokens of the model that was asked last, through all its repetitions.

    It does not count those of a model that another middleware asks instead.
    """

    def __init__(self) -> None:
        self._callback = UsageCallback()
        self._callbacks: dict[str, UsageCallback] = {}

    def start(self, name: str) -> UsageCallback:
        """Return the callback for the model that is asked next.

        It also notes whether that model has answered; a reply alone often does not name its model.
        """
        self._callback = callback = self._callbacks[name] = UsageCallback()
        return callback

    def select(self, name: str) -> None:
        """Read the tokens of this model next, where two were asked at the same time."""
        self._callback = self._callbacks.get(name, self._callback)

    def read(self, _: object) -> TokenUsage | None:
        """Return the tokens of the model that was asked last, None if they are unknown."""
        return self._callback.usage


def _with_handler(callbacks: Any, handler: BaseCallbackHandler) -> Any:
    """Return the callbacks of a model with one more."""
    if not isinstance(callbacks, BaseCallbackManager):
        return [*(callbacks or []), handler]
    manager = callbacks.copy()
    manager.add_handler(handler, inherit=False)
    return manager


@contextmanager
def invalid_structures() -> Iterator[None]:
    """Raise `InvalidAnswerError` where an agent refuses a structured answer."""
    try:
        yield
    except StructuredOutputError as error:
        raise InvalidAnswerError(
            f"The answer does not follow the schema: {type(error).__name__}."
        ) from error


def model_of_response(result: Iterable[BaseMessage], models: Mapping[str, object]) -> str | None:
    """Return the name in `models` of the model that wrote a reply, or the name that the reply has.

    None if the reply names no model.
    """
    for message in result:
        if isinstance(message, AIMessage):
            metadata = message.response_metadata
            name = metadata.get("model_name") or metadata.get("model")
            matching_names = (
                key for key, model in models.items() if name and _bare_model_name(model) == name
            )
            return next(matching_names, name)
    return None


def _bare_model_name(model: object) -> str | None:
    """Return the name of a model, without the provider of an `init_chat_model` string."""
    name = chat_model_name(model)
    return name.partition(":")[2] or name if name and isinstance(model, str) else name
