"""The tokenizer of an encoder: what is read of a prompt, and its tokens, in a bounded time."""

from __future__ import annotations

import json
import re
import string
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from tryage.errors import InputError, PerceptionError
from tryage.perception.tokenizer_file import tokenizer_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from tryage.core.arrays import Int64Array

# A prompt of up to this length in UTF-8, about 2,000 tokens of English, is read whole. Of a longer
# one only the two ends are read, so that it costs the time of this one. All that is read of a
# prompt for its losses comes from here. More leads to no better choices (benchmarks/README.md).
MAX_BYTES = 8_192

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

    def special_ids_around(self) -> tuple[Int64Array, Int64Array]:
        """Return the ids of the special tokens before a text, and of those after it.

        Raises:
            PerceptionError: the tokenizer fails; its file is damaged.
        """
        with tokenizer_errors(PerceptionError, _FAILURE):
            encoding = self.tokenizer.encode("a")
        ids, is_special = np.array(encoding.ids, np.int64), np.array(encoding.special_tokens_mask)
        own = np.flatnonzero(is_special == 0)
        first, last = (own[0], own[-1] + 1) if len(own) else (len(ids), len(ids))
        return ids[:first], ids[last:]

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


def excerpt(prompt: str) -> str:
    """Return the prompt, or if it is longer than `MAX_BYTES`, its first and its last characters.

    An excerpt has at most `MAX_BYTES`, so the excerpt of an excerpt is itself. A lone surrogate,
    which UTF-8 cannot write, becomes a question mark in an excerpt.
    """
    if len(prompt) <= MAX_BYTES and (prompt.isascii() or len(_utf8(prompt)) <= MAX_BYTES):
        return prompt
    half = MAX_BYTES // 2
    head, tail = _utf8(prompt[:half])[:half], _utf8(prompt[-half:])[1 - half :]
    return f"{head.decode(errors='ignore')} {tail.decode(errors='ignore')}"


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")


def head_and_tail(ids: Int64Array, max_length: int) -> Int64Array:
    """Keep the first and the last tokens of a long prompt: the task stands at either end."""
    if len(ids) <= max_length:
        return ids
    tail_length = max_length // 2
    return np.concatenate([ids[: max_length - tail_length], ids[len(ids) - tail_length :]])


# A tokenizer for many languages ------------------------------------------------------------------

# The accents of Latin, Greek and Cyrillic letters, the vowels of Hebrew and Arabic, which few
# people write, and the mark that makes an Arabic word longer. The signs of other scripts stay.
_OPTIONAL_MARKS = r"[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670]"

_SYMBOL = r"\p{S}"  # arrows, signs of mathematics and currencies, emoji: each is a word of its own


def many_language_normalizer() -> normalizers.Normalizer:
    """Return the normalizer of a tokenizer for many scripts: small letters, few accents.

    Of Latin letters and digits it does what the normalizer of BERT does.
    """
    return normalizers.Sequence(
        [
            normalizers.NFD(),
            normalizers.Replace(Regex(_OPTIONAL_MARKS), ""),
            BertNormalizer(strip_accents=False),
        ]
    )


