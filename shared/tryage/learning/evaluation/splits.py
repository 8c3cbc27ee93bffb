"""Splits of a Q-table that never put the same prompt text on both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from tryage.core.arrays import Float32Array, IndexArray
from tryage.errors import PerceptionError, QTableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import Float64Array
    from tryage.learning.qtable import QTable

Split: TypeAlias = tuple[IndexArray, IndexArray]


@dataclass(frozen=True, slots=True)
class MethodPrediction:
    """What a method says about unseen prompts, each `(n_test, n_experts)`; lower is better."""

    losses: Float32Array
    std: Float32Array | None = None
    costs: Float32Array | None = None  # USD of the request; None = the caller forecasts


class RoutingMethod(Protocol):
    """Learn from measured prompts, predict unseen ones: the router under test, or a baseline."""

    def __call__(
        self,
        train: QTable,
        train_embeddings: Float32Array,
        test_prompts: Sequence[str],
        test_embeddings: Float32Array,
    ) -> MethodPrediction:
        """Predict losses `(n_test, n_experts)` in the order of `train.experts`."""
        ...


@dataclass(frozen=True, slots=True)
class Fold:
    """One split of a table with the embeddings `(n, dim)` of both sides."""

    train: QTable
    train_embeddings: Float32Array
    test: QTable
    test_embeddings: Float32Array


FoldMethod: TypeAlias = Callable[[Fold], MethodPrediction]


def hide_labels(method: RoutingMethod) -> FoldMethod:
    """Let a method see of a fold what a router would see: no losses, no categories of the test."""

    def run(fold: Fold) -> MethodPrediction:
        return method(fold.train, fold.train_embeddings, fold.test.prompts, fold.test_embeddings)

    return run


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How an evaluation is run; the same settings on the same table give the same figures.

    `n_folds` test parts; `inner_folds` within each training part to choose the weight of cost,
    the cheapest that loses at most `allowance` of score there, which is all that parity allows;
    `draws` bootstrap samples.
    """

    n_folds: int = 5
    inner_folds: int = 4
    allowance: float = 0.005
    seed: int = 0
    draws: int = 2000


def folds(groups: NDArray[np.intp], n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Split rows `(n_prompts,)` into `n_folds` pairs (train, test); a group stays together.

    Groups are dealt out like cards after one shuffle by `seed`, so folds hold the same number of
    groups, give or take one, and every row is tested exactly once.

    Raises:
        QTableError: there are fewer groups than folds, or fewer than two folds.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    if not 2 <= n_folds <= len(names):
        raise QTableError(
            f"{n_folds} folds over {len(names)} distinct prompts; "
            "give at least 2 folds and no more folds than distinct prompts"
        )
    fold_of_group = np.empty(len(names), dtype=np.intp)
    fold_of_group[np.random.default_rng(seed).permutation(len(names))] = (
        np.arange(len(names)) % n_folds
    )
    fold_of_row = fold_of_group[group_of]
    return [
        (np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold))
        for fold in range(n_folds)
    ]


def min_train_size(groups: NDArray[np.intp], *n_folds: int) -> int:
    """Count the distinct prompts of the smallest training part, of folds within folds if more."""
    left = len(np.unique(groups))
    for parts in n_folds:
        left -= -(-left // parts)
    return left


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Predicted losses and, if the method gives any, costs in USD; `(n_prompts, n_experts)`."""

    losses: Float64Array
    costs: Float64Array | None


def cross_val_predict(
    label: str, run: FoldMethod, table: QTable, embeddings: Float32Array, splits: Sequence[Split]
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
        losses[test] = _validate_prediction(label, "losses", predicted.losses, fold)
        if predicted.costs is None:
            priced = False
        else:
            costs[test] = _validate_prediction(label, "costs", predicted.costs, fold, finite=False)
    return OutOfFold(losses, costs if priced else None)


def _validate_prediction(
    label: str, what: str, matrix: Float32Array, fold: Fold, *, finite: bool = True
) -> Float32Array:
    expected = (len(fold.test), len(fold.train.experts))
    if matrix.shape != expected:
        raise PerceptionError(
            f"{label} predicts {what} of shape {matrix.shape}; expected {expected}: "
            "one row per test prompt, one column per expert of the training table"
        )
    if finite and not np.isfinite(matrix).all():
        raise PerceptionError(f"{label} predicts NaN or inf; give every expert a finite loss")
    return matrix
