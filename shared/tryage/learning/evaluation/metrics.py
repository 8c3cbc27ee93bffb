"""Metrics of routing: score, regret, optimal-model rate, calibration, intervals, pairs.

A score is 1 - loss. An expert that was not measured on a prompt cannot be chosen there, by any
method. Experts that tie in the prediction share the prompt equally, so that the order of the
columns decides nothing and a constant prediction is exactly the random router.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import QTableError

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, FloatArray

_TIE_TOLERANCE = 1e-6  # losses are float32


@dataclass(frozen=True, slots=True)
class CalibrationMetrics:
    """How far predicted scores are from the real ones.

    `brier` is the mean squared error of the predicted score over all measured pairs, `ece` the
    expected calibration error over equal-width bins. `optimism` is how much better the chosen
    experts were predicted to be than they were (the winner's curse). `predicted`, `real` and
    `weight` have a number per bin that is not empty.
    """

    brier: float
    ece: float
    optimism: float
    predicted: tuple[float, ...]
    real: tuple[float, ...]
    weight: tuple[float, ...]


def choice_probabilities(predicted_losses: FloatArray, is_allowed: BoolArray) -> Float64Array:
    """Return the share of each prompt per expert, `(n_prompts, n_experts)`; rows sum to 1.

    The expert with the lowest of the `predicted_losses` among those that `is_allowed` gets the
    prompt; exact ties share it. A row without an allowed expert is all zeros.
    """
    allowed_losses = np.where(is_allowed, predicted_losses, np.inf)
    is_tied = (allowed_losses == allowed_losses.min(axis=1, keepdims=True)) & is_allowed
    return np.asarray(is_tied / np.maximum(is_tied.sum(axis=1, keepdims=True), 1), dtype=np.float64)


def expected_value(shares: Float64Array, values: FloatArray) -> Float64Array:
    """Return the expected value per prompt, `(n_prompts,)`; NaN only where a gap is chosen."""
    chosen_values = np.where(shares > 0, values, 0.0)
    return np.asarray((shares * chosen_values).sum(axis=1), dtype=np.float64)


def best_losses(losses: FloatArray) -> Float64Array:
    """Return the lowest measured loss per prompt, `(n_prompts,)`: the loss of the oracle."""
    return np.asarray(np.nanmin(losses, axis=1), dtype=np.float64)


def optimal_hits(shares: Float64Array, losses: FloatArray) -> Float64Array:
    """Return the share of each prompt that experts tied for best got, `(n_prompts,)` in [0, 1]."""
    is_tied = losses <= best_losses(losses)[:, None] + _TIE_TOLERANCE
    return np.asarray((shares * is_tied).sum(axis=1), dtype=np.float64)


def expected_calibration_error(
    predicted_scores: Float64Array, real_scores: Float64Array, n_bins: int = 15
) -> tuple[float, Float64Array, Float64Array, Float64Array]:
    """Return ECE over equal-width bins of [0, 1], and per bin: predicted, real, weight.

    Empty bins have weight 0 and NaN means. Predictions outside [0, 1] fall in the end bins.
    """
    bin_index = np.clip((predicted_scores * n_bins).astype(np.intp), 0, n_bins - 1)
    counts = np.bincount(bin_index, minlength=n_bins).astype(np.float64)
    is_nonempty = counts > 0
    mean_predicted, mean_real = np.full(n_bins, np.nan), np.full(n_bins, np.nan)
    mean_predicted[is_nonempty] = (
        np.bincount(bin_index, predicted_scores, n_bins)[is_nonempty] / counts[is_nonempty]
    )
    mean_real[is_nonempty] = (
        np.bincount(bin_index, real_scores, n_bins)[is_nonempty] / counts[is_nonempty]
    )
    weight = counts / max(counts.sum(), 1.0)
    ece = float(np.nansum(weight * np.abs(mean_predicted - mean_real)))
    return ece, mean_predicted, mean_real, weight


def calibration_metrics(
    predicted_losses: FloatArray, losses: FloatArray, n_bins: int = 15
) -> CalibrationMetrics:
    """Compare predicted with real scores on every measured pair, both `(n_prompts, n_experts)`."""
    is_measured = ~np.isnan(losses)
    predicted_scores = (1.0 - predicted_losses[is_measured]).astype(np.float64)
    real_scores = (1.0 - losses[is_measured]).astype(np.float64)
    ece, mean_predicted, mean_real, weight = expected_calibration_error(
        predicted_scores, real_scores, n_bins
    )
    shares = choice_probabilities(predicted_losses, is_measured)
    is_nonempty = weight > 0
    return CalibrationMetrics(
        brier=float(np.mean((predicted_scores - real_scores) ** 2)),
        ece=ece,
        optimism=float(
            np.mean(expected_value(shares, losses) - expected_value(shares, predicted_losses))
        ),
        predicted=tuple(mean_predicted[is_nonempty].tolist()),
        real=tuple(mean_real[is_nonempty].tolist()),
        weight=tuple(weight[is_nonempty].tolist()),
    )


@dataclass(frozen=True, slots=True)
class PairResult:
    """Metrics of RouteLLM (arXiv 2406.18665) for one method on one pair of experts.

    `apgr` is the average performance gap recovered; `cpt50` and `cpt80` are the fractions of calls
    to the strong expert that recover 50% and 80% of the gap.
    """

    strong: str
    weak: str
    apgr: float
    cpt50: float
    cpt80: float


def pairwise_metrics(
    predicted_losses: FloatArray, losses: FloatArray, experts: tuple[str, ...]
) -> PairResult | None:
    """Score predictions for exactly two experts, `(n_prompts, 2)`; None if both are equally good.

    The strong expert is the one with the lower mean loss on these prompts; prompts with a missing
    measurement are left out.
    """
    is_complete = ~np.isnan(losses).any(axis=1)
    means = losses[is_complete].mean(axis=0)
    weak, strong = (0, 1) if means[1] < means[0] else (1, 0)
    if not means[strong] < means[weak]:
        return None
    predicted_gain = (
        predicted_losses[is_complete, weak] - predicted_losses[is_complete, strong]
    ).astype(np.float64)
    real_gain = (losses[is_complete, weak] - losses[is_complete, strong]).astype(np.float64)
    return PairResult(
        strong=experts[strong],
        weak=experts[weak],
        apgr=apgr(predicted_gain, real_gain),
        cpt50=cpt(predicted_gain, real_gain, 0.5),
        cpt80=cpt(predicted_gain, real_gain, 0.8),
    )


def recovery_curve(
    predicted_gain: Float64Array, real_gain: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the fraction of strong calls and of the gap recovered, at every threshold on the gain.

    Both inputs are `(n_prompts,)`: strong score minus weak score, predicted and real. Prompts with
    the same predicted gain have no order: the curve is straight across them.

    Raises:
        QTableError: the strong expert is not better than the weak one on these prompts.
    """
    total_gain = float(real_gain.sum())
    if total_gain <= 0:
        raise QTableError(
            "the strong expert scores no better than the weak one on these prompts; "
            "there is no gap to recover"
        )
    order = np.argsort(-predicted_gain, kind="stable")
    block_end = np.flatnonzero(np.append(np.diff(predicted_gain[order]) != 0, True))
    call_share = np.append(0.0, (block_end + 1) / len(predicted_gain))
    recovered_share = np.append(0.0, np.cumsum(real_gain[order])[block_end] / total_gain)
    return call_share, recovered_share


def apgr(predicted_gain: Float64Array, real_gain: Float64Array) -> float:
    """Return the average performance gap recovered: the area under the recovery curve."""
    call_share, recovered_share = recovery_curve(predicted_gain, real_gain)
    return float(np.sum(np.diff(call_share) * (recovered_share[1:] + recovered_share[:-1]) / 2))


def cpt(predicted_gain: Float64Array, real_gain: Float64Array, target: float) -> float:
    """Return the call-performance threshold: the fewest strong calls that recover `target`.

    Both are fractions, of the calls and of the gap. Between two thresholds the fraction is
    interpolated, as by a random choice between them.
    """
    call_share, recovered_share = recovery_curve(predicted_gain, real_gain)
    upper = int(np.argmax(recovered_share >= target))
    if upper == 0:
        return 0.0
    lower = upper - 1
    fraction = (target - recovered_share[lower]) / (recovered_share[upper] - recovered_share[lower])
    return float(call_share[lower] + fraction * (call_share[upper] - call_share[lower]))
