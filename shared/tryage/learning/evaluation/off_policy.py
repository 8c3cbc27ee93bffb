"""Off-policy estimates: what another policy would have been worth, from the log of this one.

A policy gives every expert a probability, `target`, `(n, n_experts)` like the propensities of the
log. Each estimator returns one number per decision, whose mean is the estimated score; two policies
are compared by the mean difference of their numbers (`inverse_propensity`: Horvitz and Thompson,
1952; `self_normalized`: Hajek, 1971, Swaminathan and Joachims, 2015; `doubly_robust`: Dudik,
Langford and Li, 2011). Where the log cannot tell, it refuses and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, IndexArray

LEVEL = 0.95  # of all intervals

MIN_SAMPLE_SIZE = (
    100  # effective; with fewer, 95% intervals hold less often where failures are rare
)
MIN_CLUSTERS = 20  # threads or users
MAX_UNSUPPORTED = 0.05  # share of the policy's choices that the log could not have made

_N_FOLDS = 5
_OFFSET_PRIOR = 20.0  # answers that an expert's own mean residual has to outweigh
_PRIOR_FREEDOM = 10.0  # degrees of freedom that an expected variance counts as
_MIN_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class LoggedChoices:
    """Rated decisions of a log, with all probabilities of choosing.

    Attributes:
        propensities: The probability with which each expert was chosen, `(n, n_experts)`.
        predictions: The score from 0 to 1 that was predicted of each, of the same shape; NaN for an
            expert that was no candidate.
        chosen: The position of the chosen one, `(n,)`.
        scores: What its answer was rated, from 0 to 1, `(n,)`.
        clusters: A number for each thread or user, `(n,)`: their ratings are alike. None if every
            decision stands alone.

    Raises:
        InputError: the shapes differ, or a number is out of range.
    """

    propensities: Float64Array
    predictions: Float64Array
    chosen: IndexArray
    scores: Float64Array
    clusters: IndexArray | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges."""
        shape, n = np.shape(self.propensities), len(self.chosen)
        if not (np.shape(self.predictions) == shape and shape[:1] == np.shape(self.scores) == (n,)):
            raise InputError(
                f"propensities {shape}, predictions {np.shape(self.predictions)}, chosen ({n},), "
                f"scores {np.shape(self.scores)}; expected two tables (n, n_experts) and two (n,)"
            )
        if not (self.chosen_propensities > 0).all():
            raise InputError("a chosen expert has the propensity 0; expected one above it")
        if not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise InputError("a score is not between 0 and 1")

    def __len__(self) -> int:
        """Count the decisions."""
        return len(self.chosen)

    @property
    def chosen_propensities(self) -> Float64Array:
        """The probability with which each chosen expert was chosen, `(n,)`."""
        return self.of_chosen(self.propensities)

    def of_chosen(self, table: Float64Array) -> Float64Array:
        """Return the entry of each chosen expert in a table `(n, n_experts)`, `(n,)`."""
        return np.asarray(table[np.arange(len(self)), self.chosen])


Estimator: TypeAlias = Callable[[LoggedChoices, "Float64Array"], "Float64Array"]


# Estimators: a number per decision ------------------------------------------------------------


def importance_weights(log: LoggedChoices, target: Float64Array) -> Float64Array:
    """Return the probability of each chosen expert under `target` over its propensity, `(n,)`."""
    return np.asarray(log.of_chosen(target) / log.chosen_propensities)


def inverse_propensity(log: LoggedChoices, target: Float64Array) -> Float64Array:
    """Return the weighted score of each decision, `(n,)`; the mean has no bias."""
    supported = 1 - unsupported_share(log, target)
    return np.asarray(importance_weights(log, target) * log.scores / max(supported, 1e-12))


def self_normalized(log: LoggedChoices, target: Float64Array) -> Float64Array:
    """Return the weighted mean score, plus the influence of each decision on it, `(n,)`."""
    weights = importance_weights(log, target)
    mean = float(weights @ log.scores / weights.sum())
    return np.asarray(mean + weights * (log.scores - mean) / weights.mean())


