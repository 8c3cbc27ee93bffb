"""From features to places in the ability space: every estimator, then their mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array, FloatArray


@dataclass(frozen=True, slots=True)
class CategoryMeans:
    """The mean place of each category, `(n_categories, rank)`, mixed by how probable they are."""

    positions: Float32Array

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Mix the categories' places."""
        return inputs.category_probabilities @ self.positions


@dataclass(frozen=True, slots=True)
class RidgeRegression:
    """A ridge regression on the features and, scaled, on the category."""

    slope: Float32Array
    category_slope: Float32Array
    intercept: Float32Array

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Follow the line."""
        line = inputs.features @ self.slope + inputs.category_probabilities @ self.category_slope
        return np.asarray(line + self.intercept)


@dataclass(frozen=True, slots=True)
class ZeroEstimator:
    """The middle of the space, whatever the prompt: what is left when all else is noise."""

    rank: int

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Say zero."""
        return np.zeros((len(inputs.features), self.rank), np.float32)


@dataclass(frozen=True, slots=True)
class KernelRegression:
    """The mean place of similar training prompts, added to what the categories say.

    Prototype `j` stands for `counts[j]` training prompts that lie at `places[j]`. Weights fall by e
    per `bandwidth` of cosine. Where few prompts are near, the estimate shrinks to the middle, as if
    `shrinkage` more prompts lay there.
    """

    positions: Float32Array
    counts: Float32Array
    bandwidth: float
    shrinkage: float
    base: CategoryMeans | None = None

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Average the places of the neighbours."""
        nearest = inputs.similarities.max(axis=1, keepdims=True)
        weights = np.exp((inputs.similarities - nearest) / self.bandwidth)
        squares = (weights * weights) @ self.counts
        weights *= self.counts
        total = weights.sum(axis=1)
        prompts = total * total / squares  # Kish's effective sample size
        local = (weights @ self.positions) * (prompts / (prompts + self.shrinkage) / total)[:, None]
        return np.asarray(local if self.base is None else local + self.base(inputs))


ESTIMATOR_TYPES: tuple[type[Estimator], ...] = (
    ZeroEstimator,
    CategoryMeans,
    KernelRegression,
    RidgeRegression,
)

UNNAMED = ""


@dataclass(frozen=True, slots=True)
class Head:
    """`g` of design.md.

    `prototypes` are unit rows `(n_prototypes, d)`. `weights` `(n_estimators,)` sum to one.
    `stretch` `(rank,)` undoes what averaging estimators shrinks too far, difficulty and differences
    between experts apart.
    """

    category_classifier: CategoryClassifier
    prototypes: Float32Array
    estimators: tuple[Estimator, ...]
    weights: Float32Array
    gain: Float32Array

    def prepare(self, features: Float32Array) -> EstimatorInputs:
        """Prepare what all estimators look at."""
        nearness = l2_normalize(features) @ self.prototypes.T
        return EstimatorInputs(features, self.category_classifier.probabilities(features), nearness)

    def estimator_positions(self, inputs: EstimatorInputs) -> Float32Array:
        """Say where each estimator sees the prompts, `(n_estimators, batch, rank)`."""
        return np.array([estimator(inputs) for estimator in self.estimators]) * self.gain


@dataclass(frozen=True, slots=True)
class EstimatorInputs:
    """A batch of prompts as estimators see them.

    `features` `(batch, d)`, `categories` as probabilities `(batch, n_categories)`, and `nearness`,
    the cosine to every prototype, `(batch, n_prototypes)`.
    """

    features: Float32Array
    category_probabilities: Float32Array
    similarities: Float32Array


class Estimator(Protocol):
    """Predicts where prompts lie in the ability space."""

    def __call__(self, inputs: EstimatorInputs) -> Float32Array:
        """Say the places, `(batch, rank)`."""
        ...


def l2_normalize(x: Float32Array) -> Float32Array:
    """Scale rows to unit length; a row of zeros stays."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    length[length == 0] = 1
    return np.asarray(x / length, np.float32)


@dataclass(frozen=True, slots=True)
class CategoryClassifier:
    """`names` of the categories, `slope` `(d, n_categories)` and `intercept` `(n_categories,)`."""

    names: tuple[str, ...]
    slope: Float32Array
    intercept: Float32Array

    def probabilities(self, x: Float32Array) -> Float32Array:
        """Say how probable each category is, `(batch, n_categories)`."""
        return softmax((x @ self.slope + self.intercept).astype(np.float64)).astype(np.float32)

    def one_hot(self, labels: Sequence[str | None]) -> Float32Array:
        """Write known categories as rows `(batch, n_categories)`."""
        column = {name: i for i, name in enumerate(self.names)}
        return np.eye(len(self.names), dtype=np.float32)[
            [column[name or UNNAMED] for name in labels]
        ]


def softmax(logits: FloatArray) -> FloatArray:
    """Turn logits `(..., n)` into chances that sum to one."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
