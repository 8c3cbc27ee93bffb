"""From a position in the ability space to losses: Gaussian abilities, shrinkage, and a link.

Every expert has one Gaussian ability vector `a_i`. Its linear prediction is `y = a_i . [1, g(z)]`;
a measured loss is `y + noise`. The aptitude test of a new expert and live feedback are the same
closed-form posterior (Bishop 2006, eq. 3.50-3.51).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.core.cache import cached_property
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray, IndexArray

ColumnIndex: TypeAlias = slice | NDArray[np.intp]

ALL_COLUMNS = slice(None)

MIN_STANDARD_ERRORS = 1.0  # a difference has to exceed this many standard errors to be believed

MAX_SURPRISE = 3.0  # standard deviations; one piece of feedback counts as at most this much

LEVEL_STD = 0.04
"""How far the mean of one expert's losses is from that of its predictions, as a shift of `y`.

Of .02 to .1 on seven outcome sets, larger ones harm after ten answers, smaller ones after 300
(`benchmarks/onboarding.py`).
"""

WIDE_LEVEL_STD = 0.5
"""The same of an expert that the prior does not describe, such as one that answers nothing."""

_LEVEL_STEPS, _MAX_LEVEL_STEP = 8, 0.2

_FEW_PROMPTS = 32

_BLOCK_HEIGHT = 64  # prompts; their products stay in the cache

_MIN_OUTCOME_LOSS = 0.1  # a prediction near 0 or 1 may be wrong: an answer counts no more than here

_TIE_BREAK = 1e-3  # share of the margin by which experts without a gain lose to the incumbent


@dataclass(frozen=True)
class Abilities:
    """Abilities of all experts: `means` `(n_experts, k)`, `covariances` `(n_experts, k, k)`.

    `prior` is the belief about an expert without any measurement. `noise` is the variance of one
    loss around what its ability and the prompt's position explain.
    """

    means: FloatArray
    covariances: FloatArray
    prior: Gaussian
    noise: float

    def __len__(self) -> int:
        """Count the experts."""
        return len(self.means)

    def linear_predictions(self, positions: FloatArray) -> FloatArray:
        """Return `y = a_i . position` `(batch, n_experts)` at positions `(batch, k)`.

        A link maps it to losses.
        """
        return np.asarray(positions @ self.means.T)

    def variances(self, positions: FloatArray, experts: ColumnIndex = ALL_COLUMNS) -> FloatArray:
        """Return the variance of the linear predictions of some experts, `(batch, n_experts)`.

        It is the part that comes from not knowing the abilities exactly.
        """
        is_selection = not isinstance(experts, slice)
        # For few prompts, selecting experts takes longer than predicting all of them.
        selects_first = is_selection and len(positions) > _FEW_PROMPTS
        triangles = self._triangles[experts] if selects_first else self._triangles
        dtype = np.result_type(positions, triangles)
        variances = np.empty((len(positions), len(triangles)), dtype)
        for start in range(0, len(positions), _BLOCK_HEIGHT):
            rows = slice(start, start + _BLOCK_HEIGHT)
            variances[rows] = _pair_products(positions[rows]) @ triangles.T
        return variances if selects_first else variances[:, experts]

    @cached_property
    def _triangles(self) -> FloatArray:
        """The upper triangles of the covariances, `(n_experts, k * (k + 1) / 2)`.

        Entries beside the diagonal are doubled, as they stand for two. Reading half as many numbers
        takes half of the time.
        """
        rows, columns = _upper_triangle(self.covariances.shape[1])
        factors = np.where(rows == columns, 1, 2).astype(self.covariances.dtype)
        return np.asarray(self.covariances[:, rows, columns] * factors)

    def ability(self, index: int) -> Gaussian:
        """Return the ability of one expert."""
        return Gaussian(self.means[index], self.covariances[index])

    def with_ability(self, index: int | None, ability: Gaussian) -> Abilities:
        """Replace the ability at `index`, or append one."""
        means, covariances = self.means.copy(), self.covariances.copy()
        if index is None:
            means = np.concatenate([means, ability.mean[None]])
            covariances = np.concatenate([covariances, ability.covariance[None]])
        else:
            means[index], covariances[index] = ability.mean, ability.covariance
        return Abilities(means, covariances, self.prior, self.noise)

    def take(self, indices: Sequence[int]) -> Abilities:
        """Return the abilities of some experts, by their positions."""
        index_array = np.array(indices, dtype=np.intp)
        return Abilities(
            self.means[index_array], self.covariances[index_array], self.prior, self.noise
        )

    def shifted(self, difference: FloatArray) -> Abilities:
        """Add a `difference` `(n_experts,)` to each expert's mean loss over all prompts."""
        means = self.means.copy()
        means[:, 0] += difference
        return Abilities(means, self.covariances, self.prior, self.noise)

    def with_noise(self, positions: FloatArray, is_measured: BoolArray, noise: float) -> Abilities:
        """Keep the means, and compute how certain they are if a loss has a variance of `noise`.

        `positions` `(n_prompts, k)` and `is_measured` `(n_prompts, n_experts)` are those of the
        fit. A factor model of few experts fits their losses without a residual. Only unseen prompts
        show how far a loss lies from its prediction.
        """
        covariances = posterior_covariances(self.prior, positions, is_measured, noise)
        return Abilities(self.means, covariances, self.prior, noise)


