"""95% intervals of mean scores and of their differences, where decisions come in clusters.

Ratings of one thread or user resemble each other, so the unit is the cluster, never the single
rating. The interval of a difference holds at all times together: one may look every day and stop
as soon as it excludes 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array, IndexArray

ALPHA = 0.05
MIN_CLUSTERS = 30  # of each side; with fewer, the normal approximation does not hold
_Z = 1.959964  # the 97.5% point of the normal distribution
_TIGHTEST_AT = 500  # clusters; the interval is valid at any number, and tightest at this one


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95% interval; `n` counts what it is the mean of."""

    value: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


def mean_score(scores: Float64Array, clusters: IndexArray) -> Estimate | None:
    """Return the mean of scores from 0 to 1 with an interval for one look; None without scores.

    Wilson's interval, with as many independent scores as explain the variance between clusters. A
    score varies at most as a binary one of the same mean, so it is not too narrow for any.

    Args:
        scores: `(n,)`, no NaN.
        clusters: `(n,)`, a number that equal clusters share.
    """
    if not scores.size:
        return None
    mean = float(scores.mean())
    variance = float((_residual_sums(scores, clusters, mean) ** 2).sum()) / scores.size**2
    binary = mean * (1 - mean)
    n_clusters = np.unique(clusters).size
    n = min(float(scores.size), binary / variance) if variance > 0 else float(n_clusters)
    n = max(n, 1.0)
    center = (mean + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(binary / n + _Z**2 / (4 * n**2))
    # With equal scores a bound is the mean itself, but for a rounding error.
    low, high = min(max(center - half, 0.0), mean), max(min(center + half, 1.0), mean)
    return Estimate(mean, low, high, scores.size)


def mean_score_anytime(scores: Float64Array, clusters: IndexArray) -> Estimate | None:
    """Return the mean of scores from 0 to 1, with an interval that is valid at any time.

    None without scores. The confidence sequence of `score_difference`, of one mean; `n` counts the
    scores. With few clusters it is wide, but only asymptotically valid.

    Args:
        scores: `(n,)`, no NaN.
        clusters: `(n,)`, a number that equal clusters share.
    """
    if not scores.size:
        return None
    variance = _padded_variance(scores, clusters)
    found = _anytime(float(scores.mean()), variance, np.unique(clusters).size)
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0), scores.size)


def score_difference(
    scores: tuple[Float64Array, Float64Array], clusters: tuple[IndexArray, IndexArray]
) -> Estimate | None:
    """Return how much higher the second mean score is, with an interval that is valid at any time.

    None if either side has fewer than 30 clusters. `n` counts the clusters of both. The asymptotic
    confidence sequence of Waudby-Smith et al., "Time-uniform central limit theory and asymptotic
    confidence sequences" (2024), theorem 2.2, on the linearized difference of two ratios. Each
    variance has one score of 0 and one of 1 more, as in Agresti and Caffo (2000), so that equal
    scores do not look certain.

    Args:
        scores: Two arrays of scores from 0 to 1, `(n_a,)` and `(n_b,)`.
        clusters: Their clusters, as in `mean_score`.
    """
    n_clusters = [np.unique(one).size for one in clusters]
    if min(n_clusters) < MIN_CLUSTERS:
        return None
    variance = sum(
        _padded_variance(one, groups) for one, groups in zip(scores, clusters, strict=True)
    )
    return _anytime(float(scores[1].mean() - scores[0].mean()), variance, sum(n_clusters))


def value_difference(
    values: tuple[Float64Array, Float64Array], clusters: tuple[IndexArray, IndexArray]
) -> Estimate | None:
    """Do what `score_difference` does, for values of any size, such as costs."""
    n_clusters = [np.unique(one).size for one in clusters]
    if min(n_clusters) < MIN_CLUSTERS:
        return None
    variance = sum(_variance(one, groups) for one, groups in zip(values, clusters, strict=True))
    return _anytime(float(values[1].mean() - values[0].mean()), variance, sum(n_clusters))


def paired_difference(differences: Float64Array, clusters: IndexArray) -> Estimate | None:
    """Return the mean of differences, with an interval that is valid at any time.

    None with fewer than 30 clusters. The arguments are those of `mean_score`; differences may be of
    any sign and size. `n` counts the clusters.
    """
    n_clusters = np.unique(clusters).size
    if n_clusters < MIN_CLUSTERS:
        return None
    return _anytime(float(differences.mean()), _variance(differences, clusters), n_clusters)


def anytime_factor(n: int) -> float:
    """Return how many standard errors on either side hold at every number of clusters together."""
    rho_squared = (-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / _TIGHTEST_AT
    scaled = n * rho_squared
    return math.sqrt(2 * (scaled + 1) / scaled * math.log(math.sqrt(scaled + 1) / ALPHA))


def _anytime(value: float, variance: float, n: int) -> Estimate:
    half = anytime_factor(n) * math.sqrt(variance)
    return Estimate(value, value - half, value + half, n)


def _residual_sums(values: Float64Array, clusters: IndexArray, mean: float) -> Float64Array:
    """Return the sum of the residuals of each cluster, `(n_clusters,)`."""
    codes = np.unique(clusters, return_inverse=True)[1]
    return np.bincount(codes, values - mean).astype(np.float64)


def _variance(values: Float64Array, clusters: IndexArray) -> float:
    """Return the variance of the mean, from the residuals of whole clusters."""
    sums = _residual_sums(values, clusters, float(values.mean()))
    correction = sums.size / max(sums.size - 1, 1)
    return float((sums**2).sum()) / values.size**2 * correction


def _padded_variance(scores: Float64Array, clusters: IndexArray) -> float:
    """Return the variance of the mean score, with one score of 0 and one of 1 more."""
    mean = float(scores.mean())
    squares = float((_residual_sums(scores, clusters, mean) ** 2).sum())
    return (squares + mean**2 + (1 - mean) ** 2) / (scores.size + 2) ** 2
