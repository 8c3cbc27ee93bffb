"""Fits how far predictions can be trusted, on prompts that the estimators have not seen."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.uncertainty import LEVELS, UncertaintyCalibration
from tryage.errors import InputError, QTableError
from tryage.perception.head import mix_positions
from tryage.perception.model import LearnedPerception

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray, IndexArray
    from tryage.scoring.qtable import QTable

MIN_PROMPTS = 10  # fewer have no interval of 90%
MAX_PROMPTS = 4_000  # more say nothing new

_MAX_KNOTS, _MIN_KNOT_SIZE = 8, 20  # the size is in losses
_MIN_KNOT_STEP, _MIN_OUTCOME_STD = 1e-6, 1e-4

_GROUP_SIZE = 20  # prompts that look alike, whose mean loss is compared with the predicted one
_MIN_GROUPS = 8  # fewer do not show the shape of a distribution
_PRIOR_GROUPS = 5.0  # the prior belief in the std as it is counts as this many groups
_SCALE_BOUNDS = (0.25, 4.0)

_UNFAMILIAR_STDS = 2.0  # standard deviations of an outcome

_TYPICAL_SHARE = 0.9

_ODDS_PRIOR = np.array([1.0, 0.0])  # slope and intercept
_ODDS_PRECISION = 4.0  # of that prior
_MIN_DIFFERENCE = 1e-6  # two losses that are closer are equal
_NEWTON_STEPS = 30


def with_uncertainty(  # noqa: PLR0913 - what was predicted and what was measured
    perception: LearnedPerception,
    estimator_positions: Float32Array,
    similarities: Float32Array,
    losses: FloatArray,
    categories: Sequence[str],
    n_measured: float | None = None,
) -> LearnedPerception:
    """Return a perception that knows how far its predictions for some prompts were right.

    Args:
        perception: The perception to judge; of a calibration that it has nothing is kept.
        estimator_positions: What estimators that have not seen the prompts predict,
            `(n_estimators, n_prompts, rank)`.
        similarities: The highest cosine of each prompt to one that they have seen, `(n_prompts,)`.
        losses: The measured losses of the prompts, `(n_prompts, n_experts)`, with gaps.
        categories: The category of each prompt.
        n_measured: On how many prompts an expert was measured for training; None keeps the
            `min_std` that the perception has.
    """
    rows, head = sample_prompts(len(losses)), perception.head
    positions = estimator_positions[:, rows].astype(np.float64)
    with_scale = (mix_positions(positions, head.weights, scale) for scale in (0.0, 1.0))
    by_ability, by_both = (perception.predict_from_positions(one)[0] for one in with_scale)
    ability_std, std = (one.std.astype(np.float64) for one in (by_ability, by_both))
    predicted, measured = by_both.losses.astype(np.float64), losses[rows].astype(np.float64)
    if n_measured is not None:
        min_std = float(np.sqrt(np.nanmean((measured - predicted) ** 2) / n_measured))
    else:
        min_std = 0.0 if perception.uncertainty is None else perception.uncertainty.min_std
    uncertainty = fit_uncertainty(
        predicted,
        ability_std,
        np.sqrt(np.maximum(std**2 - ability_std**2, 0)),
        measured,
        [categories[row] for row in rows.tolist()],
        similarities[rows],
        perception.link.loss_range,
        min_std,
    )
    return perception.replace(uncertainty=uncertainty)


def calibrate_uncertainty(perception: LearnedPerception, table: QTable) -> LearnedPerception:
    """Return a perception whose uncertainty is measured on prompts that it was not trained on.

    `fit` measures it on the training prompts, by parts of the perception that have not seen them.
    Fresh outcomes also show what has changed since.

    Raises:
        InputError: it is not a perception that was trained, such as a whole router.
        QTableError: an expert of the perception is not in the table, or the table has losses of
            fewer than ten prompts.
    """
    _check_calibration(perception, table)
    inputs = perception.estimator_inputs(table.prompts)
    positions = perception.head.estimator_positions(inputs)
    names = perception.head.category_classifier.names
    categories = [names[i] for i in inputs.category_probabilities.argmax(axis=1).tolist()]
    losses = table.select(perception.experts).losses
    similarities = inputs.highest_similarities
    return with_uncertainty(perception, positions, similarities, losses, categories)


def _check_calibration(perception: LearnedPerception, table: QTable) -> None:
    if not isinstance(perception, LearnedPerception):
        raise InputError(
            f"calibrate_uncertainty takes a perception that was trained, such as "
            f"router.perception, got {type(perception).__name__}"
        )
    n_measured = int(table.select(perception.experts).measured.any(axis=1).sum())
    if n_measured < MIN_PROMPTS:
        raise QTableError(
            f"{n_measured} prompts have a loss; a calibration needs at least {MIN_PROMPTS}"
        )


def fit_uncertainty(  # noqa: PLR0913 - what predictions are compared with
    predicted: FloatArray,
    ability_std: FloatArray,
    disagreement: FloatArray,
    losses: FloatArray,
    categories: Sequence[str],
    similarities: FloatArray,
    loss_range: tuple[float, float] | None,
    min_std: float = 0.0,
) -> UncertaintyCalibration:
    """Compare predictions of unseen prompts with their measured losses.

    Args:
        predicted: Predicted losses of prompts that the estimators have not seen,
            `(n, n_experts)`; at most `MAX_PROMPTS` are needed (`sample_prompts`).
        ability_std: Their standard deviation, as far as it comes from abilities.
        disagreement: Their standard deviation, as far as it comes from estimators that disagree.
        losses: The measured losses, with gaps.
        categories: The category of each prompt.
        similarities: The highest cosine of each prompt to one that was trained on, `(n,)`.
        loss_range: The lowest and the highest loss that is possible, None without limits.
        min_std: The lowest standard deviation of a mean loss.
    """
    residuals = losses - predicted
    knots, outcome_stds = _fit_outcome_stds(predicted, residuals)
    groups = _group_prompts(predicted, categories)
    variances = np.interp(predicted, knots, outcome_stds) ** 2
    scale = _fit_scale(residuals, variances, ability_std**2, disagreement**2, groups)
    std = np.maximum(np.sqrt(ability_std**2 + (scale * disagreement) ** 2), min_std)
    calibration = UncertaintyCalibration(
        disagreement_scale=scale,
        unfamiliar_std=_UNFAMILIAR_STDS * float(np.sqrt(np.nanmean(residuals**2))),
        similarities=np.sort(similarities).astype(np.float32),
        loss_knots=knots,
        outcome_stds=outcome_stds,
        answer_quantiles=_normal_quantiles(),
        mean_quantiles=_normal_quantiles(),
        typical_std=float(np.quantile(std, _TYPICAL_SHARE)),
        odds_slope=float(_ODDS_PRIOR[0]),
        odds_intercept=float(_ODDS_PRIOR[1]),
        loss_range=loss_range,
        min_std=min_std,
    )
    calibration = _with_quantiles(calibration, residuals, variances, std, similarities, groups)
    return _with_odds(calibration, predicted, losses)


def sample_prompts(n_prompts: int) -> IndexArray:
    """Return the positions of at most `MAX_PROMPTS` prompts, evenly spread."""
    return np.linspace(0, n_prompts - 1, min(n_prompts, MAX_PROMPTS)).astype(np.intp)


# The standard deviations


def _fit_outcome_stds(
    predicted: FloatArray, residuals: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return bins of predicted losses by their means, and the deviation of outcomes in each."""
    is_measured = ~np.isnan(residuals)
    values, squares = predicted[is_measured], residuals[is_measured] ** 2
    n_bins = int(np.clip(len(values) // _MIN_KNOT_SIZE, 1, _MAX_KNOTS))
    edges = np.quantile(values, np.arange(1, n_bins) / n_bins)
    bin_index = edges.searchsorted(values, side="right")
    counts = np.bincount(bin_index, minlength=n_bins)
    kept = counts > 0
    knots, means = (
        np.bincount(bin_index, numbers, n_bins)[kept] / counts[kept]
        for numbers in (values, squares)
    )
    increasing = np.maximum.accumulate(knots) + _MIN_KNOT_STEP * np.arange(len(knots))
    return increasing, np.maximum(np.sqrt(means), _MIN_OUTCOME_STD)


def _group_prompts(predicted: FloatArray, categories: Sequence[str]) -> list[IndexArray]:
    """Divide prompts into groups of the same category and about the same predicted losses."""
    _, codes = np.unique(np.array(categories), return_inverse=True)
    order = np.lexsort((predicted.mean(axis=1), codes))
    return np.array_split(order, max(1, len(order) // _GROUP_SIZE))


def _fit_scale(
    residuals: FloatArray,
    variances: FloatArray,
    ability_variances: FloatArray,
    disagreements: FloatArray,
    groups: Sequence[IndexArray],
) -> float:
    """Return the scale with which the variances of groups' mean residuals are as predicted.

    The mean residual of a group has two sources: chance, which falls with its size, and what the
    prediction does not know, which all of its prompts share.
    """
    means, chance = _group_means(residuals, variances, groups)
    if np.isnan(means).all():  # as of prompts that one expert of many answered
        return 1.0
    shared = float(np.nanmean(means**2 - chance - _spread(ability_variances, residuals, groups)))
    expected = float(np.nanmean(_spread(disagreements, residuals, groups)))
    if expected <= 0:
        return 1.0
    ratio = (len(groups) * shared / expected + _PRIOR_GROUPS) / (len(groups) + _PRIOR_GROUPS)
    return float(np.clip(np.sqrt(max(ratio, 0.0)), *_SCALE_BOUNDS))


def _group_means(
    residuals: FloatArray, variances: FloatArray, groups: Sequence[IndexArray]
) -> tuple[FloatArray, FloatArray]:
    """Return the mean residual of each group and expert, and its variance by chance.

    Both are `(n_groups, n_experts)`, NaN where fewer than half of a group were measured.
    """
    is_measured = ~np.isnan(residuals)
    sums = [np.nansum(residuals[rows], axis=0) for rows in groups]
    noise = [(variances[rows] * is_measured[rows]).sum(axis=0) for rows in groups]
    counts = np.array([is_measured[rows].sum(axis=0) for rows in groups], np.float64)
    sizes = np.array([[len(rows)] for rows in groups])
    counts = np.where(2 * counts >= sizes, counts, np.nan)
    return np.array(sums) / counts, np.array(noise) / counts**2


def _spread(values: FloatArray, residuals: FloatArray, groups: Sequence[IndexArray]) -> FloatArray:
    """Return the mean of `values` in each group, of each expert, where it was measured."""
    means, _ = _group_means(np.where(np.isnan(residuals), np.nan, values), values, groups)
    return means


# Quantiles


def _with_quantiles(  # noqa: PLR0913 - what a score consists of
    calibration: UncertaintyCalibration,
    residuals: FloatArray,
    variances: FloatArray,
    std: FloatArray,
    similarities: FloatArray,
    groups: Sequence[IndexArray],
) -> UncertaintyCalibration:
    """Measure how many standard deviations residuals have: normalized conformal scores."""
    typicality = calibration.typicality(similarities.astype(np.float32))
    widened = calibration.widened(std, typicality)
    unknown = widened >= calibration.max_std  # their interval is the whole range
    scores = np.where(unknown, 0.0, np.abs(residuals) / np.sqrt(widened**2 + variances))
    answers = _conformal_quantiles(scores[~np.isnan(residuals)])
    if len(groups) < _MIN_GROUPS:
        return replace(calibration, answer_quantiles=answers)
    means, chance = _group_means(residuals, variances, groups)
    group_scores = np.abs(means) / np.sqrt(chance + _spread(std**2, residuals, groups))
    known = group_scores[~np.isnan(group_scores)]
    quantiles = _conformal_quantiles(known) if known.size else calibration.mean_quantiles
    return replace(calibration, answer_quantiles=answers, mean_quantiles=quantiles)


def _conformal_quantiles(scores: FloatArray) -> FloatArray:
    """Return the ceil((n + 1) level)-th smallest of n scores at each level (Vovk, 2005)."""
    ranks = np.ceil((len(scores) + 1) * np.array(LEVELS)).astype(np.intp)
    return np.asarray(np.sort(scores)[np.minimum(ranks, len(scores)) - 1], np.float64)


def _normal_quantiles() -> FloatArray:
    return np.array([NormalDist().inv_cdf((1 + level) / 2) for level in LEVELS])


# The odds


def _with_odds(
    calibration: UncertaintyCalibration, predicted: FloatArray, losses: FloatArray
) -> UncertaintyCalibration:
    """Fit the odds by the two best experts of each prompt, where their losses differ."""
    if losses.shape[1] < 2:
        return calibration
    rows = np.arange(len(losses))[:, None]
    best = np.where(np.isnan(losses), np.inf, predicted).argsort(axis=1, kind="stable")[:, :2]
    measured, pairs = losses[rows, best], predicted[rows, best]
    difference = measured[:, 1] - measured[:, 0]
    differs = np.abs(difference) > _MIN_DIFFERENCE  # false if only one was measured
    if not differs.any():
        return calibration
    distances = np.array([calibration.distance(a, b, b - a) for a, b in pairs[differs].tolist()])
    slope, intercept = _fit_logistic(distances, difference[differs] > 0)
    return replace(calibration, odds_slope=max(slope, 0.0), odds_intercept=max(intercept, 0.0))


def _fit_logistic(x: FloatArray, won: BoolArray) -> tuple[float, float]:
    """Return slope and intercept of a logistic regression with a prior, by Newton steps."""
    inputs, coefficients = np.stack([x, np.ones_like(x)]), _ODDS_PRIOR.copy()
    for _ in range(_NEWTON_STEPS):
        probabilities = 1 / (1 + np.exp(-np.clip(coefficients @ inputs, -60, 60)))
        curvature = (inputs * (probabilities * (1 - probabilities))) @ inputs.T
        gradient = inputs @ (probabilities - won)
        gradient += _ODDS_PRECISION * (coefficients - _ODDS_PRIOR)
        step = np.linalg.solve(curvature + _ODDS_PRECISION * np.eye(2), gradient)
        coefficients -= np.clip(step, -2, 2)
    return float(coefficients[0]), float(coefficients[1])
