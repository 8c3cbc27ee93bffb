"""The shared ability space: many losses per prompt become a few numbers per prompt.

`L(z, M_i) ~ mean_i + loadings_i . u_z`, the factor model of design.md. Experts that may be chosen
weigh more: what distinguishes two weak experts is of no use to a decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.perception.abilities import Abilities, Gaussian, log_compress, posterior_covariances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, FloatArray

RANK = 32

# The scale of compression, as a share of the best single expert's regret (what it loses to the best
# choice per prompt): gaps of that size stay distinguishable.
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
    losses: NDArray[np.floating], rank: int = RANK, difficulty: NDArray[np.floating] | None = None
) -> FactorModel:
    """Find the ability space of losses `(n_prompts, n_experts)` with gaps (NaN).

    `difficulty` `(n_prompts,)` is how much more than usual a prompt is expected to cost any expert,
    in loss. It connects sources that have no expert in common.
    """
    filled = impute_losses(losses, difficulty=difficulty)
    mean = filled.mean(axis=0)
    weight = np.sqrt(contender_weights(mean, losses))
    centered = (filled - mean) * weight
    # difficulty that all contenders share changes no choice, and would hide what does
    shared = centered @ weight / (weight @ weight)
    contrast = centered - np.outer(shared, weight)
    left, size, right = np.linalg.svd(contrast, full_matrices=False)
    kept = min(rank - 1, int((size > 1e-6 * max(size[0], 1e-12)).sum()))
    scores = np.concatenate([shared[:, None], left[:, :kept] * size[:kept]], axis=1)
    loadings = np.concatenate([np.ones((len(mean), 1)), right[:kept].T / weight[:, None]], axis=1)
    return FactorModel(mean, loadings, scores)


def fit_abilities(
    positions: FloatArray, losses: NDArray[np.floating], initial_means: FloatArray
) -> Abilities:
    """Learn all abilities from losses `(n_prompts, n_experts)` with gaps.

    `positions` are `[1, u_z]`, `(n_prompts, k)`. `initial_means` `(n_experts, k)` are the abilities
    of the factor model, and their spread is the prior: an expert with few measured losses stays
    near the average expert, one with many follows its losses.
    """
    known = ~np.isnan(losses)
    prior = _prior_of_abilities(initial_means)
    residual = np.where(known, losses - positions @ initial_means.T, 0.0)
    noise = float((residual**2).sum() / max(known.sum() - initial_means.size, 1)) + 1e-6
    covariances = posterior_covariances(prior, positions, known, noise)
    given = np.where(known, losses, 0.0).astype(np.float64)
    natural_means = np.linalg.inv(prior.covariance) @ prior.mean + given.T @ positions / noise
    means = np.einsum("ikl,il->ik", covariances, natural_means)
    return Abilities(means, covariances, prior, noise)


def _prior_of_abilities(means: FloatArray) -> Gaussian:
    """Return the mean and covariance of abilities `(n_experts, k)`, with a small ridge."""
    mean = means.mean(axis=0)
    covariance = np.cov(means.T, ddof=0).reshape(means.shape[1], -1)
    covariance += (1e-3 * np.trace(covariance) / len(mean) + 1e-9) * np.eye(len(mean))
    return Gaussian(mean, covariance)


def compress_losses(
    losses: FloatArray, difficulty: FloatArray | None = None
) -> tuple[float, FloatArray] | None:
    """Return a scale, and losses `(n_prompts, n_experts)` with larger gaps than it compressed.

    None for scores in [0, 1], which stay as they are. Where the best expert was not measured, its
    loss is imputed.
    """
    if np.nanmin(losses) >= 0 and np.nanmax(losses) <= 1:
        return None
    filled = impute_losses(losses, difficulty=difficulty)
    best = filled.min(axis=1, keepdims=True)
    regret = float((filled - best).mean(axis=0).min())
    scale = max(REGRET_SHARE * regret, _MIN_SCALE * typical_loss_std(losses))
    return scale, log_compress(losses, best, scale)


def contender_weights(mean: FloatArray, losses: NDArray[np.floating[Any]]) -> FloatArray:
    """Return how far each expert is a contender, `(n_experts,)` in (0, 1]: 1 for the best.

    `mean` `(n_experts,)` are mean losses. An expert contends with those that were measured on the
    same prompts, so that the best of every source counts, whatever the losses of other sources.
    """
    known = ~np.isnan(losses)
    best = np.where(known, mean, np.inf).min(axis=1)
    near = contender_kernel(np.where(known, mean - best[:, None], np.inf), losses)
    return np.asarray(near.sum(axis=0) / np.maximum(known.sum(axis=0), 1) + 1e-6)


def contender_kernel(gaps: FloatArray, losses: NDArray[np.floating[Any]]) -> FloatArray:
    """Return how far an expert that is behind by `gaps` contends, in [0, 1].

    The bandwidth follows the spread of `losses`.
    """
    return np.asarray(np.exp(-gaps / (CONTENDER_BANDWIDTH * typical_loss_std(losses))))


def typical_loss_std(losses: NDArray[np.floating]) -> float:
    """Return the typical standard deviation of one expert's losses: the unit of all tuning."""
    with np.errstate(invalid="ignore"):
        centered = losses - np.nanmean(losses, axis=0)
    value = float(np.sqrt(np.nanmean(centered**2)))
    return value if value > 0 else 1.0


def impute_losses(
    losses: NDArray[np.floating],
    rank: int = 4,
    difficulty: NDArray[np.floating] | None = None,
) -> FloatArray:
    """Fill gaps by expert mean, prompt difficulty and a low-rank rest; known losses stay."""
    known = ~np.isnan(losses)
    given = np.where(known, losses, 0.0).astype(np.float64)
    if known.all():
        return given
    expected = np.zeros(len(given)) if difficulty is None else difficulty
    additive = _two_way_means(given, known, expected)
    filled = np.where(known, given, additive)
    for _ in range(_ITERATIONS):
        left, size, right = np.linalg.svd(filled - additive, full_matrices=False)
        soft = np.maximum(size - size[min(rank, len(size) - 1)], 0)[:rank]
        filled = np.where(known, given, additive + (left[:, :rank] * soft) @ right[:rank])
    return filled


def _two_way_means(
    given: FloatArray, known: BoolArray, expected: NDArray[np.floating]
) -> FloatArray:
    """Alternate between prompt difficulties, shrunk to the `expected` ones, and expert means."""
    per_prompt, per_expert = known.sum(axis=1), np.maximum(known.sum(axis=0), 1)
    overall = given.sum() / known.sum()
    expert = np.full(given.shape[1], overall)
    prompt = np.asarray(expected, np.float64)
    for _ in range(10 * _ITERATIONS):
        rest = ((given - expert) * known).sum(axis=1)
        prompt = (rest + _PRIOR_PROMPTS * expected) / (per_prompt + _PRIOR_PROMPTS)
        expert = ((given - prompt[:, None]) * known).sum(axis=0) / per_expert
    return np.asarray(expert + prompt[:, None])
