"""The rounds of co-training: assign prompts, measure losses, learn; a stopped run resumes."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from tryage.core.validation import check_number
from tryage.errors import InputError
from tryage.learning.checkpoint import (
    fingerprint,
    graceful_interrupt,
    load_keyed_json,
    save_keyed_json,
)
from tryage.learning.cotraining.modes import balanced_assignment, effective_experts
from tryage.learning.cotraining.protocols import Learner, Mode, PromptPool, TrainingRound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import FloatArray, IndexArray

# A token that is only evaluated costs a forward pass. One that is trained on also costs a backward
# pass, which is twice the work (Kaplan et al. 2020, section 2.1).
FORWARD_COST = 1 / 3

_RUN_FILE, _MODE_FILE = "run.json", "router.safetensors"

_ROUND_PREFIX = "round-"

_MISMATCH = "co-training of other experts, prompts or settings"


@dataclass(frozen=True, slots=True)
class CotrainConfig:
    """How much the experts learn, and in which portions.

    Args:
        tokens: The compute of all experts together, in tokens trained on. A token that is only
            evaluated, to measure a loss, counts a third.
        batch: The number of prompts of a round.
        step: The largest number of prompts of one optimizer step of an expert.
        exploration_rate: The share of the losses of experts that were not chosen that is measured
            too.
        slack: The largest number of prompts that an expert gets, in units of an equal share. With
            the number of experts, or more, one of them may get all prompts.
        save_every: The number of rounds between checkpoints.
        seed: The seed of everything that is drawn here.

    Raises:
        InputError: a number is out of range.
    """

    tokens: float
    batch: int = 64
    step: int = 8
    exploration_rate: float = 0.25
    slack: float = 1.5
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range."""
        check_number("tokens", self.tokens, 1)
        check_number("exploration_rate", self.exploration_rate, 1e-3, 1.0)
        check_number("slack", self.slack, 1.0)
        for name in ("batch", "step", "save_every"):
            check_number(name, getattr(self, name), 1)


