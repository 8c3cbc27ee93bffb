"""Which words a query shares with each tool: an inverted index, for what embeddings blur."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tryage.tools.tool import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, IndexArray
    from tryage.tools.tool import Tool

WIDTH = 3

_WORD = re.compile(r"[^\W\d_]+|\d+")

_PLAIN = re.compile(r"[a-z]{2,}|[0-9]{2,}")  # the same, of two signs or more, in ASCII

_HUMP = re.compile(r"[a-z0-9][A-Z]")  # as in camelCase, where `in_words` splits

_STEM = 6  # "calculates" and "calculating" are one word; so are most inflections of a language

_SATURATION, _LENGTH = 1.2, 0.6  # k1 and b of BM25

_HIGH = 20.0  # what a query's shared information comes to where it is much, in nats

_STOP = frozenset(
    (
        "the",
        "a",
        "an",
        "of",
        "to",
        "and",
        "or",
        "in",
        "on",
        "for",
        "with",
        "from",
        "is",
        "are",
        "be",
        "by",
        "this",
        "that",
        "it",
        "as",
        "at",
        "i",
        "you",
        "me",
        "my",
        "your",
        "we",
        "can",
        "could",
        "would",
        "please",
        "what",
        "how",
        "do",
        "does",
        "which",
        "want",
        "need",
        "give",
        "get",
        "find",
        "using",
        "use",
    )
)

_SMALL = 1 << 16  # numbers, half a megabyte: the words of some forty tools


class WordIndex:
    """Words of tools, by tool; names count as words and once more by themselves.

    BM25 (Robertson and Zaragoza, 2009) over one toolbox: how much a word tells is counted there.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        texts = [f"{tool.title} {in_words(tool.name)} {tool.details}" for tool in tools]
        bags = [Counter(stems(text)) for text in texts]
        self._n = len(tools)
        self._ids: dict[str, int] = {}
        for bag in bags:
            for word in bag:
                self._ids.setdefault(word, len(self._ids))
        rows, words, counts = _long(bags, self._ids)
        idf = _information(np.bincount(words, minlength=len(self._ids)), self._n)
        self._idf: list[float] = idf.tolist()
        self._new = float(_information(np.zeros(1), self._n)[0])  # what a word of no tool tells
        lengths = np.bincount(rows, counts, minlength=self._n)
        usual = lengths / max(float(lengths.mean()), 1.0) if self._n else lengths
        fair = _SATURATION * (1 - _LENGTH + _LENGTH * usual[rows])
        gains = counts * (_SATURATION + 1) / (counts + fair) * idf[words]
        names = [Counter(set(stems(in_words(tool.name)))) for tool in tools]
        named, called, _ = _long(names, self._ids)
        whole = np.bincount(named, idf[called], minlength=self._n)
        shares = idf[called] / whole[named]
        self._gains = tell(
            np.concatenate([words, called]),
            np.concatenate([rows, self._n + named]),  # texts, and names below them
            np.concatenate([gains, shares]),
            len(self._ids),
            2 * self._n,
        )

    def __call__(self, query: str) -> Float32Array:
        """Describe how a query fits each tool, `(n_tools, WIDTH)`.

        The share of the query's information that the tool tells of, how much that is, and the share
        of the tool's name that the query says.
        """
        return np.asarray(self.each([query])[0])

    def each(self, texts: Sequence[str]) -> Float32Array:
        """Describe how each text fits each tool, `(n_texts, n_tools, WIDTH)`."""
        known, most = zip(*map(self._read, texts), strict=True)
        found = self._gains.sums(known)
        told = found[:, : self._n]
        fits = np.empty((len(texts), self._n, WIDTH), np.float32)
        np.divide(told, np.array(most, np.float32)[:, None], out=fits[:, :, 0])
        np.divide(told, _HIGH, out=fits[:, :, 1])
        fits[:, :, 2] = found[:, self._n :]
        return fits

    def _read(self, text: str) -> tuple[list[int], float]:
        """Return a text's words that tools have, and what all its words would come to, never 0."""
        bag = dict.fromkeys(stems(text))  # in their order: a sum has to come out the same again
        known = [self._ids[word] for word in bag if word in self._ids]
        whole = sum([self._idf[word] for word in known]) + (len(bag) - len(known)) * self._new
        return known, (_SATURATION + 1) * whole or 1.0


def stems(text: str) -> list[str]:
    """Split a text into the beginnings of its words, without those that say nothing."""
    if text.isascii() and not _HUMP.search(text):  # most are, and need not be split first
        return [word[:_STEM] for word in _PLAIN.findall(text.lower()) if word not in _STOP]
    found = _WORD.findall(in_words(text).lower())
    return [word[:_STEM] for word in found if len(word) > 1 and word not in _STOP]


def _long(
    bags: Sequence[Counter[str]], ids: dict[str, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Write bags of words as rows, words and counts, each `(n,)`."""
    long = [(row, ids[word], n) for row, bag in enumerate(bags) for word, n in bag.items()]
    rows, words, counts = zip(*long, strict=True) if long else ((), (), ())
    return np.array(rows, np.intp), np.array(words, np.intp), np.array(counts, np.float64)


def _information(tools: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Say what a word tells that so many of `n` tools have, in nats."""
    return np.asarray(np.log1p((n - tools + 0.5) / (tools + 0.5)))


class Gains(Protocol):
    """Adds up what the words of some texts give."""

    def sums(self, texts: Sequence[Sequence[int]]) -> Float32Array:
        """Add up what the words of each text give each row, `(n_texts, n_rows)`."""
        ...


def tell(
    words: IndexArray, rows: IndexArray, gains: NDArray[np.float64], n_words: int, n_rows: int
) -> Gains:
    """Keep the pairs in the form that is the fastest to add up."""
    kind = Table if n_words * n_rows <= _SMALL else Postings
    return kind(words, rows, gains, n_words, n_rows)


class Table:
    """All that words give, zeros and all: some microseconds faster than postings, and larger."""

    def __init__(
        self,
        words: IndexArray,
        rows: IndexArray,
        gains: NDArray[np.float64],
        n_words: int,
        n_rows: int,
    ) -> None:
        self._nothing = n_words  # a row of zeros, so that no text is without words
        self._table = np.zeros((n_words + 1, n_rows))
        self._table[words, rows] = gains

    def sums(self, texts: Sequence[Sequence[int]]) -> Float32Array:
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
        self,
        words: IndexArray,
        rows: IndexArray,
        gains: NDArray[np.float64],
        n_words: int,
        n_rows: int,
    ) -> None:
        order = np.argsort(words, kind="stable")
        ends = np.searchsorted(words[order], np.arange(1, n_words))
        self._rows, self._gains = np.split(rows[order], ends), np.split(gains[order], ends)
        self._n = n_rows

    def sums(self, texts: Sequence[Sequence[int]]) -> Float32Array:
        """Add up what the words of each text give each row, `(n_texts, n_rows)`."""
        totals = np.zeros((len(texts), self._n), np.float32)
        for total, words in zip(totals, texts, strict=True):
            if words:
                rows = np.concatenate([self._rows[word] for word in words])
                gains = np.concatenate([self._gains[word] for word in words])
                total[:] = np.bincount(rows, gains, minlength=self._n)
        return totals
