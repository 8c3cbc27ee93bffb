"""Out-of-fold predictions of losses and costs on the sets with prices, kept in a folder.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/out_of_fold.py [--sets zeroeval ...] [--seeds 5]

Scripts call `out_of_fold`, which trains on the first call and reads the file afterwards.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # datasets.py

from datasets import load

from tryage.learning.evaluation.baselines import neighbor_means
from tryage.learning.evaluation.costs import known_costs, priced_experts
from tryage.learning.evaluation.splits import folds
from tryage.learning.evaluation.trained_router import CachingEncoder, make_routing_method
from tryage.perception.persistence import load_encoder
from tryage.scoring.qtable import QTable

if TYPE_CHECKING:
    from tryage.core.arrays import Float32Array, Float64Array, IndexArray
    from tryage.learning.evaluation.splits import RoutingMethod, Split

PRICED_SETS = (
    "coderouter_id",
    "bfcl_2024_08",
    "routerbench_subset",
    "paretobandit",
    "zoonk_tasks",
    "zeroeval",
)

FOLDER = Path("build/out_of_fold")

_ENCODER = Path(__file__).resolve().parents[2] / "shared/tryage/perception/bundled/encoder"

_N_FOLDS = 5

_NEIGHBORS = 20  # similar prompts whose mean cost is the forecast where the router has none


@dataclass(frozen=True)
class OutOfFoldTable:
    """Predictions of a router that has not seen the prompt, beside what was measured.

    The experts, `names`, are those with known costs. All tables are `(n_prompts, n_experts)`:
    `losses_predicted`, their std `std_predicted`, `costs_predicted` in USD; `losses_true` and
    `costs_true` are NaN where the answer was not measured, and predictions where the expert was not
    measured on any prompt of the other folds. `(n_prompts,)` are `prompts`, `groups`
    (equal for equal texts), `folds` (in which one the prompt was tested) and `categories` ("" if
    unknown).
    """

    names: tuple[str, ...]
    losses_predicted: Float32Array
    std_predicted: Float32Array
    costs_predicted: Float32Array
    losses_true: Float32Array
    costs_true: Float32Array
    prompts: tuple[str, ...]
    groups: IndexArray
    folds: IndexArray
    categories: tuple[str, ...]

    @property
    def measured(self) -> np.ndarray:
        """Which answers have a loss, a cost and a prediction, `(n_prompts, n_experts)`."""
        tables = (self.losses_true, self.costs_true, self.losses_predicted)
        return ~np.isnan(tables).any(axis=0)


def out_of_fold(name: str, seed: int = 0, folder: Path = FOLDER) -> OutOfFoldTable:
    """Return the predictions on one set: five folds, trained as `tryage evaluate` does.

    `name` is one of `PRICED_SETS`, `seed` that of the folds and of the training.
    """
    path = folder / (f"{name}.npz" if seed == 0 else f"{name}_seed{seed}.npz")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _save(path, _predict(load(name), seed))
    return _read(path)


def _predict(table: QTable, seed: int) -> OutOfFoldTable:
    encoder = CachingEncoder(load_encoder(_ENCODER))
    embeddings = encoder.encode(table.prompts)
    names = priced_experts(table)
    columns = np.flatnonzero(np.isin(table.experts, names))
    predicted = np.full((3, len(table), len(names)), np.nan, np.float32)
    fold_of_row = np.empty(len(table), np.intp)
    method = make_routing_method(encoder, seed)
    for fold, split in enumerate(folds(table.groups, _N_FOLDS, seed)):
        predicted[:, split[1]] = _predict_fold(table, embeddings, split, method)[:, :, columns]
        fold_of_row[split[1]] = fold
    losses, std, costs = predicted
    priced = table.select(names)
    return OutOfFoldTable(
        names=names,
        losses_predicted=losses,
        std_predicted=std,
        costs_predicted=costs,
        losses_true=priced.losses,
        costs_true=known_costs(priced).astype(np.float32),
        prompts=table.prompts,
        groups=table.groups,
        folds=fold_of_row,
        categories=tuple(category or "" for category in table.categories or [""] * len(table)),
    )


def _predict_fold(
    table: QTable, embeddings: Float32Array, split: Split, method: RoutingMethod
) -> Float64Array:
    """Return losses, std and costs of the test prompts, `(3, n_test, n_experts)`.

    They are NaN for experts without a measurement in the training part.
    """
    rows, test = split
    train, texts = table.take(rows), [table.prompts[row] for row in test]
    columns = np.flatnonzero(train.measured.any(axis=0))
    train = train.select([table.experts[column] for column in columns])
    found = method(train, embeddings[rows], texts, embeddings[test])
    cost_table = QTable(train.prompts, train.experts, known_costs(train))
    neighbors = neighbor_means(cost_table, embeddings[rows], embeddings[test], [_NEIGHBORS])[0]
    std = np.full_like(found.losses, np.nan) if found.std is None else found.std
    costs = neighbors if found.costs is None else found.costs
    predicted = np.full((3, len(test), len(table.experts)), np.nan)
    predicted[:, :, columns] = found.losses, std, np.where(np.isnan(costs), neighbors, costs)
    return predicted


def _save(path: Path, table: OutOfFoldTable) -> None:
    """Write the file whole or not at all: several scripts may start at once."""
    columns = {field.name: np.asarray(getattr(table, field.name)) for field in fields(table)}
    temporary = path.with_name(f"{path.stem}.part.npz")
    np.savez_compressed(temporary, **columns)
    temporary.replace(path)


def _read(path: Path) -> OutOfFoldTable:
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    texts = {name: tuple(columns[name].tolist()) for name in ("names", "prompts", "categories")}
    return OutOfFoldTable(**(columns | texts))


def main() -> None:
    """Predict the given sets with the given number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=PRICED_SETS, default=list(PRICED_SETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    for seed in range(arguments.seeds):
        for name in arguments.sets:
            table = out_of_fold(name, seed, arguments.folder)
            best = np.where(table.measured, table.losses_predicted, np.inf).argmin(axis=1)
            rows = np.flatnonzero(table.measured.any(axis=1))
            score = 1 - table.losses_true[rows, best[rows]].mean()
            print(f"{name}, seed {seed}: {table.losses_true.shape}, score {score:.4f}", flush=True)


if __name__ == "__main__":
    main()
