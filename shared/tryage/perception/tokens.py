"""Prompts in, token ids out: clipping, batching by length and counting."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.errors import InputError
from tryage.perception.parts import Whole, reads_by_word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tokenizers import Tokenizer

Ids: TypeAlias = NDArray[np.int64]

# No text has more than a few characters per token; this bounds the time that a prompt of a
# million characters can take, and leaves every prompt that fits a usual context whole.
READ_CHARACTERS = 65_536
BATCH = 1_024
FEW = 8  # texts that are read before a pool of threads has woken up


def head_and_tail(ids: Ids, limit: int) -> Ids:
    """Keep the first and the last tokens of a long prompt: the task stands at either end."""
    if len(ids) <= limit:
        return ids
    tail = limit // 2
    return np.concatenate([ids[: limit - tail], ids[len(ids) - tail :]])


def clip(text: str) -> str:
    """Keep the first and the last characters of a text that is too long to read."""
    if len(text) <= READ_CHARACTERS:
        return text
    half = READ_CHARACTERS // 2
    return f"{text[:half]} {text[-half:]}"


def length_batches(lengths: Sequence[int], tokens: int) -> Iterator[NDArray[np.intp]]:
    """Yield row numbers of batches of about equal length, at most `tokens` padded tokens each."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        full = stop < len(order) and (stop + 1 - start) * lengths[order[stop]] > tokens
        if full or stop == len(order):
            yield order[start:stop]
            start = stop


def checked(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the prompts as clean texts: lone surrogates, which no tokenizer takes, replaced.

    Raises:
        InputError: a single string, or something that is not text, was given.

    """
    if isinstance(prompts, str):
        raise InputError("one string was given where a list of prompts belongs: wrap it in a list")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise InputError(f"a prompt is {type(prompt).__name__}; every prompt must be a string")
    return tuple(p if p.isascii() else p.encode("utf-8", "replace").decode() for p in prompts)


class PromptTokenizer:
    """A tokenizer that takes any text, bounds the work and remembers the prompts of the last call.

    A router encodes prompts, looks at their tokens and counts them: they are tokenised once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.vocabulary: int = tokenizer.get_vocab_size()
        self._last: tuple[tuple[str, ...], list[Ids]] = ((), [])
        self._by_word = reads_by_word(tokenizer)
        # before tokenizers 0.20.1 there is only the batch that computes offsets as well
        self._batch = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)

    def ids(self, prompts: Sequence[str]) -> list[Ids]:
        """Token ids of each prompt, without special tokens; beyond 65,536 characters its ends."""
        key = checked(prompts)
        last, ids = self._last  # one read: another thread may replace it
        if key != last:
            ids = self._encode([clip(text) for text in key])
            self._last = (key, ids)
        return ids

    def count(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each whole prompt `(batch,)`; beyond 65,536 characters scaled by length."""
        counts = [len(ids) for ids in self.ids(prompts)]
        scale = [max(1.0, len(text) / READ_CHARACTERS) for text in prompts]
        return np.rint(np.multiply(counts, scale)).astype(np.int64)

    def _encode(self, texts: list[str]) -> list[Ids]:
        if len(texts) <= FEW:
            return self._few(texts)
        ids: list[Ids] = []
        for start in range(0, len(texts), BATCH):
            encodings = self._batch(texts[start : start + BATCH], add_special_tokens=False)
            ids += [np.array(e.ids, np.int64) for e in encodings]
        return ids

    def _few(self, texts: list[str]) -> list[Ids]:
        """Read one text after the other; parts of the first, such as its clauses, are cut out."""
        if len(texts) < 2 or not self._by_word:
            return [self._read(text) for text in texts]
        whole = Whole(texts[0], self.tokenizer.encode(texts[0], add_special_tokens=False))
        parts = [(text, whole.part(text)) for text in texts[1:]]
        cut = [self._read(text) if ids is None else ids for text, ids in parts]
        return [whole.ids, *cut]

    def _read(self, text: str) -> Ids:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int64)


class ReadsTokens:
    """What encoders share that read prompts through one `PromptTokenizer`."""

    _tokens: PromptTokenizer

    @property
    def vocabulary(self) -> int:
        """Number of different tokens."""
        return self._tokens.vocabulary

    def token_ids(self, prompts: Sequence[str]) -> list[Ids]:
        """Token ids of each prompt, without special tokens."""
        return self._tokens.ids(prompts)

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each whole prompt `(batch,)`, without special tokens."""
        return self._tokens.count(prompts)
