"""A conversation as every framework can tell it: its turns, what it asks of a model, its keys."""

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

# What providers wrap around a message (OpenAI's cookbook counts 3 and the role).
_TURN_OVERHEAD_TOKENS = 4

# A picture of about a megapixel: 765 to 1,105 at OpenAI, width x height / 750 at Anthropic. A
# minute of speech: 600 at OpenAI, 1,920 at Google. One round number is as near as a rule can be.
_TOKENS_PER_MEDIA_ITEM = 1_000


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    `role` is "user" only for what a person asks: a tool's output is "tool" however the framework
    sends it, and a summary that a program puts in a user's place is "system". `calls` are tool
    calls as text. `digest` tells apart what the other fields do not, such as two images.
    """

    role: Role
    text: str = ""
    calls: str = ""
    images: int = 0
    audio: int = 0
    digest: str = ""

    def tokens(self, count: TokenCounter = estimate_tokens) -> float:
        """Return about how many tokens the turn has; `count` is asked for those of its texts."""
        media = (self.images + self.audio) * _TOKENS_PER_MEDIA_ITEM
        return count(self.text) + count(self.calls) + media + _TURN_OVERHEAD_TOKENS


@dataclass(frozen=True)
class Conversation:
    """All that is sent to a chat model at once.

    `tools` are the schemas of the bound tools as text, "" if there are none; `answer_tokens` is
    how long the answer may be, None if nobody said; `thread` is the framework's own name for the
    conversation, if it has one. `query` is what the user asks, where a program wraps it in a
    template and retrieved text.
    """

    turns: Sequence[Turn]
    tools: str = ""
    structured_output: bool = False
    answer_tokens: int | None = None
    thread: str | None = None
    query: str | None = None

    @property
    def request(self) -> str:
        """What the user asks now: the query, the last user message, or else the last message."""
        if self.query is not None:
            return self.query
        return self.turns[self._request_index].text if self.turns else ""

    @property
    def images(self) -> bool:
        """Whether a model must see."""
        return any(turn.images for turn in self.turns)

    @property
    def audio(self) -> bool:
        """Whether a model must hear."""
        return any(turn.audio for turn in self.turns)

    def tokens(self, count: TokenCounter = estimate_tokens) -> float:
        """Return about how many tokens all of it has, the schemas of the tools included."""
        return count(self.tools) + sum(turn.tokens(count) for turn in self.turns)

    def answered_tokens(self, count: TokenCounter = estimate_tokens) -> float:
        """Return how many of the tokens the model that answered last has read or written."""
        answers = [at for at, turn in enumerate(self.turns) if turn.role == "assistant"]
        if not answers:
            return 0.0
        return Conversation(self.turns[: answers[-1] + 1], self.tools).tokens(count)

    @cached_property
    def turn_keys(self) -> tuple[str, ...]:
        """Digests of the conversation up to each user message, the present turn's first.

        A turn keeps its key through a tool loop. System messages do not count: programs rewrite
        them between two calls of one turn.
        """
        return tuple(reversed(list(_digests(self.turns, self.thread)))) or ("",)

    @property
    def _request_index(self) -> int:
        asked = [at for at, turn in enumerate(self.turns) if turn.role == "user"]
        return asked[-1] if asked else len(self.turns) - 1


def _digests(turns: Sequence[Turn], thread: str | None) -> Iterable[str]:
    """Yield the digest up to each user message; of a conversation without one, that of all."""
    running = hashlib.sha256(repr(thread).encode())
    found = False
    for turn in turns:
        if turn.role != "system":
            written = repr((turn.role, turn.text, turn.calls, turn.digest))
            running.update(written.encode("utf-8", "surrogatepass"))
        if turn.role == "user":
            found = True
            yield running.hexdigest()
    if turns and not found:
        yield running.hexdigest()


def conversation_requirements(conversation: Conversation, tokens: float) -> tuple[Requirement, ...]:
    """Return what any model must be able to do to answer the conversation, `tokens` long.

    Its context must hold the answer too: `answer_tokens`, or 500 if nobody said.
    """
    answer = conversation.answer_tokens
    length = tokens + (REFERENCE_OUTPUT_TOKENS if answer is None else answer)
    asked = {
        "tools": bool(conversation.tools),
        "structured_output": conversation.structured_output,
        "vision": conversation.images,
        "audio": conversation.audio,
    }
    abilities = [Requirement("capabilities", "has", (word,), True) for word in asked if asked[word]]
    return (Requirement("context_length", ">=", length, unknown_passes=True), *abilities)


def discriminating_requirements(
    requirements: Iterable[Requirement], library: Library
) -> tuple[Requirement, ...]:
    """Return those that leave somebody out: prompts whose needs all can meet stay one group."""
    return tuple(need for need in requirements if not _is_met_by_all(need, library))


def _is_met_by_all(requirement: Requirement, library: Library) -> bool:
    """Tell whether nobody is left out; lengths differ from call to call, so they are bounded."""
    if requirement.field == "context_length" and isinstance(requirement.value, float):
        return requirement.value <= get_or_compute(
            library, "shortest context", lambda: _min_context_length(library)
        )
    return get_or_compute_bounded(
        library, ("met by all", requirement), lambda: bool(requirement.satisfied(library).all())
    )


def _min_context_length(library: Library) -> float:
    return float(np.fmin.reduce(library.column("context_length"), initial=np.inf))


def meets_requirements(requirements: Iterable[Requirement], library: Library, i: int) -> bool:
    """Tell whether expert `i` is not known to fail any of them."""
    return all(bool(need.satisfied(library)[i]) for need in requirements)


def has_unverified_requirements(
    requirements: Iterable[Requirement], library: Library, i: int
) -> bool:
    """Tell whether expert `i` is tried although it is unknown whether it is able to.

    A context of unknown length is no matter of trust: what is too long has an error of its own.
    """
    abilities = (need for need in requirements if need.field == "capabilities")
    surely = (replace(need, unknown_passes=False).satisfied(library) for need in abilities)
    return not all(bool(mask[i]) for mask in surely)
