"""Which router is better, by how much and how surely, and what a switch would save.

Three comparisons: the arms of split traffic, a shadow beside the router that answers, and the
router without what it has learned from feedback. Every interval holds at any time: one may read it
each day, and stop when it excludes 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tryage.learning.evaluation.off_policy import doubly_robust
from tryage.learning.traffic_report.intervals import (
    MIN_CLUSTERS,
    paired_difference,
    score_difference,
    value_difference,
)
from tryage.learning.traffic_report.policy_evaluation import logged_choices
from tryage.learning.traffic_report.table import UNKNOWN

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.learning.traffic_report.intervals import Estimate
    from tryage.learning.traffic_report.table import TrafficTable

_MAX_NEVER_TRIED = 0.01  # share of the choices
_MAX_OUTLOOK = 5.0  # a difference may be so many times smaller than its half interval

Basis: TypeAlias = Literal["split", "shadow", "frozen"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Router `name` against router `reference`, on the same traffic.

    `quality` is how much higher its mean rating is and `cost` how many USD more an answer costs;
    None where the log cannot tell, and `reason` says why for the quality. `reference_cost` is that
    of an answer of the reference. `agreement` is the share of decisions in which both choose the
    same expert, None where each decided about other requests. `rated` counts the rated decisions of
    both.
    """

    basis: Basis
    name: str
    reference: str
    decisions: int
    rated: int
    agreement: float | None
    quality: Estimate | None
    cost: Estimate | None
    reference_cost: float | None
    reason: str | None = None

    @property
    def saved_share(self) -> float | None:
        """Which share of the spending a switch saves, None if unknown; below 0 it costs more."""
        if self.cost is None or not self.reference_cost:
            return None
        return -self.cost.value / self.reference_cost

    @property
    def verdict(self) -> str:
        """What the comparison says about quality, in one sentence."""
        if self.quality is None:
            return f"It is open which one is better: {self.reason}."
        if self.quality.low > 0:
            return f"{self.name} is better."
        if self.quality.high < 0:
            return f"{self.name} is worse."
        return (
            f"Not decided: {self.name} may be up to {-self.quality.low:.3f} worse or "
            f"{self.quality.high:.3f} better.{self._outlook(self.quality)}"
        )

    @staticmethod
    def _outlook(quality: Estimate) -> str:
        """Say how many threads would decide it if the difference stayed as it is."""
        if not abs(quality.value) > quality.half_width / _MAX_OUTLOOK:
            return ""
        needed = quality.n * (quality.half_width / abs(quality.value)) ** 2
        return f" If the difference stays, about {needed:,.0f} rated threads or users decide it."


def compare_routers(table: TrafficTable) -> tuple[Comparison, ...]:
    """Return the comparisons that the log allows: arms, shadows, and the frozen router."""
    comparisons = [_compare_arms(table, arm) for arm in _other_arms(table)]
    comparisons += [
        _compare_choices(table, "shadow", name, choices) for name, choices in table.shadows.items()
    ]
    if (table.frozen != UNKNOWN).any():
        comparisons.append(
            _compare_choices(table, "frozen", "the router before it learned", table.frozen)
        )
    return tuple(comparisons)


# Split traffic ---------------------------------------------------------------------------------


def _arm_sizes(table: TrafficTable) -> IndexArray:
    return np.bincount(table.arms[table.arms != UNKNOWN], minlength=len(table.arm_names))


def _other_arms(table: TrafficTable) -> list[int]:
    """Return all arms but the largest one, which is the reference."""
    if len(table.arm_names) < 2:
        return []
    return [i for i in range(len(table.arm_names)) if i != int(_arm_sizes(table).argmax())]


def _compare_arms(table: TrafficTable, arm: int) -> Comparison:
    """Compare an arm with the largest one; each decided about requests of its own."""
    reference = int(_arm_sizes(table).argmax())
    selected = table.arms == reference, table.arms == arm
    rated = [part & ~np.isnan(table.scores) for part in selected]
    priced = [part & ~np.isnan(table.spending) for part in selected]
    quality = score_difference(_parts(table.scores, rated), _parts(table.clusters, rated))
    cost = value_difference(_parts(table.spending, priced), _parts(table.clusters, priced))
    return Comparison(
        basis="split",
        name=table.arm_names[arm],
        reference=table.arm_names[reference],
        decisions=int(selected[0].sum() + selected[1].sum()),
        rated=int(rated[0].sum() + rated[1].sum()),
        agreement=None,
        quality=quality,
        cost=cost,
        reference_cost=_mean(table.spending[priced[0]]),
        reason=None if quality else _too_few(table, rated),
    )


