"""From the ability space to the unit of the loss, for scored answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
Floats = NDArray[np.float32]

_NEWTON_STEPS = 30
_LEAST_SLOPE = 1e-3  # rising, so that ties in the loss are broken as before


class Link(Protocol):
    """Makes a predicted loss of linear predictions `y`, and `y` of a measured loss.

    It rises with `y` and is the same for all experts on a prompt, so it changes no choice by loss
    alone. `best` `(batch, 1)` is the lowest `y` of the prompt.
    """

    def losses(self, y: Matrix, best: Matrix) -> Matrix:
        """Map linear predictions `(batch, n_experts)` to losses."""
        ...

    def std(self, y: Matrix, std: Matrix, best: Matrix) -> Matrix:
        """Carry a standard deviation through, to first order."""
        ...

    def carry(self, y: Floats, std: Floats, best: Floats) -> None:
        """Turn float32 linear predictions and their deviations into those of losses, in place."""
        ...

    def learned(self, losses: Matrix, best: Matrix) -> Matrix:
        """Say what abilities learn from measured losses `(batch, n_experts)`."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """`sigmoid(intercept + slope * y)`, for scored answers, whose losses lie in [0, 1].

    It makes a predicted loss mean what it says (Platt, 1999).
    """

    intercept: float = 0.0
    slope: float = 1.0

    def losses(self, y: Matrix, best: Matrix) -> Matrix:  # noqa: ARG002 - of any best
        """Map linear predictions to losses."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.intercept + self.slope * y, -60, 60))))

    def std(self, y: Matrix, std: Matrix, best: Matrix) -> Matrix:
        """Carry a standard deviation through, to first order."""
        loss = self.losses(y, best)
        return np.asarray(self.slope * loss * (1 - loss) * std)

    def carry(self, y: Floats, std: Floats, best: Floats) -> None:  # noqa: ARG002 - of any best
        """Turn float32 linear predictions and their deviations into those of losses, in place."""
        y *= self.slope / 2  # sigmoid(x) = (1 + tanh(x / 2)) / 2, of which numpy has a fast one
        y += self.intercept / 2
        np.tanh(y, out=y)
        std *= self.slope / 4
        std *= 1 - y * y
        y += 1
        y *= 0.5

    def learned(self, losses: Matrix, best: Matrix) -> Matrix:  # noqa: ARG002 - of any best
        """Learn scores as they are: a line through them is what the sigmoid calibrates."""
        return losses


def fit_scored(y: Matrix, losses: NDArray[np.floating]) -> Scored:
    """Calibrate predictions of unseen prompts against scores with gaps, by Newton steps."""
    known = ~np.isnan(losses)
    target, given = losses[known].astype(np.float64), y[known]
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
        return Scored(float(np.log(mean / (1 - mean)) - _LEAST_SLOPE * given.mean()), _LEAST_SLOPE)
    return Scored(float(weights[0]), float(weights[1]))
