"""LlamaIndex's messages as conversations of Tryage, and as copies that a child can read.

Anthropic, Google and OpenAI sign their models' reasoning and refuse what they have not signed. A
conversation may go from one of them to another, so each gets only its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
from llama_index.core.llms import (
    AudioBlock,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    VideoBlock,
)

from tryage.chat.conversation import Conversation, Turn
from tryage.core.flags import extract_flags

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from tryage.chat.conversation import Role
    from tryage.chat.plan import RoutingPlan

TextCleaner: TypeAlias = Callable[[str], str] | None
"""Removes the flags from a text of the user; None if there are no flags."""

_ROLES: Mapping[MessageRole, Role] = {
    MessageRole.USER: "user",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
    MessageRole.MODEL: "assistant",
    MessageRole.TOOL: "tool",
    MessageRole.FUNCTION: "tool",
}

# ReActAgent and CodeActAgent write this as the user after a tool has run.
_OBSERVATION_PREFIXES = ("Observation:", "Result of executing the code given:")

# An agent with an `output_cls` sends its conversation as the blocks of one user message.
_TRANSCRIPT_START = "<current_conversation>\n"
_TRANSCRIPT_ROLE = re.compile(r"\t<(\w+)>\n")
_TRANSCRIPT_TEXT = re.compile(r"\t\t<message>(.*)</message>\n", re.DOTALL)

# What a provider adds to the reasoning that it signs, and the packages of the LLMs that read it.
_ANTHROPIC, _GOOGLE, _OPENAI = "signature", "thought_signature", "id"

_SIGNATURES: Mapping[str, str] = {
    "llama_index.llms.anthropic": _ANTHROPIC,
    "llama_index.llms.bedrock_converse": _ANTHROPIC,
    "llama_index.llms.google_genai": _GOOGLE,
    "llama_index.llms.openai": _OPENAI,
}

# Google's signatures of the parts of a message, in the order of its blocks.
_GOOGLE_SIGNATURES = "thought_signatures"


# Copies for a child ----------------------------------------------------------------------------


def flag_remover(plan: RoutingPlan, conversation: Conversation) -> TextCleaner:
    """Return what removes the flags that the decision has read from a text; None without flags."""
    if not plan.has_flags:
        return None
    query = conversation.query
    if query is None:
        return lambda text: extract_flags(text).text
    clean_query = extract_flags(query).text
    return lambda text: text.replace(query, clean_query)


def copy_messages(messages: Sequence[ChatMessage], clean: TextCleaner = None) -> list[ChatMessage]:
    """Return copies of the messages, which a child may change, with the user's texts cleaned."""
    return [
        _copy_message(message, clean if message.role == MessageRole.USER else None)
        for message in messages
    ]


def _copy_message(message: ChatMessage, clean: TextCleaner) -> ChatMessage:
    blocks: list[Any] = list(message.blocks)
    if clean is not None:
        blocks = [
            TextBlock(text=clean(block.text)) if isinstance(block, TextBlock) else block
            for block in blocks
        ]
    kwargs = dict(message.additional_kwargs)
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": kwargs})


