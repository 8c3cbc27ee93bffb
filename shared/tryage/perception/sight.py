"""Where the estimators see a batch of prompts, and how sure that leaves a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.perception.abilities import EVERY, Columns

if TYPE_CHECKING:
    from tryage.perception.abilities import Abilities, Gaussian
    from tryage.perception.base import Floats

Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Sight:
    """A batch of prompts in the ability space.

    `views` `(n_estimators, batch, rank)` are where each estimator sees them, `weights`
    `(n_estimators,)` how much it counts, `places` `(batch, 1 + rank)` their mixture `[1, g]`.
    """

    views: Matrix
    weights: Floats
    places: Matrix

    def judge(self, abilities: Abilities, doubted: Columns = EVERY) -> tuple[Matrix, Matrix]:
        """Return linear predictions `(batch, n_experts)` and the standard deviation of `doubted`.

        The doubt has two sources: how well an ability is known, and how far the estimators
        disagree on the prompt's place.
        """
        y = abilities.losses(self.places)
        means = abilities.means
        said = means[:, 0] + self.views @ means[:, 1:].T
        disagreement = _mixed(self.weights, (said - y) ** 2)
        doubt = abilities.variances(self.places, doubted) + disagreement[:, doubted]
        return y, np.sqrt(np.maximum(doubt, 0))

    def doubt(self, about: Gaussian) -> Matrix:
        """Return the standard deviation `(batch,)` of the prediction for a stranger.

        The same two sources; an ability that is not known is expected to make the estimators
        disagree as much as one drawn from what is believed `about` it.
        """
        square = about.covariance + np.outer(about.mean, about.mean)
        apart = self.views - self.places[:, 1:]
        disagreement = _squares(apart, square[1:, 1:])
        ability = _squares(self.places, about.covariance)
        return np.asarray(np.sqrt(np.maximum(ability + self.weights @ disagreement, 0)))


def look(views: Matrix, weights: Floats) -> Sight:
    """Mix what the estimators see, `(n_estimators, batch, rank)`, into places."""
    mixed = _mixed(weights, views)
    places = np.concatenate([np.ones((len(mixed), 1), mixed.dtype), mixed], axis=1)
    return Sight(views, weights, places)


def _squares(rows: Matrix, form: Matrix) -> Matrix:
    """Return `row . form . row` of every row `(..., k)`, `(...)`."""
    return np.asarray(((rows @ form) * rows).sum(axis=-1))


def _mixed(weights: Floats, views: Matrix) -> Matrix:
    """Do what `np.tensordot(weights, views, 1)` does, without what that has to find out first."""
    flat = weights @ views.reshape(len(weights), -1)
    return np.asarray(flat.reshape(views.shape[1:]))
