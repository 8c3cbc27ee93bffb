"""What every perception promises: a predicted loss, and how sure it is, per prompt and expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted losses `Q^(z, M_i)` with their standard deviation, both `(batch, n_experts)`.

    `output_tokens` `(batch, n_experts)` forecast the lengths of the answers, NaN where unknown.
    """

    losses: Floats
    std: Floats
    output_tokens: Floats | None = None

    def at(self, where: Any) -> Prediction:  # noqa: ANN401 - any index of numpy
        """Return a part: rows are prompts, columns experts."""
        tokens = self.output_tokens
        return Prediction(
            self.losses[where], self.std[where], None if tokens is None else tokens[where]
        )


@runtime_checkable
class Perception(Protocol):
    """The small model that predicts a row of the Q-table from the prompt alone."""

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts, in the order of the columns of a prediction."""
        ...

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert on every prompt, in one encoder pass."""
        ...
