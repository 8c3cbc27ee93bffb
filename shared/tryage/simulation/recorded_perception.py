"""A perception that knows its predictions already, such as those of a log or of held-out folds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.core.perception import Perception, Prediction
from tryage.errors import InputError, PerceptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import FloatArray


class RecordedPerception(Perception):
    """Returns recorded predictions of prompts, by their exact text.

    Args:
        experts: The names of the experts.
        prompts: The texts `(n,)`; of equal ones the first counts.
        losses: The predicted losses `(n, n_experts)`, NaN where an expert cannot be chosen.
        std: Their standard deviations, NaN where unknown.
        costs: The expected USD of each request, NaN where unknown.

    Raises:
        InputError: a shape does not fit.
    """

    def __init__(
        self,
        experts: Sequence[str],
        prompts: Sequence[str],
        losses: FloatArray,
        std: FloatArray | None = None,
        costs: FloatArray | None = None,
    ) -> None:
        self.experts = tuple(experts)
        expected = (len(prompts), len(self.experts))
        for name, table in (("losses", losses), ("std", std), ("costs", costs)):
            if table is not None and table.shape != expected:
                raise InputError(f"{name} has the shape {table.shape}; expected {expected}.")
        self._rows: dict[str, int] = {}
        for row, prompt in enumerate(prompts):
            self._rows.setdefault(prompt, row)
        self._losses = losses.astype(np.float32)
        self._std = np.full_like(self._losses, np.nan) if std is None else std.astype(np.float32)
        self._costs = None if costs is None else costs.astype(np.float32)

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Return what was recorded, `(batch, n_experts)`.

        Raises:
            PerceptionError: a prompt is not one of the recorded ones.
        """
        try:
            rows = np.array([self._rows[prompt] for prompt in prompts], np.intp)
        except KeyError as error:
            raise PerceptionError(
                f"No prediction of the prompt {error.args[0]!r:.80} is recorded."
            ) from error
        costs = None if self._costs is None else self._costs[rows]
        return Prediction(self._losses[rows], self._std[rows], costs=costs)
