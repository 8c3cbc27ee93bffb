"""Reasoning in a conversation that another provider wrote, which an LLM would refuse.

Anthropic, Google and OpenAI sign their models' reasoning and refuse what they have not signed. A
conversation may go from one of them to another, so each gets only its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ThinkingBlock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.llms import LLM, ChatMessage

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