def _pair_products(positions: FloatArray) -> FloatArray:
    """Return the products of all pairs of numbers of each position, `(batch, k * (k + 1) / 2)`."""
    rows, columns = _upper_triangle(positions.shape[1])
    return np.asarray(positions.take(rows, axis=1) * positions.take(columns, axis=1))


@lru_cache(maxsize=8)
def _upper_triangle(size: int) -> tuple[IndexArray, IndexArray]:
    return np.triu_indices(size)


def posterior_covariances(
    prior: Gaussian, positions: FloatArray, is_measured: BoolArray, noise: float
) -> FloatArray:
    """Return the covariance of each expert's ability, `(n_experts, k, k)`.

    The mask `is_measured` `(n_prompts, n_experts)` says at which `positions` `(n_prompts, k)` each
    expert was measured.
    """
    precision = np.linalg.inv(prior.covariance)
    if (
        is_measured.all()
    ):  # all experts were measured at the same positions: one inverse serves them
        covariance = np.linalg.inv(precision + positions.T @ positions / noise)
        return np.repeat(covariance[None], is_measured.shape[1], axis=0)
    grams = (positions[rows].T @ positions[rows] for rows in is_measured.T)
    return np.array([np.linalg.inv(precision + gram / noise) for gram in grams])


@dataclass(frozen=True, slots=True)
class Gaussian:
    """An ability: `mean` `(k,)` and `covariance` `(k, k)`."""

    mean: FloatArray
    covariance: FloatArray

    def posterior(
        self,
        positions: FloatArray,
        losses: FloatArray,
        noise: float,
        max_surprise: float = np.inf,
    ) -> Gaussian:
        """Learn from `losses` `(n,)` at `positions` `(n, k)`, each with a variance of `noise`.

        A loss counts as at most `max_surprise` standard deviations away from what was expected, so
        that a wrong one moves the mean by a bounded amount.

        Raises:
            InputError: the shapes do not fit, or a loss is not finite.
        """
        if positions.shape != (len(losses), len(self.mean)) or not np.isfinite(losses).all():
            raise InputError(
                f"losses {np.shape(losses)} at positions {positions.shape}; expected one finite "
                f"loss per row of {len(self.mean)} numbers"
            )
        # The gain form solves a system of the size of the data, which is smaller than the prior.
        cross_covariance = positions @ self.covariance
        expected_covariance = cross_covariance @ positions.T + noise * np.eye(len(losses))
        gain = np.linalg.solve(expected_covariance, cross_covariance).T
        limit = max_surprise * np.sqrt(np.diagonal(expected_covariance))
        mean = self.mean + gain @ np.clip(losses - positions @ self.mean, -limit, limit)
        covariance = self.covariance - gain @ cross_covariance
        return Gaussian(mean, (covariance + covariance.T) / 2)


