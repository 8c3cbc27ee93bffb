"""What a batch of prompts asks of any expert, whatever is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Thread:
    """Which expert has served each conversation of a batch so far, both `(batch,)`.

    `current` is its position in the library, -1 if there is none; `cached_tokens` are the tokens
    of the conversation that it has read already.
    """

    current: NDArray[np.intp]
    cached_tokens: Floats


@dataclass(frozen=True, slots=True)
class Request:
    """What a batch of prompts asks of any expert: the lengths, in tokens.

    `prompt_tokens` is `(batch,)`; `output_tokens` is a forecast `(batch, n_experts)`, NaN where
    there is none, or None: then each expert's typical answer length is used. `thread` is None when
    no prompt continues a conversation.
    """

    prompt_tokens: Floats
    output_tokens: Floats | None = None
    thread: Thread | None = None

    def rows(self, rows: NDArray[np.intp] | slice) -> Request:
        """Return the request of some prompts of the batch."""
        forecast, thread = self.output_tokens, self.thread
        return Request(
            self.prompt_tokens[rows],
            None if forecast is None else forecast[rows],
            thread and Thread(thread.current[rows], thread.cached_tokens[rows]),
        )
