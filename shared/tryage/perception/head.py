"""From features to places in the ability space: every estimator, then their mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array, FloatArray


@dataclass(frozen=True, slots=True)
class CategoryTable:
    """The mean place of each category, `(n_categories, rank)`, mixed by how probable they are."""

    places: Float32Array

    def __call__(self, seen: Seen) -> Float32Array:
        """Mix the categories' places."""
        return seen.categories @ self.places


@dataclass(frozen=True, slots=True)
class Line:
    """A ridge regression on the features and, scaled, on the category."""

    slope: Float32Array
    category_slope: Float32Array
    intercept: Float32Array

    def __call__(self, seen: Seen) -> Float32Array:
        """Follow the line."""
        line = seen.features @ self.slope + seen.categories @ self.category_slope
        return np.asarray(line + self.intercept)


@dataclass(frozen=True, slots=True)
class Middle:
    """The middle of the space, whatever the prompt: what is left when all else is noise."""

    rank: int

    def __call__(self, seen: Seen) -> Float32Array:
        """Say zero."""
        return np.zeros((len(seen.features), self.rank), np.float32)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The mean place of similar training prompts, added to what the categories say.

    Prototype `j` stands for `counts[j]` training prompts that lie at `places[j]`. Weights fall by e
    per `bandwidth` of cosine. Where few prompts are near, the estimate shrinks to the middle, as if
    `shrinkage` more prompts lay there.
    """

    places: Float32Array
    counts: Float32Array
    bandwidth: float
    shrinkage: float
    base: CategoryTable | None = None

    def __call__(self, seen: Seen) -> Float32Array:
        """Average the places of the neighbours."""
        nearest = seen.nearness.max(axis=1, keepdims=True)
        weights = np.exp((seen.nearness - nearest) / self.bandwidth)
        squares = (weights * weights) @ self.counts
        weights *= self.counts
        total = weights.sum(axis=1)
        prompts = total * total / squares  # Kish's effective sample size
        local = (weights @ self.places) * (prompts / (prompts + self.shrinkage) / total)[:, None]
        return np.asarray(local if self.base is None else local + self.base(seen))


KINDS: tuple[type[Estimator], ...] = (Middle, CategoryTable, Neighbourhood, Line)

UNNAMED = ""


@dataclass(frozen=True, slots=True)
class Head:
    """`g` of design.md.

    `prototypes` are unit rows `(n_prototypes, d)`. `weights` `(n_estimators,)` sum to one.
    `stretch` `(rank,)` undoes what averaging estimators shrinks too far, difficulty and differences
    between experts apart.
    """

    categories: Categories
    prototypes: Float32Array
    estimators: tuple[Estimator, ...]
    weights: Float32Array
    stretch: Float32Array

    def see(self, features: Float32Array) -> Seen:
        """Prepare what all estimators look at."""
        nearness = unit(features) @ self.prototypes.T
        return Seen(features, self.categories.probabilities(features), nearness)

    def views(self, seen: Seen) -> Float32Array:
        """Say where each estimator sees the prompts, `(n_estimators, batch, rank)`."""
        return np.array([estimator(seen) for estimator in self.estimators]) * self.stretch


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch of prompts as estimators see them.

    `features` `(batch, d)`, `categories` as probabilities `(batch, n_categories)`, and `nearness`,
    the cosine to every prototype, `(batch, n_prototypes)`.
    """

    features: Float32Array
    categories: Float32Array
    nearness: Float32Array


class Estimator(Protocol):
    """Predicts where prompts lie in the ability space."""

    def __call__(self, seen: Seen) -> Float32Array:
        """Say the places, `(batch, rank)`."""
        ...


def unit(x: Float32Array) -> Float32Array:
    """Scale rows to unit length; a row of zeros stays."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    length[length == 0] = 1
    return np.asarray(x / length, np.float32)


@dataclass(frozen=True, slots=True)
class Categories:
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