@dataclass(frozen=True, slots=True)
class SoftThreshold:
    """Lowers every predicted gain over the `incumbent` by `margin`, and keeps the order of gains.

    Shrinkage against the winner's curse: the lowest of many noisy predictions is lower than the
    truth. A router that believes it loses to the best single expert wherever little separates the
    experts. So a small predicted gain over that expert, the incumbent, counts as no gain: soft
    thresholding (Donoho and Johnstone, 1994). Gains below the margin become slightly negative. So
    the incumbent has the lowest predicted loss, and any weighted constraint breaks the near-tie
    between the others.
    """

    incumbent: int
    margin: float

    def __call__(self, y: FloatArray) -> FloatArray:
        """Correct linear predictions `(batch, n_experts)`."""
        if self.margin <= 0:
            return y
        incumbent = y[:, self.incumbent, None]
        gain = incumbent - y
        tie_break = _TIE_BREAK * self.margin * ((gain / self.margin).clip(0, 1) - 1)
        shrunk_gain = gain - gain.clip(0, self.margin) + tie_break
        shrunk_gain[:, self.incumbent] = 0
        return np.asarray(incumbent - shrunk_gain)

    def apply_inplace(self, y: FloatArray, incumbent: FloatArray) -> None:
        """Correct float32 predictions of other experts in place, as if they were in the batch.

        `incumbent` `(batch, 1)` is the linear prediction of the incumbent.
        """
        if self.margin > 0:
            negative_gain = y - incumbent.astype(np.float32)
            np.clip(negative_gain, -self.margin, 0, out=negative_gain)
            negative_gain *= 1 - _TIE_BREAK
            y -= negative_gain
            y += _TIE_BREAK * self.margin

    def reference_predictions(self, y: FloatArray) -> ReferencePredictions:
        """Return the prediction of the incumbent, and the corrected one of the best expert."""
        incumbent = y[:, self.incumbent, None]
        best = y.min(axis=1, keepdims=True)
        return ReferencePredictions(incumbent, np.minimum(incumbent, best + max(self.margin, 0)))

    def update_incumbent(self, mean: FloatArray, variance: FloatArray) -> SoftThreshold:
        """Make the expert with the lowest mean loss the incumbent, if it is certainly better.

        `mean` and `variance` `(n_experts,)` are of each expert's loss over all prompts. The
        difference has to exceed its own standard error.
        """
        best = int(np.argmin(mean))
        difference = mean[self.incumbent] - mean[best]
        standard_error = np.sqrt(variance[self.incumbent] + variance[best])
        return (
            replace(self, incumbent=best)
            if difference > MIN_STANDARD_ERRORS * standard_error
            else self
        )


@dataclass(frozen=True, slots=True)
class ReferencePredictions:
    """Linear predictions of the `incumbent` and of the `best` expert, `(batch, 1)` each."""

    incumbent: FloatArray
    best: FloatArray


