"""What other policies would have been worth on the logged traffic: scores, intervals and costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.errors import InputError
from tryage.learning.evaluation.off_policy import (
    LoggedChoices,
    PolicyValue,
    doubly_robust,
    evaluate_policy,
    score_interval,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.core.arrays import BoolArray, Float64Array
    from tryage.learning.evaluation.off_policy import Estimate, Estimator
    from tryage.learning.traffic_report.policies import Policy
    from tryage.learning.traffic_report.table import TrafficTable

_MAX_UNKNOWN_COSTS = 0.05  # share of a policy's choices; more make its mean cost unknown


@dataclass(frozen=True, slots=True)
class EvaluatedPolicy:
    """A policy by its name, its value, and the mean USD of a request, None if unknown.

    The USD are those that were expected before the requests, of all decisions, rated or not.
    """

    name: str
    value: PolicyValue
    cost: float | None


@dataclass(frozen=True, slots=True)
class TrafficEvaluation:
    """What the log tells about its own choices and about other policies.

    `n_decisions` are in the log, and `n_rated` of them count: the chosen expert answered and was
    rated. `score` and `cost` are those of the log's own choices.
    """

    n_decisions: int
    n_rated: int
    score: Estimate | None
    cost: float | None
    policies: tuple[EvaluatedPolicy, ...]

    def rows(self) -> list[list[str]]:
        """Return the rows of a table, the first one the header; `refusals` says why some are empty.

        The sample size is the effective one.
        """
        header = ["policy", "score", "95% interval", "difference", "95% interval", "sample size"]
        logged = ["as logged", *_cells(self.score), "", "", f"{self.n_rated:,}", _usd(self.cost)]
        return [
            [*header, "USD per 1,000"],
            logged,
            *(
                [
                    one.name,
                    *_cells(one.value.score),
                    *_cells(one.value.difference, sign="+"),
                    f"{one.value.sample_size:,.0f}",
                    _usd(one.cost),
                ]
                for one in self.policies
            ),
        ]

    def refusals(self) -> list[str]:
        """Return a sentence for each policy of which the log cannot tell."""
        return [
            f"{one.name}: the log cannot tell: {one.value.refusal}."
            for one in self.policies
            if one.value.refusal is not None
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values."""
        return asdict(self)


def evaluate_traffic(
    table: TrafficTable,
    policies: Mapping[str, Policy],
    estimator: Estimator = doubly_robust,
) -> TrafficEvaluation:
    """Estimate what each policy would have been worth on the logged traffic.

    Raises:
        InputError: a policy cannot be applied to this log.
    """
    is_rated = ~np.isnan(table.scores) & (table.served == table.chosen)
    log = logged_choices(table, is_rated)
    evaluated = []
    for name, policy in policies.items():
        try:
            target = policy(table)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        value = evaluate_policy(log, target[is_rated], estimator)
        evaluated.append(EvaluatedPolicy(name, value, _mean_cost(target, table.costs)))
    score = score_interval(log.scores, len(log), log.clusters) if len(log) else None
    own = np.zeros_like(table.propensities)
    own[np.arange(len(table)), table.chosen] = 1.0
    cost = _mean_cost(own, table.costs)
    return TrafficEvaluation(len(table), len(log), score, cost, tuple(evaluated))


def logged_choices(table: TrafficTable, selected: BoolArray) -> LoggedChoices:
    """Return some decisions of the log, with their ratings."""
    return LoggedChoices(
        table.propensities[selected],
        1 - table.losses[selected],
        table.chosen[selected],
        table.scores[selected],
        table.clusters[selected],
    )


def _mean_cost(target: Float64Array, costs: Float64Array) -> float | None:
    """Return the mean USD of the choices of a policy, None if too many are unknown."""
    is_known = ~np.isnan(costs)
    known = float((target * is_known).sum())
    if known < (1 - _MAX_UNKNOWN_COSTS) * len(target):
        return None
    return float((target * np.nan_to_num(costs)).sum() / known)


def _cells(estimate: Estimate | None, sign: str = "") -> list[str]:
    """Return the value and the interval as text."""
    if estimate is None:
        return ["-", "-"]
    form = f"{sign}.3f"
    low, high = format(estimate.low, form), format(estimate.high, form)
    return [format(estimate.value, form), f"{low} to {high}"]


def _usd(cost: float | None) -> str:
    return "-" if cost is None else f"{1000 * cost:.4g}"
