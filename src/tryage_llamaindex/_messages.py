"""LlamaIndex's messages as the conversation that Tryage routes, and as a child is handed them."""

# ruff: noqa: ANN401 - keyword arguments are of any type.

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import (
    AudioBlock,
    ChatMessage,
    ImageBlock,
    MessageRole,
    TextBlock,
    VideoBlock,
)

from tryage.chat import Conversation, Turn
from tryage.flags import extract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llama_index.core.tools import BaseTool

    from tryage.chat import Plan
    from tryage.chat.conversation import Role

_ROLES: Mapping[MessageRole, Role] = {
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}
# What ReActAgent and CodeActAgent write in the user's place after a tool has run.
_OBSERVED = ("Observation:", "Result of executing the code given:")


class Wrapped(list[ChatMessage]):
    """Messages on their way through LlamaIndex's own methods, with what else is known of the call.

    Args:
        messages: As anyone sees them.
        query: What the user asked, before a template was filled with it.
        prompted: A template was filled, so a child's own system prompt belongs in front.
        offer: The tools that are offered, if any.
    """

    def __init__(
        self,
        messages: Iterable[ChatMessage],
        *,
        query: str | None = None,
        prompted: bool = False,
        offer: Any = None,
    ) -> None:
        super().__init__(messages)
        self.query, self.prompted, self.offer = query, prompted, offer


def conversation_of(
    messages: Sequence[ChatMessage],
    *,
    tools: str = "",
    query: str | None = None,
    answer_tokens: int | None = None,
) -> Conversation:
    """Return the conversation, with the tools that are offered as text."""
    turns: list[Turn] = []
    for message in messages:
        turns.append(_turn(message, follows_answer=bool(turns) and turns[-1].role == "assistant"))
    return Conversation(turns, tools=tools, query=query, answer_tokens=answer_tokens)


def schemas(tools: Sequence[BaseTool]) -> list[dict[str, Any]]:
    """Return tools as a model is told of them."""
    return [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]


def unflagged(plan: Plan, conversation: Conversation) -> Callable[[str], str] | None:
    """Return what takes the flags that the decision has read out of a text; None without any."""
    if not plan.decision.flags:
        return None
    query = conversation.query
    if query is None:
        return lambda text: extract(text).text
    clean = extract(query).text
    return lambda text: text.replace(query, clean)


def handed(
    messages: Sequence[ChatMessage], clean: Callable[[str], str] | None = None
) -> list[ChatMessage]:
    """Return copies of the messages, which a child may change, without the flags."""
    asked = [at for at, message in enumerate(messages) if message.role == MessageRole.USER]
    return [_copy(message, clean if at in asked else None) for at, message in enumerate(messages)]


def _copy(message: ChatMessage, clean: Callable[[str], str] | None) -> ChatMessage:
    blocks: list[Any] = list(message.blocks)
    if clean is not None:
        blocks = [
            TextBlock(text=clean(block.text)) if isinstance(block, TextBlock) else block
            for block in blocks
        ]
    kwargs = dict(message.additional_kwargs)
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": kwargs})


def _turn(message: ChatMessage, *, follows_answer: bool) -> Turn:
    role = _ROLES.get(message.role, "system")
    text = message.content or ""
    if role == "user" and follows_answer and text.lstrip().startswith(_OBSERVED):
        role = "tool"
    return Turn(
        role,
        text=text,
        calls=_calls(message),
        images=sum(isinstance(block, (ImageBlock, VideoBlock)) for block in message.blocks),
        audio=sum(isinstance(block, AudioBlock) for block in message.blocks),
        digest=_digest(message),
    )


def _calls(message: ChatMessage) -> str:
    """Return the tool calls as text: newer providers have blocks for them, older ones kwargs."""
    calls: list[Any] = [
        [block.tool_name, block.tool_kwargs]
        for block in message.blocks
        if isinstance(block, ToolCallBlock)
    ]
    calls += message.additional_kwargs.get("tool_calls") or []
    return json.dumps(calls, default=str) if calls else ""


def _digest(message: ChatMessage) -> str:
    """Tell pictures and sounds apart without keeping them."""
    others = [
        block for block in message.blocks if not isinstance(block, (TextBlock, ToolCallBlock))
    ]
    if not others:
        return ""
    return hashlib.sha256("".join(map(repr, others)).encode()).hexdigest()
