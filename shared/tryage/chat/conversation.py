"""Conversations as every framework can describe them, and what they require of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tryage.core.cache import get_or_compute, get_or_compute_bounded
from tryage.core.constraints import REFERENCE_OUTPUT_TOKENS
from tryage.core.preferences import Requirement
from tryage.core.request import estimate_tokens

if TYPE_CHECKING:
    from tryage.core.library import Library

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

TokenCounter: TypeAlias = Callable[[str], float]

# What providers add to each message. OpenAI's cookbook counts 3 tokens and the role.
_TURN_OVERHEAD_TOKENS = 4

# An image of about one megapixel has 765 to 1,105 tokens at OpenAI and width x height / 750 at
# Anthropic. A minute of speech has 600 at OpenAI and 1,920 at Google. One round number is as close
# as a rule can be.
_TOKENS_PER_MEDIA_ITEM = 1_000


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    `role` is "user" only for what a person asks. The output of a tool is "tool" however the
    framework sends it, and a summary that a program sends as a user is "system". `calls` are the
    tool calls as text. `digest` distinguishes content that the other fields do not hold, such as
    two images.
    """

    role: Role
    text: str = ""
    calls: str = ""
    images: int = 0
    audio: int = 0
    digest: str = ""

    def tokens(self, count: TokenCounter = estimate_tokens) -> float:
        """Return about how many tokens the turn has; `count` counts those of a text."""
        media = (self.images + self.audio) * _TOKENS_PER_MEDIA_ITEM
        return count(self.text) + count(self.calls) + media + _TURN_OVERHEAD_TOKENS


@dataclass(frozen=True)
class Conversation:
    """Everything that is sent to a chat model in one call.

    `tools` are the schemas of the bound tools as text, "" without tools. `answer_tokens` is how
    long the answer may be, None if the caller sets no limit. `thread` is the framework's own name
    of the conversation, if it has one. `query` is what the user asks, where a program puts it into
    a template with retrieved text.
    """

    turns: Sequence[Turn]
    tools: str = ""
    structured_output: bool = False
    answer_tokens: int | None = None
    thread: str | None = None
    query: str | None = None

    @property
    def request(self) -> str:
        """What the user asks now: the query, else the last user message, else the last message."""
        if self.query is not None:
            return self.query
        return self.turns[self._request_index].text if self.turns else ""

    @property
    def images(self) -> bool:
        """Whether the model must read images."""
        return any(turn.images for turn in self.turns)

    @property
    def audio(self) -> bool:
        """Whether the model must understand audio."""
        return any(turn.audio for turn in self.turns)

    def tokens(self, count: TokenCounter = estimate_tokens) -> float:
        """Return about how many tokens the conversation has, with the schemas of its tools."""
        return count(self.tools) + sum(turn.tokens(count) for turn in self.turns)

    def answered_tokens(self, count: TokenCounter = estimate_tokens) -> float:
        """Return how many tokens the model of the last answer has read or written."""
        answers = [i for i, turn in enumerate(self.turns) if turn.role == "assistant"]
        if not answers:
            return 0.0
        return Conversation(self.turns[: answers[-1] + 1], self.tools).tokens(count)

    @cached_property
    def turn_keys(self) -> tuple[str, ...]:
        """Digests of the conversation up to each user message, that of the current turn first.

        A turn keeps its key through a tool loop. System messages do not count, because programs
        rewrite them between two calls of one turn.
        """
        return tuple(reversed(list(_digests(self.turns, self.thread)))) or ("",)

    @property
    def _request_index(self) -> int:
        """Index of the last user message, else of the last message."""
        user_turns = [i for i, turn in enumerate(self.turns) if turn.role == "user"]
        return user_turns[-1] if user_turns else len(self.turns) - 1


def conversation_requirements(conversation: Conversation, tokens: float) -> tuple[Requirement, ...]:
    """Return what a model must be able to do to answer a conversation of `tokens` tokens.

    The context must also hold the answer: `answer_tokens`, or 500 without a limit.
    """
    answer = conversation.answer_tokens
    length = tokens + (REFERENCE_OUTPUT_TOKENS if answer is None else answer)
    is_required = {
        "tools": bool(conversation.tools),
        "structured_output": conversation.structured_output,
        "vision": conversation.images,
        "audio": conversation.audio,
    }
    capabilities = [
        Requirement("capabilities", "has", (name,), True)
        for name in is_required
        if is_required[name]
    ]
    return (Requirement("context_length", ">=", length, unknown_passes=True), *capabilities)


def discriminating_requirements(
    requirements: Iterable[Requirement], library: Library
) -> tuple[Requirement, ...]:
    """Return the requirements that at least one expert fails.

    Prompts whose requirements all experts meet then share their preferences, so the router decides
    about them in one batch.
    """
    return tuple(
        requirement for requirement in requirements if not _is_met_by_all(requirement, library)
    )


def meets_requirements(requirements: Iterable[Requirement], library: Library, i: int) -> bool:
    """Tell whether expert `i` is not known to fail any of the requirements."""
    return all(bool(requirement.satisfied(library)[i]) for requirement in requirements)


def has_unverified_requirements(
    requirements: Iterable[Requirement], library: Library, i: int
) -> bool:
    """Tell whether it is unknown if expert `i` has a required capability.

    An unknown context length does not count: a request that is too long has an error of its own.
    """
    capabilities = (
        requirement for requirement in requirements if requirement.field == "capabilities"
    )
    masks = (
        replace(requirement, unknown_passes=False).satisfied(library)
        for requirement in capabilities
    )
    return not all(bool(mask[i]) for mask in masks)


def _is_met_by_all(requirement: Requirement, library: Library) -> bool:
    """Tell whether every expert meets a requirement.

    The length differs in every call, so it is compared with the shortest context instead of being
    kept as a key of the cache.
    """
    if requirement.field == "context_length" and isinstance(requirement.value, float):
        return requirement.value <= get_or_compute(
            library, "shortest context", lambda: _min_context_length(library)
        )
    return get_or_compute_bounded(
        library, ("met by all", requirement), lambda: bool(requirement.satisfied(library).all())
    )


def _min_context_length(library: Library) -> float:
    """Return the shortest known context in tokens, infinity if no context is known."""
    return float(np.fmin.reduce(library.column("context_length"), initial=np.inf))


def _digests(turns: Sequence[Turn], thread: str | None) -> Iterable[str]:
    """Yield the digest up to each user message; without one, the digest of all turns."""
    hasher = hashlib.sha256(repr(thread).encode())
    has_user_turn = False
    for turn in turns:
        if turn.role != "system":
            content = repr((turn.role, turn.text, turn.calls, turn.digest))
            hasher.update(content.encode("utf-8", "surrogatepass"))
        if turn.role == "user":
            has_user_turn = True
            yield hasher.hexdigest()
    if turns and not has_user_turn:
        yield hasher.hexdigest()
