"""Folds of a Q-table that never share a prompt text, and the methods that predict on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from tryage.core.arrays import Float32Array, IndexArray
from tryage.core.validation import check_integer, check_number
from tryage.errors import PerceptionError, QTableError

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array
    from tryage.scoring.qtable import QTable

Split: TypeAlias = tuple[IndexArray, IndexArray]
"""Rows to train on, rows to test on."""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How an evaluation is run; the same config on the same table gives the same figures.

    There are `n_folds` test parts. The weight of cost is chosen by `inner_folds` within each
    training part: the cheapest one whose score there is at most `allowance` below the best single
    expert's, which is also the limit of parity. Intervals are from `draws` bootstrap samples.

    Raises:
        InputError: a number is out of range.
    """

    n_folds: int = 5
    inner_folds: int = 4
    allowance: float = 0.005
    seed: int = 0
    draws: int = 2000

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        lowest = {"n_folds": 2, "inner_folds": 2, "seed": 0, "draws": 1}
        for name, low in lowest.items():
            check_integer(name, getattr(self, name), low)
        check_number("allowance", self.allowance)


def folds(groups: IndexArray, n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Split rows `(n_prompts,)` into `n_folds` pairs (train, test); a group stays together.

    After one shuffle by `seed`, groups are assigned to the folds in turn. So folds hold the same
    number of groups, plus or minus one, and every row is tested exactly once.

    Raises:
        QTableError: there are fewer groups than folds, or fewer than two folds.
    """
    unique_groups, group_index = np.unique(groups, return_inverse=True)
    if not 2 <= n_folds <= len(unique_groups):
        raise QTableError(
            f"{n_folds} folds over {len(unique_groups)} distinct prompts; "
            "give at least 2 folds and no more folds than distinct prompts"
        )
    fold_of_group = np.empty(len(unique_groups), dtype=np.intp)
    fold_of_group[np.random.default_rng(seed).permutation(len(unique_groups))] = (
        np.arange(len(unique_groups)) % n_folds
    )
    fold_of_row = fold_of_group[group_index]
    return [
        (np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold))
        for fold in range(n_folds)
    ]


def min_train_size(groups: IndexArray, *n_folds: int) -> int:
    """Count the distinct prompts of the smallest training part; several `n_folds` are nested."""
    n_groups = len(np.unique(groups))
    for n in n_folds:
        n_groups -= -(-n_groups // n)
    return n_groups


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
    """Wrap a method so that it sees no losses and no categories of the test prompts."""

    def predict(fold: Fold) -> MethodPrediction:
        return method(fold.train, fold.train_embeddings, fold.test.prompts, fold.test_embeddings)

    return predict


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Predicted losses and, if the method predicts them, costs in USD; `(n_prompts, n_experts)`."""

    losses: Float64Array
    costs: Float64Array | None


def cross_val_predict(
    label: str, method: FoldMethod, table: QTable, embeddings: Float32Array, splits: Sequence[Split]
) -> OutOfFold:
    """Train on one side of every split and predict the other; `label` names the method in errors.

    Raises:
        PerceptionError: the predictions have the wrong shape or are not finite.
    """
    losses = np.full(table.shape, np.nan)
    costs = np.full(table.shape, np.nan)
    has_costs = True
    for train, test in splits:
        fold = Fold(table.take(train), embeddings[train], table.take(test), embeddings[test])
        prediction = method(fold)
        losses[test] = _validate_prediction(label, "losses", prediction.losses, fold)
        if prediction.costs is None:
            has_costs = False
        else:
            costs[test] = _validate_prediction(
                label, "costs", prediction.costs, fold, require_finite=False
            )
    return OutOfFold(losses, costs if has_costs else None)


def _validate_prediction(
    label: str, quantity: str, matrix: Float32Array, fold: Fold, *, require_finite: bool = True
) -> Float32Array:
    expected_shape = (len(fold.test), len(fold.train.experts))
    if matrix.shape != expected_shape:
        raise PerceptionError(
            f"{label} predicts {quantity} of shape {matrix.shape}; expected {expected_shape}: "
            "one row per test prompt, one column per expert of the training table"
        )
    if require_finite and not np.isfinite(matrix).all():
        raise PerceptionError(f"{label} predicts NaN or inf; give every expert a finite loss")
    return matrix
