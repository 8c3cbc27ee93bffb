"""Folds of metabench by model family: the perception of a fold has not seen the fold's families."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import DATA, load

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.metadata import model_family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tryage.perception.encoder import Encoder
    from tryage.perception.model import LearnedPerception
    from tryage.scoring.qtable import QTable

FOLDS = 5
SNAPSHOTS = ("hub_2024_09", "hub_2025_10")  # they hold a few of the models


@dataclass(frozen=True, slots=True)
class Fold:
    """A perception, and `unseen` models of families that it was not trained on.

    `losses` are those of the unseen models, `(n_prompts, n_unseen)`. `tests` marks the prompts that
    it was not trained on either.
    """

    perception: LearnedPerception
    known: Library
    known_losses: NDArray[np.float32]
    unseen: Library
    families: tuple[str, ...]
    prompts: tuple[str, ...]
    losses: NDArray[np.float32]
    tests: NDArray[np.bool_]


def folds(encoder: Encoder, seed: int = 0) -> Iterator[Fold]:
    """Train without some families, five times; a third of the prompts is only for tests."""
    table = load("metabench")
    folded: dict[str, str] = {}
    table = table.select([e for e in table.experts if folded.setdefault(e.casefold(), e) == e])
    library = facts(table)
    series = np.array([model_family(e.name, e.metadata)[0] for e in library])
    fold_of = assign_folds(series)
    tests = np.random.default_rng(seed).permutation(len(table)) % 3 == 0
    for number in range(FOLDS):
        unseen = fold_of == number
        known = library.subset(~unseen)
        train = table.select(list(known.names))
        perception = fit(
            train.take(~tests),
            encoder,
            config=FitConfig(tfidf_dim=96),
            library=known,
            progress=False,
        )
        yield Fold(
            perception,
            known,
            train.losses,
            library.subset(unseen),
            tuple(sorted(set(series[unseen].tolist()))),
            table.prompts,
            table.losses[:, unseen],
            tests,
        )


def assign_folds(series: NDArray[np.str_]) -> NDArray[np.intp]:
    """Assign whole series to folds, the largest first, each to the fold with the fewest models."""
    names, counts = np.unique(series, return_counts=True)
    sizes = np.zeros(FOLDS, np.intp)
    fold = {}
    for i in np.argsort(-counts, kind="stable"):
        fold[names[i]] = int(sizes.argmin())
        sizes[fold[names[i]]] += counts[i]
    return np.array([fold[name] for name in series])


def facts(table: QTable) -> Library:
    """Return facts about each model: size, architecture, and for a few date and downloads."""
    snapshots = _snapshots()
    rows = {row["model"]: row for row in _rows("metabench/models")}
    return Library(_expert(rows[name], snapshots.get(name, {})) for name in table.experts)


def _expert(row: dict[str, Any], known: dict[str, Any]) -> Expert:
    config = {} if row["arch"] == "error" else {"architectures": [row["arch"]]}
    size = row["size"] * 1e9 if row["size"] > 0 else None
    return Expert(row["model"], parameters=size, metadata={"hub": config}, **known)


def _snapshots() -> dict[str, dict[str, Any]]:
    """Read downloads and dates by model name."""
    found: dict[str, dict[str, Any]] = {}
    for snapshot in SNAPSHOTS:
        for row in _rows(f"hub_meta/{snapshot}"):
            known = found.setdefault(row["id"], {})
            if row.get("downloads") is not None:
                known["downloads"] = float(row["downloads"])
            if row.get("created_at") is not None:
                known["released"] = datetime.date.fromisoformat(str(row["created_at"])[:10])
    return found


def _rows(name: str) -> list[dict[str, Any]]:
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(DATA / f"{name}.parquet").to_pylist()
    return rows
