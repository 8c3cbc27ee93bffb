"""What each word gives each row: a table where there are few tools, postings where there are many.

Words are numbered, and `(words, rows, gains)` `(n,)` list the pairs that are not zero, each once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float32]
Places = NDArray[np.intp]

_SMALL = 1 << 16  # numbers, half a megabyte: the words of some forty tools


class Gains(Protocol):
    """Adds up what the words of some texts give."""

    def sums(self, texts: Sequence[Sequence[int]]) -> Floats:
        """Add up what the words of each text give each row, `(n_texts, n_rows)`."""
        ...


def tell(
    words: Places, rows: Places, gains: NDArray[np.float64], n_words: int, n_rows: int
) -> Gains:
    """Keep the pairs in the form that is the fastest to add up."""
    kind = Table if n_words * n_rows <= _SMALL else Postings
    return kind(words, rows, gains, n_words, n_rows)


class Table:
    """All that words give, zeros and all: some microseconds faster than postings, and larger."""

    def __init__(
        self, words: Places, rows: Places, gains: NDArray[np.float64], n_words: int, n_rows: int
    ) -> None:
        self._nothing = n_words  # a row of zeros, so that no text is without words
        self._table = np.zeros((n_words + 1, n_rows))
        self._table[words, rows] = gains

    def sums(self, texts: Sequence[Sequence[int]]) -> Floats:
        """Add up what the words of each text give each row, `(n_texts, n_rows)`."""
        all_words: list[int] = []
        starts = []
        for words in texts:
            starts.append(len(all_words))
            all_words += (self._nothing, *words)
        return np.add.reduceat(self._table.take(all_words, 0), starts).astype(np.float32)


class Postings:
    """For every word the rows that have it and what it gives them, one after the other."""

    def __init__(
        self, words: Places, rows: Places, gains: NDArray[np.float64], n_words: int, n_rows: int
    ) -> None:
        order = np.argsort(words, kind="stable")
        ends = np.searchsorted(words[order], np.arange(1, n_words))
        self._rows, self._gains = np.split(rows[order], ends), np.split(gains[order], ends)
        self._n = n_rows

    def sums(self, texts: Sequence[Sequence[int]]) -> Floats:
        """Add up what the words of each text give each row, `(n_texts, n_rows)`."""
        totals = np.zeros((len(texts), self._n), np.float32)
        for total, words in zip(totals, texts, strict=True):
            if words:
                rows = np.concatenate([self._rows[word] for word in words])
                gains = np.concatenate([self._gains[word] for word in words])
                total[:] = np.bincount(rows, gains, minlength=self._n)
        return totals
