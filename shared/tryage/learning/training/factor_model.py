"""The shared ability space: many losses per prompt become a few numbers per prompt.

`L(z, M_i) ~ mean_i + loadings_i . u_z`, the factor model of design.md. Experts that may be chosen
weigh more: a difference between two weak experts does not matter for a decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tryage.perception.abilities import Abilities, Gaussian, log_compress, posterior_covariances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, FloatArray

RANK = 32

# The scale of compression, as a share of the best single expert's regret (its mean loss minus that
# of the best choice per prompt): gaps of that size stay distinguishable.
REGRET_SHARE = 0.5

_MIN_SCALE = 1e-2  # standard deviations of a loss

CONTENDER_BANDWIDTH = 0.08  # standard deviations of a loss by which a contender may be behind

_ITERATIONS = 12

_PRIOR_PROMPTS = 2.0  # a prompt's difficulty is shrunk as if it had this many more average losses


@dataclass(frozen=True, slots=True)
class FactorModel:
    """`mean` `(n_experts,)`, `loadings` `(n_experts, rank)`, `scores` `(n_prompts, rank)`."""

    mean: FloatArray
    loadings: FloatArray
    scores: FloatArray


def fit_factor_model(
    losses: NDArray[np.floating],
    rank: int = RANK,
    expected_losses: FloatArray | None = None,
    prompt_weights: NDArray[np.floating] | None = None,
) -> FactorModel:
    """Find the ability space of losses `(n_prompts, n_experts)` with gaps (NaN).

    `expected_losses` are a model of them without gaps, by default `impute_losses`, which keeps the
    measured ones. `prompt_weights` `(n_prompts,)` say how much each prompt counts, by default
    alike.
    """
    if expected_losses is None:
        expected_losses = impute_losses(losses)
    if prompt_weights is None:
        prompt_weights = np.ones(len(losses))
    mean = np.average(expected_losses, axis=0, weights=prompt_weights)
    weight = np.sqrt(contender_weights(mean, losses))
    weighted_losses = (expected_losses - mean) * weight
    # difficulty that all contenders share changes no choice, and would hide differences that do
    shared_difficulty = weighted_losses @ weight / (weight @ weight)
    contrasts = weighted_losses - np.outer(shared_difficulty, weight)
    weighted_contrasts = contrasts * np.sqrt(prompt_weights)[:, None]
    _, singular_values, vt = np.linalg.svd(weighted_contrasts, full_matrices=False)
    n_components = min(
        rank - 1, int((singular_values > 1e-6 * max(singular_values[0], 1e-12)).sum())
    )
    scores = np.concatenate([shared_difficulty[:, None], contrasts @ vt[:n_components].T], axis=1)
    loadings = np.concatenate(
        [np.ones((len(mean), 1)), vt[:n_components].T / weight[:, None]], axis=1
    )
    return FactorModel(mean, loadings, scores)


def fit_abilities(
    positions: FloatArray, losses: NDArray[np.floating], initial_means: FloatArray
) -> Abilities:
    """Learn all abilities from losses `(n_prompts, n_experts)` with gaps.

    `positions` are `[1, u_z]`, `(n_prompts, k)`. `initial_means` `(n_experts, k)` are the abilities
    of the factor model, and their spread is the prior: an expert with few measured losses stays
    near the average expert, one with many follows its losses.
    """
    is_measured = ~np.isnan(losses)
    prior = _prior_of_abilities(initial_means)
    residual = np.where(is_measured, losses - positions @ initial_means.T, 0.0)
    noise = float((residual**2).sum() / max(is_measured.sum() - initial_means.size, 1)) + 1e-6
    covariances = posterior_covariances(prior, positions, is_measured, noise)
    filled_losses = np.where(is_measured, losses, 0.0).astype(np.float64)
    natural_means = (
        np.linalg.inv(prior.covariance) @ prior.mean + filled_losses.T @ positions / noise
    )
    means = np.einsum("ikl,il->ik", covariances, natural_means)
    return Abilities(means, covariances, prior, noise)


def expected_abilities(
    positions: FloatArray, losses: NDArray[np.floating], means: FloatArray
) -> Abilities:
    """Take `means` `(n_experts, k)` as they are: a model of expected losses has shrunk them.

    How certain they are follows from the measured losses, as in `fit_abilities`.
    """
    is_measured, prior = ~np.isnan(losses), _prior_of_abilities(means)
    noise = float(np.nanmean((losses - positions @ means.T) ** 2)) + 1e-6
    covariances = posterior_covariances(prior, positions, is_measured, noise)
    return Abilities(means, covariances, prior, noise)


def _prior_of_abilities(means: FloatArray) -> Gaussian:
    """Return the mean and covariance of abilities `(n_experts, k)`, with a small ridge."""
    mean = means.mean(axis=0)
    covariance = np.cov(means.T, ddof=0).reshape(means.shape[1], -1)
    covariance += (1e-3 * np.trace(covariance) / len(mean) + 1e-9) * np.eye(len(mean))
    return Gaussian(mean, covariance)


class CompressedLosses(NamedTuple):
    """Real-valued `losses` `(n_prompts, n_experts)` whose gaps above `scale` are compressed."""

    scale: float
    losses: FloatArray


def compress_losses(losses: FloatArray) -> CompressedLosses | None:
    """Compress the gaps of losses `(n_prompts, n_experts)` to the best loss of their prompt.

    None for losses in [0, 1], which are not compressed. Where the best expert was not measured, its
    loss is imputed.
    """
    if np.nanmin(losses) >= 0 and np.nanmax(losses) <= 1:
        return None
    imputed_losses = impute_losses(losses)
    best = imputed_losses.min(axis=1, keepdims=True)
    regret = float((imputed_losses - best).mean(axis=0).min())
    scale = max(REGRET_SHARE * regret, _MIN_SCALE * typical_loss_std(losses))
    return CompressedLosses(scale, log_compress(losses, best, scale))


def contender_weights(mean: FloatArray, losses: NDArray[np.floating[Any]]) -> FloatArray:
    """Return how far each expert is a contender, `(n_experts,)` in (0, 1]: 1 for the best.

    `mean` `(n_experts,)` are mean losses. An expert is compared with those that were measured on
    the same prompts, so that the best of every source counts, for any losses of other sources.
    """
    is_measured = ~np.isnan(losses)
    best = np.where(is_measured, mean, np.inf).min(axis=1)
    kernel_weights = contender_kernel(np.where(is_measured, mean - best[:, None], np.inf), losses)
    return np.asarray(kernel_weights.sum(axis=0) / np.maximum(is_measured.sum(axis=0), 1) + 1e-6)


def contender_kernel(gaps: FloatArray, losses: NDArray[np.floating[Any]]) -> FloatArray:
    """Return how far an expert that is worse by `gaps` is a contender, in [0, 1].

    The bandwidth follows the spread of `losses`.
    """
    return np.asarray(np.exp(-gaps / (CONTENDER_BANDWIDTH * typical_loss_std(losses))))


def typical_loss_std(losses: NDArray[np.floating]) -> float:
    """Return the typical standard deviation of one expert's losses: the unit of all tuning."""
    with np.errstate(invalid="ignore"):
        deviations = losses - np.nanmean(losses, axis=0)
    std = float(np.sqrt(np.nanmean(deviations**2)))
    return std if std > 0 else 1.0


