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

from tryage.checkpoint import (
    fingerprint,
    graceful_interrupt,
    load_keyed_json,
    replace_tensor_file,
    save_keyed_json,
)
from tryage.core.validation import check_integer, check_number
from tryage.errors import InputError
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
    """How much the experts learn, and in what steps.

    Args:
        tokens: The compute of all experts together, in tokens trained on. A token that is only
            evaluated, to measure a loss, counts a third.
        batch: The number of prompts of a round.
        step: The largest number of prompts of one optimizer step of an expert.
        exploration_rate: The share of the losses of not chosen experts that are measured too.
        slack: The largest number of prompts that an expert gets, in units of an equal share. If it
            is at least the number of experts, one of them may get all prompts.
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
            check_integer(name, getattr(self, name), 1)


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
        config: How much the experts learn, and in what steps.
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
    total_tokens = int(config.tokens)
    progress_bar = tqdm(total=total_tokens, unit="token", unit_scale=True, disable=not progress)
    with progress_bar, graceful_interrupt(run.stop):
        progress_bar.update(min(total_tokens, int(run.history.compute)))
        while run.history.compute < config.tokens and not run.is_stopped:
            run.run_round(len(run.history.entries))
            progress_bar.set_postfix_str(run.progress_text(), refresh=False)
            progress_bar.update(min(total_tokens, int(run.history.compute)) - progress_bar.n)
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
        expected_shape = (len(pool), len(names))
        self.penalties = np.zeros(expected_shape) if penalties is None else np.asarray(penalties)
        if self.penalties.shape != expected_shape:
            raise InputError(
                f"penalties {self.penalties.shape}; expected one per prompt and expert, "
                f"{expected_shape}"
            )
        self.learners, self.pool, self.mode, self.config = learners, pool, mode, config
        # a call with more tokens resumes, and so does one that saves more often
        settings = {**asdict(config), "tokens": None, "save_every": None}
        description = (type(mode).__name__, names, settings)
        self.key = fingerprint(pool.texts, pool.features, self.penalties, description)
        self.history, self.is_stopped = TrainingHistory(), False
        self._checkpoint: CotrainCheckpoint | None = None
        self._n_saved = 0

    def resume(self, folder: Path) -> None:
        """Restore the state that `folder` holds, if any, and save there from now on."""
        self._checkpoint = CotrainCheckpoint(folder, self.key)
        saved_entries = self._checkpoint.restore(self.learners, self.mode)
        self.history.entries = [RoundStats.from_dict(entry) for entry in saved_entries]
        self._n_saved = len(saved_entries)

    def stop(self) -> None:
        """Start no further round, because of a Ctrl-C."""
        self.is_stopped = True

    def save(self, min_rounds: int) -> None:
        """Write the state, if there is a folder and at least `min_rounds` rounds are not saved."""
        rounds = self.history.entries
        if self._checkpoint is not None and len(rounds) - self._n_saved >= min_rounds:
            self._checkpoint.save(self.learners, self.mode, [asdict(entry) for entry in rounds])
            self._n_saved = len(rounds)

    def progress_text(self) -> str:
        """Return the last loss and the effective number of experts, for the progress bar."""
        last_round = self.history.entries[-1]
        loss = "" if last_round.loss is None else f"loss {last_round.loss:.3f}, "
        n_effective = self.history.effective_experts(20)
        return f"{loss}{n_effective:.1f} of {len(self.learners)} experts at work"

    def run_round(self, index: int) -> None:
        """Run one round; everything drawn in it follows from the seed and the round's number."""
        config, pool = self.config, self.pool
        rng = np.random.default_rng([config.seed, index])
        rows = pool.shuffled_rows(index * config.batch, config.batch, config.seed)
        measurer = _RoundMeasurer(self.learners, pool, rows, config.exploration_rate, rng)
        penalties = self.penalties[rows]
        assignment = self.mode(
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
            self._train_expert(learner, rows[assignment == i])
            for i, learner in enumerate(self.learners)
        )
        self.history.entries.append(
            RoundStats(tokens, measurer.tokens, measurer.mean_loss(assignment))
        )

    def _train_expert(self, learner: Learner, rows: IndexArray) -> int:
        """Let an expert learn from its prompts, and return the number of their tokens."""
        for start in range(0, len(rows), self.config.step):
            step_rows = rows[start : start + self.config.step]
            learner.update([self.pool.texts[row] for row in step_rows])
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
        self._is_explored = rng.random((len(rows), len(learners))) < exploration_rate
        self._losses = np.full(self._is_explored.shape, np.nan)
        self.tokens = 0

    def __call__(self, assignment: IndexArray) -> FloatArray:
        """Measure the assigned experts and some others, `(batch, n_experts)`, NaN elsewhere."""
        is_requested = self._is_explored.copy()
        is_requested[np.arange(len(assignment)), assignment] = True
        for i, learner in enumerate(self._learners):
            positions = np.flatnonzero(is_requested[:, i])
            if positions.size:
                rows = self._rows[positions]
                self._losses[positions, i] = learner.losses([self._pool.texts[row] for row in rows])
                self.tokens += int(self._pool.tokens[rows].sum())
        return np.array(self._losses)

    def mean_loss(self, assignment: IndexArray) -> float | None:
        """Return the mean loss with the assigned experts, None if no loss was measured."""
        losses = self._losses[np.arange(len(assignment)), assignment]
        return None if np.isnan(losses).all() else float(np.nanmean(losses))


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
    def from_dict(cls, entry: Mapping[str, Any]) -> RoundStats:
        """Build the result from a saved `entry`."""
        return cls(tuple(entry["tokens"]), entry["read"], entry["loss"])


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
        """Write the state next to the old one, and only then remove the old one."""
        target_folder = self._folder / f"{_ROUND_PREFIX}{len(history):07d}"
        partial_folder = target_folder.with_suffix(".partial")
        shutil.rmtree(partial_folder, ignore_errors=True)
        partial_folder.mkdir(parents=True)
        folders = _expert_folders(partial_folder, len(learners))
        for folder, learner in zip(folders, learners, strict=True):
            folder.mkdir()
            learner.save_state(folder)
        arrays = {name: np.ascontiguousarray(array) for name, array in mode.state().items()}
        with replace_tensor_file(partial_folder / _MODE_FILE) as path:
            save_file(arrays, path)
        save_keyed_json(partial_folder / _RUN_FILE, self._key, "history", list(history))
        old_folders = self._complete_folders()
        shutil.rmtree(target_folder, ignore_errors=True)
        partial_folder.rename(target_folder)
        for old_folder in old_folders:
            if old_folder != target_folder:
                shutil.rmtree(old_folder)

    def restore(self, learners: Sequence[Learner], mode: Mode) -> list[dict[str, Any]]:
        """Restore the experts and the mode, and return the history; empty if nothing was saved.

        Raises:
            PersistenceError: the state is damaged, or of other experts, prompts or settings.
        """
        complete_folders = self._complete_folders()
        if not complete_folders:
            return []
        last_folder = complete_folders[-1]
        history = load_keyed_json(last_folder / _RUN_FILE, self._key, "history", list, _MISMATCH)
        folders = _expert_folders(last_folder, len(learners))
        for folder, learner in zip(folders, learners, strict=True):
            learner.load_state(folder)
        mode.restore(load_file(last_folder / _MODE_FILE))
        return history

    def _complete_folders(self) -> list[Path]:
        paths = self._folder.glob(f"{_ROUND_PREFIX}*")
        return sorted(path for path in paths if path.suffix != ".partial")


def _expert_folders(folder: Path, n_experts: int) -> list[Path]:
    return [folder / f"expert-{i:02d}" for i in range(n_experts)]
