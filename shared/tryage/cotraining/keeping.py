"""What a student goes on from after an interruption: one file, whole or as it was before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    import torch

    from tryage.scoring.likelihood import Model

COUNTS = ("tokens_seen", "steps", "updates")
_FILE = "student.safetensors"
_AVERAGES = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight


def called(folder: str | Path) -> str:
    """Return the name of a student in a folder."""
    return Path(folder).resolve().name


def write(
    folder: str | Path, network: Model, optimiser: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Write weights, averages and facts; a killed process leaves the file before or after."""
    from safetensors.torch import save_file

    arrays = {}
    for name, weight in network.named_parameters():
        arrays[f"weight.{name}"] = weight.detach().contiguous()
        for key in _AVERAGES if weight in optimiser.state else ():
            arrays[f"{key}.{name}"] = optimiser.state[weight][key].contiguous()
    path = Path(folder) / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(arrays, partial, metadata={"student": json.dumps(facts)})
    partial.replace(path)


def read(
    folder: str | Path, network: Model, optimiser: torch.optim.Optimizer, name: str
) -> dict[str, Any]:
    """Put weights and averages where they were; return the facts.

    Raises:
        PersistenceError: there is no such file, or it is damaged or of another student.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / _FILE
    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["student"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise PersistenceError(f"{path} is no state of a student: {error}") from error
    weights = dict(network.named_parameters())
    shapes = {f"weight.{key}": weight.shape for key, weight in weights.items()}
    if facts.get("name") != name or shapes != {
        key: array.shape for key, array in arrays.items() if key in shapes
    }:
        raise PersistenceError(
            f"{path} is of {facts.get('name')!r}, not of {name!r} in this shape: train elsewhere, "
            "or delete it."
        )
    with torch.no_grad():
        for key, weight in weights.items():
            weight.copy_(arrays[f"weight.{key}"])
            kept = {part: arrays.get(f"{part}.{key}") for part in _AVERAGES}
            optimiser.state.pop(weight, None)
            if None not in kept.values():
                optimiser.state[weight] = kept
    return facts
