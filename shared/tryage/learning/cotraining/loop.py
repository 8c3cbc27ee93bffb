"""The rounds of co-training: route, measure, learn; stopped at any moment, they go on."""

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

# A token that is only read costs a forward pass, one that is learned from a backward pass of twice
# the work as well (Kaplan et al. 2020, section 2.1).
FORWARD_COST = 1 / 3

_RUN_FILE, _MODE_FILE = "run.json", "router.safetensors"

_ROUND_PREFIX = "round-"

_MISMATCH = "co-training of other experts, prompts or settings"


@dataclass(frozen=True, slots=True)
class CotrainConfig:
    """How much is learned, and in which portions.

    Args:
        tokens: The compute of all experts together, in tokens learned from; one that is only read,
            to measure a loss, counts a third.
        batch: Prompts of a round.
        step: Prompts of one optimiser step of an expert, at most.
        exploration_rate: The share of the losses of experts that were not chosen which is measured as well.
        slack: The most prompts that an expert gets, in equal shares. With the number of experts or
            more, nothing keeps one of them from getting all.
        save_every: Rounds between checkpoints.
        seed: Of everything that is drawn here.

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
        """Refuse what cannot work."""
        check_number("tokens", self.tokens, 1)
        check_number("exploration_rate", self.exploration_rate, 1e-3, 1.0)
        check_number("slack", self.slack, 1.0)
        for name in ("batch", "step", "save_every"):
            check_number(name, getattr(self, name), 1)


def cotrain(  # noqa: PLR0913 - who, on what, how; the rest has defaults
    learners: Sequence[Learner],
    pool: PromptPool,
    mode: Mode,
    config: CotrainConfig,
    *,
    penalties: FloatArray | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> TrainingHistory:
    """Train experts on the prompts that a router sends them, and the router on their losses.

    Args:
        learners: The experts; they learn in place.
        pool: The prompts, with what the router reads of them.
        mode: `Decoupled` or `Joint`, or one that trains apart (`ByLabel`, `AtRandom`).
        settings: How much, and in which portions.
        penalties: The weighted constraints `(n_prompts, n_experts)`, see `weighted`.
        folder: For checkpoints; the same call, stopped and started again, goes on where it was. So
            does one with more tokens.
        progress: Whether to show a progress bar.

    Raises:
        InputError: no expert, two of one name, or penalties of another shape.
        PersistenceError: the folder holds the rounds of other experts, prompts or settings.
        KeyboardInterrupt: after Ctrl-C, at the end of the round, when all is kept.
    """
    run = _CotrainRun(learners, pool, mode, config, penalties)
    checkpoint = CotrainCheckpoint(Path(folder), run.key) if folder is not None else None
    if checkpoint is not None:
        run.history.entries = [
            RoundStats.from_dict(entry) for entry in checkpoint.restore(learners, mode)
        ]
    total = int(config.tokens)
    with tqdm(total=total, unit="token", unit_scale=True, disable=not progress) as bar:
        bar.update(min(total, int(run.history.compute)))
        n_saved = len(run.history.entries)
        with graceful_interrupt(run.stop):
            while run.history.compute < config.tokens and not run.stopped:
                run.run_round(len(run.history.entries))
                bar.set_postfix_str(run.progress_text(), refresh=False)
                bar.update(min(total, int(run.history.compute)) - bar.n)
                if (
                    checkpoint is not None
                    and len(run.history.entries) - n_saved >= config.save_every
                ):
                    n_saved = run.save(checkpoint)
            if checkpoint is not None and len(run.history.entries) > n_saved:
                run.save(checkpoint)
    return run.history


class _CotrainRun:
    """The experts, the prompts, and what was done so far."""

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
            raise InputError(f"Experts to train need a name each, at least one; got {names}.")
        shape = (len(pool), len(names))
        self.penalties = np.zeros(shape) if penalties is None else np.asarray(penalties)
        if self.penalties.shape != shape:
            raise InputError(f"penalties {self.penalties.shape}; expected one each, {shape}.")
        self.learners, self.pool, self.mode, self.config = learners, pool, mode, config
        portions = {**asdict(config), "tokens": None, "save_every": None}
        made = (type(mode).__name__, names, portions)
        self.key = fingerprint(pool.texts, pool.features, self.penalties, made)
        self.history, self.stopped = TrainingHistory(), False

    def stop(self) -> None:
        """Start no other round."""
        self.stopped = True

    def save(self, checkpoint: CotrainCheckpoint) -> int:
        """Write the state; returns how many rounds it holds."""
        checkpoint.save(self.learners, self.mode, [asdict(entry) for entry in self.history.entries])
        return len(self.history.entries)

    def progress_text(self) -> str:
        """Say how it goes."""
        last = self.history.entries[-1]
        loss = "" if last.loss is None else f"loss {last.loss:.3f}, "
        return f"{loss}{self.history.effective_experts(20):.1f} of {len(self.learners)} experts at work"

    def run_round(self, index: int) -> None:
        """Do one round; all that is drawn follows from the seed and its number."""
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
        """Let an expert learn from its prompts; returns their tokens."""
        for start in range(0, len(rows), self.config.step):
            part = rows[start : start + self.config.step]
            learner.update([self.pool.texts[row] for row in part])
        return int(self.pool.tokens[rows].sum())


def _assign(penalties: FloatArray, slack: float, scores: FloatArray) -> IndexArray:
    return balanced_assignment(scores + penalties, slack)


class _RoundMeasurer:
    """Measures losses of a round's prompts, and counts what was read for it."""

    def __init__(
        self,
        learners: Sequence[Learner],
        pool: PromptPool,
        rows: IndexArray,
        exploration_rate: float,
        rng: np.random.Generator,
    ) -> None:
        self._learners, self._pool, self._rows = learners, pool, rows
        self._coins = rng.random((len(rows), len(learners))) < exploration_rate
        self._losses = np.full(self._coins.shape, np.nan)
        self.tokens = 0

    def __call__(self, chosen: IndexArray) -> FloatArray:
        """Measure the chosen and a part of the others, `(batch, n_experts)`, NaN for the rest."""
        wanted = self._coins.copy()
        wanted[np.arange(len(chosen)), chosen] = True
        for i, learner in enumerate(self._learners):
            at = np.flatnonzero(wanted[:, i])
            if at.size:
                rows = self._rows[at]
                self._losses[at, i] = learner.losses([self._pool.texts[row] for row in rows])
                self.tokens += int(self._pool.tokens[rows].sum())
        return np.array(self._losses)

    def mean_loss(self, chosen: IndexArray) -> float | None:
        """Return the mean loss of the prompts with these experts, where it was measured."""
        found = self._losses[np.arange(len(chosen)), chosen]
        return None if np.isnan(found).all() else float(np.nanmean(found))


