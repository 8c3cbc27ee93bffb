"""Out-of-fold predictions: every prompt is predicted by a model that did not see its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import PerceptionError
from tryage.evaluation.baselines import Embeddings, Fold, FoldMethod

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.evaluation.metrics import Floats
    from tryage.evaluation.splits import Split
    from tryage.qtable import QTable


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Predicted losses and, if the method gives any, costs in USD; `(n_prompts, n_experts)`."""

    losses: Floats
    costs: Floats | None


def out_of_fold(
    label: str, run: FoldMethod, table: QTable, embeddings: Embeddings, splits: Sequence[Split]
) -> OutOfFold:
    """Train on the one side of every split and predict the other.

    Raises:
        PerceptionError: the predictions have the wrong shape or are not finite.
    """
    losses = np.full(table.shape, np.nan)
    costs = np.full(table.shape, np.nan)
    priced = True
    for train, test in splits:
        fold = Fold(table.take(train), embeddings[train], table.take(test), embeddings[test])
        predicted = run(fold)
        losses[test] = _checked(label, "losses", predicted.losses, fold)
        if predicted.costs is None:
            priced = False
        else:
            costs[test] = _checked(label, "costs", predicted.costs, fold, finite=False)
    return OutOfFold(losses, costs if priced else None)


def _checked(
    label: str, what: str, matrix: Embeddings, fold: Fold, *, finite: bool = True
) -> Embeddings:
    expected = (len(fold.test), len(fold.train.experts))
    if matrix.shape != expected:
        raise PerceptionError(
            f"{label} predicts {what} of shape {matrix.shape}; expected {expected}: "
            "one row per test prompt, one column per expert of the training table"
        )
    if finite and not np.isfinite(matrix).all():
        raise PerceptionError(f"{label} predicts NaN or inf; give every expert a finite loss")
    return matrix
