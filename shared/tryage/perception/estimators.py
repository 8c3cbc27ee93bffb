"""Three views of a prompt's place in the ability space: its category, its neighbours, a line.

None is best everywhere; `mixture.py` weighs them by what their decisions are worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.perception.base import Floats

Matrix = NDArray[np.floating[Any]]

RIDGES = tuple(np.geomspace(0.3, 3000, 14).tolist())


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch of prompts as estimators see them.

    `features` `(batch, d)`, `categories` as probabilities `(batch, n_categories)`, and `nearness`,
    the cosine to every prototype, `(batch, n_prototypes)`.
    """

    features: Floats
    categories: Floats
    nearness: Floats


class Estimator(Protocol):
    """Predicts where prompts lie in the ability space."""

    def __call__(self, seen: Seen) -> Floats:
        """Say the places, `(batch, rank)`."""
        ...


@dataclass(frozen=True, slots=True)
class Middle:
    """The middle of the space, whatever the prompt: what is left when all else is noise."""

    rank: int

    def __call__(self, seen: Seen) -> Floats:
        """Say zero."""
        return np.zeros((len(seen.features), self.rank), np.float32)


@dataclass(frozen=True, slots=True)
class CategoryTable:
    """The mean place of each category, `(n_categories, rank)`, mixed by how probable they are."""

    places: Floats

    def __call__(self, seen: Seen) -> Floats:
        """Mix the categories' places."""
        return seen.categories @ self.places


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The mean place of similar training prompts, added to what the categories say.

    Prototype `j` stands for `counts[j]` training prompts that lie at `places[j]`. Weights fall by e
    per `bandwidth` of cosine. Where few prompts are near, the estimate shrinks to the middle, as if
    `shrinkage` more prompts lay there.
    """

    places: Floats
    counts: Floats
    bandwidth: float
    shrinkage: float
    base: CategoryTable | None = None

    def __call__(self, seen: Seen) -> Floats:
        """Average the places of the neighbours."""
        nearest = seen.nearness.max(axis=1, keepdims=True)
        weights = np.exp((seen.nearness - nearest) / self.bandwidth)
        squares = (weights * weights) @ self.counts
        weights *= self.counts
        total = weights.sum(axis=1)
        prompts = total * total / squares  # Kish's effective sample size
        local = (weights @ self.places) * (prompts / (prompts + self.shrinkage) / total)[:, None]
        return np.asarray(local if self.base is None else local + self.base(seen))


@dataclass(frozen=True, slots=True)
class Line:
    """A ridge regression on the features and, scaled, on the category."""

    slope: Floats
    category_slope: Floats
    intercept: Floats

    def __call__(self, seen: Seen) -> Floats:
        """Follow the line."""
        line = seen.features @ self.slope + seen.categories @ self.category_slope
        return np.asarray(line + self.intercept)


def fit_table(places: Matrix, one_hot: Floats, shrinkage: float) -> CategoryTable:
    """Average the places `(n, rank)` per category, each as if seen `shrinkage` times at zero."""
    return CategoryTable(
        (one_hot.T @ places / (one_hot.sum(axis=0)[:, None] + shrinkage)).astype(np.float32)
    )


def fit_line(
    features: Floats,
    one_hot: Floats,
    places: Matrix,
    category_scale: float,
    ridges: Sequence[float] = RIDGES,
) -> Line:
    """Fit one ridge regression per dimension, its strength by generalised cross-validation.

    Source: Golub, Heath and Wahba (1979). Dimensions of which the features say nothing get the
    strongest ridge, and so predict the middle.
    """
    inputs = np.concatenate([features, category_scale * one_hot], axis=1).astype(np.float64)
    mean, middle = inputs.mean(axis=0), places.mean(axis=0)
    inner = inputs - mean
    size, basis = np.linalg.eigh(inner.T @ inner)
    size = np.maximum(size, 1e-9)
    target = basis.T @ (inner.T @ (places - middle))
    power = ((places - middle) ** 2).sum(axis=0)
    criteria = np.stack([_gcv(size, target, power, ridge, len(inputs)) for ridge in ridges])
    chosen = np.asarray(ridges)[criteria.argmin(axis=0)]
    slope = basis @ (target / (size[:, None] + chosen))
    width = features.shape[1]
    return Line(
        slope[:width].astype(np.float32),
        (category_scale * slope[width:]).astype(np.float32),
        (middle - mean @ slope).astype(np.float32),
    )


def _gcv(size: Matrix, target: Matrix, power: Matrix, ridge: float, n: int) -> Matrix:
    fitted = target / (size + ridge)[:, None]
    residual = power - 2 * (target * fitted).sum(axis=0) + (fitted**2 * size[:, None]).sum(axis=0)
    freedom = min(float((size / (size + ridge)).sum()) + 1, n - 1.0)
    return np.asarray(residual / n / (1 - freedom / n) ** 2)


def unit(x: Floats) -> Floats:
    """Scale rows to unit length; a row of zeros stays."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    length[length == 0] = 1
    return np.asarray(x / length, np.float32)
