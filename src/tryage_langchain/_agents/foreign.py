"""What one provider wrote into a conversation and another one refuses: reasoning, cache markers."""

# ruff: noqa: ANN401 - content blocks are whatever providers put into them.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

Message = TypeVar("Message", bound=BaseMessage)
Tool = TypeVar("Tool", bound=BaseTool | dict[str, Any])

_MARKERS = ("cache_control", "cachePoint", "cache_point")
_SETTINGS = (*_MARKERS, "prompt_cache_key", "prompt_cache_retention")
_MEDIA = ("image", "image_url", "audio", "video", "file")
# One company under several names: their models read each other's blocks.
_SAME = {
    "azure": "openai",
    "azure_openai": "openai",
    "google_vertexai": "google",
    "google_genai": "google",
    "vertexai": "google",
    "amazon_bedrock": "bedrock",
    "bedrock_converse": "bedrock",
}


def provider_of(model: BaseChatModel) -> str | None:
    """Return who serves a model, as its integration tells LangSmith; None if it does not say."""
    told = model._get_ls_params().get("ls_provider")  # noqa: SLF001 - there is no public way
    return told if isinstance(told, str) else None


def without_foreign_reasoning(messages: Sequence[Message], provider: str | None) -> list[Message]:
    """Return the conversation with other providers' answers as plain text and tool calls.

    Reasoning blocks are signed or encrypted for the provider that wrote them, which others refuse.
    An answer that was nothing else is left out. Answers of which the provider is unknown stay.
    """
    plain = [message if _reads(provider, message) else _plain(message) for message in messages]
    return [message for message in plain if message is not None]


def without_markers(message: Message) -> Message:
    """Return the message without the marks at which a provider shall cache."""
    if isinstance(message.content, str):
        return message
    content = [_unmarked(block) for block in message.content]
    content = [block for block in content if block != {}]  # a marker can be a block of its own
    if content == message.content:
        return message
    return message.model_copy(update={"content": content})


def tool_without_markers(tool: Tool) -> Tool:
    """Return the tool without such marks."""
    if isinstance(tool, dict):
        bare: Tool = _unmarked(tool)
        return bare
    if not tool.extras or (extras := _unmarked(tool.extras)) == tool.extras:
        return tool
    return tool.model_copy(update={"extras": extras or None})


def settings_without_markers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a call without those about a provider's cache."""
    return {key: value for key, value in settings.items() if key not in _SETTINGS}


def _reads(provider: str | None, message: BaseMessage) -> bool:
    """Tell whether the provider understands everything in a message."""
    wrote: str | None = message.response_metadata.get("model_provider")
    if not isinstance(message, AIMessage) or wrote is None or provider is None:
        return True
    return _SAME.get(wrote, wrote) == _SAME.get(provider, provider)


def _plain(message: Any) -> Any:
    """Return an answer as text, media and tool calls; None if nothing is left."""
    blocks = [] if isinstance(message.content, str) else message.content
    media = [b for b in blocks if isinstance(b, Mapping) and b.get("type") in _MEDIA]
    if not (message.text or media or message.tool_calls):
        return None
    said = [{"type": "text", "text": message.text}] if message.text else []
    content = [*said, *media] if media else str(message.text)
    return message.model_copy(update={"content": content, "additional_kwargs": {}})


def _unmarked(block: Any) -> Any:
    """Drop the markers of a block, also where LangChain keeps what is special to a provider."""
    if not isinstance(block, Mapping):
        return block
    kept = {key: value for key, value in block.items() if key not in _MARKERS}
    for key in ("extras", "metadata"):
        if isinstance(kept.get(key), Mapping):
            kept[key] = _unmarked(kept[key])
            if not kept[key] and block[key]:
                del kept[key]
    return kept