def doubly_robust(log: LoggedChoices, target: Float64Array) -> Float64Array:
    """Return what the logged predictions expect of the policy, corrected by the ratings, `(n,)`.

    The predictions are first recalibrated by other decisions (`recalibrate`), and the correction is
    self-normalized: the estimate is consistent if either the propensities or the predictions are
    right, and the better the predictions are, the narrower its interval is.
    """
    predictions = recalibrate(log)
    weights = importance_weights(log, target)
    residuals = log.scores - log.of_chosen(predictions)
    correction = float(weights @ residuals / weights.sum())
    mass = target.sum(axis=1)
    expected = (target * predictions).sum(axis=1)
    expected += (1 - mass) * expected.sum() / mass.sum()  # an expert that is not in the log
    influence = weights * (residuals - correction) / weights.mean()
    return np.asarray(expected + correction + influence)


def recalibrate(log: LoggedChoices) -> Float64Array:
    """Return predictions that the ratings of other decisions have corrected, `(n, n_experts)`.

    A line through all ratings and an offset for each expert, shrunk towards 0; each fifth of the
    decisions is corrected by the other four (cross-fitting: Chernozhukov et al., 2018). A thread or
    user is in one part only. What was no candidate counts as the mean prediction.
    """
    mean = np.nanmean(log.predictions) if np.isfinite(log.predictions).any() else 0.5
    predictions = np.where(np.isnan(log.predictions), mean, log.predictions)
    own, n_experts = log.of_chosen(predictions), predictions.shape[1]
    folds = (np.arange(len(log)) if log.clusters is None else log.clusters) % _N_FOLDS
    corrected = np.empty_like(predictions)
    for fold in range(_N_FOLDS):
        rows, test = np.flatnonzero(folds != fold), folds == fold
        if rows.size == 0:  # a single thread
            rows = np.arange(len(log))
        intercept, slope = _fit_line(own[rows], log.scores[rows])
        residuals = log.scores[rows] - intercept - slope * own[rows]
        sums = np.bincount(log.chosen[rows], residuals, n_experts)
        offsets = sums / (np.bincount(log.chosen[rows], minlength=n_experts) + _OFFSET_PRIOR)
        corrected[test] = (intercept + slope * predictions[test] + offsets).clip(0, 1)
    return corrected


def _fit_line(x: Float64Array, y: Float64Array) -> tuple[float, float]:
    """Fit `y = intercept + slope * x` by least squares; the slope of constant `x` is 0."""
    variance = float(np.var(x))
    slope = 0.0 if variance < _MIN_VARIANCE else float(np.cov(x, y, bias=True)[0, 1]) / variance
    return float(y.mean() - slope * x.mean()), slope


# Intervals ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def widened(self, below: float, above: float) -> Estimate:
        """Return the estimate with more room on either side."""
        return Estimate(self.value, self.low - below, self.high + above)


@dataclass(frozen=True, slots=True)
class ExpectedVariance:
    """What the variance of one number should be, and how many numbers tell it otherwise.

    `freedom` are the degrees of freedom at most of the variance that is found in the numbers.
    """

    value: float
    freedom: float


def mean_interval(
    numbers: Float64Array,
    clusters: IndexArray | None = None,
    expected: ExpectedVariance | None = None,
) -> Estimate:
    """Return the mean of `numbers` `(n,)` with its interval, robust to `clusters` `(n,)`.

    Student's t; the degrees of freedom are those of the variance of numbers with this kurtosis
    (`2 n / (kurtosis - 1)`), so that a few heavy weights widen the interval. An `expected` variance
    counts as ten more degrees of freedom (moderated t: Smyth, 2004); within a cluster it takes the
    numbers for equal.
    """
    mean = float(np.mean(numbers))
    error, factor = _standard_error(numbers, clusters, expected)
    return Estimate(mean, mean - factor * error, mean + factor * error)


