"""Real-valued losses, squeezed so that hopeless experts do not drown what tells good ones apart.

An expert far from its field may lose ten times what the best one does. Squared error then learns
how bad the bad are; a decision asks who is best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.extras import require
from tryage.perception.latent import fill_gaps, nearness, spread

if TYPE_CHECKING:
    from tryage.perception.link import Floats

Matrix = NDArray[np.floating[Any]]

SHARE = 0.5  # of what the best single expert loses to hindsight: gaps of that size are resolved
_LEAST = 1e-2  # standard deviations of a loss
_BINS, _BIN = 24, 20  # at most so many, of at least so many losses each
_RISE = 1e-4  # of a scale from knot to knot, so that no two predictions become one


@dataclass(frozen=True, slots=True)
class Squeezed:
    """The link of real-valued losses.

    Abilities learn `y = best + scale * log(1 + (L - best) / scale)`: near the prompt's best loss
    the loss itself, and of a gap beyond `scale` its logarithm. What a predicted gap `y - best`
    means in the unit of the loss was measured: the line through `gaps` and `rises`, `(n_knots,)`.
    """

    scale: float
    gaps: Matrix
    rises: Matrix

    def losses(self, y: Matrix, best: Matrix) -> Matrix:
        """Map linear predictions `(batch, n_experts)` to losses."""
        gap = y - best  # who is better than the best was none of those it was measured on
        return np.asarray(best + np.interp(gap, self.gaps, self.rises) + np.minimum(gap, 0))

    def std(self, y: Matrix, std: Matrix, best: Matrix) -> Matrix:
        """Carry a standard deviation through, to first order."""
        slopes = np.maximum(np.gradient(self.rises, self.gaps), 1)  # a plateau is no certainty
        return np.asarray(std * np.interp(y - best, self.gaps, slopes))

    def carry(self, y: Floats, std: Floats, best: Floats) -> None:
        """Turn float32 linear predictions and their deviations into those of losses, in place."""
        std[:], y[:] = self.std(y, std, best), self.losses(y, best)

    def learned(self, losses: Matrix, best: Matrix) -> Matrix:
        """Squeeze measured losses."""
        return _squeezed(losses, best, self.scale)


def squeeze(losses: Matrix, difficulty: Matrix | None = None) -> tuple[float, Matrix] | None:
    """Return a scale and losses `(n_prompts, n_experts)` squeezed by it; None for scores in [0, 1].

    Where the best expert was not measured, its loss is filled in.
    """
    if np.nanmin(losses) >= 0 and np.nanmax(losses) <= 1:
        return None
    filled = fill_gaps(losses, difficulty=difficulty)
    best = filled.min(axis=1, keepdims=True)
    regret = float((filled - best).mean(axis=0).min())
    scale = max(SHARE * regret, _LEAST * spread(losses))
    return scale, _squeezed(losses, best, scale)


def in_reach(said: Matrix, losses: Matrix) -> Matrix:
    """Say how much each expert is in contention on each prompt, `(n_prompts, n_experts)` in (0, 1].

    Among unlike experts, each the best of its own kind, only one would contend on the whole. `said`
    are unseen predictions of squeezed `losses`.
    """
    best = np.where(np.isnan(losses), np.inf, said).min(axis=1, keepdims=True)
    return nearness(np.maximum(said - best, 0), losses) + 1e-6


def fit_squeezed(scale: float, y: Matrix, losses: Matrix) -> Squeezed:
    """Measure what predicted gaps mean, from predictions of unseen prompts and real losses.

    The predicted best expert is a knot of its own: it was chosen for its low prediction, and loses
    more than that.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require("sklearn", "evaluate")
    from sklearn.isotonic import isotonic_regression

    known = ~np.isnan(losses)
    best = y.min(axis=1, keepdims=True)
    gap, rise = (y - best)[known], (losses - best)[known]
    bins = int(np.clip(len(gap) // _BIN, 1, _BINS))
    edges = np.unique(np.quantile(gap[gap > 0], np.arange(bins) / bins)) if (gap > 0).any() else ()
    of = np.searchsorted(edges, gap, side="right")
    counts = np.bincount(of)
    kept = counts > 0
    gaps, rises = (np.bincount(of, each)[kept] / counts[kept] for each in (gap, rise))
    rises = isotonic_regression(rises, sample_weight=counts[kept])
    far = gaps[-1] + 1e3 * scale  # beyond what was seen the order is kept, and little else
    gaps, rises = np.append(gaps, far), np.append(rises, rises[-1])
    return Squeezed(scale, gaps, rises + _RISE * scale * np.arange(len(rises)))


def _squeezed(losses: Matrix, best: Matrix, scale: float) -> Matrix:
    gap = losses - best
    behind = best + scale * np.log1p(np.maximum(gap, 0) / scale)
    return np.asarray(np.where(gap > 0, behind, losses))
