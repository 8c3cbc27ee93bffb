"""The tokenizer of an encoder: what is read of a prompt, and its tokens, in a bounded time."""

from __future__ import annotations

import json
import re
import string
from array import array
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

SMALL_BATCH = 8  # texts that take less time one after the other than by a pool of threads

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
        if self._word_tokenizer is not None:
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
        # The ids of the words that occurred, as bytes of int64: joining bytes takes a third of the
        # time of joining tuples.
        self._vocabulary_ids: dict[str, bytes] = {}
        # These are found in a text before it is divided into words.
        added_tokens = tokenizer.get_added_tokens_decoder().values()
        self._added_tokens = [token.content for token in added_tokens]

    def ids(self, texts: Sequence[str]) -> list[Int64Array]:
        """Return the token ids of each text, without special tokens."""
        chunks_by_text = [self._chunks(text) for text in texts]
        other_ids = self._other_ids(set(chain.from_iterable(chunks_by_text)))
        known_ids, ids = self._vocabulary_ids, []
        for text, chunks in zip(texts, chunks_by_text, strict=True):
            if self._has_added_token(text):
                ids.append(np.array(self._encode(text), np.int64))
            else:
                parts = [known_ids.get(chunk) or other_ids[chunk] for chunk in chunks]
                ids.append(np.frombuffer(b"".join(parts), np.int64))
        return ids

    def _has_added_token(self, text: str) -> bool:
        for token in self._added_tokens:  # noqa: SIM110 - `any` takes three times as long
            if token in text:
                return True
        return False

    def _chunks(self, text: str) -> list[str]:
        """Divide a text where the tokenizer does; its ASCII letters become small if it says so.

        Other letters keep their case: Python and the tokenizer have different rules for some.
        """
        return _CHUNK.findall(text.encode().lower().decode() if self._is_lowercase else text)

    def _other_ids(self, chunks: set[str]) -> dict[str, bytes]:
        """Return the token ids of the chunks that are no words of the vocabulary; learn those."""
        ids_by_chunk: dict[str, bytes] = {}
        apart = []
        for chunk in chunks.difference(self._vocabulary_ids):
            if _is_sign_or_word(chunk):
                self._read_word(chunk, ids_by_chunk)
            else:
                apart.append(chunk)
        if apart:
            ids_by_chunk.update(zip(apart, self._encode_apart(apart), strict=True))
        return ids_by_chunk

    def _read_word(self, chunk: str, ids_by_chunk: dict[str, bytes]) -> None:
        """Tokenize a sign or word; a word of the vocabulary is remembered."""
        tokens = self._model.tokenize(chunk)
        ids = array("q", [token.id for token in tokens]).tobytes()
        is_known = tokens[0].value == chunk
        (self._vocabulary_ids if is_known else ids_by_chunk)[chunk] = ids

    def _encode_apart(self, chunks: Sequence[str]) -> list[bytes]:
        """Return the token ids of each chunk, from one call of the tokenizer."""
        ids = np.array(self._encode(_SEPARATOR.join(chunks)), np.int64)
        parts = np.split(ids, np.flatnonzero(ids == self._separator_id))
        return [part.tobytes() for part in (parts[0], *(part[1:] for part in parts[1:]))]

    def _encode(self, text: str) -> list[int]:
        # Before tokenizers 0.20.1 there is only the function that computes offsets as well.
        ids: list[int] = self._encode_batch([text], add_special_tokens=False)[0].ids
        return ids
