"""What a pretrained router knows of a prompt, as features of a router that learns other outcomes.

A small table of outcomes says little about what makes prompts differ. A router that learned from
many says where a prompt lies in its ability space, and of which of its categories it is: feature
transfer (Yosinski et al., 2014, "How transferable are features in deep neural networks?").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.head import (
    CategoryMeans,
    Estimator,
    Head,
    RidgeRegression,
    ZeroEstimator,
    softmax,
)

if TYPE_CHECKING:
    from tryage.core.arrays import Float32Array, IndexArray

# An embedding has length 1. What is known of a prompt has less, so that similar prompts stay those
# of similar embeddings and words; a regression of its own reads it at full weight.
POSITION_LENGTH = 0.3
_PROBABILITY_SCALE = 0.3


@dataclass(frozen=True, slots=True)
class PretrainedFeatures:
    """The positions of prompts in the ability space of a pretrained router, and their categories.

    Both are read off features `(batch, d)` of the prompts. `category_slope` `(d, n_categories)` and
    `category_intercept` `(n_categories,)` are those of a softmax regression. `slope` `(d, rank)`,
    `probability_slope` `(n_categories, rank)` and `intercept` `(rank,)` give the positions.
    """

    category_slope: Float32Array
    category_intercept: Float32Array
    slope: Float32Array
    probability_slope: Float32Array
    intercept: Float32Array

    @property
    def input_width(self) -> int:
        """The number of features that are read."""
        return len(self.slope)

    @property
    def width(self) -> int:
        """The number of features that are returned."""
        return len(self.intercept) + len(self.category_intercept)

    def transform(self, x: Float32Array) -> Float32Array:
        """Return features `(batch, rank + n_categories)` from features `(batch, d)`."""
        probabilities = softmax(x @ self.category_slope + self.category_intercept)
        positions = x @ self.slope + probabilities @ self.probability_slope + self.intercept
        blocks = positions, _PROBABILITY_SCALE * probabilities
        return np.concatenate(blocks, axis=1, dtype=np.float32)

    def scaled(self, scale: float) -> PretrainedFeatures:
        """Return features whose positions are multiplied by `scale`."""
        positions = (self.slope, self.probability_slope, self.intercept)
        scaled = (np.asarray(scale * array, np.float32) for array in positions)
        return PretrainedFeatures(self.category_slope, self.category_intercept, *scaled)


def pretrained_features(head: Head, ignored: IndexArray) -> PretrainedFeatures:
    """Return what a head knows of a prompt without reading the features `ignored`.

    Positions are the mean of its linear estimators, by their weights. What similar prompts say is
    left out: it counts little in a router of many prompts, and takes most of the time.
    """
    lines = [_as_regression(estimator, head) for estimator in head.estimators]
    pairs = zip(head.weights.tolist(), lines, strict=True)
    parts = [(weight, line) for weight, line in pairs if line is not None]
    share = head.gain / np.float32(sum(weight for weight, _ in parts) or 1.0)
    slope, probability_slope, intercept = (
        np.asarray(sum(weight * getattr(line, name) for weight, line in parts) * share, np.float32)
        for name in ("slope", "category_slope", "intercept")
    )
    classifier = head.category_classifier
    category_slope = classifier.slope.copy()
    slope[ignored] = category_slope[ignored] = 0
    return PretrainedFeatures(
        category_slope, classifier.intercept, slope, probability_slope, intercept
    )


def _as_regression(estimator: Estimator, head: Head) -> RidgeRegression | None:
    """Return a linear estimator as a regression, None for one that is not linear."""
    n_features, n_categories = head.category_classifier.slope.shape
    rank = len(head.gain)
    slope, probability_slope = (np.zeros((n, rank), np.float32) for n in (n_features, n_categories))
    intercept = np.zeros(rank, np.float32)
    if isinstance(estimator, ZeroEstimator):
        return RidgeRegression(slope, probability_slope, intercept)
    if isinstance(estimator, CategoryMeans):
        return RidgeRegression(slope, estimator.positions, intercept)
    return estimator if isinstance(estimator, RidgeRegression) else None
