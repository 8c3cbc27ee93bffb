"""One Gaussian ability vector per expert, and the update that learns it from losses.

`L(z, M_i) = a_i . [1, g(z)] + noise` (design.md). The aptitude test of a new expert and live
feedback are the same closed-form posterior (Bishop 2006, eq. 3.50-3.51).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

Matrix = NDArray[np.floating[Any]]
Columns: TypeAlias = slice | NDArray[np.intp]

EVERY = slice(None)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """An ability: `mean` `(k,)` and `covariance` `(k, k)`."""

    mean: Matrix
    covariance: Matrix

    def updated(self, places: Matrix, losses: Matrix, noise: float) -> Gaussian:
        """Learn from `losses` `(n,)` at `places` `(n, k)`, whose noise has a variance of `noise`.

        Raises:
            InputError: the shapes do not fit, or a loss is not finite.
        """
        if places.shape != (len(losses), len(self.mean)) or not np.isfinite(losses).all():
            raise InputError(
                f"losses {np.shape(losses)} at places {places.shape}; expected one finite loss "
                f"per row of {len(self.mean)} numbers"
            )
        # the gain form needs a matrix of the size of the data, which is small, not of the prior
        spread = places @ self.covariance
        gain = np.linalg.solve(spread @ places.T + noise * np.eye(len(losses)), spread).T
        mean = self.mean + gain @ (losses - places @ self.mean)
        covariance = self.covariance - gain @ spread
        return Gaussian(mean, (covariance + covariance.T) / 2)


@dataclass(frozen=True, slots=True)
class Abilities:
    """Abilities of all experts: `means` `(n_experts, k)`, `covariances` `(n_experts, k, k)`.

    `prior` is what a stranger is believed to be; `noise` is the variance of one loss around what
    its ability and the prompt's place explain.
    """

    means: Matrix
    covariances: Matrix
    prior: Gaussian
    noise: float

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.means)

    def losses(self, places: Matrix) -> Matrix:
        """Say the expected losses `(batch, n_experts)` at places `(batch, k)`."""
        return np.asarray(places @ self.means.T)

    def variances(self, places: Matrix, experts: Columns = EVERY) -> Matrix:
        """Variance of the expected losses of some experts that comes from not knowing them."""
        size = places.shape[1] ** 2
        squares = (places[:, :, None] * places[:, None, :]).reshape(-1, size)
        return np.asarray(squares @ self.covariances[experts].reshape(-1, size).T)

    def with_ability(self, index: int | None, ability: Gaussian) -> Abilities:
        """Replace the ability at `index`, or append one."""
        means, covariances = self.means.copy(), self.covariances.copy()
        if index is None:
            means = np.concatenate([means, ability.mean[None]])
            covariances = np.concatenate([covariances, ability.covariance[None]])
        else:
            means[index], covariances[index] = ability.mean, ability.covariance
        return Abilities(means, covariances, self.prior, self.noise)

    def take(self, rows: Sequence[int]) -> Abilities:
        """Return the abilities of some experts, by their positions."""
        kept = np.array(rows, dtype=np.intp)
        return Abilities(self.means[kept], self.covariances[kept], self.prior, self.noise)

    def doubted(self, places: Matrix, known: NDArray[np.bool_], noise: float) -> Abilities:
        """Keep the means; say how sure they are if a loss has a variance of `noise`.

        `places` `(n_prompts, k)` and `known` `(n_prompts, n_experts)` are what they were fitted on.
        A factor model of few experts fits their losses without a rest: how far a loss lies from
        its prediction shows on unseen prompts only.
        """
        covariances = _covariances(self.prior, places, known, noise)
        return Abilities(self.means, covariances, self.prior, noise)

    def of(self, index: int) -> Gaussian:
        """Look up one expert's ability."""
        return Gaussian(self.means[index], self.covariances[index])


def fit_abilities(places: Matrix, losses: NDArray[np.floating], first: Matrix) -> Abilities:
    """Learn all abilities from losses `(n_prompts, n_experts)` with gaps.

    `places` are `[1, u_z]`, `(n_prompts, k)`; `first` `(n_experts, k)` are the abilities of the
    factor model, whose spread is the prior: an expert with few measured losses stays near the
    crowd, one with many goes where its losses are.
    """
    known = ~np.isnan(losses)
    centre, scatter = first.mean(axis=0), np.cov(first.T, ddof=0).reshape(first.shape[1], -1)
    scatter += (1e-3 * np.trace(scatter) / len(centre) + 1e-9) * np.eye(len(centre))
    residual = np.where(known, losses - places @ first.T, 0.0)
    noise = float((residual**2).sum() / max(known.sum() - first.size, 1)) + 1e-6
    prior = Gaussian(centre, scatter)
    covariances = _covariances(prior, places, known, noise)
    given = np.where(known, losses, 0.0).astype(np.float64)
    pulls = np.linalg.inv(scatter) @ centre + given.T @ places / noise
    return Abilities(np.einsum("ikl,il->ik", covariances, pulls), covariances, prior, noise)


def _covariances(prior: Gaussian, places: Matrix, known: NDArray[np.bool_], noise: float) -> Matrix:
    """Say how sure each expert's ability is, `(n_experts, k, k)`, from where it was measured."""
    precision = np.linalg.inv(prior.covariance)
    if known.all():  # all were measured in the same places: one inverse serves every expert
        shared = np.linalg.inv(precision + places.T @ places / noise)
        return np.repeat(shared[None], known.shape[1], axis=0)
    grams = (places[rows].T @ places[rows] for rows in known.T)
    return np.array([np.linalg.inv(precision + gram / noise) for gram in grams])
