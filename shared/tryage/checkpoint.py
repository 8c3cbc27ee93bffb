"""State that survives a stop: finished stages, a student in training, JSON values; and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
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
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from tryage.errors import PersistenceError
from tryage.files import replace_file, write_text

if TYPE_CHECKING:
    import torch

ArrayMapping = Mapping[str, NDArray[Any]]

T = TypeVar("T")

_STUDENT_FILE = "student.safetensors"

_ERRNO = re.compile(r"(?:\(os error |Os \{ code: )(\d+)")  # safetensors 0.8, and 0.4

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")  # what AdamW stores for each weight


@contextmanager
def open_stage_checkpoint(
    folder: str | Path | None, key: str, n_stages: int, *, progress: bool
) -> Iterator[StageCheckpoint]:
    """Open a checkpoint with a progress bar over its stages."""
    with tqdm(total=n_stages, desc="training", unit="stage", disable=not progress) as bar:
        yield StageCheckpoint(None if folder is None else Path(folder), key, bar)


@dataclass(frozen=True, slots=True)
class StageCheckpoint:
    """Keeps the arrays of finished stages in `folder`; without a folder it only computes them.

    `key` is the fingerprint of the inputs.
    """

    folder: Path | None
    key: str
    progress_bar: tqdm[Any]

    def load_or_compute(self, name: str, compute: Callable[[], ArrayMapping]) -> ArrayMapping:
        """Return the arrays of a stage, from disk if they were computed before."""
        self.progress_bar.set_postfix_str(name)
        path = None if self.folder is None else self.folder / f"{name}-{self.key}.safetensors"
        arrays = _load_arrays(path) or compute()
        if path is not None and not path.exists():
            with replace_tensor_file(path) as partial_path:
                save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial_path)
        self.progress_bar.update()
        return arrays


@contextmanager
def replace_tensor_file(path: Path) -> Iterator[Path]:
    """Do what `replace_file` does for what safetensors writes, which has an error of its own.

    Raises:
        FileWriteError: as in `replace_file`.
    """
    with replace_file(path) as partial_path:
        try:
            yield partial_path
        except SafetensorError as error:
            number = _ERRNO.search(str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def fingerprint(*parts: object) -> str:
    """Return a key of the inputs' content: a checkpoint of other inputs has another key."""
    digest = blake2b(digest_size=12)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(str(part.shape).encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, default=str).encode())
    return digest.hexdigest()


def save_student_state(
    folder: str | Path,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    metadata: dict[str, Any],
) -> None:
    """Write the weights, AdamW's averages and metadata (JSON, with the `name` of the student).

    A killed process leaves the file as it was before, or the whole new one.
    """
    from safetensors.torch import save_file

    arrays = {}
    for name, weight in network.named_parameters():
        arrays[f"weight.{name}"] = weight.detach().contiguous()
        for moment in ADAM_STATE if weight in optimizer.state else ():
            arrays[f"{moment}.{name}"] = optimizer.state[weight][moment].contiguous()
    with replace_tensor_file(Path(folder) / _STUDENT_FILE) as partial_path:
        save_file(arrays, partial_path, metadata={"student": json.dumps(metadata)})


def load_student_state(
    folder: str | Path, network: torch.nn.Module, optimizer: torch.optim.Optimizer, name: str
) -> dict[str, Any]:
    """Restore the weights and AdamW's averages of a student in place, and return the metadata.

    Raises:
        PersistenceError: the file is missing or damaged, or belongs to another student.
    """
    import torch

    path = Path(folder) / _STUDENT_FILE
    metadata, arrays = _read_student_file(path)
    weights = dict(network.named_parameters())
    if metadata.get("name") != name or any(
        f"weight.{key}" not in arrays or arrays[f"weight.{key}"].shape != weight.shape
        for key, weight in weights.items()
    ):
        raise PersistenceError(
            f"{path} is of {metadata.get('name')!r}, not of {name!r} in this shape: train "
            "elsewhere, or delete it."
        )
    with torch.no_grad():
        for key, weight in weights.items():
            weight.copy_(arrays[f"weight.{key}"])
            moments = {moment: arrays.get(f"{moment}.{key}") for moment in ADAM_STATE}
            optimizer.state.pop(weight, None)
            if None not in moments.values():
                optimizer.state[weight] = moments
    return metadata


def save_keyed_json(path: Path, key: str, name: str, value: Any) -> None:  # noqa: ANN401 - what JSON holds
    """Write one value, with the key of the work that it belongs to."""
    write_text(path, json.dumps({"key": key, name: value}) + "\n")


def load_keyed_json(path: Path, key: str, name: str, parse: Callable[[Any], T], mismatch: str) -> T:
    """Return the value `name` of a file with this key, as `parse` reads it.

    Raises:
        PersistenceError: the file is damaged, or has another key; the message then says that the
            folder holds `mismatch`.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
        is_same_key, value = record["key"] == key, parse(record[name])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise PersistenceError(f"{path.parent} is damaged: delete it. {error}") from error
    if not is_same_key:
        raise PersistenceError(f"{path.parent} holds {mismatch}: delete it, or train elsewhere.")
    return value


@contextmanager
def graceful_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C into a call of `stop`; the second one interrupts at once.

    Outside the main thread it does nothing, because Python delivers no signals there.

    Raises:
        KeyboardInterrupt: when the block ends after a Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # None is a handler that was not set from Python.
    previous_handler = signal.getsignal(signal.SIGINT) or signal.SIG_DFL
    interrupted = threading.Event()

    def handle_interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, previous_handler)
        interrupted.set()
        stop()

    signal.signal(signal.SIGINT, handle_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
    if interrupted.is_set():
        raise KeyboardInterrupt


def _load_arrays(path: Path | None) -> ArrayMapping | None:
    """Load the arrays of a stage; a damaged file is removed, so that they are computed again."""
    if path is None or not path.exists():
        return None
    try:
        arrays: ArrayMapping = load_file(path)
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError):  # numpy has no such
        path.unlink()
        return None
    return arrays


def _read_student_file(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})["student"])
            names = file.keys()
            return metadata, {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise PersistenceError(f"{path} holds no state of a student: {error}") from error
