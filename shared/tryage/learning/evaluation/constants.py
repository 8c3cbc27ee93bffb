"""Constants: what it scores and costs to ask one expert always, and whether that beats the router.

A constant is chosen on the very prompts that it is scored on, so it is the hardest bar: the best
single expert of the baselines is chosen on the training parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.learning.evaluation.baselines import is_rarely_measured
from tryage.learning.evaluation.costs import known_costs, priced_experts
from tryage.simulation.metrics import PARITY_TOLERANCE, Interval, bootstrap, interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.core.arrays import Float64Array
    from tryage.learning.evaluation.costs import CostResult
    from tryage.learning.evaluation.splits import EvaluationConfig
    from tryage.scoring.qtable import QTable


@dataclass(frozen=True, slots=True)
class Constant:
    """One expert that is always asked: its mean score, and its mean cost in USD if known.

    `relative_cost` is the cost as a share of the best constant's, on the prompts of both. `lead` is
    the router's score minus this one's, paired over the prompts that the expert was measured on;
    None without a router.
    """

    name: str
    score: float
    cost: float | None
    relative_cost: float | None
    lead: Interval | None


@dataclass(frozen=True, slots=True)
class Constants:
    """The `best` constant, and the `cheapest` one at most half a point of score below it.

    The cheapest is None where the best is the cheapest, or where costs are not known.
    """

    best: Constant
    cheapest: Constant | None


def find_constants(
    table: QTable, router_scores: Float64Array | None, config: EvaluationConfig
) -> Constants | None:
    """Return the constants of a table; None if the experts were measured on different prompts.

    `router_scores` `(n_prompts,)` are the scores of the experts that the router chose.
    """
    is_comparable = ~is_rarely_measured(table)
    if table.measured[:, is_comparable].mean() < _MIN_COMMON_SHARE:
        return None
    means = np.full(len(table.experts), np.nan)
    means[is_comparable] = 1.0 - np.nanmean(table.losses[:, is_comparable], axis=0)
    best = int(np.nanargmax(means))
    cheapest = _cheapest_near(table, means, best)

    def constant(i: int) -> Constant:
        return Constant(
            table.experts[i],
            float(means[i]),
            _mean_cost(table, i),
            _relative_cost(table, i, best),
            None if router_scores is None else _lead(table, router_scores, i, config),
        )

    return Constants(constant(best), None if cheapest == best else constant(cheapest))


_MIN_COMMON_SHARE = 0.9  # of the prompts, or means over them cannot be compared


def _cheapest_near(table: QTable, means: Float64Array, best: int) -> int:
    """Return the priced expert of the lowest cost that is near the best one, or the best one."""
    priced = set(priced_experts(table))
    if table.experts[best] not in priced:
        return best
    near = [
        i
        for i, name in enumerate(table.experts)
        if name in priced and means[i] >= means[best] - PARITY_TOLERANCE
    ]
    return min(near, key=lambda i: (_relative_cost(table, i, best) or 0.0, i != best))


def _mean_cost(table: QTable, i: int) -> float | None:
    if table.experts[i] not in priced_experts(table):
        return None
    return float(np.nanmean(known_costs(table)[:, i]))


def _relative_cost(table: QTable, i: int, reference: int) -> float | None:
    """Return the mean cost of an expert over that of another, on the prompts of both."""
    if not {table.experts[i], table.experts[reference]} <= set(priced_experts(table)):
        return None
    pair = known_costs(table)[:, [i, reference]].astype(np.float64)
    own, other = pair[~np.isnan(pair).any(axis=1)].sum(axis=0)
    return float(own / other) if other > 0 else None


def _lead(table: QTable, router_scores: Float64Array, i: int, config: EvaluationConfig) -> Interval:
    is_paired = table.measured[:, i]
    lead = (router_scores - (1.0 - table.losses[:, i]))[is_paired, None].astype(np.float64)
    draws = bootstrap(lead, table.groups[is_paired], draws=config.draws, seed=config.seed)
    return interval(float(lead.mean()), draws[:, 0])


def describe_constants(
    constants: Constants, router: str | None, cost: CostResult | None
) -> Iterable[str]:
    """Yield a line for each constant, and a warning for each one that the router does not beat."""
    best, cheapest = constants.best, constants.cheapest
    yield f"The best constant is {best.name}: {best.score:.3f}{_dollars(best)}."
    if cheapest is not None:
        share = "" if cheapest.relative_cost is None else f" at {cheapest.relative_cost:.1%} of it"
        yield (
            f"The cheapest constant within {PARITY_TOLERANCE:g} of it is {cheapest.name}: "
            f"{cheapest.score:.3f}{_dollars(cheapest)}{share}."
        )
    elif best.cost is not None:
        yield f"No cheaper expert scores within {PARITY_TOLERANCE:g} of it."
    if router is None:
        return
    for constant in (best, cheapest):
        if constant is not None and constant.lead is not None and constant.lead.value < 0:
            yield (
                f"WARNING: a constant wins. {constant.name}, always asked, scores higher than "
                f"{router}, which is ahead by {_signed(constant.lead)}."
            )
    if cheapest is not None and cost is not None and _is_cheaper(cheapest, best, cost):
        yield (
            f"WARNING: a constant is cheaper. {cheapest.name}, always asked, costs "
            f"{cheapest.relative_cost:.1%} of {best.name}; {router} at parity costs "
            f"{cost.parity.relative_cost.value:.1%} of the best single expert."
        )


def _is_cheaper(cheapest: Constant, best: Constant, cost: CostResult) -> bool:
    """Tell whether always asking the cheapest constant costs less than the router at parity."""
    if cheapest.relative_cost is None or best.cost is None:
        return False
    return cheapest.relative_cost < cost.parity.relative_cost.value


def _dollars(constant: Constant) -> str:
    return "" if constant.cost is None else f", ${1000 * constant.cost:.4g} per 1,000 requests"


def _signed(lead: Interval) -> str:
    return f"{lead.value:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]"
