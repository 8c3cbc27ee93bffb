"""Tests of the mean of bounded values by betting, for a sample and for a stream.

Wealth that starts at 1 and is bet on values whose mean is at most zero, at even odds, reaches
`1 / alpha` at any time with a probability of at most `alpha` (Ville's inequality), whatever the
distribution of the values is. So wealth that does reach it rejects such a mean (Waudby-Smith and
Ramdas, 2024, "Estimating means of bounded random variables by betting").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array

_MAX_STAKE = 0.75  # of what could be lost with one value, as Waudby-Smith and Ramdas advise

_PRIOR_VARIANCE = 0.25  # of the first value

_STAKES = np.array([0.1, 0.3, _MAX_STAKE])  # of a stream: how far its mean is off is not known

_BLOCK = 25  # values of a stream after which another bet begins


def p_values(values: Float64Array, lowest: float, alpha: float) -> Float64Array:
    """Return the p-values of "the mean of a column is at most zero", `(n_columns,)`.

    The stakes are the predictable plug-in of Waudby-Smith and Ramdas for a sample of a fixed size
    and a test at the level `alpha`; the p-values are valid for any level.

    Args:
        values: `(n, n_columns)`, rows independent and of one distribution, in a random order.
        lowest: The lowest possible value, below zero.
        alpha: The level of the test.
    """
    n = len(values)
    known = np.arange(1, n)[:, None]  # values before each but the first one
    means = np.cumsum(values[:-1], axis=0) / (known + 1)
    squares = np.cumsum(values[:-1] ** 2, axis=0)
    variances = (_PRIOR_VARIANCE + squares) / (known + 1) - means**2
    variances = np.vstack([np.full((1, values.shape[1]), _PRIOR_VARIANCE), variances])
    stakes = np.sqrt(2 * math.log(1 / alpha) / (n * np.maximum(variances, 1e-12)))
    stakes = np.minimum(stakes, _MAX_STAKE / -lowest)
    log_wealth = np.cumsum(np.log1p(stakes * values), axis=0)
    return np.asarray(np.exp(-np.maximum(log_wealth.max(axis=0), 0.0)))


def growth(values: Float64Array, lowest: float) -> float:
    """Return by how much the log of the wealth grows with a value, at the best constant stake.

    A test at the level `alpha` needs about `log(1 / alpha) / growth` such values. It is 0 if the
    mean of the values `(n,)` is not above zero.
    """
    stakes = np.geomspace(1e-4, _MAX_STAKE, 60) / -lowest
    return max(float(np.log1p(stakes[:, None] * values).mean(axis=1).max()), 0.0)


@dataclass(frozen=True, slots=True)
class MeanTest:
    """The evidence of a stream of values that their mean is below zero; it may be read at any time.

    While the mean of each value, given all before it, is not below zero, the evidence reaches
    `1 / alpha` at any time at all with a probability of at most `alpha`.

    Bets begin at different times, so that one begins soon before the mean falls: the one of block k
    has a share of 1 / (k (k + 1)) of the wealth, and all shares add up to 1. There are several
    stakes, because how far the mean is off is not known. `evidence` `(n_stakes,)` is the wealth of
    each stake; `total` is the sum of the `count` values.
    """

    evidence: Float64Array = field(default_factory=lambda: np.zeros(len(_STAKES)))
    count: int = 0
    total: float = 0.0

    @property
    def wealth(self) -> float:
        """The mean evidence of all stakes."""
        return float(self.evidence.mean())

    @property
    def mean(self) -> float | None:
        """The mean of the values, None without any."""
        return self.total / self.count if self.count else None

    def update(self, value: float, highest: float) -> MeanTest:
        """Return the test with one value more; `highest` is the highest one possible."""
        block, place = divmod(self.count, _BLOCK)
        started = 1 / ((block + 1) * (block + 2)) if place == 0 else 0.0
        factors = 1 - _STAKES / highest * min(value, highest)
        return MeanTest((self.evidence + started) * factors, self.count + 1, self.total + value)
