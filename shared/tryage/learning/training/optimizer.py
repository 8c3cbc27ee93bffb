"""Gradient descent that can be killed at any step and resumes exactly where it was."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from tqdm import tqdm

from tryage.checkpoint import ADAM_STATE, replace_tensor_file
from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch

    from tryage.core.arrays import Int64Array

WARMUP_FRACTION = 0.05  # of the steps


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long, how fast and in what batches a model learns.

    `batch_size` counts the texts of one step, or the padded tokens where lengths differ. `dropout`
    is the share of the tokens hidden at each step, so that no text is memorized. `save_every`
    counts steps.
    """

    epochs: float
    learning_rate: float
    batch_size: int = 1_024
    dropout: float = 0.3
    seed: int = 0
    save_every: int = 200

    def learning_rate_at(self, step: int, n_steps: int) -> float:
        """Return the learning rate of a step: a short linear warm-up, then a cosine to zero."""
        n_warmup = max(1, round(WARMUP_FRACTION * n_steps))
        warmup_factor = min(1.0, (step + 1) / n_warmup)
        decay_factor = 0.5 * (
            1 + math.cos(math.pi * max(0, step - n_warmup) / max(1, n_steps - n_warmup))
        )
        return self.learning_rate * warmup_factor * decay_factor


class ResumableTrainer:
    """One run of Adam over named parameters; its whole state is one safetensors file at `path`.

    Every random choice is drawn from the seed and the number of the epoch or step, so that no
    generator has a state to save: a resumed run equals an uninterrupted one, bit for bit.
    `extra_state` (JSON) and `extra_tensors` (such as the best weights so far) are saved too.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        schedule: Schedule,
        *,
        path: Path | None = None,
        progress: bool = True,
    ) -> None:
        import torch

        self.parameters, self.schedule = dict(parameters), schedule
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=schedule.learning_rate, weight_decay=0.0
        )
        self.steps = 0
        self.extra_state: dict[str, Any] = {"epochs": 0, "stopped": False}
        self.extra_tensors: dict[str, torch.Tensor] = {}
        self._path, self._progress = path, progress
        if path is not None and path.exists():
            self._restore(path)

    def run(
        self,
        loss: Callable[[Int64Array, np.random.Generator], torch.Tensor],
        batches: Callable[[np.random.Generator], Sequence[Int64Array]],
        after_epoch: Callable[[], bool] | None = None,
    ) -> None:
        """Train for `schedule.epochs`, or until `after_epoch` returns True.

        `batches` returns the batches of an epoch, `loss` the loss of a batch; both draw all random
        numbers from the generator that they receive.
        """
        epoch_batches, n_previous, epoch = batches(self._rng("epoch", 0)), 0, 0
        n_steps = max(1, round(self.schedule.epochs * len(epoch_batches)))
        with tqdm(
            total=n_steps,
            initial=self.steps,
            unit="step",
            mininterval=1,
            disable=not self._progress,
        ) as progress_bar:
            while self.steps < n_steps and not self.extra_state["stopped"]:
                for batch in epoch_batches[max(0, self.steps - n_previous) : n_steps - n_previous]:
                    progress_bar.set_postfix(
                        loss=f"{self._step(loss, batch, n_steps):.4f}", refresh=False
                    )
                    progress_bar.update()
                n_previous, epoch = n_previous + len(epoch_batches), epoch + 1
                if epoch > self.extra_state["epochs"]:
                    self.extra_state["epochs"] = epoch
                    self.extra_state["stopped"] = after_epoch is not None and after_epoch()
                    self.save()
                epoch_batches = batches(self._rng("epoch", epoch))

    def _step(
        self,
        loss: Callable[[Int64Array, np.random.Generator], torch.Tensor],
        batch: Int64Array,
        n_steps: int,
    ) -> float:
        """Take one step on a batch, and return the loss before it."""
        import torch

        rng = self._rng("step", self.steps)
        torch.manual_seed(int(rng.integers(2**62)))  # the dropout inside the model
        self.optimizer.param_groups[0]["lr"] = self.schedule.learning_rate_at(self.steps, n_steps)
        loss_value = loss(batch, rng)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss_value)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.steps += 1
        if self.steps % self.schedule.save_every == 0:
            self.save()
        return loss_value.item()

    def _rng(self, scope: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.schedule.seed, number, scope == "step"])

    def save(self) -> None:
        """Write the whole state to `path`; a killed process leaves the old or the new state."""
        if self._path is None:
            return
        from safetensors.torch import save_file

        tensors = {f"now.{name}": parameter.detach() for name, parameter in self.parameters.items()}
        tensors |= {f"kept.{name}": value for name, value in self.extra_tensors.items()}
        for name, parameter in self.parameters.items():
            for moment, value in self.optimizer.state[parameter].items():
                tensors[f"adam.{moment}.{name}"] = value
        state = json.dumps({"steps": self.steps, "notes": self.extra_state})
        with replace_tensor_file(self._path) as partial_path:
            save_file(
                {k: v.contiguous() for k, v in tensors.items()}, partial_path, {"state": state}
            )

    def _restore(self, path: Path) -> None:
        """Read what `save` wrote.

        Raises:
            PersistenceError: the parameters have other names.
        """
        import torch

        state, tensors = _read_state(path)
        names = {name[4:] for name in tensors if name.startswith("now.")}
        if "steps" not in state or names != set(self.parameters):
            raise PersistenceError(
                f"{path} is a checkpoint of another model: delete it, or train elsewhere"
            )
        self.steps, self.extra_state = state["steps"], state["notes"]
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"now.{name}"])
                self.optimizer.state[parameter] = {
                    moment: tensors[f"adam.{moment}.{name}"]
                    for moment in ADAM_STATE
                    if f"adam.{moment}.{name}" in tensors
                }
        self.extra_tensors = {
            name.removeprefix("kept."): tensor
            for name, tensor in tensors.items()
            if name.startswith("kept.")
        }


def _read_state(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the JSON state and the tensors of a checkpoint."""
    with safe_open(path, framework="pt") as file:
        state: dict[str, Any] = json.loads((file.metadata() or {}).get("state", "{}"))
        names = file.keys()
        return state, {name: file.get_tensor(name) for name in names}
