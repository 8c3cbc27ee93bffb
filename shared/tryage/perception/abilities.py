"""One Gaussian ability vector per expert, and the update that learns it from losses.

`L(z, M_i) = a_i . [1, g(z)] + noise` (design.md). The aptitude test of a new expert and live
feedback are the same closed-form posterior (Bishop 2006, eq. 3.50-3.51).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array, FloatArray

ColumnIndex: TypeAlias = slice | NDArray[np.intp]

ALL_COLUMNS = slice(None)

MIN_STANDARD_ERRORS = 1.0  # standard errors

_TIE_BREAK = 1e-3  # what the incumbent is ahead of an expert whose gain is not believed


@dataclass(frozen=True, slots=True)
class Gaussian:
    """An ability: `mean` `(k,)` and `covariance` `(k, k)`."""

    mean: FloatArray
    covariance: FloatArray

    def posterior(self, positions: FloatArray, losses: FloatArray, noise: float) -> Gaussian:
        """Learn from `losses` `(n,)` at `places` `(n, k)`, whose noise has a variance of `noise`.

        Raises:
            InputError: the shapes do not fit, or a loss is not finite.
        """
        if positions.shape != (len(losses), len(self.mean)) or not np.isfinite(losses).all():
            raise InputError(
                f"losses {np.shape(losses)} at places {positions.shape}; expected one finite loss "
                f"per row of {len(self.mean)} numbers"
            )
        # the gain form needs a matrix of the size of the data, which is small, not of the prior
        spread = positions @ self.covariance
        gain = np.linalg.solve(spread @ positions.T + noise * np.eye(len(losses)), spread).T
        mean = self.mean + gain @ (losses - positions @ self.mean)
        covariance = self.covariance - gain @ spread
        return Gaussian(mean, (covariance + covariance.T) / 2)


@dataclass(frozen=True, slots=True)
class Abilities:
    """Abilities of all experts: `means` `(n_experts, k)`, `covariances` `(n_experts, k, k)`.

    `prior` is what a stranger is believed to be; `noise` is the variance of one loss around what
    its ability and the prompt's place explain.
    """

    means: FloatArray
    covariances: FloatArray
    prior: Gaussian
    noise: float

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.means)

    def losses(self, positions: FloatArray) -> FloatArray:
        """Say the expected losses `(batch, n_experts)` at places `(batch, k)`."""
        return np.asarray(positions @ self.means.T)

    def variances(self, positions: FloatArray, experts: ColumnIndex = ALL_COLUMNS) -> FloatArray:
        """Variance of the expected losses of some experts that comes from not knowing them."""
        size = positions.shape[1] ** 2
        squares = (positions[:, :, None] * positions[:, None, :]).reshape(-1, size)
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

    def with_noise(
        self, positions: FloatArray, known: NDArray[np.bool_], noise: float
    ) -> Abilities:
        """Keep the means; say how sure they are if a loss has a variance of `noise`.

        `places` `(n_prompts, k)` and `known` `(n_prompts, n_experts)` are what they were fitted on.
        A factor model of few experts fits their losses without a rest: how far a loss lies from
        its prediction shows on unseen prompts only.
        """
        covariances = posterior_covariances(self.prior, positions, known, noise)
        return Abilities(self.means, covariances, self.prior, noise)

    def ability(self, index: int) -> Gaussian:
        """Look up one expert's ability."""
        return Gaussian(self.means[index], self.covariances[index])


def posterior_covariances(
    prior: Gaussian, positions: FloatArray, known: NDArray[np.bool_], noise: float
) -> FloatArray:
    """Say how sure each expert's ability is, `(n_experts, k, k)`, from where it was measured."""
    precision = np.linalg.inv(prior.covariance)
    if known.all():  # all were measured in the same places: one inverse serves every expert
        shared = np.linalg.inv(precision + positions.T @ positions / noise)
        return np.repeat(shared[None], known.shape[1], axis=0)
    grams = (positions[rows].T @ positions[rows] for rows in known.T)
    return np.array([np.linalg.inv(precision + gram / noise) for gram in grams])


