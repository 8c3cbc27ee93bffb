"""The state of co-training on disk: whole, or as it was before."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from tryage.cotraining.note import read_note, write_note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tryage.cotraining.learner import Learner, Mode

_RUN, _MODE = "run.json", "router.safetensors"
_PREFIX = "round-"
_OTHERS = "co-training of other experts, prompts or settings"


class Checkpoint:
    """Keeps the experts, the router and the history in `folder`; `key` says of what."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def save(
        self, learners: Sequence[Learner], mode: Mode, history: Sequence[dict[str, Any]]
    ) -> None:
        """Write the state beside the old one, and only then take the old one away."""
        target = self._folder / f"{_PREFIX}{len(history):07d}"
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for at, learner in zip(_places(partial, len(learners)), learners, strict=True):
            at.mkdir()
            learner.save_state(at)
        arrays = {name: np.ascontiguousarray(array) for name, array in mode.state().items()}
        save_file(arrays, partial / _MODE)
        write_note(partial / _RUN, self._key, "history", list(history))
        before = self._whole()
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        for old in before:
            if old != target:
                shutil.rmtree(old)

    def restore(self, learners: Sequence[Learner], mode: Mode) -> list[dict[str, Any]]:
        """Put experts and router where they were; returns the history, empty if there is none.

        Raises:
            PersistenceError: what is there is damaged, or of other experts, prompts or settings.
        """
        whole = self._whole()
        if not whole:
            return []
        last = whole[-1]
        history = read_note(last / _RUN, self._key, "history", list, _OTHERS)
        for at, learner in zip(_places(last, len(learners)), learners, strict=True):
            learner.load_state(at)
        mode.restore(load_file(last / _MODE))
        return history

    def _whole(self) -> list[Path]:
        found = self._folder.glob(f"{_PREFIX}*")
        return sorted(path for path in found if path.suffix != ".partial")


def _places(folder: Path, n_experts: int) -> list[Path]:
    return [folder / f"expert-{i:02d}" for i in range(n_experts)]
