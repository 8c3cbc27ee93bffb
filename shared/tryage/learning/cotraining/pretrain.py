"""Training a student for long: a schedule, a progress bar, and a checkpoint to go on from."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.learning.checkpoint import (
    fingerprint,
    graceful_interrupt,
    load_keyed_json,
    save_keyed_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.learning.cotraining.student import Student
    from tryage.learning.scoring.language_model import Tokenizer

TEXTS_PER_UPDATE = 64  # texts of one update: enough to put like lengths together

DECAY_SHARE = 0.4  # the share of the training in which the learning rate falls to zero

_TARGET_FILE = "goal.json"

_MISMATCH = "the training of another student, texts or length"

PAD, START, END, MASK = "[PAD]", "[CLS]", "[SEP]", "[MASK]"


def train(  # noqa: PLR0913 - each is one thing about a long run
    student: Student,
    texts: Sequence[str],
    tokens: int,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
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
    target = _target_tokens(student, texts, tokens, folder)
    loss, saved_at, stop_requested = float("nan"), time.monotonic(), threading.Event()
    bar = tqdm(total=tokens, desc=student.name, unit="tok", disable=not progress)
    with bar, graceful_interrupt(stop_requested.set):
        while student.tokens_seen < target and not stop_requested.is_set():
            before, group = student.tokens_seen, _next_texts(texts, student)
            left = target - before
            bar.update(tokens - left - bar.n)
            loss = student.update(group, left, lr_scale=min(1.0, left / tokens / DECAY_SHARE))
            if student.tokens_seen == before:
                raise InputError(f"There is nothing to predict in {group[0]!r:.80} and others.")
            bar.set_postfix_str(f"{loss:.3f} nats/token", refresh=False)
            if folder is not None and time.monotonic() - saved_at > checkpoint_seconds:
                student.save_state(folder)
                saved_at = time.monotonic()
        if folder is not None:
            student.save_state(folder)
        bar.update(min(tokens, tokens - target + student.tokens_seen) - bar.n)
    return loss


def _target_tokens(student: Student, texts: Sequence[str], tokens: int, folder: Path | None) -> int:
    """Return how many tokens the student will have seen, after going on from the checkpoint."""
    fresh = student.tokens_seen + tokens
    if folder is None:
        return fresh
    table = student.network.get_input_embeddings().weight.detach().cpu().numpy()
    key = fingerprint(student.name, student.parameters, table, tokens, list(texts))
    note = folder / _TARGET_FILE
    if not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        student.save_state(folder)
        save_keyed_json(note, key, "tokens_seen", fresh)
        return fresh
    goal = load_keyed_json(note, key, "tokens_seen", int, _MISMATCH)
    student.load_state(folder)
    return goal


def _next_texts(texts: Sequence[str], student: Student) -> list[str]:
    """Deal the texts of the student's next update, from endless, freshly shuffled passes."""
    size = min(TEXTS_PER_UPDATE, len(texts))
    per_pass = len(texts) // size
    turn, place = divmod(student.updates, per_pass)
    order = np.random.default_rng([student.seed, turn]).permutation(len(texts))
    return [texts[at] for at in order[place * size : (place + 1) * size]]


def train_tokenizer(texts: Iterable[str], size: int = 8192, *, progress: bool = True) -> Tokenizer:
    """Learn a tokeniser of `size` tokens that masked and causal students can share.

    It works on bytes, so there is no text that it cannot write. The same texts in the same order
    give the same tokeniser.

    Raises:
        InputError: `size` leaves no room beside the 256 bytes and the special tokens.
        MissingExtraError: transformers is not installed.
    """
    require_extra("transformers", "train")
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, START, END, MASK]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size <= len(alphabet) + len(special):
        raise InputError(f"size is {size}; expected more than {len(alphabet) + len(special)}.")
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        show_progress=progress,
    )
    fast.train_from_iterator(texts, trainer)
    ends = [(token, fast.token_to_id(token)) for token in (START, END)]
    fast.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=ends
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers gives it no types
        tokenizer_object=fast,
        pad_token=PAD,
        cls_token=START,
        sep_token=END,
        mask_token=MASK,
        bos_token=START,
        eos_token=END,
    )
