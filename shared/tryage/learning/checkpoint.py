"""Long training that can be stopped at any moment and goes on where it was."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    import torch

    from tryage.learning.scoring.language_model import Model

ArrayMapping = Mapping[str, NDArray[Any]]

COUNTERS = ("tokens_seen", "steps", "updates")

_STUDENT_FILE = "student.safetensors"

_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight

T = TypeVar("T")


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
class StageCheckpoint:
    """Keeps the arrays of finished stages in `folder`; without a folder it just computes."""

    folder: Path | None
    key: str
    progress_bar: tqdm[Any]

    def load_or_compute(self, name: str, compute: Callable[[], ArrayMapping]) -> ArrayMapping:
        """Return a stage's arrays, from disk if they were computed before."""
        self.progress_bar.set_postfix_str(name)
        path = None if self.folder is None else self.folder / f"{name}-{self.key}.safetensors"
        arrays = _load_arrays(path) or compute()
        if path is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial)
            partial.replace(path)  # a killed process leaves a whole file or none
        self.progress_bar.update()
        return arrays


@contextmanager
def open_stage_checkpoint(
    folder: str | Path | None, key: str, n_stages: int, *, progress: bool
) -> Iterator[StageCheckpoint]:
    """Open a checkpoint with a progress bar over its stages."""
    with tqdm(total=n_stages, desc="training", unit="stage", disable=not progress) as bar:
        yield StageCheckpoint(None if folder is None else Path(folder), key, bar)


def _load_arrays(path: Path | None) -> ArrayMapping | None:
    if path is None or not path.exists():
        return None
    try:
        arrays: ArrayMapping = load_file(path)
    except SafetensorError:  # not ours, or cut by a full disk: compute it again
        path.unlink()
        return None
    return arrays


@contextmanager
def graceful_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C into a call of `stop`, the second into an interrupt at once.

    Outside the main thread, where Python delivers no signals, it does nothing.

    Raises:
        KeyboardInterrupt: when the block ends after a Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handler = (
        signal.getsignal(signal.SIGINT) or signal.SIG_DFL
    )  # None if not set from Python
    interrupted = threading.Event()

    def handler(*_: object) -> None:
        signal.signal(signal.SIGINT, previous_handler)
        interrupted.set()
        stop()

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
    if interrupted.is_set():
        raise KeyboardInterrupt


def student_name(folder: str | Path) -> str:
    """Return the name of a student in a folder."""
    return Path(folder).resolve().name


def save_student_state(
    folder: str | Path, network: Model, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Write weights, averages and facts; a killed process leaves the file before or after."""
    from safetensors.torch import save_file

    arrays = {}
    for name, weight in network.named_parameters():
        arrays[f"weight.{name}"] = weight.detach().contiguous()
        for key in _ADAM_STATE if weight in optimizer.state else ():
            arrays[f"{key}.{name}"] = optimizer.state[weight][key].contiguous()
    path = Path(folder) / _STUDENT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(arrays, partial, metadata={"student": json.dumps(facts)})
    partial.replace(path)


def load_student_state(
    folder: str | Path, network: Model, optimizer: torch.optim.Optimizer, name: str
) -> dict[str, Any]:
    """Put weights and averages where they were; return the facts.

    Raises:
        PersistenceError: there is no such file, or it is damaged or of another student.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / _STUDENT_FILE
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
            kept = {part: arrays.get(f"{part}.{key}") for part in _ADAM_STATE}
            optimizer.state.pop(weight, None)
            if None not in kept.values():
                optimizer.state[weight] = kept
    return facts


def save_keyed_json(path: Path, key: str, name: str, value: Any) -> None:  # noqa: ANN401 - what JSON holds
    """Write one fact, and the key of the work that it belongs to."""
    path.write_text(json.dumps({"key": key, name: value}) + "\n", "utf-8")


def load_keyed_json(path: Path, key: str, name: str, parse: Callable[[Any], T], mismatch: str) -> T:
    """Return what is `made` of the fact in a note with this key.

    Raises:
        PersistenceError: it is damaged, or has another key; `otherwise` says what is there then.
    """
    try:
        note = json.loads(path.read_text("utf-8"))
        same, value = note["key"] == key, parse(note[name])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise PersistenceError(f"{path.parent} is damaged: delete it. {error}") from error
    if not same:
        raise PersistenceError(f"{path.parent} holds {mismatch}: delete it, or train elsewhere.")
    return value
