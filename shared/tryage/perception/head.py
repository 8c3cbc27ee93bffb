"""From features to places in the ability space: every estimator, then their mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.extras import require
from tryage.perception.categories import Categories, fit_categories
from tryage.perception.estimators import (
    CategoryTable,
    Estimator,
    Line,
    Matrix,
    Middle,
    Neighbourhood,
    Seen,
    fit_line,
    fit_table,
    unit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.perception.base import Floats

PROTOTYPES = 1_024  # beyond twice as many training prompts, neighbours are cluster centres
KINDS: tuple[type[Estimator], ...] = (Middle, CategoryTable, Neighbourhood, Line)


@dataclass(frozen=True, slots=True)
class Head:
    """`g` of design.md.

    `prototypes` are unit rows `(n_prototypes, d)`. `weights` `(n_estimators,)` sum to one.
    `stretch` `(rank,)` undoes what averaging estimators shrinks too far, difficulty and differences
    between experts apart.
    """

    categories: Categories
    prototypes: Floats
    estimators: tuple[Estimator, ...]
    weights: Floats
    stretch: Floats

    def see(self, features: Floats) -> Seen:
        """Prepare what all estimators look at."""
        nearness = unit(features) @ self.prototypes.T
        return Seen(features, self.categories.probabilities(features), nearness)

    def views(self, seen: Seen) -> Floats:
        """Say where each estimator sees the prompts, `(n_estimators, batch, rank)`."""
        return np.array([estimator(seen) for estimator in self.estimators]) * self.stretch


def fit_head(
    x: Floats, labels: Sequence[str], names: tuple[str, ...], places: Matrix, seed: int
) -> Head:
    """Fit every estimator on prompts `x` `(n, d)` whose `places` `(n, rank)` are known.

    The weights are equal yet: they are learned on prompts that the estimators have not seen.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    categories = fit_categories(x, labels, names)
    one_hot = categories.one_hot(labels)
    table = fit_table(places, one_hot, shrinkage=10.0)
    prototypes, nearest = _prototypes(x, seed)
    counts = np.bincount(nearest, minlength=len(prototypes)).astype(np.float32)
    near = _means(places, nearest, counts)
    beyond = _means(places - one_hot @ table.places, nearest, counts)
    estimators: tuple[Estimator, ...] = (
        Middle(places.shape[1]),
        table,
        Neighbourhood(near, counts, bandwidth=0.03, shrinkage=2.0),
        Neighbourhood(near, counts, bandwidth=0.08, shrinkage=2.0),
        Neighbourhood(beyond, counts, bandwidth=0.05, shrinkage=40.0, base=table),
        fit_line(x, one_hot, places, category_scale=2.0),
        fit_line(x, one_hot, places, category_scale=0.0),
    )
    equal = np.full(len(estimators), 1 / len(estimators), np.float32)
    return Head(categories, prototypes, estimators, equal, np.ones(places.shape[1], np.float32))


def _prototypes(x: Floats, seed: int) -> tuple[Floats, NDArray[np.intp]]:
    """Return prototypes `(k, d)` and, for every prompt, which one stands for it, `(n,)`."""
    rows = unit(x)
    if len(rows) <= 2 * PROTOTYPES:
        return rows, np.arange(len(rows))
    require("sklearn", "evaluate")
    from sklearn.cluster import MiniBatchKMeans

    clusters = MiniBatchKMeans(
        PROTOTYPES, init="random", n_init=1, max_iter=10, batch_size=4096, random_state=seed
    ).fit(rows)
    used, nearest = np.unique(clusters.labels_, return_inverse=True)
    return unit(clusters.cluster_centers_[used].astype(np.float32)), nearest


def _means(places: Matrix, nearest: NDArray[np.intp], counts: Floats) -> Floats:
    sums = np.zeros((len(counts), places.shape[1]))
    np.add.at(sums, nearest, places)
    return np.asarray(sums / counts[:, None], np.float32)
