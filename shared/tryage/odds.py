"""How likely each ranked expert is to be the best one, from what is predicted of all of them.

    P(i is best) = integral over x of p_i(x) prod_{j != i} P(T_j > x)

where the totals `T` are independent Gaussians: `Decision.confidence` for more than two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.ranking import Ranked

_POINTS = 513
_REACH = 6.0  # standard deviations on either side: what lies outside rounds to nothing
_SHARP = 1e-6  # what is known exactly is a very narrow Gaussian, so that ties are shared

_erf = np.frompyfunc(math.erf, 1, 1)


def odds(ranking: Sequence[Ranked]) -> dict[str, float]:
    """Return the probability of each expert to have the lowest total, by name; they add up to 1.

    A `std` that is not known counts as 0.
    """
    if not ranking:
        return {}
    means = np.array([ranked.total for ranked in ranking])
    stds = np.array([ranked.std or 0.0 for ranked in ranking])
    scale = max(float(stds.max()), float(np.ptp(means)), 1e-12)
    chances = _lowest((means - means.min()) / scale, np.maximum(stds / scale, _SHARP))
    return {ranked.name: float(p) for ranked, p in zip(ranking, chances, strict=True)}


def _lowest(means: NDArray[np.float64], stds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrate each expert over its own range, `(n_experts, points)` at a time."""
    steps = np.linspace(-_REACH, _REACH, _POINTS)
    density = np.exp(-0.5 * steps**2)
    chances = np.empty(len(means))
    for i, (mean, std) in enumerate(zip(means, stds, strict=True)):
        at = mean + std * steps
        others = np.arange(len(means)) != i
        beyond = (at - means[others, None]) / (stds[others, None] * math.sqrt(2))
        survives = 0.5 * (1.0 - _erf(beyond).astype(np.float64))
        chances[i] = (density * survives.prod(axis=0)).sum()
    normed: NDArray[np.float64] = chances / chances.sum()
    return normed
