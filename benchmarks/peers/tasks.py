"""What is measured: splits of outcome sets, and the files of a split that a peer gets to see.

A task is one set with one seed: the seed draws five folds by prompt text, the first is tested and
the others are for training. An inner task is a fold within that training part; on inner tasks the
weight of cost is chosen. No losses of tested prompts are in the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tryage.learning.evaluation.baselines import expert_means, is_rarely_measured
from tryage.learning.evaluation.splits import Fold, folds

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, IndexArray
    from tryage.scoring.qtable import QTable

N_FOLDS, INNER_FOLDS = 5, 4


@dataclass(frozen=True)
class OutcomeSet:
    """A set with its table and the common embeddings `(n_prompts, 384)`, experts best first."""

    name: str
    table: QTable
    embeddings: Float32Array

    @classmethod
    def arrange(cls, name: str, table: QTable, embeddings: Float32Array) -> OutcomeSet:
        """Leave out prompts without an outcome, and list the experts best first.

        The order is by mean loss, those that were measured rarely last; it is a courtesy to peers
        that take the first of several experts that are equally good.
        """
        rows = np.flatnonzero(table.measured.any(axis=1))
        ranking = expert_means(table) + 10.0 * is_rarely_measured(table)
        order = [table.experts[i] for i in ranking.argsort(kind="stable")]
        return cls(name, table.take(rows).select(order), embeddings[rows])


@dataclass(frozen=True)
class Task:
    """One split: `train` and `test` are rows of the table of the set."""

    outcomes: OutcomeSet
    seed: int
    inner: int | None = None

    @property
    def name(self) -> str:
        """The name of its folder, and of the results about it."""
        suffix = "" if self.inner is None else f"-inner{self.inner}"
        return f"{self.outcomes.name}-{self.seed}{suffix}"

    @cached_property
    def rows(self) -> tuple[IndexArray, IndexArray]:
        """The rows to train on, and the rows to test on."""
        groups = self.outcomes.table.groups
        train, test = folds(groups, N_FOLDS, self.seed)[0]
        if self.inner is None:
            return train, test
        inner_train, inner_test = folds(groups[train], INNER_FOLDS, self.seed + 1)[self.inner]
        return train[inner_train], train[inner_test]

    @property
    def fold(self) -> Fold:
        """The split as the methods of Tryage's evaluation take it."""
        (train, test), table = self.rows, self.outcomes.table
        embeddings = self.outcomes.embeddings
        return Fold(table.take(train), embeddings[train], table.take(test), embeddings[test])

    def inner_tasks(self) -> list[Task]:
        """Return the folds within the training part."""
        return [Task(self.outcomes, self.seed, inner) for inner in range(INNER_FOLDS)]


def write_task(task: Task, folder: Path) -> Path:
    """Write the files of a task into `folder / task.name`, unless they are there; return it."""
    path = folder / task.name
    if (path / "test.npz").exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    fold = task.fold
    train = {
        "prompts": list(fold.train.prompts),
        "experts": list(fold.train.experts),
        "categories": fold.train.categories and [str(c) for c in fold.train.categories],
        "seed": task.seed,
    }
    arrays: dict[str, NDArray[np.float32]] = {
        "embeddings": fold.train_embeddings,
        "scores": 1 - fold.train.losses,
    }
    if fold.train.costs is not None:
        arrays["costs"] = fold.train.costs
    (path / "train.json").write_text(json.dumps(train), "utf-8")
    (path / "test.json").write_text(json.dumps({"prompts": list(fold.test.prompts)}), "utf-8")
    np.savez(path / "train.npz", **arrays)
    np.savez(path / "test.npz", embeddings=fold.test_embeddings)
    return path