def score_interval(
    numbers: Float64Array,
    sample_size: float,
    clusters: IndexArray | None = None,
    expected: ExpectedVariance | None = None,
) -> Estimate:
    """Return the mean of `numbers` `(n,)`, which is between 0 and 1, with its interval.

    Wilson's interval (1927) for the sample size that has the variance of the mean (Korn and
    Graubard, 1998), with Student's t as in `mean_interval`: near 0 and 1 it is not symmetric.
    `sample_size` counts where all numbers are equal.
    """
    mean = float(np.mean(numbers).clip(0, 1))
    error, factor = _standard_error(numbers, clusters, expected)
    spread = mean * (1 - mean)
    size = sample_size if error == 0 or spread == 0 else spread / error**2
    share = factor**2 / size
    center = (mean + share / 2) / (1 + share)
    half = np.sqrt(spread * share + share**2 / 4) / (1 + share)
    return Estimate(mean, float(center - half), float(center + half))


def _standard_error(
    numbers: Float64Array, clusters: IndexArray | None, expected: ExpectedVariance | None
) -> tuple[float, float]:
    """Return the standard error of the mean, and how many of them the interval has on each side."""
    require_extra("scipy", "evaluate")
    from scipy.stats import t

    sums = numbers - np.mean(numbers)
    if clusters is not None:
        _, groups = np.unique(clusters, return_inverse=True)
        sums = np.bincount(groups, sums)
    n = len(sums)
    variance, freedom = float(np.mean(sums**2)), float(max(n - 1, 1))
    if variance > _MIN_VARIANCE and n > 2:
        kurtosis = float(np.mean(sums**4)) / variance**2
        freedom = float(np.clip(2 * n / max(kurtosis - 1, _MIN_VARIANCE), 1, n - 1))
    of_mean = variance / max(n - 1, 1) * (n / len(numbers)) ** 2
    if expected is not None:
        own, prior = min(freedom, expected.freedom * n / len(numbers)), _PRIOR_FREEDOM
        of_mean = (own * of_mean + prior * expected.value / n) / (own + prior)
        freedom = min(own + prior, max(n - 1, 1))
    return float(np.sqrt(of_mean)), float(t.ppf((1 + LEVEL) / 2, freedom))


def expected_variance(
    log: LoggedChoices, target: Float64Array, baseline: Float64Array | None = None
) -> ExpectedVariance:
    """Return what the propensities and the predictions say of the numbers of `doubly_robust`.

    With a `baseline` `(n, n_experts)`, of their difference to the choices of the log, which it has
    made with these probabilities. A rating of a predicted score `q` has a variance in proportion to
    `q (1 - q)`. The numbers themselves tell too little where all that is unknown rests on a few
    heavy weights, which may not even have occurred: `freedom` is how many corrections count.
    """
    q, weights = recalibrate(log), importance_weights(log, target)
    own = log.of_chosen(q)
    share = weights if baseline is None else np.abs(weights - 1)
    modeled = max(float(share @ (own * (1 - own))), _MIN_VARIANCE)
    noise = float(share @ (log.scores - own) ** 2) / modeled
    change = target if baseline is None else target - baseline
    variance = float(np.var((change * q).sum(axis=1)))
    squares = _over_propensities(log, change**2)
    variance += noise * float((squares * q * (1 - q)).sum(axis=1).mean())
    if baseline is not None:
        mean = (baseline * q).sum(axis=1)
        variance += float(((baseline * q**2).sum(axis=1) - mean**2).mean())
    return ExpectedVariance(variance, _effective_corrections(log, target))


def _effective_corrections(log: LoggedChoices, target: Float64Array) -> float:
    """Return how many ratings the difference to the log rests on: Kish's size of `weight - 1`."""
    change = target - log.propensities
    square = float(_over_propensities(log, change**2).sum(axis=1).mean())
    if square < _MIN_VARIANCE:
        return float(len(log))
    size = float((np.abs(change) * (log.propensities > 0)).sum(axis=1).mean())
    return len(log) * size**2 / square


def _over_propensities(log: LoggedChoices, values: Float64Array) -> Float64Array:
    """Return values `(n, n_experts)` divided by the propensities, 0 where these are 0."""
    can_occur = log.propensities > 0
    return np.divide(values, log.propensities, out=np.zeros_like(values), where=can_occur)


# Whether the log can tell ---------------------------------------------------------------------