class Link(Protocol):
    """Maps linear predictions `y` to losses, and measured losses to targets for `y`.

    It rises with `y` and is the same for all experts on a prompt, so it changes no choice that is
    made by loss alone. `best` `(batch, 1)` is the lowest `y` of the prompt.
    """

    @property
    def loss_range(self) -> tuple[float, float] | None:
        """The lowest and the highest loss that feedback may have, None if that is unknown."""
        ...

    def losses(self, y: FloatArray, best: FloatArray) -> FloatArray:
        """Map linear predictions `(batch, n_experts)` to losses."""
        ...

    def std(self, y: FloatArray, std: FloatArray, best: FloatArray) -> FloatArray:
        """Map the standard deviations of `y` to those of losses, to first order."""
        ...

    def apply_inplace(self, y: Float32Array, std: Float32Array, best: Float32Array) -> None:
        """Replace float32 linear predictions and their deviations by those of losses, in place."""
        ...

    def training_targets(self, losses: FloatArray, best: FloatArray) -> FloatArray:
        """Map measured losses `(batch, n_experts)` to what abilities learn from them."""
        ...

    def outcome_variance(self, y: FloatArray, best: FloatArray, noise: float) -> FloatArray:
        """Return the variance of one measured loss around each prediction, as a target for `y`.

        `noise` is that of the abilities, which may be far too high for a single loss: it is chosen
        so that the uncertainty of known experts is right on unseen prompts.
        """
        ...

    def level_shift(
        self, y: FloatArray, losses: FloatArray, noise: float, max_std: float = WIDE_LEVEL_STD
    ) -> float:
        """Return what to add to one expert's `y` `(n,)` so that its losses are right on average.

        The shift is shrunk: it is drawn from a normal distribution with the standard deviation
        `LEVEL_STD`, or up to `max_std` if the losses surprise. `noise` is the variance of a loss.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogitLink:
    """`sigmoid(intercept + slope * y)`, for scored answers, whose losses lie in [0, 1].

    Platt scaling (Platt, 1999): a predicted loss is then the mean of the measured ones.
    """

    intercept: float = 0.0
    slope: float = 1.0

    @property
    def loss_range(self) -> tuple[float, float]:
        """The range of a scored answer."""
        return 0.0, 1.0

    def losses(self, y: FloatArray, best: FloatArray) -> FloatArray:  # noqa: ARG002 - a score does not depend on the best one
        """Map linear predictions to losses."""
        return np.asarray(1 / (1 + np.exp(-(self.intercept + self.slope * y).clip(-60, 60))))

    def std(self, y: FloatArray, std: FloatArray, best: FloatArray) -> FloatArray:
        """Map the standard deviations of `y` to those of losses, to first order."""
        loss = self.losses(y, best)
        return np.asarray(self.slope * loss * (1 - loss) * std)

    def apply_inplace(self, y: Float32Array, std: Float32Array, best: Float32Array) -> None:  # noqa: ARG002 - a score does not depend on the best one
        """Replace float32 linear predictions and their deviations by those of losses, in place."""
        y *= self.slope / 2  # sigmoid(x) = (1 + tanh(x / 2)) / 2, and numpy's tanh is fast
        y += self.intercept / 2
        np.tanh(y, out=y)
        std *= self.slope / 4
        squares = y * y
        std *= np.subtract(1, squares, out=squares)
        y += 1
        y *= 0.5

    def training_targets(self, losses: FloatArray, best: FloatArray) -> FloatArray:  # noqa: ARG002 - a score does not depend on the best one
        """Return the scores themselves: the sigmoid calibrates a line that is fitted to them."""
        return losses

    def outcome_variance(self, y: FloatArray, best: FloatArray, noise: float) -> FloatArray:
        """Return the variance of a right or wrong answer, `p (1 - p)`, or `noise` if it is lower.

        No loss in [0, 1] has a higher variance around its mean `p` (Bhatia and Davis, 2000).
        """
        p = self.losses(y, best).clip(_MIN_OUTCOME_LOSS, 1 - _MIN_OUTCOME_LOSS)
        return np.asarray(np.minimum(p * (1 - p), noise))

    def level_shift(
        self, y: FloatArray, losses: FloatArray, noise: float, max_std: float = WIDE_LEVEL_STD
    ) -> float:
        """Return the mode of the shift's posterior: an ability is fitted to losses by a line.

        The sigmoid was calibrated for all experts together. So the mean of the losses of one that
        is far better or worse than most is not that of its predictions. A model whose losses
        surprise by more than `MAX_SURPRISE` standard deviations is not one of those that the
        prior describes, such as one that answers nothing: its shift has a prior as wide as that.
        """
        p = self.losses(y, y)
        variance = noise / max(float(((self.slope * p * (1 - p)) ** 2).sum()), 1e-12)
        shift = self._shift_mode(y, losses, noise, max_std)
        excess = shift**2 - MAX_SURPRISE**2 * (LEVEL_STD**2 + variance)
        std = min(math.sqrt(LEVEL_STD**2 + max(excess, 0.0)), max_std)
        return self._shift_mode(y, losses, noise, std)

    def _shift_mode(self, y: FloatArray, losses: FloatArray, noise: float, std: float) -> float:
        """Return the mode of the posterior of a shift whose prior has a standard deviation."""
        shift = 0.0
        for _ in range(_LEVEL_STEPS):  # Newton's method on a concave function
            p = self.losses(y + shift, y)
            slopes = self.slope * p * (1 - p)
            gradient = (slopes * (losses - p)).sum() / noise - shift / std**2
            step = gradient / ((slopes * slopes).sum() / noise + 1 / std**2)
            shift += float(np.clip(step, -_MAX_LEVEL_STEP, _MAX_LEVEL_STEP))
        return shift


@dataclass(frozen=True, slots=True)
class LogGapLink:
    """The link of real-valued losses, for which a bad expert may lose ten times what the best does.

    Squared error on such losses would learn how bad the bad experts are, but a decision asks which
    one is best. So abilities learn `y = best + scale * log(1 + (L - best) / scale)`: about the loss
    itself near the prompt's best loss, and the logarithm of the gap where it exceeds `scale`. The
    line through the knots `knots_x` and `knots_y`, `(n_knots,)`, converts a predicted gap
    `y - best` to the unit of the loss; it was fitted to measured losses. `loss_range` is the lowest
    and the highest loss that feedback may have, None if that is unknown. The slope of the line is
    that over `slope_width`, because it may be in the thousands between two knots that are close;
    with 0, as in earlier versions, it is the slope at the knots.
    """

    scale: float
    knots_x: FloatArray
    knots_y: FloatArray
    loss_range: tuple[float, float] | None = None
    slope_width: float = 0.0

    def losses(self, y: FloatArray, best: FloatArray) -> FloatArray:
        """Map linear predictions `(batch, n_experts)` to losses."""
        return np.asarray(best + self._loss_gaps(y - best))

    def std(self, y: FloatArray, std: FloatArray, best: FloatArray) -> FloatArray:
        """Map the standard deviations of `y` to those of losses, to first order."""
        # Where the line is flat, the loss is no more certain than y: a slope below 1 counts as 1.
        return np.asarray(std * np.maximum(self._slopes(y - best), 1))

    def _loss_gaps(self, gap: FloatArray) -> FloatArray:
        """Map predicted gaps to those of losses; negative ones, below the other experts', stay."""
        return np.asarray(np.interp(gap, self.knots_x, self.knots_y) + np.minimum(gap, 0))

    def _slopes(self, gap: FloatArray) -> FloatArray:
        if self.slope_width == 0:
            at_knots = np.maximum(np.gradient(self.knots_y, self.knots_x), 1)
            return np.asarray(np.interp(gap, self.knots_x, at_knots))
        half = self.slope_width / 2
        return (self._loss_gaps(gap + half) - self._loss_gaps(gap - half)) / self.slope_width

    def apply_inplace(self, y: Float32Array, std: Float32Array, best: Float32Array) -> None:
        """Replace float32 linear predictions and their deviations by those of losses, in place."""
        std[:], y[:] = self.std(y, std, best), self.losses(y, best)

    def training_targets(self, losses: FloatArray, best: FloatArray) -> FloatArray:
        """Return measured losses with their gaps compressed."""
        return log_compress(losses, best, self.scale)

    def outcome_variance(self, y: FloatArray, best: FloatArray, noise: float) -> FloatArray:  # noqa: ARG002 - the noise of compressed losses is about the same everywhere
        """Return the noise of the abilities, which were fitted to compressed losses."""
        return np.full(np.shape(y), noise)

    def level_shift(
        self,
        y: FloatArray,  # noqa: ARG002 - nothing to correct
        losses: FloatArray,  # noqa: ARG002 - nothing to correct
        noise: float,  # noqa: ARG002 - nothing to correct
        max_std: float = WIDE_LEVEL_STD,  # noqa: ARG002 - nothing to correct
    ) -> float:
        """Return zero: the knots were fitted to the losses themselves."""
        return 0.0


def log_compress(losses: FloatArray, best: FloatArray, scale: float) -> FloatArray:
    """Return `best + scale * log(1 + gap / scale)` where the gap to the best loss is positive."""
    gap = losses - best
    compressed_losses = best + scale * np.log1p(np.maximum(gap, 0) / scale)
    return np.asarray(np.where(gap > 0, compressed_losses, losses))
