"""Exploration: now and then another good expert answers, so that feedback can tell which is best.

Posterior sampling (Thompson, 1933) among the experts that are within a tolerance of the best one,
in loss and in dollars. The probability of each expert is computed first and one expert is drawn
from exactly these probabilities, so that the log holds the true propensities, which off-policy
estimates divide by. What exploring may add to spending has a hard limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.cache import get_or_compute
from tryage.core.probabilities import choice_probabilities
from tryage.core.validation import check_number, check_strings
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
    from tryage.core.decision import Decision, ScoredBatch

MAX_CANDIDATES = 16  # experts, the best ones; the time grows with their square

_MIN_PROBABILITY = 1e-6  # one in a million teaches nothing, and the log would keep it
_N_STEPS = 33  # points of the grid per expert: errors near 1e-3, and the draw is exact all the same


@dataclass(frozen=True, slots=True)
class Exploration:
    """Which experts exploration may draw, and what that may cost.

    Attributes:
        tolerance: In loss. Only experts whose total is at most so much above that of the best one,
            as far as is known, are drawn.
        optimism: How many standard deviations of its mean loss a total counts as lower than
            predicted for the tolerance. With 0, an expert that looks bad after a few answers is
            never asked again.
        max_extra_cost: USD. Only experts whose request costs at most so much more than the best
            one's are drawn; None is no limit of a single request.
        budget: The share of spending that exploring may add, .02 is 2%. It is never exceeded, from
            the first request on: an expert that would exceed it has the probability 0. What a
            cheaper expert saves does not raise it.
        min_propensity: The lowest probability of an expert within all limits. A low one makes it
            possible to say later what that expert would have been worth; 0 is posterior sampling
            alone.
        excluded_tags: Requests with any of these tags are never explored.

    Costs are those expected before the request. An unknown cost counts as that of a dear model.

    Raises:
        InputError: a number is out of range, or the tags are not a list of strings.
    """

    tolerance: float = 0.05
    optimism: float = 1.0
    max_extra_cost: float | None = None
    budget: float = 0.02
    min_propensity: float = 0.0
    excluded_tags: tuple[str, ...] = ("critical",)

    def __post_init__(self) -> None:
        """Check the numbers and the tags."""
        check_number("tolerance", self.tolerance, 0.0)
        check_number("optimism", self.optimism, 0.0)
        if self.max_extra_cost is not None:
            check_number("max_extra_cost", self.max_extra_cost, 0.0)
        check_number("budget", self.budget, 0.0, 1.0)
        check_number("min_propensity", self.min_propensity, 0.0, 1.0 / MAX_CANDIDATES)
        tags = check_strings("excluded_tags", self.excluded_tags)
        object.__setattr__(self, "excluded_tags", tags)

    def allows(self, tags: Collection[str]) -> bool:
        """Return whether a request with these tags may be explored."""
        return not any(tag in tags for tag in self.excluded_tags)

    def candidates(
        self,
        totals: FloatArray,
        stds: FloatArray,
        costs: FloatArray,
        best: int,
        max_extra: float = np.inf,
    ) -> BoolArray:
        """Return which experts are within all limits of the expert `best`, `(n,)`.

        The arguments are those of `propensities`; no `stds` is NaN.
        """
        is_close = totals - self.optimism * stds <= totals[best] + self.tolerance
        return np.asarray(is_close & self.affordable(costs, best, max_extra))

    def affordable(self, costs: FloatArray, best: int, max_extra: float = np.inf) -> BoolArray:
        """Return which experts are within the limits in dollars of the expert `best`, `(n,)`."""
        limit = max_extra if self.max_extra_cost is None else min(max_extra, self.max_extra_cost)
        return np.asarray(costs - costs[best] <= limit)

    def propensities(  # noqa: PLR0913 - what is known of the experts, and the limits
        self,
        totals: FloatArray,
        stds: FloatArray,
        costs: FloatArray,
        eligible: BoolArray | None = None,
        *,
        best: int | None = None,
        tolerance: float = 0.0,
        max_extra: float = np.inf,
    ) -> Float64Array:
        """Return the probability of each expert to be drawn, `(n,)`, sum 1.

        Args:
            totals: Predicted losses plus all terms, `(n,)`.
            stds: Standard deviations of the mean losses, `(n,)`; an unknown one, NaN, counts as 0.
            costs: USD of the request, `(n,)`, none of them NaN.
            eligible: Which experts may be chosen at all, `(n,)`; by default all.
            best: The expert that is chosen without exploration, by default the one of the lowest
                total.
            tolerance: Of the preferences: the cheapest expert within it of the lowest is chosen.
            max_extra: USD, what is left of the budget.

        Raises:
            InputError: no expert is eligible.
        """
        usable = np.isfinite(totals) if eligible is None else eligible & np.isfinite(totals)
        if not usable.any():
            raise InputError("no expert is eligible; expected one with a finite total at least")
        if best is None:
            best = int(np.where(usable, totals, np.inf).argmin())
        stds = np.nan_to_num(stds)
        drawn = np.flatnonzero(usable & self.candidates(totals, stds, costs, best, max_extra))
        probabilities = np.zeros(len(totals))
        probabilities[drawn] = self._posterior_sampling(
            totals[drawn], stds[drawn], costs[drawn], tolerance
        )
        return probabilities

    def _posterior_sampling(
        self, totals: FloatArray, stds: FloatArray, costs: FloatArray, tolerance: float
    ) -> Float64Array:
        if len(totals) == 1:
            return np.ones(1)
        found = choice_probabilities(totals, stds, costs, tolerance, n_steps=_N_STEPS)
        found[found < _MIN_PROBABILITY] = 0.0
        found /= found.sum()
        floor = min(self.min_propensity, 1 / len(found))
        return np.asarray(floor + (1 - len(found) * floor) * found)


class ExplorationBudget:
    """What was spent so far, and what exploring added to it, in expected USD.

    `spent` is what the choices without exploration would have cost, and `extra` what the drawn
    experts cost above that.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.spent = 0.0
        self.extra = 0.0

    def remaining(self, cost: float) -> float:
        """Return how much a request may cost above the best expert's `cost`, in USD."""
        return max(self.share * (self.spent + cost) - self.extra, 0.0)

    def record(self, cost: float, drawn_cost: float) -> None:
        """Add a request that costs `cost` at the best expert, and `drawn_cost` at the drawn one."""
        self.spent += cost
        self.extra += max(drawn_cost - cost, 0.0)

    def __repr__(self) -> str:
        """Show what was spent and added."""
        return f"ExplorationBudget(share={self.share}, spent={self.spent:g}, extra={self.extra:g})"