@dataclass(frozen=True, slots=True)
class LatentPositions:
    """A batch of prompts in the ability space.

    `views` `(n_estimators, batch, rank)` are where each estimator sees them, `weights`
    `(n_estimators,)` how much it counts, `places` `(batch, 1 + rank)` their mixture `[1, g]`.
    """

    estimator_positions: FloatArray
    weights: Float32Array
    positions: FloatArray

    def predict(
        self, abilities: Abilities, std_columns: ColumnIndex = ALL_COLUMNS
    ) -> tuple[FloatArray, FloatArray]:
        """Return linear predictions `(batch, n_experts)` and the standard deviation of `doubted`.

        The doubt has two sources: how well an ability is known, and how far the estimators
        disagree on the prompt's place.
        """
        y = abilities.losses(self.positions)
        means = abilities.means
        by_estimator = means[:, 0] + self.estimator_positions @ means[:, 1:].T
        disagreement = _weighted_sum(self.weights, (by_estimator - y) ** 2)
        doubt = abilities.variances(self.positions, std_columns) + disagreement[:, std_columns]
        return y, np.sqrt(np.maximum(doubt, 0))

    def prior_std(self, prior: Gaussian) -> FloatArray:
        """Return the standard deviation `(batch,)` of the prediction for a stranger.

        The same two sources; an ability that is not known is expected to make the estimators
        disagree as much as one drawn from what is believed `about` it.
        """
        square = prior.covariance + np.outer(prior.mean, prior.mean)
        deviations = self.estimator_positions - self.positions[:, 1:]
        disagreement = _quadratic_form(deviations, square[1:, 1:])
        ability = _quadratic_form(self.positions, prior.covariance)
        return np.asarray(np.sqrt(np.maximum(ability + self.weights @ disagreement, 0)))


def mix_positions(estimator_positions: FloatArray, weights: Float32Array) -> LatentPositions:
    """Mix what the estimators see, `(n_estimators, batch, rank)`, into places."""
    mixed = _weighted_sum(weights, estimator_positions)
    places = np.concatenate([np.ones((len(mixed), 1), mixed.dtype), mixed], axis=1)
    return LatentPositions(estimator_positions, weights, places)


def _quadratic_form(rows: FloatArray, form: FloatArray) -> FloatArray:
    """Return `row . form . row` of every row `(..., k)`, `(...)`."""
    return np.asarray(((rows @ form) * rows).sum(axis=-1))


def _weighted_sum(weights: Float32Array, arrays: FloatArray) -> FloatArray:
    """Do what `np.tensordot(weights, views, 1)` does, without what that has to find out first."""
    flat = weights @ arrays.reshape(len(weights), -1)
    return np.asarray(flat.reshape(arrays.shape[1:]))


@dataclass(frozen=True, slots=True)
class ReferenceLosses:
    """What the `incumbent` and the `best` expert of a prompt are predicted, `(batch, 1)` each."""

    incumbent: FloatArray
    best: FloatArray


@dataclass(frozen=True, slots=True)
class SoftThreshold:
    """Lowers every predicted gain over the `incumbent` by `margin`, and keeps the order of gains.

    Soft thresholding (Donoho and Johnstone, 1994). Gains below the margin become a hair less than
    nothing, so that the incumbent wins on loss alone and any other wish decides between the rest.
    """

    incumbent: int
    margin: float

    def __call__(self, y: FloatArray) -> FloatArray:
        """Correct predictions `(batch, n_experts)`."""
        if self.margin <= 0:
            return y
        gain = y[:, self.incumbent, None] - y
        tie_break = _TIE_BREAK * self.margin * (np.clip(gain / self.margin, 0, 1) - 1)
        believed = np.where(gain > 0, np.maximum(gain - self.margin, 0), gain) + tie_break
        believed[:, self.incumbent] = 0
        return np.asarray(y[:, self.incumbent, None] - believed)

    def reference_losses(self, y: FloatArray) -> ReferenceLosses:
        """Say who leads among predictions `(batch, n_experts)`, once they are corrected."""
        incumbent = y[:, [self.incumbent]]
        best = y.min(axis=1, keepdims=True)
        return ReferenceLosses(incumbent, np.minimum(incumbent, best + max(self.margin, 0)))

    def apply_inplace(self, y: FloatArray, incumbent: FloatArray) -> None:
        """Correct float32 predictions of other experts in place, as if they were in the batch.

        `incumbent` `(batch, 1)` is what the incumbent is predicted.
        """
        if self.margin > 0:
            ahead = y - incumbent.astype(np.float32)
            np.clip(ahead, -self.margin, 0, out=ahead)
            ahead *= 1 - _TIE_BREAK
            y -= ahead
            y += _TIE_BREAK * self.margin

    def update_incumbent(self, mean: FloatArray, variance: FloatArray) -> SoftThreshold:
        """Let a surely better expert take the incumbent's seat, as abilities are learned.

        `mean` and `variance` `(n_experts,)` are of each expert's loss on the whole; the lead has to
        exceed its own standard error.
        """
        best = int(np.argmin(mean))
        lead = mean[self.incumbent] - mean[best]
        certain = lead > MIN_STANDARD_ERRORS * np.sqrt(variance[self.incumbent] + variance[best])
        return replace(self, incumbent=best) if certain else self


