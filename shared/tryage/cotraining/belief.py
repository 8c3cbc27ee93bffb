"""What is believed of the losses of experts that change: linear in the prompt, forgetting slowly.

    L(z, M_i) = x . (w + v_i) + noise,   v_i ~ N(0, spread^2 I)

`w` is how hard a prompt is for all, `v_i` how expert i differs. Losses fall while experts learn,
so a difference is kept relative to `w` as it was when it was measured, and every round the old
counts a little less (recursive least squares with a forgetting factor).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tryage.cotraining.learner import Arrays, Floats

_RIDGE = 1e-2  # of `w`; enough that features nobody has shown yet stay at zero
_NOISE = 0.05  # variance of a loss before any was seen, squared nats per character
_LEAST_NOISE = 1e-4


class Belief:
    """Gaussian beliefs about `n_experts` vectors `v_i` of `width` numbers each.

    `spread` is what experts are believed to differ by, in nats per character, before anything is
    measured; `memory` is what a measurement counts after another round.
    """

    def __init__(self, n_experts: int, width: int, *, spread: float, memory: float) -> None:
        self.spread, self.memory = spread, memory
        self._gram, self._moment = np.zeros((width, width)), np.zeros(width)
        self._grams = np.zeros((n_experts, width, width))
        self._moments = np.zeros((n_experts, width))
        self._squares, self._count = _NOISE, 1.0

    def learn(self, x: Floats, losses: Floats) -> None:
        """Take in losses `(batch, n_experts)` with gaps, at features `(batch, width)`."""
        known = ~np.isnan(losses)
        given = np.where(known, losses, 0.0)
        self._gram = self.memory * self._gram + (x * known.sum(axis=1)[:, None]).T @ x
        self._moment = self.memory * self._moment + x.T @ given.sum(axis=1)
        rest = np.where(known, losses - (x @ self.common())[:, None], 0.0)
        wrong = np.where(known, rest - x @ self.means().T, 0.0)
        self._squares = self.memory * self._squares + float((wrong**2).sum())
        self._count = self.memory * self._count + float(known.sum())
        for i, rows in enumerate(known.T):
            self._grams[i] = self.memory * self._grams[i] + x[rows].T @ x[rows]
            self._moments[i] = self.memory * self._moments[i] + x[rows].T @ rest[rows, i]

    @property
    def noise(self) -> float:
        """The variance of a loss around its prediction, which was made before it was seen."""
        return max(self._squares / self._count, _LEAST_NOISE)

    def common(self) -> Floats:
        """Return `w`, `(width,)`."""
        ridge = _RIDGE * np.eye(len(self._gram))
        return np.asarray(np.linalg.solve(self._gram + ridge, self._moment))

    def means(self) -> Floats:
        """Return the expected `v_i`, `(n_experts, width)`."""
        pulls = self._moments[..., None] / self.noise
        return np.asarray(np.linalg.solve(self._precisions(), pulls)[..., 0])

    def draw(self, rng: np.random.Generator) -> Floats:
        """Draw `v_i` from the belief, `(n_experts, width)`: one world, for all prompts of a round.

        Prompts that are alike go together also while nothing is known (Thompson sampling).
        """
        means, lower = self.means(), np.linalg.cholesky(self._precisions())
        normal = rng.normal(size=means.shape)[..., None]
        return means + np.linalg.solve(np.swapaxes(lower, 1, 2), normal)[..., 0]

    def predict(self, x: Floats) -> Floats:
        """Predict the losses `(batch, n_experts)` at features `(batch, width)`."""
        return np.asarray(x @ (self.common() + self.means()).T)

    def _precisions(self) -> Floats:
        width = self._grams.shape[1]
        return np.asarray(self._grams / self.noise + np.eye(width) / self.spread**2)

    def state(self) -> Arrays:
        """Return the sums that everything follows from."""
        return {
            "gram": self._gram,
            "moment": self._moment,
            "grams": self._grams,
            "moments": self._moments,
            "noise": np.array([self._squares, self._count]),
        }

    def restore(self, state: Arrays) -> None:
        """Go on from such sums."""
        self._gram, self._moment = state["gram"], state["moment"]
        self._grams, self._moments = state["grams"].copy(), state["moments"].copy()
        self._squares, self._count = map(float, state["noise"])
