"""Judges what learning is worth: the frozen router's choices against those that were made.

Of every decision the log knows what the router without feedback would have chosen, and with which
probability that expert was chosen. So the difference in loss has a doubly robust estimate (Dudik,
Langford and Li, 2011): `D = L - q(frozen) - 1[answered = frozen] / p(frozen) (L - q(frozen))`,
where `q` is the present belief. Its mean is right whatever `q` is. Decisions in which the frozen
choice had no chance tell nothing and do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tryage.traffic.records import DecisionRecord

ERROR_RATE = 0.01  # of all logs without harm, at most about this share ever gets a rollback

MIN_COMPARED = 20  # answers of the frozen choice where another one was preferred

_TUNED_COUNT = 500  # the interval is narrowest at about this many decisions


@dataclass
class Guard:
    """The sum, the sum of squares and the count of the differences, and how many were compared.

    A difference above zero says that learning costs loss. `n_compared` counts answers of the frozen
    choice that had a probability below one.
    """

    count: int = 0
    total: float = 0.0
    total_square: float = 0.0
    n_compared: int = 0

    def update(
        self, decision: DecisionRecord, expert: str, loss: float, frozen_loss: float
    ) -> bool:
        """Take one answer into account; return whether learning certainly costs loss now.

        `frozen_loss` is what is expected of the frozen choice.
        """
        propensity = frozen_propensity(decision)
        if decision.frozen_choice is None or propensity <= 0:
            return False
        difference = loss - frozen_loss
        if expert == decision.frozen_choice:
            difference -= (loss - frozen_loss) / propensity
            self.n_compared += propensity < 1
        self.count += 1
        self.total += difference
        self.total_square += difference * difference
        return self.n_compared >= MIN_COMPARED and self.interval()[0] > 0

    def interval(self, error_rate: float = ERROR_RATE) -> tuple[float, float]:
        """Return an interval for the mean difference in loss that holds at all times at once.

        It is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas
        (2024, "Time-uniform central limit theory", eq. 3).
        """
        if self.count < 2:  # a variance needs two
            return -math.inf, math.inf
        n, mean = self.count, self.total / self.count
        variance = max(self.total_square / n - mean * mean, 0.0)
        rho = 1 / _TUNED_COUNT
        spread = n * rho + 1
        width = math.sqrt(2 * spread / (n * n * rho) * math.log(math.sqrt(spread) / error_rate))
        return mean - width * math.sqrt(variance), mean + width * math.sqrt(variance)


def frozen_propensity(decision: DecisionRecord) -> float:
    """Return the probability with which the log chose what the frozen router would have chosen."""
    if decision.frozen_choice == decision.chosen:
        return decision.propensity
    pairs = zip(decision.candidates, decision.propensities, strict=False)
    return dict(pairs).get(decision.frozen_choice or "", 0.0)
