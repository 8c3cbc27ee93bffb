"""From features to a position in the ability space: several estimators, which are then mixed.

Estimators use a prompt's category, similar training prompts, or a linear regression. No estimator
is the best one everywhere. Training weighs them by what their decisions are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tryage.core.cache import cached_property
from tryage.perception.abilities import ALL_COLUMNS, ColumnIndex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import Float32Array, FloatArray
    from tryage.perception.abilities import Abilities, Gaussian

_BLOCK_SIZE = 1 << 15  # numbers; the weights of a block stay in the cache

UNNAMED_CATEGORY = ""  # the category of prompts without one


@dataclass(frozen=True)
class Head:
    """Estimates latent positions: `g` of `Q^(z, M_i) = link(a_i . [1, g(phi(z))])`.

    `prototypes` are unit rows `(n_prototypes, d_compared)`: prompts are compared by the first
    `d_compared` features. `weights` `(n_estimators,)` sum to one, and are in the order of
    `estimators`. Averaging estimators shrinks positions too far; `gain` `(rank,)` undoes it, for
    difficulty and for differences between experts separately.
    """

    category_classifier: CategoryClassifier
    prototypes: Float32Array
    estimators: tuple[Estimator, ...]
    weights: Float32Array
    gain: Float32Array

    def prepare(self, features: Float32Array) -> EstimatorInputs:
        """Compute what all estimators use, from features `(batch, d)`."""
        compared = features[:, : self.prototypes.shape[1]]
        similarities = l2_normalize(compared) @ self.prototypes.T
        probabilities = self.category_classifier.probabilities(features)
        return EstimatorInputs(features, probabilities, similarities)

    def estimator_positions(self, inputs: EstimatorInputs) -> Float32Array:
        """Return the positions that each estimator predicts, `(n_estimators, batch, rank)`."""
        from_stacks: dict[int, FloatArray] = {}
        for stack in (self._stacked_kernels, self._stacked_regressions):
            from_stacks |= {} if stack is None else stack(inputs)
        estimates = [
            from_stacks[i] if i in from_stacks else estimator(inputs)
            for i, estimator in enumerate(self.estimators)
        ]
        return np.array(estimates) * self.gain

    @cached_property
    def _stacked_kernels(self) -> StackedKernels | None:
        """The kernel regressions, None if there are fewer than two on the same counts."""
        kernels = {
            i: one for i, one in enumerate(self.estimators) if isinstance(one, KernelRegression)
        }
        counts = [one.counts for one in kernels.values()]
        same = all(np.array_equal(one, counts[0]) for one in counts[1:])
        return StackedKernels(kernels) if len(kernels) > 1 and same else None

    @cached_property
    def _stacked_regressions(self) -> StackedRegressions | None:
        """The ridge regressions, None if there are fewer than two."""
        regressions = {
            i: one for i, one in enumerate(self.estimators) if isinstance(one, RidgeRegression)
        }
        return StackedRegressions(regressions) if len(regressions) > 1 else None


@dataclass(frozen=True)
class EstimatorInputs:
    """A batch of prompts as estimators use them.

    `features` `(batch, d)`, `category_probabilities` `(batch, n_categories)`, and `similarities`,
    the cosine to every prototype, `(batch, n_prototypes)`.
    """

    features: Float32Array
    category_probabilities: Float32Array
    similarities: Float32Array

    @cached_property
    def highest_similarities(self) -> Float32Array:
        """The cosine of each prompt to the nearest prototype, `(batch,)`."""
        return np.asarray(self.similarities.max(axis=1))

    @cached_property
    def relative_similarities(self) -> Float32Array:
        """The similarities minus the highest one of the prompt, `(batch, n_prototypes)`."""
        return np.asarray(self.similarities - self.highest_similarities[:, None])


@dataclass(frozen=True, slots=True)
class CategoryClassifier:
    """A softmax regression of categories on features.

    `names` are the categories, `slope` is `(d, n_categories)` and `intercept` `(n_categories,)`.
    """

    names: tuple[str, ...]
    slope: Float32Array
    intercept: Float32Array

    def probabilities(self, x: Float32Array) -> Float32Array:
        """Return the probability of each category, `(batch, n_categories)`."""
        return softmax((x @ self.slope + self.intercept).astype(np.float64)).astype(np.float32)

    def one_hot(self, labels: Sequence[str | None]) -> Float32Array:
        """Return known categories as rows `(batch, n_categories)`; None is the unnamed one."""
        columns = {name: i for i, name in enumerate(self.names)}
        identity = np.eye(len(self.names), dtype=np.float32)
        return identity[[columns[name or UNNAMED_CATEGORY] for name in labels]]


class Estimator(Protocol):
    """Predicts where prompts lie in the ability space."""

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Return positions `(batch, rank)`."""
        ...


