"""Gradient descent that can be killed at any step and goes on exactly where it was."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from tqdm import tqdm

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch

    from tryage.core.arrays import Int64Array

WARMUP_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long, how fast and in what portions a model learns."""

    epochs: float
    learning_rate: float
    batch_size: int = 1_024  # texts of one step, or padded tokens where lengths matter
    dropout: float = 0.3  # share of the tokens hidden at each step: no text is learned by heart
    seed: int = 0
    save_every: int = 200  # steps

    def learning_rate_at(self, step: int, total: int) -> float:
        """Learning rate of a step: a short warm-up, then down along a cosine."""
        warm = max(1, round(WARMUP_FRACTION * total))
        rise = min(1.0, (step + 1) / warm)
        fall = 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / max(1, total - warm)))
        return self.learning_rate * rise * fall


class ResumableTrainer:
    """One run of Adam over named parameters; its whole state is one safetensors file at `path`.

    Every random choice is drawn from the seed and the number of the epoch or step, so that no
    generator has a state to save: a run that was killed equals one that was not, bit for bit.
    `notes` (JSON) and `kept` (tensors, such as the best weights so far) are saved with it.
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
        """Descend for `schedule.epochs`, or until `after_epoch` says that it is enough."""
        todo, seen, epoch = batches(self._rng("epoch", 0)), 0, 0
        total = max(1, round(self.schedule.epochs * len(todo)))
        with tqdm(
            total=total, initial=self.steps, unit="step", mininterval=1, disable=not self._progress
        ) as bar:
            while self.steps < total and not self.extra_state["stopped"]:
                for batch in todo[max(0, self.steps - seen) : total - seen]:
                    bar.set_postfix(loss=f"{self._step(loss, batch, total):.4f}", refresh=False)
                    bar.update()
                seen, epoch = seen + len(todo), epoch + 1
                if epoch > self.extra_state["epochs"]:
                    self.extra_state["epochs"] = epoch
                    self.extra_state["stopped"] = after_epoch is not None and after_epoch()
                    self.save()
                todo = batches(self._rng("epoch", epoch))

    def _step(
        self,
        loss: Callable[[Int64Array, np.random.Generator], torch.Tensor],
        batch: Int64Array,
        total: int,
    ) -> float:
        import torch

        rng = self._rng("step", self.steps)
        torch.manual_seed(int(rng.integers(2**62)))  # the dropout inside the model
        self.optimizer.param_groups[0]["lr"] = self.schedule.learning_rate_at(self.steps, total)
        value = loss(batch, rng)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.steps += 1
        if self.steps % self.schedule.save_every == 0:
            self.save()
        return value.item()

    def _rng(self, scope: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.schedule.seed, number, scope == "step"])

    def save(self) -> None:
        """Write the state beside the old one and swap them: a killed process leaves a whole one."""
        if self._path is None:
            return
        from safetensors.torch import save_file

        tensors = {f"now.{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"kept.{name}": value for name, value in self.extra_tensors.items()}
        for name, parameter in self.parameters.items():
            for moment, value in self.optimizer.state[parameter].items():
                tensors[f"adam.{moment}.{name}"] = value
        state = json.dumps({"steps": self.steps, "notes": self.extra_state})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"state": state})
        partial.replace(self._path)

    def _restore(self, path: Path) -> None:
        import torch

        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {}).get("state", "{}"))
            names = list(file.keys())
            if "steps" not in state or {n[4:] for n in names if n.startswith("now.")} != set(
                self.parameters
            ):
                raise PersistenceError(
                    f"{path} is a checkpoint of another model: delete it, or train elsewhere"
                )
            self.steps, self.extra_state = state["steps"], state["notes"]
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(file.get_tensor(f"now.{name}"))
                    moments = (
                        m for m in ("step", "exp_avg", "exp_avg_sq") if f"adam.{m}.{name}" in names
                    )
                    self.optimizer.state[parameter] = {
                        m: file.get_tensor(f"adam.{m}.{name}") for m in moments
                    }
            kept = [n for n in names if n.startswith("kept.")]
            self.extra_tensors = {n.removeprefix("kept."): file.get_tensor(n) for n in kept}
