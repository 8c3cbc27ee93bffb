"""The trade-off of one prompt: which model wins at which worth of a right answer, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.objective import ANSWER_VALUE
from tryage.core.pareto import lower_envelope
from tryage.core.ranking import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.ranking import RankedExpert


@dataclass(frozen=True, slots=True)
class Step:
    """From which worth of a right answer on (USD, 0 for the first) a model wins.

    `start` belongs to the model, and `end` to the next one; the last `end` is infinite.
    """

    name: str
    start: float
    end: float
    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class TradeOff:
    """The models of a prompt by cost and quality, and the steps of the front through them.

    `steps` go from the cheapest to the best model. `unpriced` are the models without a known
    price, which are not among the `points`.
    """

    points: tuple[RankedExpert, ...]
    steps: tuple[Step, ...]
    unpriced: tuple[str, ...]

    def winner(self, answer_value: float) -> str | None:
        """Return the model that wins at a worth of a right answer, None without any price."""
        for step in self.steps:
            if step.start <= answer_value < step.end:
                return step.name
        return None


def trade_off(ranking: Sequence[RankedExpert]) -> TradeOff:
    """Return the trade-off between quality and dollars, other weights as they are.

    A model's total is a line over 1 / answer_value: what it is without dollars, plus USD x that.
    The lowest lines are the front, so it is exact. A tolerance does not count in it.
    """
    priced = [one for one in ranking if one.cost is not None]
    unpriced = tuple(one.name for one in ranking if one.cost is None)
    if not priced:
        return TradeOff((), (), unpriced)
    base = np.array([[_without_dollars(one) for one in priced]])
    costs = np.array([one.cost for one in priced], dtype=np.float64)
    path = lower_envelope(base, costs)
    experts = [int(path.start[0]), *path.new_expert.tolist()]  # the best first
    values = [math.inf, *(1.0 / weight for weight in path.weight.tolist())]
    bounds = [*values, 0.0]
    steps = [
        Step(
            priced[i].name, bounds[k + 1], bounds[k], float(costs[i]), 1 - priced[i].predicted_loss
        )
        for k, i in enumerate(experts)
        if bounds[k + 1] < bounds[k]
    ]
    return TradeOff(tuple(priced), tuple(reversed(steps)), unpriced)


def _without_dollars(one: RankedExpert) -> float:
    """Return the total without what dollars and the tolerance add."""
    return one.total - one.terms.get(ANSWER_VALUE, 0.0) - one.terms.get(TOLERANCE, 0.0)
