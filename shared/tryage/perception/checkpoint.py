"""Long training that can be stopped at any moment and goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

Arrays = Mapping[str, NDArray[Any]]


def fingerprint(*parts: object) -> str:
    """Name an input by its content: training on something else must not go on from here."""
    digest = blake2b(digest_size=12)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(str(part.shape).encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, default=str).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Keeps the arrays of finished stages in `folder`; without a folder it just computes."""

    folder: Path | None
    key: str
    bar: tqdm[Any]

    def stage(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return a stage's arrays, from disk if they were computed before."""
        self.bar.set_postfix_str(name)
        path = None if self.folder is None else self.folder / f"{name}-{self.key}.safetensors"
        arrays = _read(path) or compute()
        if path is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial)
            partial.replace(path)  # a killed process leaves a whole file or none
        self.bar.update()
        return arrays


@contextmanager
def checkpoints(
    folder: str | Path | None, key: str, stages: int, *, progress: bool
) -> Iterator[Checkpoint]:
    """Open a checkpoint with a progress bar over its stages."""
    with tqdm(total=stages, desc="training", unit="stage", disable=not progress) as bar:
        yield Checkpoint(None if folder is None else Path(folder), key, bar)


def _read(path: Path | None) -> Arrays | None:
    if path is None or not path.exists():
        return None
    try:
        arrays: Arrays = load_file(path)
    except SafetensorError:  # not ours, or cut by a full disk: compute it again
        path.unlink()
        return None
    return arrays
