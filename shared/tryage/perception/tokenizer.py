"""The tokenizer of an encoder: any text in, bounded work, the last prompts remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError, PerceptionError
from tryage.perception.excerpt import excerpt
from tryage.perception.tokenizer_file import tokenizer_errors
from tryage.perception.wordwise import WordTokenizer, is_wordwise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from tryage.core.arrays import Int64Array

BATCH_SIZE = 1_024  # texts

# Texts that take less time one after the other than by a pool of threads: by the tokenizer, and by
# the shortcut for one that reads word by word.
SMALL_BATCH, SMALL_WORDWISE_BATCH = 8, 64

_FAILURE = (
    "The tokenizer of the encoder has failed. Its file is damaged, or lacks a token for unknown "
    "words; save or download the router again"
)


class PromptTokenizer:
    """A tokenizer that takes any text, bounds the work and remembers the prompts of the last call.

    A router encodes prompts and looks at their tokens: they are tokenized once. What is remembered
    is in no pickle.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.vocabulary: int = tokenizer.get_vocab_size()
        self._last_call: tuple[tuple[str, ...], list[Int64Array]] = ((), [])
        self._word_tokenizer = WordTokenizer(tokenizer) if is_wordwise(tokenizer) else None
        # Before tokenizers 0.20.1 there is only the function that computes offsets as well.
        self._encode_batch = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)

    def __reduce__(self) -> tuple[type[PromptTokenizer], tuple[Tokenizer]]:
        """Return what a copy is made of: the tokenizer without the prompts of the last call."""
        return PromptTokenizer, (self.tokenizer,)

    def ids(self, prompts: Sequence[str]) -> list[Int64Array]:
        """Return the token ids of each prompt's excerpt, without special tokens.

        Raises:
            PerceptionError: the tokenizer fails; its file is damaged.
        """
        texts = clean_prompts(prompts)
        last_texts, ids = self._last_call  # read both at once: another thread may replace them
        if texts != last_texts:
            ids = self._encode_or_raise(texts)
            self._last_call = (texts, ids)
        return ids

    def count(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count the tokens of each prompt `(batch,)`: of its excerpt, scaled by its length."""
        counts = [len(ids) for ids in self.ids(prompts)]
        scale = [max(len(prompt), 1) / max(len(excerpt(prompt)), 1) for prompt in prompts]
        return np.rint(np.multiply(counts, scale)).astype(np.int64)

    def special_ids(self) -> Int64Array:
        """Return the ids of the special tokens that the tokenizer puts around a text.

        Raises:
            PerceptionError: the tokenizer fails; its file is damaged.
        """
        with tokenizer_errors(PerceptionError, _FAILURE):
            return np.array(self.tokenizer.encode("").ids, np.int64)

    def _encode_or_raise(self, texts: Sequence[str]) -> list[Int64Array]:
        with tokenizer_errors(PerceptionError, _FAILURE):
            return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> list[Int64Array]:
        if self._word_tokenizer is not None and len(texts) <= SMALL_WORDWISE_BATCH:
            return self._word_tokenizer.ids(texts)
        if len(texts) <= SMALL_BATCH:
            encodings = [self.tokenizer.encode(text, add_special_tokens=False) for text in texts]
            return [np.array(encoding.ids, np.int64) for encoding in encodings]
        ids: list[Int64Array] = []
        for start in range(0, len(texts), BATCH_SIZE):
            batch = list(texts[start : start + BATCH_SIZE])
            encodings = self._encode_batch(batch, add_special_tokens=False)
            ids += [np.array(encoding.ids, np.int64) for encoding in encodings]
        return ids


def clean_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the excerpts of prompts, with lone surrogates replaced, which no tokenizer accepts.

    Raises:
        InputError: a single string, or something that is not text, was given.
    """
    if isinstance(prompts, str):
        raise InputError("prompts is one string; expected a list of prompts: wrap it in a list")
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise InputError(f"a prompt is {type(prompt).__name__}; every prompt must be a string")
    excerpts = map(excerpt, prompts)
    return tuple(
        text if text.isascii() else text.encode("utf-8", "replace").decode() for text in excerpts
    )


def head_and_tail(ids: Int64Array, max_length: int) -> Int64Array:
    """Keep the first and the last tokens of a long prompt: the task stands at either end."""
    if len(ids) <= max_length:
        return ids
    tail_length = max_length // 2
    return np.concatenate([ids[: max_length - tail_length], ids[len(ids) - tail_length :]])