@dataclass(frozen=True, slots=True)
class ZeroEstimator:
    """The middle of the space for every prompt: the best estimate where the others are noise."""

    rank: int

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Return zeros `(batch, rank)`."""
        return np.zeros((len(inputs.features), self.rank), np.float32)


@dataclass(frozen=True, slots=True)
class CategoryMeans:
    """The mean position of each category, `(n_categories, rank)`, weighted by its probability."""

    positions: Float32Array

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Return the mean over the categories, `(batch, rank)`."""
        return inputs.category_probabilities @ self.positions


@dataclass(frozen=True, slots=True)
class KernelRegression:
    """The mean position of similar training prompts, added to what the categories predict.

    Prototype `j` stands for `counts[j]` training prompts whose mean is `positions[j]`. Weights fall
    by a factor of e per `bandwidth` of cosine. Where few prompts are near, the estimate shrinks
    toward zero, as if `shrinkage` more prompts were there. With a `base`, `positions` are the
    residuals that remain after the estimate of `base` is subtracted.
    """

    positions: Float32Array
    counts: Float32Array
    bandwidth: float
    shrinkage: float
    base: CategoryMeans | None = None

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Return the weighted mean of the neighbors, `(batch, rank)`."""
        weights = np.exp(inputs.relative_similarities / self.bandwidth)
        squared_sums = (weights * weights) @ self.counts
        weights *= self.counts
        weight_sums = weights.sum(axis=1)
        sample_sizes = weight_sums * weight_sums / squared_sums  # Kish's effective sample size
        estimates = (weights @ self.positions) * (
            sample_sizes / (sample_sizes + self.shrinkage) / weight_sums
        )[:, None]
        return np.asarray(estimates if self.base is None else estimates + self.base(inputs))


class StackedKernels:
    """Several kernel regressions on the same prototypes, in one pass over the similarities."""

    def __init__(self, kernels: Mapping[int, KernelRegression]) -> None:
        self._kernels, members = kernels, list(kernels.values())
        self._counts = members[0].counts
        self._positions = np.array([one.positions for one in members])
        dtype = self._positions.dtype
        self._bandwidths = np.array([one.bandwidth for one in members], dtype)[:, None, None]
        self._shrinkages = np.array([one.shrinkage for one in members], dtype)[:, None]

    def __call__(self, inputs: EstimatorInputs) -> dict[int, FloatArray]:
        """Return the estimate of each kernel regression, `(batch, rank)`, by its position."""
        relative_similarities = inputs.relative_similarities
        batch, n_prototypes = relative_similarities.shape
        shape = (len(self._kernels), batch, self._positions.shape[2])
        estimates = np.empty(shape, self._positions.dtype)
        height = max(_BLOCK_SIZE // n_prototypes, 1)
        for start in range(0, batch, height):
            rows = slice(start, start + height)
            estimates[:, rows] = self._estimate(relative_similarities[rows])
        rows_by_kernel = zip(self._kernels.items(), estimates, strict=True)
        return {
            i: one if kernel.base is None else one + kernel.base(inputs)
            for (i, kernel), one in rows_by_kernel
        }

    def _estimate(self, relative_similarities: Float32Array) -> FloatArray:
        """Return the weighted means of the neighbors, `(n_kernels, rows, rank)`."""
        weights = relative_similarities / self._bandwidths
        np.exp(weights, out=weights)
        squared_sums = (weights * weights) @ self._counts
        weights *= self._counts
        weight_sums = np.add.reduce(weights, axis=2)
        sample_sizes = weight_sums * weight_sums / squared_sums  # Kish's effective sample size
        factors = sample_sizes / (sample_sizes + self._shrinkages) / weight_sums
        return np.asarray((weights @ self._positions) * factors[:, :, None])


@dataclass(frozen=True, slots=True)
class RidgeRegression:
    """A ridge regression on the features and on the category probabilities.

    `slope` is `(d, rank)`, `category_slope` `(n_categories, rank)`, `intercept` `(rank,)`.
    """

    slope: Float32Array
    category_slope: Float32Array
    intercept: Float32Array

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Return the prediction of the regression, `(batch, rank)`."""
        y = inputs.features @ self.slope + inputs.category_probabilities @ self.category_slope
        return np.asarray(y + self.intercept)


class StackedRegressions:
    """Several ridge regressions as a single one: a prompt is a short row, so calls take longest."""

    def __init__(self, regressions: Mapping[int, RidgeRegression]) -> None:
        members = list(regressions.values())
        self._indices, self._rank = tuple(regressions), len(members[0].intercept)
        self._stacked = RidgeRegression(
            *(
                np.concatenate([getattr(one, name) for one in members], axis=-1)
                for name in ("slope", "category_slope", "intercept")
            )
        )

    def __call__(self, inputs: EstimatorInputs) -> dict[int, FloatArray]:
        """Return the prediction of each regression, `(batch, rank)`, by its position."""
        y = self._stacked(inputs)
        predictions = y.reshape(len(y), len(self._indices), self._rank).swapaxes(0, 1)
        return dict(zip(self._indices, predictions, strict=True))


