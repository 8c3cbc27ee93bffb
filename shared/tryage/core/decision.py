"""The decision: who was chosen, how everyone else stood, who was rejected, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence  # noqa: TC003 - pydantic, hence LangChain, reads the hints
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - as above
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.cache import get_or_compute, get_or_compute_bounded
from tryage.core.constraints import Constraint, RequestBatch, expected_cost
from tryage.core.expert import Expert  # noqa: TC001 - as above
from tryage.core.explanation import explain, rejection_lines
from tryage.core.objective import compute_routing_loss, needs_request
from tryage.core.preferences import Preferences
from tryage.core.ranking import (
    RankedExpert,
    Ranking,
    RejectedExpert,
    Rejections,
    RequirementCheck,
)
from tryage.errors import NoExpertError, PerceptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.core.library import Library
    from tryage.core.objective import RoutingLoss
    from tryage.core.perception import Prediction
    from tryage.core.preferences import Requirement
    from tryage.core.request import RoutingRequest

_N_POINTS = 513

_N_STDS = 6.0  # standard deviations on either side: what lies outside rounds to nothing

_MIN_STD = 1e-6  # what is known exactly is a very narrow Gaussian, so that ties are shared

_erf = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """The answer of a router to one prompt.

    `prompt` is the text after flags were taken out: send that to `expert`. `ranking` and
    `rejected` behave like tuples of `Ranked` and `Rejected`. When no expert could be chosen,
    `expert` is the declared default, `default_used` is true and `default_reason` says why. `as_of`
    is when the Hub told what is known of the experts (UTC), None if it came from elsewhere.
    """

    prompt: str
    expert: Expert
    ranking: Sequence[RankedExpert] = ()
    rejected: Sequence[RejectedExpert] = ()
    preferences: Preferences = field(default_factory=Preferences)
    default_used: bool = False
    default_reason: str | None = None
    flags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    as_of: datetime | None = None

    @property
    def chosen(self) -> RankedExpert | None:
        """How the chosen expert stands; None if the default was used."""
        return self.ranking[0] if len(self.ranking) and not self.default_used else None

    @property
    def margin(self) -> float | None:
        """By how much the second expert's total is higher; None without a second."""
        if len(self.ranking) < 2:
            return None
        return self.ranking[1].total - self.ranking[0].total

    @property
    def confidence(self) -> float | None:
        """Probability that the chosen expert beats the second, None without one or without a std.

        Takes the two predictions as independent Gaussians.
        """
        if len(self.ranking) < 2:
            return None
        best, second = self.ranking[0], self.ranking[1]
        if best.std is None or second.std is None:
            return None
        spread = math.hypot(best.std, second.std)
        gap = second.total - best.total
        if spread == 0:
            return 1.0 if gap > 0 else 0.5
        return 0.5 * (1 + math.erf(gap / (spread * math.sqrt(2))))

    def explain(self, top: int = 3) -> str:
        """Tell a person who was chosen and why, with the `top` best in full."""
        return explain(self, top)

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return it JSON-safe for a log; `top` limits the ranking and the rejections."""
        chosen = self.chosen
        return {
            "expert": self.expert.name,
            "prompt": self.prompt,
            "predicted_loss": chosen.predicted_loss if chosen else None,
            "std": chosen.std if chosen else None,
            "margin": self.margin,
            "confidence": self.confidence,
            "default_used": self.default_used,
            "default_reason": self.default_reason,
            "ranking": [ranked.to_dict() for ranked in self.ranking[:top]],
            "rejected": [rejected.to_dict() for rejected in self.rejected[:top]],
            "preferences": self.preferences.to_dict(),
            "flags": list(self.flags),
            "warnings": list(self.warnings),
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Prompts that share their preferences, with every expert scored for each of them.

    `eligible` and the tables in `prediction` and `terms` are `(batch, n_experts)`; so is `cost`, in
    USD, if a requirement reads it. `passed` has a mask per filter, of that shape or `(n_experts,)`.
    """

    library: Library
    prediction: Prediction
    routing_loss: RoutingLoss
    filter_masks: tuple[tuple[Requirement | None, BoolArray], ...]
    eligible: BoolArray
    cost: Float64Array | None = None

    def decision(self, i: int, request: RoutingRequest) -> Decision | None:
        """Return the decision for prompt `i`, None if no expert is eligible."""
        ranking = self.ranking(i)
        if not len(ranking):
            return None
        best = int(ranking.top(1)[0])
        return Decision(
            prompt=request.text,
            expert=get_or_compute(self.library, ("expert", best), lambda: self.library[best]),
            ranking=ranking,
            rejected=self.rejections(i),
            preferences=request.preferences,
            flags=request.flags,
            warnings=request.warnings,
            as_of=self.library.as_of,
        )

    def ranking(self, i: int) -> Ranking:
        """Return how all stand for prompt `i`."""
        return Ranking(
            self.library,
            self.prediction.losses[i],
            self.prediction.std[i],
            self.routing_loss.row(i),
            self.eligible[i],
        )

    def fallback(
        self,
        i: int,
        request: RoutingRequest,
        failure: str | None,
        *,
        default: str | None,
        strict: bool,
    ) -> Decision:
        """Return the decision for the default, or raise when it may not step in."""
        rejected = self.rejections(i)
        unpredicted = not np.isfinite(self.prediction.losses[i]).any()
        reason = failure or (
            "The perception has no usable prediction for any expert."
            if unpredicted
            else f"None of the {len(self.library)} experts is left to choose."
        )
        if default is None or strict:
            kind = PerceptionError if unpredicted else NoExpertError
            advice = "Strict mode forbids the default." if default else "Declare a default expert."
            raise kind("\n".join([reason, *rejection_lines(rejected), advice]))
        return self.default_decision(i, request, self.library.index(default), reason)

    def default_decision(
        self, i: int, request: RoutingRequest, default: int, reason: str
    ) -> Decision:
        """Return the decision for the default expert, by its position, and say why it is used."""
        rejected = self.rejections(i)
        unmet = rejected.failed_requirements(default)
        also = f" It does not meet what was asked: {'; '.join(unmet)}." if unmet else ""
        return Decision(
            prompt=request.text,
            expert=self.library[default],
            rejected=rejected,
            preferences=request.preferences,
            default_used=True,
            default_reason=reason + also,
            flags=request.flags,
            warnings=request.warnings,
            as_of=self.library.as_of,
        )

    def rejections(self, i: int) -> Rejections:
        """Return who is rejected for prompt `i`."""
        cost = None if self.cost is None else self.cost[i]
        checks = [
            RequirementCheck(requirement, mask if mask.ndim == 1 else mask[i], cost)
            for requirement, mask in self.filter_masks
        ]
        return Rejections(self.library, checks)


