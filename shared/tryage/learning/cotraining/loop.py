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

from tryage.core.validation import number
from tryage.errors import InputError
from tryage.learning.checkpoint import fingerprint, read_note, stopping, write_note
from tryage.learning.cotraining.modes import balanced, effective
from tryage.learning.cotraining.protocols import Learner, Mode, Pool, Round

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import FloatArray, IndexArray

# A token that is only read costs a forward pass, one that is learned from a backward pass of twice
# the work as well (Kaplan et al. 2020, section 2.1).
READING = 1 / 3

_RUN, _MODE = "run.json", "router.safetensors"

_PREFIX = "round-"

_OTHERS = "co-training of other experts, prompts or settings"


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is learned, and in which portions.

    Args:
        tokens: The compute of all experts together, in tokens learned from; one that is only read,
            to measure a loss, counts a third.
        batch: Prompts of a round.
        step: Prompts of one optimiser step of an expert, at most.
        others: The share of the losses of experts that were not chosen which is measured as well.
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
    others: float = 0.25
    slack: float = 1.5
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        number("tokens", self.tokens, 1)
        number("others", self.others, 1e-3, 1.0)
        number("slack", self.slack, 1.0)
        for name in ("batch", "step", "save_every"):
            number(name, getattr(self, name), 1)


def cotrain(  # noqa: PLR0913 - who, on what, how; the rest has defaults
    learners: Sequence[Learner],
    pool: Pool,
    mode: Mode,
    settings: Settings,
    *,
    penalties: FloatArray | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> History:
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
    run = _Run(learners, pool, mode, settings, penalties)
    keep = Checkpoint(Path(folder), run.key) if folder is not None else None
    if keep is not None:
        run.history.entries = [Entry.read_back(entry) for entry in keep.restore(learners, mode)]
    total = int(settings.tokens)
    with tqdm(total=total, unit="token", unit_scale=True, disable=not progress) as bar:
        bar.update(min(total, int(run.history.compute)))
        kept = len(run.history.entries)
        with stopping(run.stop):
            while run.history.compute < settings.tokens and not run.stopped:
                run.round(len(run.history.entries))
                bar.set_postfix_str(run.told(), refresh=False)
                bar.update(min(total, int(run.history.compute)) - bar.n)
                if keep is not None and len(run.history.entries) - kept >= settings.save_every:
                    kept = run.save(keep)
            if keep is not None and len(run.history.entries) > kept:
                run.save(keep)
    return run.history


class _Run:
    """The experts, the prompts, and what was done so far."""

    def __init__(
        self,
        learners: Sequence[Learner],
        pool: Pool,
        mode: Mode,
        settings: Settings,
        penalties: FloatArray | None,
    ) -> None:
        names = [learner.name for learner in learners]
        if not names or len(set(names)) != len(names):
            raise InputError(f"Experts to train need a name each, at least one; got {names}.")
        shape = (len(pool), len(names))
        self.penalties = np.zeros(shape) if penalties is None else np.asarray(penalties)
        if self.penalties.shape != shape:
            raise InputError(f"penalties {self.penalties.shape}; expected one each, {shape}.")
        self.learners, self.pool, self.mode, self.settings = learners, pool, mode, settings
        portions = {**asdict(settings), "tokens": None, "save_every": None}
        made = (type(mode).__name__, names, portions)
        self.key = fingerprint(pool.texts, pool.features, self.penalties, made)
        self.history, self.stopped = History(), False

    def stop(self) -> None:
        """Start no other round."""
        self.stopped = True

    def save(self, keep: Checkpoint) -> int:
        """Write the state; returns how many rounds it holds."""
        keep.save(self.learners, self.mode, [asdict(entry) for entry in self.history.entries])
        return len(self.history.entries)

    def told(self) -> str:
        """Say how it goes."""
        last = self.history.entries[-1]
        loss = "" if last.loss is None else f"loss {last.loss:.3f}, "
        return f"{loss}{self.history.effective(20):.1f} of {len(self.learners)} experts at work"

    def round(self, index: int) -> None:
        """Do one round; all that is drawn follows from the seed and its number."""
        settings, pool = self.settings, self.pool
        rng = np.random.default_rng([settings.seed, index])
        rows = pool.rows(index * settings.batch, settings.batch, settings.seed)
        reading = _Reading(self.learners, pool, rows, settings.others, rng)
        penalties = self.penalties[rows]
        chosen = self.mode(
            Round(
                rows,
                pool.features[rows],
                penalties,
                settings.others,
                rng,
                partial(_assign, penalties, settings.slack),
                reading,
            )
        )
        tokens = tuple(
            self._teach(learner, rows[chosen == i]) for i, learner in enumerate(self.learners)
        )
        self.history.entries.append(Entry(tokens, reading.tokens, reading.loss(chosen)))

    def _teach(self, learner: Learner, rows: IndexArray) -> int:
        """Let an expert learn from its prompts; returns their tokens."""
        for start in range(0, len(rows), self.settings.step):
            part = rows[start : start + self.settings.step]
            learner.update([self.pool.texts[row] for row in part])
        return int(self.pool.tokens[rows].sum())


def _assign(penalties: FloatArray, slack: float, scores: FloatArray) -> IndexArray:
    return balanced(scores + penalties, slack)


class _Reading:
    """Measures losses of a round's prompts, and counts what was read for it."""

    def __init__(
        self,
        learners: Sequence[Learner],
        pool: Pool,
        rows: IndexArray,
        others: float,
        rng: np.random.Generator,
    ) -> None:
        self._learners, self._pool, self._rows = learners, pool, rows
        self._coins = rng.random((len(rows), len(learners))) < others
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

    def loss(self, chosen: IndexArray) -> float | None:
        """Return the mean loss of the prompts with these experts, where it was measured."""
        found = self._losses[np.arange(len(chosen)), chosen]
        return None if np.isnan(found).all() else float(np.nanmean(found))


@dataclass(frozen=True, slots=True)
class Entry:
    """What a round did: tokens that each expert learned from, and that were read to measure.

    `loss` is the mean of the prompts with the experts that they went to, before these learned from
    them, in nats per character; None where nothing was measured.
    """

    tokens: tuple[int, ...]
    read: int
    loss: float | None

    @classmethod
    def read_back(cls, saved: Mapping[str, Any]) -> Entry:
        """Take over what was saved."""
        return cls(tuple(saved["tokens"]), saved["read"], saved["loss"])


@dataclass(slots=True)
class History:
    """What all rounds did."""

    entries: list[Entry] = field(default_factory=list)

    @property
    def trained(self) -> int:
        """The tokens that experts learned from."""
        return sum(sum(entry.tokens) for entry in self.entries)

    @property
    def read(self) -> int:
        """The tokens that were read to measure a loss."""
        return sum(entry.read for entry in self.entries)

    @property
    def compute(self) -> float:
        """Both, in tokens learned from."""
        return self.trained + READING * self.read

    def shares(self, last: int | None = None) -> FloatArray:
        """Return each expert's share of the tokens, `(n_experts,)`, of all or the last rounds."""
        tokens = np.array([entry.tokens for entry in self.entries[-(last or 0) :]], float).sum(0)
        return np.asarray(tokens / tokens.sum())

    def effective(self, last: int | None = None) -> float:
        """Count the experts that are really at work: 1 is a collapse."""
        return effective(self.shares(last))


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
