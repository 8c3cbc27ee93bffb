"""From the checked requests of a batch to scores: token counts, flags that leave nobody, fronts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.costs import has_known_costs
from tryage.core.decision import ScoredBatch, needs_token_counts, score_batch
from tryage.core.objective import evaluate_constraint
from tryage.core.ranking import check_eligibility
from tryage.core.request import RoutingRequest, conversation_state, group_by_preferences
from tryage.core.request_batch import RequestBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.core.arrays import BoolArray, FloatArray, IndexArray
    from tryage.core.constraints import Constraint
    from tryage.core.decision import DefaultExpert
    from tryage.core.library import Library
    from tryage.core.perception import Prediction
    from tryage.core.preferences import Preferences

_LOGGER = logging.getLogger("tryage.router")  # whose warnings these are for the user


@dataclass(frozen=True, slots=True)
class BatchScorer:
    """Scores the experts of a library for requests.

    `count_tokens` counts the tokens of prompts, `(batch,)`. In `strict` mode flags that leave no
    expert are kept.
    """

    library: Library
    constraints: Mapping[str, Constraint]
    count_tokens: Callable[[Sequence[str]], FloatArray]
    strict: bool = False

    def score(
        self,
        requests: Sequence[RoutingRequest],
        preferences: Preferences,
        rows: IndexArray,
        full_prediction: Prediction,
    ) -> ScoredBatch:
        """Score the prompts `rows` of a batch, which share their preferences."""
        prediction, request = self._request_batch(requests, preferences, rows, full_prediction)
        return score_batch(self.library, preferences, self.constraints, prediction, request)

    def without_excessive_flags(
        self, requests: list[RoutingRequest], prediction: Prediction
    ) -> list[RoutingRequest]:
        """Drop the flags of each prompt whose flags leave no expert; in strict mode, keep them."""
        rows = [row for row, one in enumerate(requests) if one.has_flag_requirements]
        if self.strict or not rows:
            return requests
        flagged, index = [requests[row] for row in rows], np.array(rows, dtype=np.intp)
        has_choice = self._has_choice(flagged, prediction.select(index))
        excessive = set(index[~has_choice].tolist())
        if excessive:
            _LOGGER.warning(
                "Flags that leave no expert are dropped, number of prompts: %d.", len(excessive)
            )
        return [
            one.without_flags() if row in excessive else one for row, one in enumerate(requests)
        ]

    def envelope_lines(
        self,
        requests: Sequence[RoutingRequest],
        constraint: str,
        prediction: Prediction,
        default: DefaultExpert | None,
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return base, constraint and allowed of a front, each `(batch, n_experts)`.

        Raises:
            NoExpertError, PerceptionError: a prompt has no eligible expert, and no default.
        """
        shape = prediction.losses.shape
        base, slopes, allowed = np.empty(shape), np.empty(shape), np.empty(shape, np.bool_)
        tokens = self.count_tokens([one.text for one in requests])
        request = RequestBatch(tokens, prediction.output_tokens, costs=prediction.costs)
        slopes[:] = evaluate_constraint(
            constraint, self.constraints[constraint], self.library, request
        )[0]
        for preferences, rows in group_by_preferences(requests).items():
            rest = preferences.without_constraint(constraint)
            batch = self.score(requests, rest, rows, prediction)
            base[rows], allowed[rows] = batch.routing_loss.total, batch.eligibility.eligible
            for i in np.flatnonzero(~batch.eligibility.has_choice).tolist():
                decision = batch.default_decision(i, requests[rows[i]], default, strict=self.strict)
                allowed[rows[i], self.library.index(decision.expert.name)] = True
        return base, slopes, allowed

    def _has_choice(self, requests: Sequence[RoutingRequest], prediction: Prediction) -> BoolArray:
        """Return for which prompts any expert is eligible, `(batch,)`."""
        found = np.zeros(len(requests), dtype=np.bool_)
        for preferences, rows in group_by_preferences(requests).items():
            part, request = self._request_batch(requests, preferences, rows, prediction)
            found[rows] = check_eligibility(self.library, preferences, part, request).has_choice
        return found

    def _request_batch(
        self,
        requests: Sequence[RoutingRequest],
        preferences: Preferences,
        rows: IndexArray,
        full_prediction: Prediction,
    ) -> tuple[Prediction, RequestBatch]:
        """Return the predictions and the lengths of the prompts `rows`, without forecasts."""
        group = [requests[row] for row in rows.tolist()]
        prediction = full_prediction if rows.size == len(requests) else full_prediction.select(rows)
        counted = needs_token_counts(preferences, self.constraints)
        counted = counted or has_known_costs(self.library, prediction)
        tokens = self._count_tokens(group) if counted else np.zeros(len(group))
        conversation = conversation_state(group, self.library)
        return prediction, RequestBatch(tokens, conversation=conversation)

    def _count_tokens(self, requests: Sequence[RoutingRequest]) -> FloatArray:
        """Count the tokens of each prompt, or of the conversation it belongs to, `(batch,)`."""
        known = [None if one.context is None else one.context.tokens for one in requests]
        texts = [one.text for one, n in zip(requests, known, strict=True) if n is None]
        counted = iter(self.count_tokens(texts).tolist() if texts else ())
        return np.array([next(counted) if n is None else n for n in known], dtype=np.float64)
