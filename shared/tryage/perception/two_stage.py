"""The second stage of a router: prompts on which two experts are close are predicted again."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tryage.core.redaction import redacted_error
from tryage.core.request import group_by_preferences
from tryage.perception.wrappers import AlignedPerception

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array, IndexArray
    from tryage.core.decision import ScoredBatch
    from tryage.core.library import Library
    from tryage.core.perception import Perception, Prediction, SecondStage
    from tryage.core.preferences import Preferences
    from tryage.core.request import RoutingRequest

_LOGGER = logging.getLogger(__name__)


class GroupScorer(Protocol):
    """Scores the prompts `rows` of a batch, which share their preferences."""

    def __call__(
        self,
        requests: Sequence[RoutingRequest],
        preferences: Preferences,
        rows: IndexArray,
        full_prediction: Prediction,
    ) -> ScoredBatch:
        """Return the scores of every expert."""
        ...


class AlignedSecondStage:
    """A second stage whose columns are in the order of a library."""

    def __init__(self, stage: SecondStage, library: Library) -> None:
        self._stage = stage
        self._perception = AlignedPerception(stage.perception, library)

    def refine(
        self,
        requests: Sequence[RoutingRequest],
        prediction: Prediction,
        score_group: GroupScorer,
        learned: Float32Array | None = None,
    ) -> Prediction:
        """Replace the prediction of the prompts on which the two best experts are close.

        They are predicted in one call. If that fails, the first prediction decides. `learned`
        `(batch, n_experts)` is what feedback has changed in the losses of the first stage; it
        changes those of this one as much.
        """
        is_close = np.zeros(len(requests), dtype=np.bool_)
        for preferences, rows in group_by_preferences(requests).items():
            margins = score_group(requests, preferences, rows, prediction).margins()
            is_close[rows] = margins < self._stage.threshold(preferences)
        close_rows = np.flatnonzero(is_close)
        self._stage.record(len(requests), len(close_rows))
        if not len(close_rows):
            return prediction
        try:
            again = self._perception.predict_for([requests[row] for row in close_rows.tolist()])
        except (RuntimeError, ArithmeticError, MemoryError) as error:  # as of the first stage
            _LOGGER.warning(
                "The second stage failed with %s; the first decides. Number of prompts: %d.",
                type(error).__name__,
                len(close_rows),
            )
            if _LOGGER.isEnabledFor(logging.DEBUG):  # the message may quote a prompt
                _LOGGER.debug("The failure of the second stage", exc_info=redacted_error(error))
            return prediction
        if learned is not None:
            low, high = self._stage.perception.loss_range()
            losses = np.clip(again.losses + learned[close_rows], low, high)
            again = replace(again, losses=losses)
        return prediction.with_rows(close_rows, again)

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Let it learn from one measured loss of an expert of the library.

        Raises:
            PerceptionError: it cannot learn, or it has never seen the expert.
        """
        self._perception.observe(prompt, expert, loss)


def align_second_stage(perception: Perception, library: Library) -> AlignedSecondStage | None:
    """Return the second stage of a perception for a library, None if it has none."""
    stage = perception.second_stage
    return None if stage is None else AlignedSecondStage(stage, library)
