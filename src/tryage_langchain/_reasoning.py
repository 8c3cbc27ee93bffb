"""Reasoning that a provider has signed or encrypted: other providers do not get it.

A conversation may go from one provider to another. Each refuses the reasoning of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

MessageT = TypeVar("MessageT", bound=BaseMessage)

_MEDIA_TYPES = ("image", "image_url", "audio", "video", "file")

# One company under several names: its models read each other's blocks.
_PROVIDER_ALIASES = {
    "azure": "openai",
    "azure_openai": "openai",
    "google_vertexai": "google",
    "google_genai": "google",
    "vertexai": "google",
    "amazon_bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "mistralai": "mistral",
}

_ROUTERS = ("tryage",)  # they do the same again, for the model that they choose


def readable_messages(messages: Sequence[MessageT], model: BaseChatModel) -> Sequence[MessageT]:
    """Return the conversation as a model can read it; the same object if it is so already."""
    if not any(_author(message) for message in messages):
        return messages
    return strip_foreign_reasoning(messages, provider_of(model))


def provider_of(model: BaseChatModel) -> str | None:
    """Return the provider of a model, as its integration names it to LangSmith; None if unknown."""
    provider = model._get_ls_params().get("ls_provider")  # noqa: SLF001 - there is no public method
    return provider if isinstance(provider, str) and provider not in _ROUTERS else None


def strip_foreign_reasoning(messages: Sequence[MessageT], provider: str | None) -> list[MessageT]:
    """Return the conversation with other providers' answers as plain text and tool calls.

    Reasoning blocks are signed or encrypted for the provider that wrote them, and others refuse
    them. An answer that consists of reasoning alone is left out. Answers of an unknown provider
    stay as they are.
    """
    plain_messages = [
        message if _is_same_provider(provider, message) else _to_plain_answer(message)
        for message in messages
    ]
    return [message for message in plain_messages if message is not None]


def _is_same_provider(provider: str | None, message: BaseMessage) -> bool:
    """Tell whether the provider understands everything in a message."""
    author = _author(message)
    if author is None or provider is None:
        return True
    return _PROVIDER_ALIASES.get(author, author) == _PROVIDER_ALIASES.get(provider, provider)


def _author(message: BaseMessage) -> str | None:
    """Return the provider of the model that wrote a message; None if it is unknown."""
    author = message.response_metadata.get("model_provider")
    return author if isinstance(message, AIMessage) and isinstance(author, str) else None


def _to_plain_answer(message: Any) -> Any:
    """Return an answer as text, media and tool calls; None if nothing is left."""
    blocks = [] if isinstance(message.content, str) else message.content
    media = [
        block
        for block in blocks
        if isinstance(block, Mapping) and block.get("type") in _MEDIA_TYPES
    ]
    if not (message.text or media or message.tool_calls):
        return None
    text = [{"type": "text", "text": message.text}] if message.text else []
    content = [*text, *media] if media else str(message.text)
    return message.model_copy(update={"content": content, "additional_kwargs": {}})
