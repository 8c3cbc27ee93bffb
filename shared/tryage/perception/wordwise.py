"""A shortcut for tokenizers that read word by word, as that of BERT does: equal tokens, sooner."""

from __future__ import annotations

import re
import string
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from tryage.core.arrays import Int64Array

# A Chinese character, a punctuation mark of ASCII, or a run of anything else without white space.
# The tokenizer of BERT never joins two of these, so each has the same tokens in every text.
_CHUNK = re.compile(r"[\u4e00-\u9fff]|[!-/:-@\[-`{-~]|[^ \t\n\r!-/:-@\[-`{-~\u4e00-\u9fff]+")

# Stands between chunks that are tokenized together. It is always a token of its own, and nothing
# else becomes this token.
_SEPARATOR = "!"


def is_wordwise(tokenizer: Tokenizer) -> bool:
    """Tell whether a word has the same tokens in every text, as with the tokenizer of BERT."""
    normalizer = tokenizer.normalizer
    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(normalizer, BertNormalizer)
        and normalizer.handle_chinese_chars
        and tokenizer.token_to_id(_SEPARATOR) is not None
    )


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
        self._is_lowercase = bool(tokenizer.normalizer.lowercase)
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