def mix_positions(
    estimator_positions: FloatArray, weights: Float32Array, disagreement_scale: float = 1.0
) -> LatentPositions:
    """Mix the positions that estimators predict, `(n_estimators, batch, rank)`, by weight."""
    mean_positions = _weighted_sum(weights, estimator_positions)
    batch, rank = mean_positions.shape
    positions = np.ones((batch, 1 + rank), mean_positions.dtype)
    positions[:, 1:] = mean_positions
    return LatentPositions(estimator_positions, weights, positions, disagreement_scale)


@dataclass(frozen=True, slots=True)
class LatentPositions:
    """The positions of a batch of prompts in the ability space.

    `estimator_positions` `(n_estimators, batch, rank)` are those that each estimator predicts,
    `weights` `(n_estimators,)` say how much it counts, and `positions` `(batch, 1 + rank)` are the
    mixture `[1, g]`. How far estimators disagree, times `disagreement_scale`, is how uncertain the
    mixture is.
    """

    estimator_positions: FloatArray
    weights: Float32Array
    positions: FloatArray
    disagreement_scale: float = 1.0

    @classmethod
    def certain(cls, positions: FloatArray) -> LatentPositions:
        """Return positions `(batch, 1 + rank)` about which all estimators agree."""
        return cls(positions[None, :, 1:], np.ones(1, np.float32), positions)

    def std(self, abilities: Abilities, columns: ColumnIndex = ALL_COLUMNS) -> FloatArray:
        """Return the standard deviations of linear predictions of some columns, `(batch, n)`.

        The uncertainty has two sources: how well an ability is known, and how far the estimators
        disagree about the prompt's position.
        """
        variances = abilities.variances(self.positions, columns)
        slopes = abilities.means[columns, 1:]
        height = max(_BLOCK_SIZE // max(len(self.weights) * len(slopes), 1), 1)
        for start in range(0, len(variances), height):
            rows = slice(start, start + height)
            variances[rows] += self._disagreement(rows, slopes)
        return np.asarray(np.sqrt(np.maximum(variances, 0, out=variances), out=variances))

    def _disagreement(self, rows: slice, slopes: FloatArray) -> FloatArray:
        """Return the variance of the estimators' predictions of some prompts, `(rows, n_experts)`.

        `slopes` `(n_experts, rank)` are the abilities without their first dimension.
        """
        deviations = self.estimator_positions[:, rows] - self.positions[rows, 1:]
        n_estimators, n_rows, rank = deviations.shape
        squares = deviations.reshape(-1, rank) @ slopes.T
        squares *= squares
        squares = squares.reshape(n_estimators, n_rows, len(slopes))
        return _weighted_sum(self._squared_scales, squares)

    def prior_std(self, prior: Gaussian) -> FloatArray:
        """Return the standard deviation `(batch,)` of the prediction for an unmeasured expert.

        The same two sources of uncertainty. The estimators are expected to disagree as much as they
        do about an ability that is drawn from `prior`.
        """
        second_moment = prior.covariance + np.outer(prior.mean, prior.mean)
        deviations = self.estimator_positions - self.positions[:, 1:]
        disagreement = _quadratic_form(deviations, second_moment[1:, 1:])
        ability_variances = _quadratic_form(self.positions, prior.covariance)
        variances = ability_variances + self._squared_scales @ disagreement
        return np.asarray(np.sqrt(np.maximum(variances, 0)))

    @property
    def _squared_scales(self) -> Float32Array:
        """What the squared deviation of each estimator is multiplied by, `(n_estimators,)`."""
        return np.asarray(self.weights * self.disagreement_scale**2, np.float32)


def _weighted_sum(weights: Float32Array, arrays: FloatArray) -> FloatArray:
    """Return the same as `np.tensordot(weights, arrays, 1)`, without its overhead."""
    flat_sum = weights @ arrays.reshape(len(weights), -1)
    return np.asarray(flat_sum.reshape(arrays.shape[1:]))


def _quadratic_form(rows: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return `row . form . row` of every row `(..., k)`, `(...)`."""
    return np.asarray(((rows @ matrix) * rows).sum(axis=-1))


def l2_normalize(x: Float32Array) -> Float32Array:
    """Scale rows to unit length; a row of zeros stays as it is."""
    norms = np.sqrt((x * x).sum(axis=1, keepdims=True))
    norms[norms == 0] = 1
    return np.asarray(x / norms, np.float32)


def softmax(logits: FloatArray) -> FloatArray:
    """Turn logits `(..., n)` into probabilities that sum to one."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
