"""The files that hold what a method predicted on a task; what is there is not run again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from tasks import Task

    from tryage.core.arrays import Float32Array


@dataclass(frozen=True)
class Prediction:
    """Predicted losses `(n_test, n_experts)`; costs in USD if the method forecasts them.

    `forecasts` is False if the losses only mark the choice; then nothing can be weighed against
    cost.
    """

    losses: Float32Array
    costs: Float32Array | None
    forecasts: bool
    fit_seconds: float


def has_prediction(folder: Path, task: Task) -> bool:
    """Tell whether a method, whose folder this is, was run on a task."""
    return (folder / f"{task.name}.json").exists()


def read_prediction(folder: Path, task: Task) -> Prediction:
    """Read what a method predicted on a task."""
    facts = read_facts(folder / f"{task.name}.json")
    with np.load(folder / f"{task.name}.npz", allow_pickle=False) as file:
        losses = np.asarray(1 - file["scores"], np.float32)
        costs = np.asarray(file["costs"], np.float32) if "costs" in file.files else None
    return Prediction(losses, costs, bool(facts["forecasts"]), float(facts["fit_seconds"]))


def write_prediction(folder: Path, task: Task, found: Prediction) -> None:
    """Write a prediction; the JSON, which says that it is there, comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"scores": 1 - found.losses}
    if found.costs is not None:
        arrays["costs"] = found.costs
    np.savez(folder / f"{task.name}.npz", **arrays)
    facts = {"forecasts": found.forecasts, "fit_seconds": found.fit_seconds}
    write_facts(folder / f"{task.name}.json", facts)


def read_facts(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    facts: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return facts


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write a JSON object; a stop leaves the old file or the new one."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(facts), "utf-8")
    partial.replace(path)
