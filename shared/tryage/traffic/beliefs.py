"""Gaussian beliefs about abilities that share what is different in this traffic.

An ability is `a_e = b_e + c`. All experts share `c`: traffic may be harder, or easier, than the
prompts that a router was trained on. A row about one expert tells of both. Given `c`, the abilities
are independent, with means that are linear in it. So the exact posterior of all experts takes one
small update: a Kalman filter (Kalman, 1960) whose gain is kept for every expert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.abilities import MAX_SURPRISE, Gaussian

if TYPE_CHECKING:
    from tryage.core.arrays import FloatArray


@dataclass(frozen=True, slots=True)
class Belief:
    """What is known of one expert, and how much feedback that is from.

    Given the common difference `c`, its ability has the mean `given_common.mean + loading @ c` and
    the covariance of `given_common`. `loading` `(k, k)` is the identity without feedback, and ever
    less the better the expert is known by itself. `prior` is the ability before any feedback.
    `total_loss` and `position_sum` `(k,)` are the sums of the `count` losses and positions.
    """

    given_common: Gaussian
    prior: Gaussian
    loading: FloatArray
    position_sum: FloatArray
    count: int = 0
    total_loss: float = 0.0

    def ability(self, common: Gaussian) -> Gaussian:
        """Return the ability in this traffic."""
        spread = self.loading @ common.covariance @ self.loading.T
        covariance = self.given_common.covariance + spread
        return Gaussian(self.mean(common), (covariance + covariance.T) / 2)

    def mean(self, common: Gaussian) -> FloatArray:
        """Return the mean of the ability in this traffic, `(k,)`."""
        return self.given_common.mean + self.loading @ common.mean

    def predict(self, common: Gaussian, position: FloatArray) -> tuple[float, float]:
        """Return the linear prediction at a position `(k,)`, and its variance."""
        h, own = position @ self.loading, self.given_common
        variance = position @ own.covariance @ position + h @ common.covariance @ h
        return float(position @ own.mean + h @ common.mean), float(variance)


def first_belief(prior: Gaussian) -> Belief:
    """Return the belief about an expert without feedback."""
    size = len(prior.mean)
    return Belief(prior, prior, np.eye(size), np.zeros(size))


def update_belief(
    belief: Belief, common: Gaussian, position: FloatArray, target: float, noise: float
) -> tuple[Gaussian, FloatArray, Gaussian]:
    """Return `given_common` and `loading` of an expert, and the common difference, after one row.

    `target` is what was measured at `position` `(k,)`, with a variance of `noise`. It counts as at
    most `MAX_SURPRISE` standard deviations away from what was expected.
    """
    own, h = belief.given_common, position @ belief.loading
    projected, shared = own.covariance @ position, common.covariance @ h
    own_variance = float(position @ projected) + noise
    variance = own_variance + float(h @ shared)
    common_part = float(h @ common.mean)
    limit = MAX_SURPRISE * variance**0.5
    surprise = min(max(target - float(position @ own.mean) - common_part, -limit), limit)
    gain = projected / own_variance
    given_common = Gaussian(
        own.mean + gain * (surprise + common_part),
        own.covariance - np.outer(gain, gain) * own_variance,
    )
    new_common = Gaussian(
        common.mean + shared * (surprise / variance),
        common.covariance - np.outer(shared, shared) / variance,
    )
    return given_common, belief.loading - np.outer(gain, h), new_common


def forget(ability: Gaussian, wide: FloatArray, share: float) -> Gaussian:
    """Return an ability that is less certain by a `share`, down to the covariance `wide` `(k, k)`.

    Its precision moves toward that of `wide` (stabilized forgetting: Kulhavy and Zarrop, 1993). So
    only about the last `1 / share` rows count.
    """
    precision = (1 - share) * np.linalg.inv(ability.covariance) + share * np.linalg.inv(wide)
    covariance = np.linalg.inv(precision)
    return Gaussian(ability.mean, (covariance + covariance.T) / 2)
