"""From the ability space to the unit of the loss: as it is, or squeezed into [0, 1] for scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
Floats = NDArray[np.float32]

_NEWTON_STEPS = 30
_LEAST_SLOPE = 1e-3  # rising, so that ties in the loss are broken as before


@dataclass(frozen=True, slots=True)
class Link:
    """`sigmoid(intercept + slope * y)` for scored answers; `y` itself where `scored` is false.

    It rises with `y` and is the same for all experts, so it changes no choice by loss alone: it
    makes a predicted loss mean what it says (Platt, 1999).
    """

    scored: bool
    intercept: float = 0.0
    slope: float = 1.0

    def losses(self, y: Matrix) -> Matrix:
        """Map linear predictions to losses."""
        if not self.scored:
            return y
        return np.asarray(1 / (1 + np.exp(-np.clip(self.intercept + self.slope * y, -60, 60))))

    def std(self, y: Matrix, std: Matrix) -> Matrix:
        """Carry a standard deviation through, to first order."""
        if not self.scored:
            return std
        loss = self.losses(y)
        return np.asarray(self.slope * loss * (1 - loss) * std)

    def carry(self, y: Floats, std: Floats) -> None:
        """Turn float32 linear predictions and their deviations into those of losses, in place."""
        if self.scored:  # sigmoid(x) = (1 + tanh(x / 2)) / 2, of which numpy has a fast one
            y *= self.slope / 2
            y += self.intercept / 2
            np.tanh(y, out=y)
            std *= self.slope / 4
            std *= 1 - y * y
            y += 1
            y *= 0.5


def fit_link(y: Matrix, losses: NDArray[np.floating]) -> Link:
    """Calibrate predictions of unseen prompts against measured losses with gaps, by Newton steps.

    Losses outside [0, 1] are real-valued, and are left as they are.
    """
    known = ~np.isnan(losses)
    target, given = losses[known].astype(np.float64), y[known]
    if target.min() < 0 or target.max() > 1:
        return Link(scored=False)
    inputs = np.stack([np.ones_like(given), given])
    weights = np.array([-2.0, 4.0])  # the tangent of the identity at one half
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(weights @ inputs, -60, 60)))
        curvature = (inputs * (chance * (1 - chance))) @ inputs.T + 1e-3 * np.eye(2)
        step = np.linalg.solve(curvature, inputs @ (chance - target))
        weights = weights - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    if weights[1] < _LEAST_SLOPE:  # they say nothing: predict the mean
        mean = float(np.clip(target.mean(), 1e-6, 1 - 1e-6))
        return Link(
            True, float(np.log(mean / (1 - mean)) - _LEAST_SLOPE * given.mean()), _LEAST_SLOPE
        )
    return Link(True, float(weights[0]), float(weights[1]))