def cotrain(  # noqa: PLR0913 - experts, prompts, mode and config; the rest has defaults
    learners: Sequence[Learner],
    pool: PromptPool,
    mode: Mode,
    config: CotrainConfig,
    *,
    penalties: FloatArray | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> TrainingHistory:
    """Train experts on the prompts that a router assigns to them, and the router on their losses.

    Args:
        learners: The experts; they learn in place.
        pool: The prompts, with their features.
        mode: `Decoupled` or `Joint`, or a mode without a router (`ByLabel`, `AtRandom`).
        config: How much the experts learn, and in which portions.
        penalties: The weighted constraints `(n_prompts, n_experts)`, see `constraint_penalties`.
        folder: For checkpoints; the same call resumes from there after a stop. So does a call with
            more tokens.
        progress: Whether to show a progress bar.

    Raises:
        InputError: there is no expert, two have the same name, or penalties have another shape.
        PersistenceError: the folder holds the rounds of other experts, prompts or settings.
        KeyboardInterrupt: after Ctrl-C, at the end of the round, when everything is saved.
    """
    run = _CotrainRun(learners, pool, mode, config, penalties)
    if folder is not None:
        run.resume(Path(folder))
    total = int(config.tokens)
    bar = tqdm(total=total, unit="token", unit_scale=True, disable=not progress)
    with bar, graceful_interrupt(run.stop):
        bar.update(min(total, int(run.history.compute)))
        while run.history.compute < config.tokens and not run.stopped:
            run.run_round(len(run.history.entries))
            bar.set_postfix_str(run.progress_text(), refresh=False)
            bar.update(min(total, int(run.history.compute)) - bar.n)
            run.save(min_rounds=config.save_every)
        run.save(min_rounds=1)
    return run.history


class _CotrainRun:
    """The experts, the prompts, and the history of a run."""

    def __init__(
        self,
        learners: Sequence[Learner],
        pool: PromptPool,
        mode: Mode,
        config: CotrainConfig,
        penalties: FloatArray | None,
    ) -> None:
        names = [learner.name for learner in learners]
        if not names or len(set(names)) != len(names):
            raise InputError(f"Give at least one expert, each with its own name; got {names}.")
        shape = (len(pool), len(names))
        self.penalties = np.zeros(shape) if penalties is None else np.asarray(penalties)
        if self.penalties.shape != shape:
            raise InputError(
                f"penalties {self.penalties.shape}; expected one per prompt and expert, {shape}"
            )
        self.learners, self.pool, self.mode, self.config = learners, pool, mode, config
        # a call with more tokens resumes, and so does one that saves more often
        settings = {**asdict(config), "tokens": None, "save_every": None}
        described = (type(mode).__name__, names, settings)
        self.key = fingerprint(pool.texts, pool.features, self.penalties, described)
        self.history, self.stopped = TrainingHistory(), False
        self._checkpoint: CotrainCheckpoint | None = None
        self._n_saved = 0

    def resume(self, folder: Path) -> None:
        """Restore the state that `folder` holds, if any, and save there from now on."""
        self._checkpoint = CotrainCheckpoint(folder, self.key)
        saved = self._checkpoint.restore(self.learners, self.mode)
        self.history.entries = [RoundStats.from_dict(entry) for entry in saved]
        self._n_saved = len(saved)

    def stop(self) -> None:
        """Start no other round, because of a Ctrl-C."""
        self.stopped = True

    def save(self, min_rounds: int) -> None:
        """Write the state, if there is a folder and so many rounds are not saved yet."""
        rounds = self.history.entries
        if self._checkpoint is not None and len(rounds) - self._n_saved >= min_rounds:
            self._checkpoint.save(self.learners, self.mode, [asdict(entry) for entry in rounds])
            self._n_saved = len(rounds)

    def progress_text(self) -> str:
        """Return the last loss and the effective number of experts, for the progress bar."""
        last = self.history.entries[-1]
        loss = "" if last.loss is None else f"loss {last.loss:.3f}, "
        effective = self.history.effective_experts(20)
        return f"{loss}{effective:.1f} of {len(self.learners)} experts at work"

    def run_round(self, index: int) -> None:
        """Run one round; everything drawn in it follows from the seed and the round's number."""
        config, pool = self.config, self.pool
        rng = np.random.default_rng([config.seed, index])
        rows = pool.shuffled_rows(index * config.batch, config.batch, config.seed)
        measurer = _RoundMeasurer(self.learners, pool, rows, config.exploration_rate, rng)
        penalties = self.penalties[rows]
        chosen = self.mode(
            TrainingRound(
                rows,
                pool.features[rows],
                penalties,
                config.exploration_rate,
                rng,
                partial(_assign, penalties, config.slack),
                measurer,
            )
        )
        tokens = tuple(
            self._train_expert(learner, rows[chosen == i])
            for i, learner in enumerate(self.learners)
        )
        self.history.entries.append(RoundStats(tokens, measurer.tokens, measurer.mean_loss(chosen)))

    def _train_expert(self, learner: Learner, rows: IndexArray) -> int:
        """Let an expert learn from its prompts, and return the number of their tokens."""
        for start in range(0, len(rows), self.config.step):
            part = rows[start : start + self.config.step]
            learner.update([self.pool.texts[row] for row in part])
        return int(self.pool.tokens[rows].sum())


def _assign(penalties: FloatArray, slack: float, scores: FloatArray) -> IndexArray:
    return balanced_assignment(scores + penalties, slack)


class _RoundMeasurer:
    """Measures losses of a round's prompts, and counts the tokens that were evaluated."""

    def __init__(
        self,
        learners: Sequence[Learner],
        pool: PromptPool,
        rows: IndexArray,
        exploration_rate: float,
        rng: np.random.Generator,
    ) -> None:
        self._learners, self._pool, self._rows = learners, pool, rows
        self._explored = rng.random((len(rows), len(learners))) < exploration_rate
        self._losses = np.full(self._explored.shape, np.nan)
        self.tokens = 0

    def __call__(self, chosen: IndexArray) -> FloatArray:
        """Measure the chosen and a part of the others, `(batch, n_experts)`, NaN for the rest."""
        wanted = self._explored.copy()
        wanted[np.arange(len(chosen)), chosen] = True
        for i, learner in enumerate(self._learners):
            at = np.flatnonzero(wanted[:, i])
            if at.size:
                rows = self._rows[at]
                self._losses[at, i] = learner.losses([self._pool.texts[row] for row in rows])
                self.tokens += int(self._pool.tokens[rows].sum())
        return np.array(self._losses)

    def mean_loss(self, chosen: IndexArray) -> float | None:
        """Return the mean loss with the chosen experts; None if none was measured."""
        found = self._losses[np.arange(len(chosen)), chosen]
        return None if np.isnan(found).all() else float(np.nanmean(found))


@dataclass(frozen=True, slots=True)
class RoundStats:
    """The result of a round: `tokens` per expert trained on, and tokens `read` to measure losses.

    `loss` is the mean loss of the prompts with their assigned experts, before these learned from
    them, in nats per character; None if nothing was measured.
    """

    tokens: tuple[int, ...]
    read: int
    loss: float | None

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> RoundStats:
        """Build the result from what was saved."""
        return cls(tuple(saved["tokens"]), saved["read"], saved["loss"])


@dataclass(slots=True)
class TrainingHistory:
    """The results of all rounds."""

    entries: list[RoundStats] = field(default_factory=list)

    @property
    def trained_tokens(self) -> int:
        """The number of tokens that experts were trained on."""
        return sum(sum(entry.tokens) for entry in self.entries)

    @property
    def evaluated_tokens(self) -> int:
        """The number of tokens that were evaluated to measure a loss."""
        return sum(entry.read for entry in self.entries)

    @property
    def compute(self) -> float:
        """The compute of both, in tokens trained on."""
        return self.trained_tokens + FORWARD_COST * self.evaluated_tokens

    def shares(self, last: int | None = None) -> FloatArray:
        """Return each expert's share of the tokens, `(n_experts,)`, of all or the last rounds."""
        tokens = np.array([entry.tokens for entry in self.entries[-(last or 0) :]], float).sum(0)
        return np.asarray(tokens / tokens.sum())

    def effective_experts(self, last: int | None = None) -> float:
        """Return the effective number of experts, of all or the last rounds; 1 is a collapse."""
        return effective_experts(self.shares(last))


class CotrainCheckpoint:
    """Saves the experts, the mode and the history in `folder`; `key` identifies the inputs."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def save(
        self, learners: Sequence[Learner], mode: Mode, history: Sequence[dict[str, Any]]
    ) -> None:
        """Write the state beside the old one, and only then remove the old one."""
        target = self._folder / f"{_ROUND_PREFIX}{len(history):07d}"
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        folders = _expert_folders(partial, len(learners))
        for folder, learner in zip(folders, learners, strict=True):
            folder.mkdir()
            learner.save_state(folder)
        arrays = {name: np.ascontiguousarray(array) for name, array in mode.state().items()}
        save_file(arrays, partial / _MODE_FILE)
        save_keyed_json(partial / _RUN_FILE, self._key, "history", list(history))
        before = self._complete_folders()
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        for old in before:
            if old != target:
                shutil.rmtree(old)

    def restore(self, learners: Sequence[Learner], mode: Mode) -> list[dict[str, Any]]:
        """Restore the experts and the mode, and return the history; empty if nothing was saved.

        Raises:
            PersistenceError: the state is damaged, or of other experts, prompts or settings.
        """
        complete = self._complete_folders()
        if not complete:
            return []
        last = complete[-1]
        history = load_keyed_json(last / _RUN_FILE, self._key, "history", list, _MISMATCH)
        folders = _expert_folders(last, len(learners))
        for folder, learner in zip(folders, learners, strict=True):
            learner.load_state(folder)
        mode.restore(load_file(last / _MODE_FILE))
        return history

    def _complete_folders(self) -> list[Path]:
        found = self._folder.glob(f"{_ROUND_PREFIX}*")
        return sorted(path for path in found if path.suffix != ".partial")


def _expert_folders(folder: Path, n_experts: int) -> list[Path]:
    return [folder / f"expert-{i:02d}" for i in range(n_experts)]
