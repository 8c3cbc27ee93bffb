"""Shrinkage against the winner's curse: a small predicted gain over the best expert is no gain.

The lowest of many noisy predictions is lower than the truth. A router that believes it loses to the
best single expert wherever there is little to tell experts apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

MARGINS = (0.0, 0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.22, 0.33, 0.5, 1.0, 10.0)  # std of a loss
CERTAIN = 1.0  # standard errors
_TIE = 1e-3  # what the incumbent is ahead of an expert whose gain is not believed


@dataclass(frozen=True, slots=True)
class Leaders:
    """What the `incumbent` and the `best` expert of a prompt are predicted, `(batch, 1)` each."""

    incumbent: Array
    best: Array


@dataclass(frozen=True, slots=True)
class Caution:
    """Lowers every predicted gain over the `incumbent` by `margin`, and keeps the order of gains.

    Soft thresholding (Donoho and Johnstone, 1994). Gains below the margin become a hair less than
    nothing, so that the incumbent wins on loss alone and any other wish decides between the rest.
    """

    incumbent: int
    margin: float

    def __call__(self, y: Array) -> Array:
        """Correct predictions `(batch, n_experts)`."""
        if self.margin <= 0:
            return y
        gain = y[:, self.incumbent, None] - y
        hair = _TIE * self.margin * (np.clip(gain / self.margin, 0, 1) - 1)
        believed = np.where(gain > 0, np.maximum(gain - self.margin, 0), gain) + hair
        believed[:, self.incumbent] = 0
        return np.asarray(y[:, self.incumbent, None] - believed)

    def lead(self, y: Array) -> Leaders:
        """Say who leads among predictions `(batch, n_experts)`, once they are corrected."""
        incumbent = y[:, [self.incumbent]]
        best = y.min(axis=1, keepdims=True)
        return Leaders(incumbent, np.minimum(incumbent, best + max(self.margin, 0)))

    def soften(self, y: Array, incumbent: Array) -> None:
        """Correct float32 predictions of other experts in place, as if they were in the batch.

        `incumbent` `(batch, 1)` is what the incumbent is predicted.
        """
        if self.margin > 0:
            ahead = y - incumbent.astype(np.float32)
            np.clip(ahead, -self.margin, 0, out=ahead)
            ahead *= 1 - _TIE
            y -= ahead
            y += _TIE * self.margin

    def reseated(self, mean: Array, variance: Array) -> Caution:
        """Let a surely better expert take the incumbent's seat, as abilities are learned.

        `mean` and `variance` `(n_experts,)` are of each expert's loss on the whole; the lead has to
        exceed its own standard error.
        """
        best = int(np.argmin(mean))
        lead = mean[self.incumbent] - mean[best]
        certain = lead > CERTAIN * np.sqrt(variance[self.incumbent] + variance[best])
        return replace(self, incumbent=best) if certain else self


def fit_caution(y: Array, losses: Array, mean: Array, unit: float) -> Caution:
    """Choose the margin by the losses paid on unseen prompts.

    `y` are predictions and `losses` what was measured, both `(n, n_experts)`; `mean` `(n_experts,)`
    says which expert is best on the whole, `unit` is the standard deviation
    of a loss. The greatest margin is the best single expert; it is taken unless the best margin
    pays less by more than a standard error (the rule of Breiman et al., 1984).
    """
    known, rows = ~np.isnan(losses), np.arange(len(losses))
    incumbent = int(np.argmin(mean))
    paid = []
    for margin in MARGINS:
        believed = Caution(incumbent, margin * unit)(y)
        paid.append(losses[rows, np.where(known, believed, np.inf).argmin(axis=1)])
    best = int(np.argmin([loss.mean() for loss in paid]))
    gain = paid[-1] - paid[best]
    certain = gain.mean() > CERTAIN * gain.std() / np.sqrt(len(gain))
    return Caution(incumbent, MARGINS[best if certain else -1] * unit)