def effective_sample_size(log: LoggedChoices, target: Float64Array) -> float:
    """Return how many ratings of the policy itself would tell as much (Kish, 1965).

    The lower of two: of the weights that occurred, and of those to expect from the propensities,
    `n / mean(sum_a target(a)^2 / propensity(a))`. A small log may lack a heavy weight by chance.
    """
    weights = importance_weights(log, target)
    if not weights.any():
        return 0.0
    square = float(_over_propensities(log, target**2).sum(axis=1).mean())
    expected = len(log) / max(square, _MIN_VARIANCE)
    return min(float(weights.sum() ** 2 / (weights @ weights)), expected)


def unsupported(log: LoggedChoices, target: Float64Array) -> Float64Array:
    """Return which share of each decision the log could not have made, `(n,)`."""
    return np.asarray(1 - (target * (log.propensities > 0)).sum(axis=1)).clip(0, 1)


def unsupported_share(log: LoggedChoices, target: Float64Array) -> float:
    """Return which share of the policy's choices the log could not have made."""
    return float(unsupported(log, target).mean()) if len(log) else 1.0


def refusal(log: LoggedChoices, target: Float64Array) -> str | None:
    """Return why the log cannot tell what a policy is worth, None if it can."""
    if not len(log):
        return "no decision has feedback: send some with router.feedback(id, score=...)"
    share = unsupported_share(log, target)
    if share > MAX_UNSUPPORTED:
        return (
            f"on {share:.0%} of the rated prompts the policy chooses an expert whose propensity "
            "was 0, so nothing is known of its answers: explore with a larger tolerance or budget"
        )
    n_clusters = len(log) if log.clusters is None else np.unique(log.clusters).size
    if n_clusters < MIN_CLUSTERS:
        return f"all ratings are of {n_clusters} threads or users, fewer than {MIN_CLUSTERS}"
    size = effective_sample_size(log, target)
    if size < MIN_SAMPLE_SIZE:
        return (
            f"the {len(log):,} rated decisions count as {size:.0f} of this policy, fewer than "
            f"{MIN_SAMPLE_SIZE}: wait for more feedback, or explore with a higher min_propensity"
        )
    return None


# A policy's value -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """What a policy would have been worth: its mean score and how it differs from what was chosen.

    `score` and `difference` are None if the log cannot tell; `refusal` then says why. `difference`
    is that of the policy to the choices of the log: above 0 the policy is better. `sample_size` is
    the effective one, `unsupported` the share of the policy's choices that the log could not have
    made: the interval allows for any score of these.
    """

    score: Estimate | None
    difference: Estimate | None
    sample_size: float
    unsupported: float
    refusal: str | None = None


def evaluate_policy(
    log: LoggedChoices, target: Float64Array, estimator: Estimator = doubly_robust
) -> PolicyValue:
    """Estimate what a policy would have been worth, from the ratings of the log.

    Raises:
        InputError: `target` has another shape than the log, or its rows are no probabilities.
    """
    _check_target(log, target)
    share, reason = unsupported_share(log, target), refusal(log, target)
    size = effective_sample_size(log, target) if len(log) else 0.0
    if reason is not None:
        return PolicyValue(None, None, size, share, reason)
    numbers, clusters = estimator(log, target), log.clusters
    if estimator is inverse_propensity:  # its mean may exceed 1, and predictions say nothing of it
        score = mean_interval(numbers, clusters)
        difference = mean_interval(numbers - log.scores, clusters)
    else:
        score = score_interval(numbers, size, clusters, expected_variance(log, target))
        expected = expected_variance(log, target, log.propensities)
        difference = mean_interval(numbers - log.scores, clusters, expected)
    # Any scores of what the log could not choose (Manski, 1990).
    below, above = share * score.value, share * (1 - score.value)
    return PolicyValue(score.widened(below, above), difference.widened(below, above), size, share)


def _check_target(log: LoggedChoices, target: Float64Array) -> None:
    if np.shape(target) != np.shape(log.propensities):
        raise InputError(
            f"the policy has the shape {np.shape(target)}; expected that of the propensities, "
            f"{np.shape(log.propensities)}"
        )
    sums: BoolArray = target.sum(axis=1) <= 1 + 1e-9
    if not sums.all() or (target < 0).any():
        raise InputError("a row of the policy is no distribution; expected a sum of at most 1")
