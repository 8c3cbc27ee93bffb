"""LangChain's messages as the conversation that Tryage routes."""

# ruff: noqa: ANN401 - content blocks are whatever providers put into them.

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from tryage.chat import Conversation, Turn

if TYPE_CHECKING:
    from tryage.chat.conversation import Role

_ROLES: Mapping[str, Role] = {"human": "user", "ai": "assistant", "tool": "tool"}
_IMAGES = ("image", "image_url", "input_image")
_AUDIO = ("audio", "input_audio")


def conversation_of(
    messages: Sequence[BaseMessage], *, tools: Sequence[Any] = (), structured_output: bool = False
) -> Conversation:
    """Return the conversation, with the tools that are bound as text."""
    return Conversation(turns_of(messages), schemas(tools), structured_output)


def turns_of(messages: Sequence[BaseMessage]) -> list[Turn]:
    """Return the messages as turns."""
    return [_turn(message) for message in messages]


def schemas(tools: Sequence[Any]) -> str:
    """Return the schemas of tools as text."""
    return "\n".join(map(_schema, tools))


def of_a_person(message: BaseMessage) -> bool:
    """Tell whether a person wrote the message, and not a program in a person's place."""
    return isinstance(message, HumanMessage) and "lc_source" not in message.additional_kwargs


def _turn(message: BaseMessage) -> Turn:
    kinds = [block.get("type") for block in _blocks(message)]
    return Turn(
        _role(message),
        text=str(message.text),
        calls=json.dumps(message.tool_calls, default=str) if isinstance(message, AIMessage) else "",
        images=sum(kind in _IMAGES for kind in kinds),
        audio=sum(kind in _AUDIO for kind in kinds),
        digest=_digest(message),
    )


def _role(message: BaseMessage) -> Role:
    """Return who speaks: a tool whose output is sent in a user's place, as Anthropic asks, too."""
    role = _ROLES.get(message.type, "system")
    if role != "user":
        return role
    blocks = _blocks(message)
    if blocks and all(block.get("type") == "tool_result" for block in blocks):
        return "tool"
    return role if of_a_person(message) else "system"


def _blocks(message: BaseMessage) -> list[Mapping[str, Any]]:
    blocks = [] if isinstance(message.content, str) else message.content
    return [block for block in blocks if isinstance(block, Mapping)]


def _digest(message: BaseMessage) -> str:
    """Tell pictures and sounds apart without keeping them."""
    others = [block for block in _blocks(message) if block.get("type") != "text"]
    if not others:
        return ""
    return hashlib.sha256(json.dumps(others, default=str).encode()).hexdigest()


def _schema(tool: Any) -> str:
    try:
        return json.dumps(convert_to_openai_tool(tool), default=str)
    except (TypeError, ValueError, NotImplementedError):
        return str(tool)  # a provider's own tool, or a strategy for structured output