@dataclass(frozen=True, slots=True)
class RoundStats:
    """What a round did: tokens that each expert learned from, and that were read to measure.

    `loss` is the mean of the prompts with the experts that they went to, before these learned from
    them, in nats per character; None where nothing was measured.
    """

    tokens: tuple[int, ...]
    read: int
    loss: float | None

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> RoundStats:
        """Take over what was saved."""
        return cls(tuple(saved["tokens"]), saved["read"], saved["loss"])


@dataclass(slots=True)
class TrainingHistory:
    """What all rounds did."""

    entries: list[RoundStats] = field(default_factory=list)

    @property
    def trained_tokens(self) -> int:
        """The tokens that experts learned from."""
        return sum(sum(entry.tokens) for entry in self.entries)

    @property
    def evaluated_tokens(self) -> int:
        """The tokens that were read to measure a loss."""
        return sum(entry.read for entry in self.entries)

    @property
    def compute(self) -> float:
        """Both, in tokens learned from."""
        return self.trained_tokens + FORWARD_COST * self.evaluated_tokens

    def shares(self, last: int | None = None) -> FloatArray:
        """Return each expert's share of the tokens, `(n_experts,)`, of all or the last rounds."""
        tokens = np.array([entry.tokens for entry in self.entries[-(last or 0) :]], float).sum(0)
        return np.asarray(tokens / tokens.sum())

    def effective_experts(self, last: int | None = None) -> float:
        """Count the experts that are really at work: 1 is a collapse."""
        return effective_experts(self.shares(last))


class CotrainCheckpoint:
    """Keeps the experts, the router and the history in `folder`; `key` says of what."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def save(
        self, learners: Sequence[Learner], mode: Mode, history: Sequence[dict[str, Any]]
    ) -> None:
        """Write the state beside the old one, and only then take the old one away."""
        target = self._folder / f"{_ROUND_PREFIX}{len(history):07d}"
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for at, learner in zip(_expert_folders(partial, len(learners)), learners, strict=True):
            at.mkdir()
            learner.save_state(at)
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
        """Put experts and router where they were; returns the history, empty if there is none.

        Raises:
            PersistenceError: what is there is damaged, or of other experts, prompts or settings.
        """
        whole = self._complete_folders()
        if not whole:
            return []
        last = whole[-1]
        history = load_keyed_json(last / _RUN_FILE, self._key, "history", list, _MISMATCH)
        for at, learner in zip(_expert_folders(last, len(learners)), learners, strict=True):
            learner.load_state(at)
        mode.restore(load_file(last / _MODE_FILE))
        return history

    def _complete_folders(self) -> list[Path]:
        found = self._folder.glob(f"{_ROUND_PREFIX}*")
        return sorted(path for path in found if path.suffix != ".partial")


def _expert_folders(folder: Path, n_experts: int) -> list[Path]:
    return [folder / f"expert-{i:02d}" for i in range(n_experts)]