def impute_losses(losses: NDArray[np.floating], rank: int = 4) -> FloatArray:
    """Fill gaps by expert mean, prompt difficulty and a low-rank residual; keep known losses."""
    is_measured = ~np.isnan(losses)
    measured_losses = np.where(is_measured, losses, 0.0).astype(np.float64)
    if is_measured.all():
        return measured_losses
    additive_losses = _two_way_means(measured_losses, is_measured)
    imputed_losses = np.where(is_measured, measured_losses, additive_losses)
    for _ in range(_ITERATIONS):
        u, singular_values, vt = np.linalg.svd(
            imputed_losses - additive_losses, full_matrices=False
        )
        shrunk_values = np.maximum(
            singular_values - singular_values[min(rank, len(singular_values) - 1)], 0
        )[:rank]
        imputed_losses = np.where(
            is_measured,
            measured_losses,
            additive_losses + (u[:, :rank] * shrunk_values) @ vt[:rank],
        )
    return imputed_losses


def _two_way_means(measured_losses: FloatArray, is_measured: BoolArray) -> FloatArray:
    """Alternate between difficulties, shrunk toward zero, and expert means."""
    prompt_counts, expert_counts = is_measured.sum(axis=1), np.maximum(is_measured.sum(axis=0), 1)
    overall_mean = measured_losses.sum() / is_measured.sum()
    expert_means = np.full(measured_losses.shape[1], overall_mean)
    prompt_difficulty = np.zeros(len(measured_losses))
    for _ in range(10 * _ITERATIONS):
        residual_sums = ((measured_losses - expert_means) * is_measured).sum(axis=1)
        prompt_difficulty = residual_sums / (prompt_counts + _PRIOR_PROMPTS)
        expert_means = ((measured_losses - prompt_difficulty[:, None]) * is_measured).sum(
            axis=0
        ) / expert_counts
    return np.asarray(expert_means + prompt_difficulty[:, None])
