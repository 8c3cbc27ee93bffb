"""The tokens of a part of a text, cut out of those of the whole: a part need not be read again."""

from __future__ import annotations

import string
from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

_EDGES = frozenset(" \t\r\n" + string.punctuation)  # what ends a word, whatever it is next to


def reads_by_word(tokenizer: Tokenizer) -> bool:
    """Tell whether a word has the same tokens whatever stands around it, as with BERT's."""
    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(tokenizer.normalizer, BertNormalizer)
    )


class Whole:
    """A text as a tokenizer that reads by word has read it, for parts of it to be cut out."""

    def __init__(self, text: str, encoding: Encoding) -> None:
        self._text = text
        self.ids = np.array(encoding.ids, np.int64)
        self._starts, self._ends = tuple(zip(*encoding.offsets, strict=True)) or ((), ())

    def part(self, text: str) -> NDArray[np.int64] | None:
        """Return the token ids of a part; None if it is none, or ends in the midst of a word."""
        start = self._text.find(text)
        end = start + len(text)
        if start < 0 or not (self._ends_word(start - 1) and self._ends_word(end)):
            return None
        first = bisect_left(self._starts, start)
        last = bisect_left(self._starts, end, first)
        cut = self._reaches_over(first, start) or self._reaches_over(last, end)
        return None if cut else self.ids[first:last]

    def _reaches_over(self, token: int, at: int) -> bool:
        """Tell whether the token before `token` does: one may be made of several words."""
        return token > 0 and self._ends[token - 1] > at

    def _ends_word(self, at: int) -> bool:
        return not 0 <= at < len(self._text) or self._text[at] in _EDGES