def needs_token_counts(preferences: Preferences, constraints: Mapping[str, Constraint]) -> bool:
    """Tell whether a weight or a requirement depends on the length of the prompts.

    Counting tokens can take longer than all the rest, so it is left out where nothing needs it.
    """
    weights, requirements = preferences.weights, preferences.requirements
    return bool(requirements and preferences.needs_cost) or needs_request(weights, constraints)


def score_batch(
    library: Library,
    preferences: Preferences,
    constraints: Mapping[str, Constraint],
    prediction: Prediction,
    request: RequestBatch,
) -> ScoredBatch:
    """Score every expert for prompts that share their preferences.

    `request` may have zeros as token counts where `needs_token_counts` is false.
    """
    usable: BoolArray = np.isfinite(prediction.losses)
    routing_loss = compute_routing_loss(
        prediction.losses, library, preferences.weights, constraints, request
    )
    if not preferences.requirements:
        return ScoredBatch(library, prediction, routing_loss, ((None, usable),), usable)
    cost = expected_cost(library, request) if preferences.needs_cost else None
    eligible = usable.copy()
    filter_masks: list[tuple[Requirement | None, BoolArray]] = [(None, usable)]
    for requirement in preferences.requirements:
        mask = _requirement_mask(requirement, library, cost)
        filter_masks.append((requirement, mask))
        eligible &= mask
    return ScoredBatch(library, prediction, routing_loss, tuple(filter_masks), eligible, cost)


def _requirement_mask(
    requirement: Requirement, library: Library, cost: Float64Array | None
) -> BoolArray:
    """Tell who meets a requirement; only that on the cost has to be looked at for every prompt."""
    if requirement.field == "cost":
        return requirement.satisfied(library, cost)
    return get_or_compute_bounded(library, requirement, lambda: requirement.satisfied(library))


def best_probabilities(ranking: Sequence[RankedExpert]) -> dict[str, float]:
    """Return the probability of each expert to have the lowest total, by name; they add up to 1.

    A `std` that is not known counts as 0.
    """
    if not ranking:
        return {}
    means = np.array([ranked.total for ranked in ranking])
    stds = np.array([ranked.std or 0.0 for ranked in ranking])
    scale = max(float(stds.max()), float(np.ptp(means)), 1e-12)
    probabilities = _probability_of_minimum(
        (means - means.min()) / scale, np.maximum(stds / scale, _MIN_STD)
    )
    return {ranked.name: float(p) for ranked, p in zip(ranking, probabilities, strict=True)}


def _probability_of_minimum(
    means: NDArray[np.float64], stds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Integrate each expert over its own range, `(n_experts, points)` at a time."""
    steps = np.linspace(-_N_STDS, _N_STDS, _N_POINTS)
    density = np.exp(-0.5 * steps**2)
    probabilities = np.empty(len(means))
    for i, (mean, std) in enumerate(zip(means, stds, strict=True)):
        at = mean + std * steps
        others = np.arange(len(means)) != i
        beyond = (at - means[others, None]) / (stds[others, None] * math.sqrt(2))
        survives = 0.5 * (1.0 - _erf(beyond).astype(np.float64))
        probabilities[i] = (density * survives.prod(axis=0)).sum()
    normed: NDArray[np.float64] = probabilities / probabilities.sum()
    return normed
