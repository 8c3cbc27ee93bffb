"""A batch of requests as costs and constraints read it: lengths, forecasts, conversations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tryage.core.arrays import FloatArray

ExpertIndex: TypeAlias = slice | NDArray[np.intp]  # library positions of some experts
FloatDType: TypeAlias = type[np.floating[Any]]
ALL = slice(None)


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """The lengths of a batch of prompts, in tokens, on which costs and some constraints depend.

    `prompt_tokens` is `(batch,)`; `output_tokens` is a forecast `(batch, n_experts)`, NaN where
    there is none, or None: then each expert's typical answer length is used. `conversation` is None
    when no prompt continues a conversation. `costs` `(batch, n_experts)` are USD forecast from
    measured costs, NaN where there is no forecast.
    """

    prompt_tokens: FloatArray
    output_tokens: FloatArray | None = None
    conversation: ConversationState | None = None
    costs: FloatArray | None = None

    def take(self, rows: NDArray[np.intp] | slice) -> RequestBatch:
        """Return the part of the batch for some of its prompts."""
        if rows is ALL:
            return self
        conversation = self.conversation
        return RequestBatch(
            self.prompt_tokens[rows],
            None if self.output_tokens is None else self.output_tokens[rows],
            conversation
            and ConversationState(conversation.current[rows], conversation.cached_tokens[rows]),
            None if self.costs is None else self.costs[rows],
        )


@dataclass(frozen=True, slots=True)
class ConversationState:
    """The expert that has served each conversation of a batch so far.

    `current` `(batch,)` is its position in the library, -1 if there is none; `cached_tokens`
    `(batch,)` is the number of tokens of the conversation that it has read already.
    """

    current: NDArray[np.intp]
    cached_tokens: FloatArray
