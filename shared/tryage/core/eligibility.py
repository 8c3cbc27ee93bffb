"""Which experts may be chosen: those that have a prediction and meet every requirement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.cache import get_or_compute_bounded
from tryage.core.constraints import expected_cost
from tryage.core.ranking import Rejections, RequirementCheck

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.core.constraints import RequestBatch
    from tryage.core.library import Library
    from tryage.core.perception import Prediction
    from tryage.core.preferences import Preferences, Requirement


def check_eligibility(
    library: Library, preferences: Preferences, prediction: Prediction, request: RequestBatch
) -> Eligibility:
    """Check the requirements of prompts that share their preferences, and their predictions.

    The token counts of `request` may be zeros if no requirement reads the cost.
    """
    usable: BoolArray = np.isfinite(prediction.losses)
    if not preferences.requirements:
        return Eligibility(library, ((None, usable),), usable)
    cost = expected_cost(library, request) if preferences.needs_cost else None
    eligible = usable.copy()
    masks: list[tuple[Requirement | None, BoolArray]] = [(None, usable)]
    for requirement in preferences.requirements:
        mask = _requirement_mask(requirement, library, cost)
        masks.append((requirement, mask))
        eligible &= mask
    return Eligibility(library, tuple(masks), eligible, cost)


def _requirement_mask(
    requirement: Requirement, library: Library, cost: Float64Array | None
) -> BoolArray:
    """Return which experts meet a requirement; only one on the cost depends on the prompt."""
    if requirement.field == "cost":
        return requirement.satisfied(library, cost)
    return get_or_compute_bounded(library, requirement, lambda: requirement.satisfied(library))


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Which experts meet the requirements and have a prediction, `eligible` `(batch, n_experts)`.

    `filter_masks` has one mask per requirement, and one (None) for usable predictions, of that
    shape or `(n_experts,)`. `cost`, in USD, is `(batch, n_experts)`, None if no requirement reads
    it.
    """

    library: Library
    filter_masks: tuple[tuple[Requirement | None, BoolArray], ...]
    eligible: BoolArray
    cost: Float64Array | None = None

    @property
    def has_choice(self) -> BoolArray:
        """Whether any expert is eligible for each prompt, `(batch,)`."""
        return np.asarray(self.eligible.any(axis=1))

    def is_predicted(self, i: int) -> bool:
        """Return whether any expert has a usable prediction for prompt `i`."""
        _, usable = self.filter_masks[0]
        return bool(usable[i].any())

    def rejections(self, i: int) -> Rejections:
        """Return the rejected experts for prompt `i`, with their reasons."""
        cost = None if self.cost is None else self.cost[i]
        checks = [
            RequirementCheck(requirement, mask if mask.ndim == 1 else mask[i], cost)
            for requirement, mask in self.filter_masks
        ]
        return Rejections(self.library, checks)