def _parts(values: np.ndarray, selected: list[BoolArray]) -> tuple[np.ndarray, np.ndarray]:
    return values[selected[0]], values[selected[1]]


def _too_few(table: TrafficTable, rated: list[BoolArray]) -> str:
    """Say how many threads with ratings there are, of those that an interval needs."""
    counts = [np.unique(table.clusters[part]).size for part in rated]
    return (
        f"{' and '.join(map(str, counts))} threads or users have ratings, and it takes "
        f"{MIN_CLUSTERS} on each side"
    )


def _mean(values: Float64Array) -> float | None:
    return float(values.mean()) if values.size else None


# Choices beside the router that answers --------------------------------------------------------


def _compare_choices(
    table: TrafficTable, basis: Basis, name: str, choices: IndexArray
) -> Comparison:
    """Compare the choices of a router that only decides with those of the one that answers.

    Where both choose the same expert they are equal. Elsewhere the rating that the other choice
    would have got is estimated: doubly robust, from the predictions and the answers of those
    requests that went there by chance.
    """
    known = choices != UNKNOWN
    rated = known & ~np.isnan(table.scores) & (table.served == table.chosen)
    rated &= np.maximum(table.chosen, choices) < table.losses.shape[1]
    reason = _missing_overlap(table, choices, rated)
    quality = None
    if reason is None:
        differences = _score_differences(table, choices, rated)
        quality = paired_difference(differences, table.clusters[rated])
        reason = None if quality else _too_few(table, [rated])
    costs = _of_choices(table.costs, choices) - table.expected
    priced = known & ~np.isnan(costs)
    return Comparison(
        basis=basis,
        name=name,
        reference="the router that answers",
        decisions=int(known.sum()),
        rated=int(rated.sum()),
        agreement=float((choices == table.chosen)[known].mean()),
        quality=quality,
        cost=paired_difference(costs[priced], table.clusters[priced]),
        reference_cost=_mean(table.expected[priced]),
        reason=reason,
    )


def _of_choices(values: Float64Array, choices: IndexArray) -> Float64Array:
    """Return each row's value of its choice, `(n,)`; NaN without a choice."""
    has_column = (choices != UNKNOWN) & (choices < values.shape[1])
    found = values[np.arange(len(values)), np.where(has_column, choices, 0)]
    return np.where(has_column, found, np.nan)


def _missing_overlap(table: TrafficTable, choices: IndexArray, rated: BoolArray) -> str | None:
    """Say why the ratings cannot tell what the choices are worth, None if they can."""
    if not rated.any():
        return "no answer has been rated"
    propensity = _of_choices(table.propensities, choices)[rated]
    never = float((~(propensity > 0)).mean())
    if never > _MAX_NEVER_TRIED:
        return (
            f"{never:.0%} of its choices are never tried; switch exploration on, or split the "
            "traffic"
        )
    matched = (choices == table.chosen)[rated] & (propensity > 0)
    effective = effective_corrections(propensity[matched])
    if effective < MIN_CLUSTERS:
        return (
            f"the answers that went to its choice by chance count as {effective:.0f}, and it takes "
            f"{MIN_CLUSTERS}"
        )
    return None


def effective_corrections(propensity: Float64Array) -> float:
    """Return how many equal corrections those of the answers count as; infinite if all are 0.

    Kish's effective sample size of one over the propensity minus one: an answer that was certain
    corrects nothing, and many that were nearly certain do not make up for a few that were rare.

    Args:
        propensity: The probabilities of the answers that are the other choice, `(n,)`.
    """
    if not propensity.size:
        return 0.0
    weights = 1 / propensity - 1
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else math.inf


def _score_differences(table: TrafficTable, choices: IndexArray, rated: BoolArray) -> Float64Array:
    """Return the doubly robust score of each choice minus the rating of the answer, `(rated,)`."""
    log = logged_choices(table, rated)
    target = np.zeros_like(log.propensities)
    target[np.arange(len(log)), choices[rated]] = 1.0
    return np.asarray(doubly_robust(log, target) - log.scores)