def readable_messages(child: LLM, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return the messages without the reasoning that an LLM cannot read.

    An answer that consists of such reasoning alone is left out. An LLM that is not of a package of
    LlamaIndex gets everything, because it is unknown what it reads.
    """
    package = _package_of(child)
    if package is None or not any(map(_has_reasoning, messages)):
        return list(messages)
    signature = _SIGNATURES.get(package)
    readable = [(message, _readable_message(message, signature)) for message in messages]
    return [kept for message, kept in readable if kept.blocks or not message.blocks]


def _has_reasoning(message: ChatMessage) -> bool:
    return _GOOGLE_SIGNATURES in message.additional_kwargs or any(
        isinstance(block, ThinkingBlock) for block in message.blocks
    )


def _readable_message(message: ChatMessage, signature: str | None) -> ChatMessage:
    if not _has_reasoning(message):
        return message
    blocks: list[Any] = [block for block in message.blocks if _is_readable(block, signature)]
    kwargs = dict(message.additional_kwargs)
    if signature != _GOOGLE or len(blocks) < len(message.blocks):
        kwargs.pop(_GOOGLE_SIGNATURES, None)
    return message.model_copy(update={"blocks": blocks, "additional_kwargs": kwargs})


def _is_readable(block: object, signature: str | None) -> bool:
    """Tell whether an LLM reads a block: reasoning only with its provider's signature.

    An LLM of a provider that signs nothing reads only what is not signed.
    """
    if not isinstance(block, ThinkingBlock):
        return True
    names = set(_SIGNATURES.values())
    found = {name for name in names if block.additional_information.get(name)}
    return found == (set() if signature is None else {signature})


def _package_of(child: LLM) -> str | None:
    """Return the package of LlamaIndex that an LLM's class, or one that it extends, comes from."""
    packages = [".".join(cls.__module__.split(".")[:3]) for cls in type(child).__mro__]
    known = [package for package in packages if package.startswith("llama_index.llms.")]
    return next((package for package in known if package in _SIGNATURES), next(iter(known), None))


# Conversations ---------------------------------------------------------------------------------


def to_conversation(
    messages: Sequence[ChatMessage],
    *,
    tools: str = "",
    query: str | None = None,
    answer_tokens: int | None = None,
) -> Conversation:
    """Return the conversation; `tools` are the schemas of its tools as text."""
    turns: list[Turn] = []
    for message in _expand_transcripts(messages):
        follows_answer = bool(turns) and turns[-1].role == "assistant"
        turns.append(_to_turn(message, follows_answer=follows_answer))
    return Conversation(turns, tools=tools, query=query, answer_tokens=answer_tokens)


def _to_turn(message: ChatMessage, *, follows_answer: bool) -> Turn:
    role = _ROLES.get(message.role, "system")
    text = message.content or ""
    if role == "user" and follows_answer and text.lstrip().startswith(_OBSERVATION_PREFIXES):
        role = "tool"
    documents = [block for block in message.blocks if isinstance(block, DocumentBlock)]
    files = [document for document in documents if not _is_pdf(document)]
    return Turn(
        role,
        text=text,
        calls=_tool_calls_text(message),
        images=_count_blocks(message, ImageBlock),
        audio=_count_blocks(message, AudioBlock),
        videos=_count_blocks(message, VideoBlock),
        pdfs=len(documents) - len(files),
        files=len(files),
        digest=_media_digest(message),
    )


def _count_blocks(message: ChatMessage, kind: type) -> int:
    return sum(isinstance(block, kind) for block in message.blocks)


def _is_pdf(document: DocumentBlock) -> bool:
    """Tell whether a document is a PDF, which LlamaIndex also assumes of one without a type."""
    return document.document_mimetype in (None, "application/pdf")


def _tool_calls_text(message: ChatMessage) -> str:
    """Return the tool calls as text: newer providers keep them in blocks, older ones in kwargs."""
    calls: list[Any] = [
        [block.tool_name, block.tool_kwargs]
        for block in message.blocks
        if isinstance(block, ToolCallBlock)
    ]
    calls += message.additional_kwargs.get("tool_calls") or []
    return json.dumps(calls, default=str) if calls else ""


def _media_digest(message: ChatMessage) -> str:
    """Return a hash that tells images and sounds apart, so that they need not be kept."""
    no_media = (TextBlock, ToolCallBlock, ThinkingBlock)
    media = [block for block in message.blocks if not isinstance(block, no_media)]
    return hashlib.sha256("".join(map(repr, media)).encode()).hexdigest() if media else ""


def _expand_transcripts(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return the messages, with the conversation in place of a message that holds one as text."""
    return [
        original for message in messages for original in (_read_transcript(message) or [message])
    ]


def _read_transcript(message: ChatMessage) -> list[ChatMessage]:
    """Return the conversation that an agent has written into one message, [] if it holds none."""
    texts = [block.text for block in message.blocks if isinstance(block, TextBlock)]
    if len(texts) < 2 or texts[0] != _TRANSCRIPT_START:
        return []
    originals: list[ChatMessage] = []
    for text in texts:
        if role := _TRANSCRIPT_ROLE.fullmatch(text):
            originals.append(ChatMessage(role=role[1], blocks=[]))
        elif originals and (content := _TRANSCRIPT_TEXT.fullmatch(text)):
            originals[-1].blocks.append(TextBlock(text=content[1]))
    return originals
