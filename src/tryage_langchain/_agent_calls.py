"""The pure part of the middleware: one decision per turn, kept in the agent's own state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from langchain.agents.structured_output import ProviderStrategy
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool
from langgraph.config import get_config

from tryage.chat.conversation import (
    conversation_requirements,
    discriminating_requirements,
    meets_requirements,
)
from tryage.chat.router import ReasonKind, RoutingPlan
from tryage.core.flags import extract_flags
from tryage.core.preferences import Preferences
from tryage.core.request import ConversationContext, estimate_tokens
from tryage_langchain._clients import chat_model_name
from tryage_langchain._messages import is_from_user, to_conversation, transform_prompt_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain.agents.middleware import ModelRequest
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig

    from tryage.chat.conversation import Conversation
    from tryage.chat.router import Sticky
    from tryage.router import Router

Record = dict[str, Any]
"""A decision as the state keeps it: plain, because a strict checkpointer refuses classes."""

_CACHE_PROVIDER = (
    "anthropic"  # whose models, wherever they are hosted, read cache markers in messages
)

MessageT = TypeVar("MessageT", bound=BaseMessage)

ToolT = TypeVar("ToolT", bound=BaseTool | dict[str, Any])

_CACHE_MARKERS = ("cache_control", "cachePoint", "cache_point")

_CACHE_SETTINGS = (*_CACHE_MARKERS, "prompt_cache_key", "prompt_cache_retention")

_MEDIA_TYPES = ("image", "image_url", "audio", "video", "file")

# One company under several names: their models read each other's blocks.
_PROVIDER_ALIASES = {
    "azure": "openai",
    "azure_openai": "openai",
    "google_vertexai": "google",
    "google_genai": "google",
    "vertexai": "google",
    "amazon_bedrock": "bedrock",
    "bedrock_converse": "bedrock",
}


@dataclass(frozen=True)
class Turns:
    """Chooses for the calls of an agent, minding the record of the call before.

    The record holds `turn`, the key of the user's message, and what `Plan.record` says: `model`,
    `reason`, `how`, `scores`.
    """

    router: Router
    sticky: Sticky

    def choose(
        self,
        conversation: Conversation,
        turn: str,
        before: Mapping[str, Any],
        preferences: Preferences,
        model: str | None = None,
    ) -> Record:
        """Return the record of this call; `model` names the one expert to use.

        Raises:
            LibraryError: `model` is unknown.
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
        """
        library = self.router.library
        tokens = conversation.tokens(estimate_tokens)
        required = conversation_requirements(conversation, tokens)
        current = self._seated(before)
        able = current is not None and meets_requirements(required, library, library.index(current))
        if model is not None:
            preferences = preferences.tightened(Preferences(only=[library[model].name]))
        elif able and self._goes_on(turn, before):
            return {**_kept(before), "model": current, "how": "kept for the turn", "turn": turn}
        wanted = (*preferences.requirements, *discriminating_requirements(required, library))
        (decision,) = self.router.route_batch(
            [conversation.request],
            [Preferences(preferences.weights, wanted)],
            contexts=[
                ConversationContext(tokens, current, conversation.answered_tokens(estimate_tokens))
            ],
        )
        name = decision.expert.name
        how: ReasonKind = "routed"
        if model is not None and not decision.default_used:
            how = "asked for"
        elif self.sticky == "thread" and able and any(r.name == current for r in decision.ranking):
            name, how = str(current), "kept for the thread"
        plan = RoutingPlan(decision, name, how, (turn, preferences), required)
        return {**plan.record(), "turn": turn}

    def _goes_on(self, turn: str, before: Mapping[str, Any]) -> bool:
        return self.sticky != "call" and before.get("turn") == turn

    def _seated(self, before: Mapping[str, Any]) -> str | None:
        """Return the expert that answered last, if it is one of ours."""
        for name in (before.get("served_by"), before.get("model")):
            if name in self.router.library:
                return str(name)
        return None


def _kept(before: Mapping[str, Any]) -> Record:
    return {key: value for key, value in before.items() if key != "served_by"}


class ServedModelCallback(BaseCallbackHandler):
    """Sees whether one model has answered; a reply alone often does not say who wrote it."""

    run_inline = True  # async runs must not go on before it has seen the answer

    def __init__(self) -> None:
        self.answered = False

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        """Note the answer."""
        self.answered = True

    def attach(self, model: BaseChatModel) -> BaseChatModel:
        """Return a copy of the model that is watched."""
        held = model.callbacks
        if isinstance(held, BaseCallbackManager):
            watched = held.copy()
            watched.add_handler(self, inherit=False)
            return model.model_copy(update={"callbacks": watched})
        return model.model_copy(update={"callbacks": [*(held or []), self]})


def model_of_response(result: Iterable[BaseMessage], models: Mapping[str, object]) -> str | None:
    """Return who wrote a reply: one of `models` by its name, else the name that the reply gives."""
    for message in result:
        if isinstance(message, AIMessage):
            told = message.response_metadata
            name = told.get("model_name") or told.get("model")
            ours = (
                key for key, model in models.items() if name and _bare_model_name(model) == name
            )
            return next(ours, name)
    return None


def _bare_model_name(model: object) -> str | None:
    name = chat_model_name(model)
    return name.partition(":")[2] or name if name and isinstance(model, str) else name


def conversation_from_request(request: ModelRequest[Any]) -> Conversation:
    """Return the conversation of a call, with the tools and the structure that it asks for.

    A response format that LangChain may turn into a tool counts as one.
    """
    structured = isinstance(request.response_format, ProviderStrategy)
    tools = [*request.tools, *([request.response_format] if request.response_format else [])]
    messages = [*([request.system_message] if request.system_message else []), *request.messages]
    return to_conversation(messages, tools=tools, structured_output=structured)


def turn_key(messages: Sequence[BaseMessage], previous_record: Mapping[str, Any]) -> str:
    """Return the key of the turn: the id of the last message of a person.

    If a summary has taken that message's place, the turn is still the one before.
    """
    people = [message for message in messages if is_from_user(message)]
    if not people:
        return str(previous_record.get("turn", ""))
    return people[-1].id or to_conversation(messages).turn_keys[0]


def current_config() -> RunnableConfig:
    """Return the config of the agent's run; outside of one it is empty."""
    try:
        return get_config()
    except RuntimeError:
        return {}


