"""What a conversation needs of a model, as requirements.

A model that is known to lack something is left out. One of which nothing is known is tried: chat
models of one's own seldom come with a list of what they can do, and leaving them out without a
word would be worse than one failed call, after which the next is asked (`tryage.chat.attempts`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.constraints import REFERENCE_OUTPUT_TOKENS
from tryage.memo import remember, remember_last
from tryage.preferences import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.chat.conversation import Conversation
    from tryage.experts import Library


def needs(conversation: Conversation, tokens: float) -> tuple[Requirement, ...]:
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


def telling(required: Iterable[Requirement], library: Library) -> tuple[Requirement, ...]:
    """Return those that leave somebody out: prompts whose needs all can meet stay one group."""
    return tuple(need for need in required if not _met_by_all(need, library))


def _met_by_all(need: Requirement, library: Library) -> bool:
    """Tell whether nobody is left out; lengths differ from call to call, so they are bounded."""
    if need.field == "context_length" and isinstance(need.value, float):
        return need.value <= remember(library, "shortest context", lambda: _shortest(library))
    return remember_last(library, ("met by all", need), lambda: bool(need.satisfied(library).all()))


def _shortest(library: Library) -> float:
    return float(np.fmin.reduce(library.column("context_length"), initial=np.inf))


def met(required: Iterable[Requirement], library: Library, i: int) -> bool:
    """Tell whether expert `i` is not known to fail any of them."""
    return all(bool(need.satisfied(library)[i]) for need in required)


def taken_on_trust(required: Iterable[Requirement], library: Library, i: int) -> bool:
    """Tell whether expert `i` is tried although it is unknown whether it is able to.

    A context of unknown length is no matter of trust: what is too long has an error of its own.
    """
    abilities = (need for need in required if need.field == "capabilities")
    surely = (replace(need, unknown_passes=False).satisfied(library) for need in abilities)
    return not all(bool(mask[i]) for mask in surely)
