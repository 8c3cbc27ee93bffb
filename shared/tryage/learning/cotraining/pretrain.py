"""Ordinary training of a student, with schedule and checkpoint, and training of its tokenizer."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.checkpoint import (
    fingerprint,
    graceful_interrupt,
    load_keyed_json,
    save_keyed_json,
)
from tryage.core.validation import require_extra
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.learning.cotraining.student import Student
    from tryage.scoring.language_model import Tokenizer

TEXTS_PER_UPDATE = 64  # enough to batch texts of similar length

DECAY_SHARE = 0.4  # of the training, at its end, in which the learning rate falls to zero

PAD, CLS, SEP, MASK = "[PAD]", "[CLS]", "[SEP]", "[MASK]"

_TARGET_FILE = "goal.json"

_MISMATCH = "the training of another student, texts or length"


def train(  # noqa: PLR0913 - student, texts and length; the rest has defaults
    student: Student,
    texts: Sequence[str],
    tokens: int,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    progress: bool = True,
) -> float:
    """Train a student on `tokens` more tokens of the texts; return the last loss, nats per token.

    A `checkpoint` folder is written every `checkpoint_seconds`. An interrupted run resumes from it
    when it is called again with a student made in the same way; a finished run is only loaded. The
    first Ctrl-C ends the run after the current update, with everything saved.

    Raises:
        InputError: there are no texts, or `tokens` is less than 1.
        PersistenceError: the checkpoint is damaged, or of another student, texts or length.
        KeyboardInterrupt: after Ctrl-C.
    """
    from tqdm import tqdm

    if not texts or tokens < 1:
        raise InputError(f"{len(texts)} texts, {tokens} tokens: expected at least 1 of each.")
    folder = None if checkpoint is None else Path(checkpoint)
    target = _target_tokens(student, texts, tokens, folder)
    loss, saved_at, stop_requested = float("nan"), time.monotonic(), threading.Event()
    progress_bar = tqdm(total=tokens, desc=student.name, unit="tok", disable=not progress)
    with progress_bar, graceful_interrupt(stop_requested.set):
        while student.tokens_seen < target and not stop_requested.is_set():
            tokens_before, batch = student.tokens_seen, _next_texts(texts, student)
            remaining_tokens = target - tokens_before
            progress_bar.update(tokens - remaining_tokens - progress_bar.n)
            loss = student.update(
                batch, remaining_tokens, lr_scale=min(1.0, remaining_tokens / tokens / DECAY_SHARE)
            )
            if student.tokens_seen == tokens_before:
                raise InputError(f"There is nothing to predict in {batch[0]!r:.80} and others.")
            progress_bar.set_postfix_str(f"{loss:.3f} nats/token", refresh=False)
            if folder is not None and time.monotonic() - saved_at > checkpoint_seconds:
                student.save_state(folder)
                saved_at = time.monotonic()
        if folder is not None:
            student.save_state(folder)
        progress_bar.update(min(tokens, tokens - target + student.tokens_seen) - progress_bar.n)
    return loss


def _target_tokens(student: Student, texts: Sequence[str], tokens: int, folder: Path | None) -> int:
    """Restore the student from its checkpoint; return how many tokens it will have seen."""
    target = student.tokens_seen + tokens
    if folder is None:
        return target
    embedding_table = student.network.get_input_embeddings().weight.detach().cpu().numpy()
    key = fingerprint(student.name, student.parameters, embedding_table, tokens, list(texts))
    path = folder / _TARGET_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        student.save_state(folder)
        save_keyed_json(path, key, "tokens_seen", target)
        return target
    target = load_keyed_json(path, key, "tokens_seen", int, _MISMATCH)
    student.load_state(folder)
    return target


def _next_texts(texts: Sequence[str], student: Student) -> list[str]:
    """Return the texts of the student's next update, from endless passes, each newly shuffled."""
    size = min(TEXTS_PER_UPDATE, len(texts))
    epoch, index = divmod(student.updates, len(texts) // size)
    order = np.random.default_rng([student.seed, epoch]).permutation(len(texts))
    return [texts[row] for row in order[index * size : (index + 1) * size]]


def train_tokenizer(texts: Iterable[str], size: int = 8192, *, progress: bool = True) -> Tokenizer:
    """Train a tokenizer of `size` tokens that masked and causal students can share.

    It is a byte-level BPE, so that it can encode any text. The same texts in the same order give
    the same tokenizer.

    Raises:
        InputError: `size` is too small for the 256 bytes and the special tokens.
        MissingExtraError: transformers is not installed.
    """
    require_extra("transformers", "train")
    from tokenizers import Tokenizer as FastTokenizer
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special_tokens = [PAD, CLS, SEP, MASK]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size <= len(alphabet) + len(special_tokens):
        raise InputError(
            f"size is {size}; expected more than {len(alphabet) + len(special_tokens)}."
        )
    tokenizer = FastTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special_tokens,
        initial_alphabet=sorted(alphabet),
        show_progress=progress,
    )
    tokenizer.train_from_iterator(texts, trainer)
    template_tokens = [(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", special_tokens=template_tokens
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers gives it no types
        tokenizer_object=tokenizer,
        pad_token=PAD,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
        bos_token=CLS,
        eos_token=SEP,
    )
