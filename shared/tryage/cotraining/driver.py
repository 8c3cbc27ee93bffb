"""Training a student for long: a schedule, a progress bar, and a checkpoint to go on from."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.cotraining.note import read_note, write_note
from tryage.errors import InputError
from tryage.interrupts import stopping
from tryage.perception.checkpoint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.cotraining.student import Student

GROUP = 64  # texts of one update: enough to put like lengths together
EASE = 0.4  # the share of the training in which the learning rate falls to zero
_GOAL = "goal.json"
_OTHERS = "the training of another student, texts or length"


def train(  # noqa: PLR0913 - each is one thing about a long run
    student: Student,
    texts: Sequence[str],
    tokens: int,
    *,
    checkpoint: str | Path | None = None,
    every: float = 30.0,
    progress: bool = True,
) -> float:
    """Train a student on `tokens` more tokens of the texts; return the last loss, nats per token.

    With a `checkpoint` folder, kept every so many seconds, an interrupted run goes on where it was
    when called again with a student made the same way, and a finished one is only read. The first
    Ctrl-C ends it after the update at hand, with all of it kept.

    Raises:
        InputError: no texts, or `tokens` is not at least 1.
        PersistenceError: the checkpoint is damaged, or of another student, texts or length.
        KeyboardInterrupt: after Ctrl-C.
    """
    from tqdm import tqdm

    if not texts or tokens < 1:
        raise InputError(f"{len(texts)} texts, {tokens} tokens: expected at least 1 of each.")
    folder = None if checkpoint is None else Path(checkpoint)
    goal = _goal(student, texts, tokens, folder)
    loss, kept, asked = float("nan"), time.monotonic(), threading.Event()
    bar = tqdm(total=tokens, desc=student.name, unit="tok", disable=not progress)
    with bar, stopping(asked.set):
        while student.tokens_seen < goal and not asked.is_set():
            before, group = student.tokens_seen, _group(texts, student)
            left = goal - before
            bar.update(tokens - left - bar.n)
            loss = student.update(group, left, pace=min(1.0, left / tokens / EASE))
            if student.tokens_seen == before:
                raise InputError(f"There is nothing to predict in {group[0]!r:.80} and others.")
            bar.set_postfix_str(f"{loss:.3f} nats/token", refresh=False)
            if folder is not None and time.monotonic() - kept > every:
                student.save_state(folder)
                kept = time.monotonic()
        if folder is not None:
            student.save_state(folder)
        bar.update(min(tokens, tokens - goal + student.tokens_seen) - bar.n)
    return loss


def _goal(student: Student, texts: Sequence[str], tokens: int, folder: Path | None) -> int:
    """Return how many tokens the student will have seen, after going on from the checkpoint."""
    fresh = student.tokens_seen + tokens
    if folder is None:
        return fresh
    table = student.network.get_input_embeddings().weight.detach().cpu().numpy()
    key = fingerprint(student.name, student.parameters, table, tokens, list(texts))
    note = folder / _GOAL
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        student.save_state(folder)
        write_note(note, key, "tokens_seen", fresh)
        return fresh
    goal = read_note(note, key, "tokens_seen", int, _OTHERS)
    student.load_state(folder)
    return goal


def _group(texts: Sequence[str], student: Student) -> list[str]:
    """Deal the texts of the student's next update, from endless, freshly shuffled passes."""
    size = min(GROUP, len(texts))
    per_pass = len(texts) // size
    turn, place = divmod(student.updates, per_pass)
    order = np.random.default_rng([student.seed, turn]).permutation(len(texts))
    return [texts[at] for at in order[place * size : (place + 1) * size]]
