"""Which category a prompt is of, as probabilities: a softmax regression on its features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.extras import require
from tryage.perception.mixture import softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.perception.base import Floats

UNNAMED = ""


@dataclass(frozen=True, slots=True)
class Categories:
    """`names` of the categories, `slope` `(d, n_categories)` and `intercept` `(n_categories,)`."""

    names: tuple[str, ...]
    slope: Floats
    intercept: Floats

    def probabilities(self, x: Floats) -> Floats:
        """Say how probable each category is, `(batch, n_categories)`."""
        return softmax((x @ self.slope + self.intercept).astype(np.float64)).astype(np.float32)

    def one_hot(self, labels: Sequence[str | None]) -> Floats:
        """Write known categories as rows `(batch, n_categories)`."""
        column = {name: i for i, name in enumerate(self.names)}
        return np.eye(len(self.names), dtype=np.float32)[
            [column[name or UNNAMED] for name in labels]
        ]


def fit_categories(
    x: Floats, labels: Sequence[str | None], names: tuple[str, ...], iterations: int = 60
) -> Categories:
    """Learn to tell categories apart; with a single one there is nothing to learn.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    present = sorted({name or UNNAMED for name in labels})
    slope = np.zeros((x.shape[1], len(names)), np.float32)
    intercept = np.full(len(names), -30.0, np.float32)  # as good as impossible: not in this part
    if len(present) == 1:
        intercept[names.index(present[0])] = 0.0
        return Categories(names, slope, intercept)
    require("sklearn", "evaluate")
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopped early on purpose
        model = LogisticRegression(C=10.0, max_iter=iterations, tol=1e-3)
        model.fit(x, [name or UNNAMED for name in labels])
    columns = [names.index(name) for name in model.classes_]
    if len(present) == 2:  # scikit-learn keeps one row for two classes
        slope[:, columns[1]], intercept[columns] = model.coef_[0], (0.0, model.intercept_[0])
    else:
        slope[:, columns], intercept[columns] = model.coef_.T, model.intercept_
    return Categories(names, slope, intercept)