def adapt_request(request: ModelRequest[Any], model: BaseChatModel) -> ModelRequest[Any]:
    """Return the call as the model can take it: without what was written for another provider."""
    changes: dict[str, Any] = {}
    messages = strip_foreign_reasoning(request.messages, provider_of(model))
    if not _same_cache_format(model, request.model):
        messages = [strip_cache_markers(message) for message in messages]
        changes["tools"] = [strip_tool_cache_markers(tool) for tool in request.tools]
        changes["model_settings"] = strip_cache_settings(request.model_settings)
        if request.system_message:
            changes["system_message"] = strip_cache_markers(request.system_message)
    return request.override(messages=messages, model=model, **changes)


def _same_cache_format(model: BaseChatModel, intended_model: BaseChatModel) -> bool:
    """Tell whether the model understands the cache markers that were meant for another one."""
    kind = model._llm_type  # noqa: SLF001 - the name by which LangChain itself decides this
    return _CACHE_PROVIDER in kind or kind == intended_model._llm_type  # noqa: SLF001 - as above


def with_trace_metadata(model: BaseChatModel, record: Mapping[str, Any]) -> BaseChatModel:
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


def remove_flags(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Return the call with the flags taken out of what people wrote, in this turn and before."""
    messages = [
        transform_prompt_text(message, lambda text: extract_flags(text).text)
        if is_from_user(message)
        else message
        for message in request.messages
    ]
    return request.override(messages=messages)


def provider_of(model: BaseChatModel) -> str | None:
    """Return who serves a model, as its integration tells LangSmith; None if it does not say."""
    told = model._get_ls_params().get("ls_provider")  # noqa: SLF001 - there is no public way
    return told if isinstance(told, str) else None


def strip_foreign_reasoning(messages: Sequence[MessageT], provider: str | None) -> list[MessageT]:
    """Return the conversation with other providers' answers as plain text and tool calls.

    Reasoning blocks are signed or encrypted for the provider that wrote them, which others refuse.
    An answer that was nothing else is left out. Answers of which the provider is unknown stay.
    """
    plain = [
        message if _is_same_provider(provider, message) else _to_plain_answer(message)
        for message in messages
    ]
    return [message for message in plain if message is not None]


def strip_cache_markers(message: MessageT) -> MessageT:
    """Return the message without the marks at which a provider shall cache."""
    if isinstance(message.content, str):
        return message
    content = [_strip_block(block) for block in message.content]
    content = [block for block in content if block != {}]  # a marker can be a block of its own
    if content == message.content:
        return message
    return message.model_copy(update={"content": content})


def strip_tool_cache_markers(tool: ToolT) -> ToolT:
    """Return the tool without such marks."""
    if isinstance(tool, dict):
        bare: ToolT = _strip_block(tool)
        return bare
    if not tool.extras or (extras := _strip_block(tool.extras)) == tool.extras:
        return tool
    return tool.model_copy(update={"extras": extras or None})


def strip_cache_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a call without those about a provider's cache."""
    return {key: value for key, value in settings.items() if key not in _CACHE_SETTINGS}


def _is_same_provider(provider: str | None, message: BaseMessage) -> bool:
    """Tell whether the provider understands everything in a message."""
    wrote: str | None = message.response_metadata.get("model_provider")
    if not isinstance(message, AIMessage) or wrote is None or provider is None:
        return True
    return _PROVIDER_ALIASES.get(wrote, wrote) == _PROVIDER_ALIASES.get(provider, provider)


def _to_plain_answer(message: Any) -> Any:
    """Return an answer as text, media and tool calls; None if nothing is left."""
    blocks = [] if isinstance(message.content, str) else message.content
    media = [b for b in blocks if isinstance(b, Mapping) and b.get("type") in _MEDIA_TYPES]
    if not (message.text or media or message.tool_calls):
        return None
    said = [{"type": "text", "text": message.text}] if message.text else []
    content = [*said, *media] if media else str(message.text)
    return message.model_copy(update={"content": content, "additional_kwargs": {}})


def _strip_block(block: Any) -> Any:
    """Drop the markers of a block, also where LangChain keeps what is special to a provider."""
    if not isinstance(block, Mapping):
        return block
    kept = {key: value for key, value in block.items() if key not in _CACHE_MARKERS}
    for key in ("extras", "metadata"):
        if isinstance(kept.get(key), Mapping):
            kept[key] = _strip_block(kept[key])
            if not kept[key] and block[key]:
                del kept[key]
    return kept
