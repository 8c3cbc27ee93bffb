"""Folds of a Q-table that never share a prompt text, and the methods that predict on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from tryage.core.arrays import Float32Array, IndexArray
from tryage.errors import PerceptionError, QTableError

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array
    from tryage.learning.qtable import QTable

Split: TypeAlias = tuple[IndexArray, IndexArray]
"""Rows to train on, rows to test on."""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How an evaluation is run; the same config on the same table gives the same figures.

    There are `n_folds` test parts. The weight of cost is chosen by `inner_folds` within each
    training part: the cheapest one whose score there is at most `allowance` lower, which is all
    that parity allows. Intervals are from `draws` bootstrap samples.
    """

    n_folds: int = 5
    inner_folds: int = 4
    allowance: float = 0.005
    seed: int = 0
    draws: int = 2000


def folds(groups: IndexArray, n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Split rows `(n_prompts,)` into `n_folds` pairs (train, test); a group stays together.

    After one shuffle by `seed`, groups are dealt to the folds in turn, so that folds hold the same
    number of groups, plus or minus one, and every row is tested exactly once.

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


def min_train_size(groups: IndexArray, *n_folds: int) -> int:
    """Count the distinct prompts of the smallest training part, of nested folds if several."""
    left = len(np.unique(groups))
    for parts in n_folds:
        left -= -(-left // parts)
    return left


@dataclass(frozen=True, slots=True)
class MethodPrediction:
    """What a method predicts for unseen prompts, each `(n_test, n_experts)`; lower is better.

    `costs` are in USD per request; None leaves the forecast of costs to the caller.
    """

    losses: Float32Array
    std: Float32Array | None = None
    costs: Float32Array | None = None


class RoutingMethod(Protocol):
    """Learns from measured prompts and predicts unseen ones: the router under test, for example."""

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
    """Give a method only what a router has: no losses and no categories of the test prompts."""

    def run(fold: Fold) -> MethodPrediction:
        return method(fold.train, fold.train_embeddings, fold.test.prompts, fold.test_embeddings)

    return run


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Predicted losses and, if the method gives any, costs in USD; `(n_prompts, n_experts)`."""

    losses: Float64Array
    costs: Float64Array | None


def cross_val_predict(
    label: str, run: FoldMethod, table: QTable, embeddings: Float32Array, splits: Sequence[Split]
) -> OutOfFold:
    """Train on one side of every split and predict the other; `label` names the method in errors.

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