class Link(Protocol):
    """Makes a predicted loss of linear predictions `y`, and `y` of a measured loss.

    It rises with `y` and is the same for all experts on a prompt, so it changes no choice by loss
    alone. `best` `(batch, 1)` is the lowest `y` of the prompt.
    """

    def losses(self, y: FloatArray, best: FloatArray) -> FloatArray:
        """Map linear predictions `(batch, n_experts)` to losses."""
        ...

    def std(self, y: FloatArray, std: FloatArray, best: FloatArray) -> FloatArray:
        """Carry a standard deviation through, to first order."""
        ...

    def apply_inplace(self, y: Float32Array, std: Float32Array, best: Float32Array) -> None:
        """Turn float32 linear predictions and their deviations into those of losses, in place."""
        ...

    def training_targets(self, losses: FloatArray, best: FloatArray) -> FloatArray:
        """Say what abilities learn from measured losses `(batch, n_experts)`."""
        ...


@dataclass(frozen=True, slots=True)
class LogitLink:
    """`sigmoid(intercept + slope * y)`, for scored answers, whose losses lie in [0, 1].

    It makes a predicted loss mean what it says (Platt, 1999).
    """

    intercept: float = 0.0
    slope: float = 1.0

    def losses(self, y: FloatArray, best: FloatArray) -> FloatArray:  # noqa: ARG002 - of any best
        """Map linear predictions to losses."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.intercept + self.slope * y, -60, 60))))

    def std(self, y: FloatArray, std: FloatArray, best: FloatArray) -> FloatArray:
        """Carry a standard deviation through, to first order."""
        loss = self.losses(y, best)
        return np.asarray(self.slope * loss * (1 - loss) * std)

    def apply_inplace(self, y: Float32Array, std: Float32Array, best: Float32Array) -> None:  # noqa: ARG002 - of any best
        """Turn float32 linear predictions and their deviations into those of losses, in place."""
        y *= self.slope / 2  # sigmoid(x) = (1 + tanh(x / 2)) / 2, of which numpy has a fast one
        y += self.intercept / 2
        np.tanh(y, out=y)
        std *= self.slope / 4
        std *= 1 - y * y
        y += 1
        y *= 0.5

    def training_targets(self, losses: FloatArray, best: FloatArray) -> FloatArray:  # noqa: ARG002 - of any best
        """Learn scores as they are: a line through them is what the sigmoid calibrates."""
        return losses


@dataclass(frozen=True, slots=True)
class LogGapLink:
    """The link of real-valued losses.

    Abilities learn `y = best + scale * log(1 + (L - best) / scale)`: near the prompt's best loss
    the loss itself, and of a gap beyond `scale` its logarithm. What a predicted gap `y - best`
    means in the unit of the loss was measured: the line through `gaps` and `rises`, `(n_knots,)`.
    """

    scale: float
    knots_x: FloatArray
    knots_y: FloatArray

    def losses(self, y: FloatArray, best: FloatArray) -> FloatArray:
        """Map linear predictions `(batch, n_experts)` to losses."""
        gap = y - best  # who is better than the best was none of those it was measured on
        return np.asarray(best + np.interp(gap, self.knots_x, self.knots_y) + np.minimum(gap, 0))

    def std(self, y: FloatArray, std: FloatArray, best: FloatArray) -> FloatArray:
        """Carry a standard deviation through, to first order."""
        slopes = np.maximum(np.gradient(self.knots_y, self.knots_x), 1)  # a plateau is no certainty
        return np.asarray(std * np.interp(y - best, self.knots_x, slopes))

    def apply_inplace(self, y: Float32Array, std: Float32Array, best: Float32Array) -> None:
        """Turn float32 linear predictions and their deviations into those of losses, in place."""
        std[:], y[:] = self.std(y, std, best), self.losses(y, best)

    def training_targets(self, losses: FloatArray, best: FloatArray) -> FloatArray:
        """Squeeze measured losses."""
        return log_compress(losses, best, self.scale)


def log_compress(losses: FloatArray, best: FloatArray, scale: float) -> FloatArray:
    """Return `best + scale * log(1 + (losses - best) / scale)` where a loss exceeds the best one."""
    gap = losses - best
    behind = best + scale * np.log1p(np.maximum(gap, 0) / scale)
    return np.asarray(np.where(gap > 0, behind, losses))