def many_language_pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer of BERT that also divides at symbols."""
    return pre_tokenizers.Sequence(
        [BertPreTokenizer(), pre_tokenizers.Split(Regex(_SYMBOL), "isolated")]
    )


# A shortcut for tokenizers that read word by word -----------------------------------------------

# A Chinese character, a punctuation mark of ASCII, or a run of anything else without white space.
# The tokenizer of BERT never joins two of these, so each has the same tokens in every text; nor
# does the one for many languages.
_CHUNK = re.compile(r"[\u4e00-\u9fff]|[!-/:-@\[-`{-~]|[^ \t\n\r!-/:-@\[-`{-~\u4e00-\u9fff]+")

# Stands between chunks that are tokenized together. It is always a token of its own, and nothing
# else becomes this token.
_SEPARATOR = "!"


def is_wordwise(tokenizer: Tokenizer) -> bool:
    """Tell whether a word has the same tokens in every text, as with the tokenizer of BERT."""
    return (
        isinstance(tokenizer.model, WordPiece)
        and (_reads_like_bert(tokenizer) or _reads_many_languages(tokenizer))
        and tokenizer.token_to_id(_SEPARATOR) is not None
    )


def _reads_like_bert(tokenizer: Tokenizer) -> bool:
    normalizer = tokenizer.normalizer
    return (
        isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(normalizer, BertNormalizer)
        and bool(normalizer.handle_chinese_chars)
    )


def _reads_many_languages(tokenizer: Tokenizer) -> bool:
    parts = (
        (tokenizer.normalizer, many_language_normalizer()),
        (
            tokenizer.pre_tokenizer,
            many_language_pre_tokenizer(),
        ),
    )
    return all(_settings(part) == _settings(expected) for part, expected in parts)


def _settings(part: Any) -> Any:  # noqa: ANN401 - of tokenizers, whose parts have no common type
    """Return what a part of a tokenizer is made of: any JSON value, None where there is no part."""
    return part and json.loads(part.__getstate__())


def _makes_letters_small(tokenizer: Tokenizer) -> bool:
    normalizer = tokenizer.normalizer
    return bool(normalizer.lowercase) if isinstance(normalizer, BertNormalizer) else True


def _is_sign_or_word(chunk: str) -> bool:
    """Tell whether only the model of the tokenizer changes a chunk, whose letters are small."""
    if len(chunk) == 1 and (chunk in string.punctuation or "\u4e00" <= chunk <= "\u9fff"):
        return True
    return chunk.isascii() and chunk.isalnum()


class WordTokenizer:
    """Tokenizes texts by their different chunks: the tokens of the whole, in less time.

    Most chunks are words of the vocabulary, which it remembers, and no others. Words of ASCII need
    only the model of the tokenizer, and what is left is tokenized in one call.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._is_lowercase = _makes_letters_small(tokenizer)
        self._model = tokenizer.model
        self._encode_batch = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
        self._separator_id = tokenizer.token_to_id(_SEPARATOR)
        self._vocabulary_ids: dict[str, tuple[int, ...]] = {}  # of the words that occurred
        # These are found in a text before it is divided into words.
        added_tokens = tokenizer.get_added_tokens_decoder().values()
        self._added_tokens = [token.content for token in added_tokens]

    def ids(self, texts: Sequence[str]) -> list[Int64Array]:
        """Return the token ids of each text, without special tokens."""
        chunks_by_text = [self._chunks(text) for text in texts]
        ids_by_chunk = self._ids_by_chunk(set(chain.from_iterable(chunks_by_text)))
        ids = []
        for text, chunks in zip(texts, chunks_by_text, strict=True):
            if any(token in text for token in self._added_tokens):
                text_ids = self._encode(text)
            else:
                text_ids = [*chain.from_iterable(map(ids_by_chunk.__getitem__, chunks))]
            ids.append(np.array(text_ids, np.int64))
        return ids

    def _chunks(self, text: str) -> list[str]:
        """Divide a text where the tokenizer does; its ASCII letters become small if it says so.

        Other letters keep their case: Python and the tokenizer have different rules for some.
        """
        return _CHUNK.findall(text.encode().lower().decode() if self._is_lowercase else text)

    def _ids_by_chunk(self, chunks: set[str]) -> dict[str, Sequence[int]]:
        ids_by_chunk: dict[str, Sequence[int]] = {
            chunk: self._vocabulary_ids[chunk] for chunk in chunks & self._vocabulary_ids.keys()
        }
        others = []
        for chunk in chunks - ids_by_chunk.keys():
            if _is_sign_or_word(chunk):
                ids_by_chunk[chunk] = self._model_ids(chunk)
            else:
                others.append(chunk)
        if others:
            ids_by_chunk.update(zip(others, self._encode_apart(others), strict=True))
        return ids_by_chunk

    def _model_ids(self, chunk: str) -> tuple[int, ...]:
        """Return the token ids of a sign or word; a word of the vocabulary is remembered."""
        tokens = self._model.tokenize(chunk)
        ids = tuple(token.id for token in tokens)
        if tokens[0].value == chunk:
            self._vocabulary_ids[chunk] = ids
        return ids

    def _encode_apart(self, chunks: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each chunk, from one call of the tokenizer."""
        ids: list[list[int]] = [[]]
        for token_id in self._encode(_SEPARATOR.join(chunks)):
            if token_id == self._separator_id:
                ids.append([])
            else:
                ids[-1].append(token_id)
        return ids

    def _encode(self, text: str) -> list[int]:
        # Before tokenizers 0.20.1 there is only the function that computes offsets as well.
        ids: list[int] = self._encode_batch([text], add_special_tokens=False)[0].ids
        return ids
