"""Splits of a Q-table that never put the same prompt text on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.errors import QTableError

Rows: TypeAlias = NDArray[np.intp]
Split: TypeAlias = tuple[Rows, Rows]


@dataclass(frozen=True, slots=True)
class Settings:
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


def least_taught(groups: NDArray[np.intp], *n_folds: int) -> int:
    """Count the distinct prompts of the smallest training part, of folds within folds if more."""
    left = len(np.unique(groups))
    for parts in n_folds:
        left -= -(-left // parts)
    return left
