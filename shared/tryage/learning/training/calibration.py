"""Tunes the parts that need unseen prompts: estimator weights, gain, soft threshold and link."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require_extra
from tryage.learning.training.factor_model import (
    contender_kernel,
    contender_weights,
    typical_loss_std,
)
from tryage.perception.abilities import Link, LogGapLink, LogitLink, SoftThreshold
from tryage.perception.head import softmax
from tryage.scoring.qtable import MIN_COVERAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray
    from tryage.learning.training.factor_model import CompressedLosses
    from tryage.perception.abilities import Abilities
    from tryage.scoring.qtable import QTable

# The weights of the estimators.
MAX_CONTENDERS = 128  # only the best experts take part; more would only cost time
TEMPERATURE = 0.03  # of the soft decision, in standard deviations of the loss
PRIOR_PROMPTS = 2.0  # the prior belief in equal weights counts as this number of prompts
COST_WEIGHTS = (0.0, 0.05, 0.15, 0.4)  # weights of cost, in standard deviations of the loss
_STEPS, _LEARNING_RATE = 120, 0.3

_GAIN_BOUNDS = (0.5, 3.0)

# The soft threshold: margins in standard deviations of the loss.
MARGINS = (0.0, 0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.22, 0.33, 0.5, 1.0, 10.0)
N_BOOTSTRAPS = 50
PENALTY = 0.75  # standard errors by which a margin counts as worse

# The links.
_NEWTON_STEPS = 30
_MIN_SLOPE = 1e-3  # above zero, so that experts keep the order of their predictions
_MAX_BINS, _MIN_BIN_SIZE = 24, 20  # the size is in losses
_MIN_STEP = 1e-4  # of a scale from knot to knot, so that no two predictions become one


@dataclass(frozen=True, slots=True)
class FittedCalibration:
    """The tuned parts of a perception, and a `report` of the mean losses with them.

    `weights` is `(n_estimators,)`, `gain` `(rank,)`. `noise` is the mean squared distance of a
    measured loss from its prediction.
    """

    weights: Float32Array
    gain: Float32Array
    soft_threshold: SoftThreshold
    link: Link
    noise: float
    report: dict[str, float]


def calibrate(
    out_of_fold: Float32Array,
    abilities: Abilities,
    table: QTable,
    mean: FloatArray,
    compressed: CompressedLosses | None = None,
) -> FittedCalibration:
    """Tune a perception on prompts that its estimators have not seen.

    `out_of_fold` are the estimators' positions of these prompts, `(n_estimators, n_prompts, rank)`.
    `mean` `(n_experts,)` are the mean losses of the experts on all prompts. `compressed` is the
    result of `compress_losses`: real-valued losses are tuned in compressed form.

    Raises:
        MissingExtraError: losses are real-valued, and scikit-learn is not installed.
    """
    losses = compressed.losses if compressed else table.losses
    tuning_table = replace(table, losses=losses)
    loss_std = typical_loss_std(losses)
    weights = _fit_weights(out_of_fold, abilities, tuning_table, mean, loss_std)
    mixed_positions = np.tensordot(weights, out_of_fold, 1)
    ones = np.ones((len(mixed_positions), 1))
    predictions = abilities.linear_predictions(np.concatenate([ones, mixed_positions], axis=1))
    contenders = (
        contender_weights(mean, losses)
        if compressed is None
        else prompt_contender_weights(predictions, losses)
    )
    gain = _fit_gain(mixed_positions, abilities, tuning_table, contenders)
    y = abilities.linear_predictions(np.concatenate([ones, mixed_positions * gain], axis=1))
    noise = float(np.nanmean((losses - y) ** 2)) + 1e-6
    soft_threshold = fit_soft_threshold(y, losses, mean, loss_std)
    y = soft_threshold(y)
    link = (
        fit_logit_link(y, losses)
        if compressed is None
        else fit_log_gap_link(compressed.scale, y, table.losses)
    )
    return FittedCalibration(
        weights.astype(np.float32), gain, soft_threshold, link, noise, _report(y, table)
    )


def _fit_weights(
    out_of_fold: Float32Array,
    abilities: Abilities,
    table: QTable,
    mean: FloatArray,
    loss_std: float,
) -> FloatArray:
    """Weigh the estimators by the decisions among the experts that may be chosen."""
    contenders = np.argsort(mean)[:MAX_CONTENDERS]
    means = abilities.means[contenders].astype(np.float32)
    return fit_ensemble_weights(
        means[:, 0] + out_of_fold @ means[:, 1:].T,
        table.losses[:, contenders],
        penalty_grid(_relative_cost(table, mean)[contenders], loss_std),
        loss_std,
    )


def fit_ensemble_weights(
    predictions: FloatArray, losses: FloatArray, penalties: FloatArray, loss_std: float
) -> FloatArray:
    """Find weights `(n_estimators,)`, positive and summing to one.

    `predictions` are losses `(n_estimators, n_prompts, n_experts)` of unseen prompts, `losses` the
    measured ones with gaps, `loss_std` the standard deviation of a loss. `penalties`
    `(n_penalties, n_experts)` are costs that users may weigh against the loss: a router has to
    choose well with each of them, not only by the loss alone. The objective is
    `mean_z sum_i softmax_i(-(sum_m w_m Q^_m(z, i) + C_i) / T) (L(z, i) + C_i)`, averaged over the
    penalties `C`. It is minimized by Adam (Kingma and Ba, 2015) from equal weights, with a penalty
    that pulls back to them.
    """
    is_measured = ~np.isnan(losses)
    has_loss = is_measured.any(axis=1)
    is_measured, filled_losses = (
        is_measured[has_loss],
        np.nan_to_num(losses[has_loss]).astype(np.float32),
    )
    fold_predictions = predictions[:, has_loss].astype(np.float32)
    n_estimators, n_prompts, _ = fold_predictions.shape
    temperature = TEMPERATURE * loss_std

    def gradient(logits: FloatArray) -> FloatArray:
        weights = softmax(logits)
        mixed_predictions = np.tensordot(weights.astype(np.float32), fold_predictions, 1)
        penalty_gradients = [
            weight_gradient(
                mixed_predictions + c, fold_predictions, filled_losses + c, is_measured, temperature
            )
            for c in penalties
        ]
        slopes = np.mean(penalty_gradients, axis=0)
        slopes /= loss_std
        slopes = weights * (slopes - weights @ slopes)
        return np.asarray(slopes + PRIOR_PROMPTS * (logits - logits.mean()) / n_prompts)

    logits, momentum, second_moment = np.zeros((3, n_estimators))
    for step in range(_STEPS):
        slopes = gradient(logits)
        momentum = 0.9 * momentum + 0.1 * slopes
        second_moment = 0.99 * second_moment + 0.01 * slopes**2
        root_mean_square = np.sqrt(second_moment / (1 - 0.99 ** (step + 1))) + 1e-6
        learning_rate = _LEARNING_RATE * (1 - step / _STEPS)
        logits = logits - learning_rate * momentum / (1 - 0.9 ** (step + 1)) / root_mean_square
    return softmax(logits)


def weight_gradient(
    penalized_predictions: FloatArray,
    predictions: FloatArray,
    penalized_losses: FloatArray,
    is_measured: BoolArray,
    temperature: float,
) -> FloatArray:
    """Return the gradient of the mean expected loss by the weights, `(n_estimators,)`.

    `penalized_predictions` `(n_prompts, n_experts)` are the weighted sum of the predictions, with
    penalties.
    """
    probabilities = softmax(np.where(is_measured, penalized_predictions / -temperature, -np.inf))
    expected_losses = (probabilities * penalized_losses).sum(axis=1, keepdims=True)
    excess_losses = probabilities * (penalized_losses - expected_losses)
    return np.asarray(
        -np.einsum("zi,mzi->m", excess_losses, predictions) / temperature / len(penalized_losses)
    )


def penalty_grid(relative_cost: FloatArray, loss_std: float) -> FloatArray:
    """Return penalties `(n_penalties, n_experts)` from relative costs `(n_experts,)` in [0, 1]."""
    return np.outer(np.asarray(COST_WEIGHTS) * loss_std, relative_cost).astype(np.float32)


def _relative_cost(table: QTable, mean: FloatArray) -> FloatArray:
    """Return costs relative to the best expert's, `(n_experts,)` in [0, 1].

    An expert without a known cost gets its quality in [0, 1] as its cost.
    """
    quality = (mean.max() - mean) / max(float(np.ptp(mean)), 1e-12)
    if table.costs is None or np.isnan(table.costs).all():
        return np.asarray(quality)
    is_known = ~np.isnan(table.costs)
    mean_costs = np.nansum(table.costs, axis=0) / np.where(
        is_known.any(axis=0), is_known.sum(axis=0), np.nan
    )
    best_cost = mean_costs[np.where(np.isnan(mean_costs), np.inf, mean).argmin()]
    relative_costs = np.clip(mean_costs / max(float(best_cost), 1e-12), 0, 1)
    return np.asarray(np.where(np.isnan(mean_costs), quality, relative_costs))


def prompt_contender_weights(predictions: FloatArray, losses: FloatArray) -> FloatArray:
    """Return how far each expert is a contender on each prompt, `(n_prompts, n_experts)` in (0, 1].

    Where each expert is the best at its own kind of prompt, only one would be a contender by mean
    losses. `predictions` are those of the compressed `losses`, on unseen prompts.
    """
    best_predictions = np.where(np.isnan(losses), np.inf, predictions).min(axis=1, keepdims=True)
    return contender_kernel(np.maximum(predictions - best_predictions, 0), losses) + 1e-6


def _fit_gain(
    positions: FloatArray, abilities: Abilities, table: QTable, contenders: FloatArray
) -> Float32Array:
    """Regress losses on predictions of unseen prompts, `(rank,)`.

    One slope is for difficulty, another for all differences between experts.
    """
    means = abilities.means
    components = positions[:, :1] @ means[:, 1:2].T, positions[:, 1:] @ means[:, 2:].T
    inputs = np.stack([part[table.measured] for part in components])
    target = (table.losses - means[:, 0])[table.measured]
    weight = np.broadcast_to(contenders, table.losses.shape)[table.measured]
    gram = (inputs * weight) @ inputs.T
    ridge = 1e-3 * np.trace(gram) * np.eye(2) + 1e-12 * np.eye(2)
    slopes = np.clip(
        np.linalg.solve(gram + ridge, (inputs * weight) @ target + ridge @ np.ones(2)),
        *_GAIN_BOUNDS,
    )
    return np.repeat(slopes, [1, positions.shape[1] - 1]).astype(np.float32)


def fit_soft_threshold(
    y: FloatArray, losses: FloatArray, mean: FloatArray, loss_std: float
) -> SoftThreshold:
    """Choose the margin by the losses of the experts chosen on unseen prompts.

    `y` are predicted and `losses` measured losses, both `(n, n_experts)`. The expert with the
    lowest `mean` `(n_experts,)` is the incumbent, among those that were measured on nearly all
    prompts if there are any; `loss_std` is the standard deviation of a loss.
    The greatest margin always chooses the incumbent.

    Each of many bootstrap samples of the prompts chooses the margin with the lowest loss, and the
    median is taken: so a gain counts if it exceeds the margins of most samples (bagging: Breiman,
    1996). A margin counts as worse by three quarters of the standard error of its difference to
    the incumbent: a whole one costs small tables most of their gain, half of one loses on noise.
    """
    is_measured, rows = ~np.isnan(losses), np.arange(len(losses))
    is_covered = is_measured.mean(axis=0) >= MIN_COVERAGE
    incumbent = int(np.argmin(np.where(is_covered, mean, np.inf) if is_covered.any() else mean))
    routed_losses = []
    for margin in MARGINS:
        shrunk_y = SoftThreshold(incumbent, margin * loss_std)(y)
        routed_losses.append(losses[rows, np.where(is_measured, shrunk_y, np.inf).argmin(axis=1)])
    differences = np.array(routed_losses) - routed_losses[-1]
    return SoftThreshold(incumbent, MARGINS[_bagged_choice(differences)] * loss_std)


def _bagged_choice(differences: FloatArray) -> int:
    """Return the median choice among rows of losses `(n_choices, n)` in bootstrap samples.

    They are differences to the last choice, which is taken where no other one is better.
    """
    n_choices, n = differences.shape
    samples = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), N_BOOTSTRAPS) / n
    scores = samples @ differences.T + PENALTY * differences.std(axis=1) / np.sqrt(n)
    choices = np.where(scores.min(axis=1) < 0, scores.argmin(axis=1), n_choices - 1)
    return int(np.quantile(choices, 0.5, method="higher"))


def fit_logit_link(y: FloatArray, losses: NDArray[np.floating]) -> LogitLink:
    """Calibrate predictions of unseen prompts against scores with gaps, by Newton steps."""
    is_measured = ~np.isnan(losses)
    targets, predictions = losses[is_measured].astype(np.float64), y[is_measured]
    inputs = np.stack([np.ones_like(predictions), predictions])
    weights = np.array([-2.0, 4.0])  # the tangent of the identity at one half
    for _ in range(_NEWTON_STEPS):
        probabilities = 1 / (1 + np.exp(-np.clip(weights @ inputs, -60, 60)))
        curvature = (inputs * (probabilities * (1 - probabilities))) @ inputs.T + 1e-3 * np.eye(2)
        step = np.linalg.solve(curvature, inputs @ (probabilities - targets))
        weights = weights - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    if weights[1] < _MIN_SLOPE:  # the predictions contain no information: predict the mean
        mean = float(np.clip(targets.mean(), 1e-6, 1 - 1e-6))
        return LogitLink(
            float(np.log(mean / (1 - mean)) - _MIN_SLOPE * predictions.mean()), _MIN_SLOPE
        )
    return LogitLink(float(weights[0]), float(weights[1]))


def fit_log_gap_link(scale: float, y: FloatArray, losses: FloatArray) -> LogGapLink:
    """Fit real gaps to predicted gaps, from predictions of unseen prompts and real losses.

    The predicted best expert has a knot of its own: it was chosen for its low prediction, and its
    loss is higher than predicted.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require_extra("sklearn", "evaluate")
    from sklearn.isotonic import isotonic_regression

    is_measured = ~np.isnan(losses)
    best = y.min(axis=1, keepdims=True)
    predicted_gaps, real_gaps = (y - best)[is_measured], (losses - best)[is_measured]
    n_bins = int(np.clip(len(predicted_gaps) // _MIN_BIN_SIZE, 1, _MAX_BINS))
    edges = (
        np.unique(np.quantile(predicted_gaps[predicted_gaps > 0], np.arange(n_bins) / n_bins))
        if (predicted_gaps > 0).any()
        else ()
    )
    bin_index = np.searchsorted(edges, predicted_gaps, side="right")
    counts = np.bincount(bin_index)
    is_nonempty = counts > 0
    knots_x, knots_y = (
        np.bincount(bin_index, gaps)[is_nonempty] / counts[is_nonempty]
        for gaps in (predicted_gaps, real_gaps)
    )
    knots_y = isotonic_regression(knots_y, sample_weight=counts[is_nonempty])
    last_knot = knots_x[-1] + 1e3 * scale  # larger gaps than measured keep only their order
    knots_x, knots_y = np.append(knots_x, last_knot), np.append(knots_y, knots_y[-1])
    knots_y = knots_y + _MIN_STEP * scale * np.arange(len(knots_y))
    return LogGapLink(scale, knots_x, knots_y, accepted_range(losses), slope_width=scale)


def accepted_range(losses: FloatArray) -> tuple[float, float]:
    """Return the lowest and the highest loss that later feedback may have.

    It may lie outside the measured losses, NaN where there is none, by their whole width, but
    below zero only if a measured one does.
    """
    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    width = high - low or max(abs(high), 1.0)
    return (max(low - width, 0.0) if low >= 0 else low - width), high + width


def _report(predictions: FloatArray, table: QTable) -> dict[str, float]:
    """Return mean losses of routing and of baselines, on prompts that the estimators have not seen.

    Means are over the experts measured on each prompt; the best single expert is the one with the
    lowest mean loss, where it was measured.
    """
    losses = table.losses
    routed_experts = np.where(table.measured, predictions, np.inf).argmin(axis=1)
    means = np.where(table.measured.mean(axis=0) >= 0.5, np.nanmean(losses, axis=0), np.inf)
    ranking_losses = np.where(table.measured, np.where(np.isfinite(means), means, 1e9), np.inf)
    rows = np.arange(len(table))
    return {
        "prompts": float(len(table)),
        "experts": float(len(table.experts)),
        "routed": float(losses[rows, routed_experts].mean()),
        "best_single": float(losses[rows, ranking_losses.argmin(axis=1)].mean()),
        "random": float(np.nanmean(losses, axis=1).mean()),
        "oracle": float(np.nanmin(losses, axis=1).mean()),
    }