def explore(  # noqa: PLR0913 - the decision, the limits, and what the caller says of the request
    batch: ScoredBatch,
    i: int,
    decision: Decision,
    exploration: Exploration | None,
    *,
    budget: ExplorationBudget,
    random: np.random.Generator,
    tags: Collection[str] = (),
    probes: Mapping[str, float] | None = None,
) -> Decision:
    """Return the decision for prompt `i` of a batch, in which another expert may be drawn.

    Args:
        batch: The scores.
        i: The position of the prompt in the batch.
        decision: What is decided without exploration. That of a default is not explored.
        exploration: The limits; None draws probes alone, without limits in dollars.
        budget: What was spent so far; the request is added to it.
        random: Draws the expert.
        tags: The tags of the request.
        probes: Experts that are drawn in a fixed share of the requests whatever their total, such
            as one that was broken and may be well again. The limits in dollars and the excluded
            tags hold, and the shares add up to at most 1.
    """
    if decision.default_used or not len(decision.ranking):
        return decision
    top = batch.ranked_experts(i, 1 if exploration is None else MAX_CANDIDATES, probes or ())
    costs = batch.counted_costs(i, top)
    propensities = np.eye(1, len(top))[0]  # the best expert, which is the first, for certain
    if len(top) > 1 and (exploration or Exploration()).allows(tags):
        max_extra = budget.remaining(costs[0])
        if exploration is not None:
            propensities = _propensities(batch, i, top, costs, exploration, max_extra)
        shares = np.array([(probes or {}).get(batch.library.names[j], 0.0) for j in top.tolist()])
        if exploration is not None:
            shares *= exploration.affordable(costs, 0, max_extra)
        propensities = shares + (1 - shares.sum()) * propensities
    drawn = int(random.choice(len(top), p=propensities)) if propensities[0] < 1 else 0
    budget.record(costs[0], costs[drawn])
    return _with_draw(batch, i, decision, top, propensities, drawn)


def _propensities(  # noqa: PLR0913 - what is known of the prompt
    batch: ScoredBatch,
    i: int,
    top: IndexArray,
    costs: FloatArray,
    exploration: Exploration,
    max_extra: float,
) -> Float64Array:
    """Return the probability of each of the experts `top`, of which the first is the best."""
    std = batch.prediction.std if batch.ability_std is None else batch.ability_std
    return exploration.propensities(
        batch.routing_loss.row(i).totals(top)[0],
        std[i][top],
        costs,
        best=0,
        tolerance=batch.tolerance or 0.0,
        max_extra=max_extra,
    )


def _with_draw(  # noqa: PLR0913 - the decision, and what was drawn
    batch: ScoredBatch,
    i: int,
    decision: Decision,
    top: IndexArray,
    propensities: Float64Array,
    drawn: int,
) -> Decision:
    """Return the decision for the drawn expert, with the propensities of all that may be drawn."""
    names, library = batch.library.names, batch.library
    known = {names[top[j]]: float(propensities[j]) for j in np.flatnonzero(propensities)}
    if len(known) == 1:
        return decision
    if drawn == 0:
        return replace(decision, propensity=float(propensities[0]), propensities=known)
    expert = int(top[drawn])
    return replace(
        decision,
        expert=get_or_compute(library, ("expert", expert), lambda: library[expert]),
        ranking=batch.ranking(i, int(top[0])).with_first(expert),
        propensity=float(propensities[drawn]),
        propensities=known,
        explored=True,
    )
