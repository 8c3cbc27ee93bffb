"""Which words a query shares with each tool: an inverted index, for what embeddings blur."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tryage.tools.tool import identifier_to_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, IndexArray
    from tryage.tools.tool import Tool

N_LEXICAL_FEATURES = 3

_WORD = re.compile(r"[^\W\d_]+|\d+")

_ASCII_WORD = re.compile(r"[a-z]{2,}|[0-9]{2,}")  # the same, of two signs or more, in ASCII

_CAMEL_CASE = re.compile(r"[a-z0-9][A-Z]")  # as in camelCase, where `in_words` splits

_STEM_LENGTH = (
    6  # "calculates" and "calculating" are one word; so are most inflections of a language
)

_K1, _B = 1.2, 0.6  # k1 and b of BM25

_INFORMATION_SCALE = 20.0  # what a query's shared information comes to where it is much, in nats

_STOP_WORDS = frozenset(
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

_MAX_DENSE_SIZE = 1 << 16  # numbers, half a megabyte: the words of some forty tools


class BM25Index:
    """Words of tools, by tool; names count as words and once more by themselves.

    BM25 (Robertson and Zaragoza, 2009) over one toolbox: how much a word tells is counted there.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        texts = [
            f"{tool.title} {identifier_to_words(tool.name)} {tool.arguments_text}" for tool in tools
        ]
        bags = [Counter(stem_tokens(text)) for text in texts]
        self._n_tools = len(tools)
        self._vocabulary: dict[str, int] = {}
        for bag in bags:
            for word in bag:
                self._vocabulary.setdefault(word, len(self._vocabulary))
        rows, words, counts = _to_coo(bags, self._vocabulary)
        idf = _idf(np.bincount(words, minlength=len(self._vocabulary)), self._n_tools)
        self._idf: list[float] = idf.tolist()
        self._unseen_idf = float(
            _idf(np.zeros(1), self._n_tools)[0]
        )  # what a word of no tool tells
        lengths = np.bincount(rows, counts, minlength=self._n_tools)
        relative_length = lengths / max(float(lengths.mean()), 1.0) if self._n_tools else lengths
        normalization = _K1 * (1 - _B + _B * relative_length[rows])
        gains = counts * (_K1 + 1) / (counts + normalization) * idf[words]
        names = [Counter(set(stem_tokens(identifier_to_words(tool.name)))) for tool in tools]
        name_rows, name_words, _ = _to_coo(names, self._vocabulary)
        whole = np.bincount(name_rows, idf[name_words], minlength=self._n_tools)
        shares = idf[name_words] / whole[name_rows]
        self._word_scores = build_word_scores(
            np.concatenate([words, name_words]),
            np.concatenate([rows, self._n_tools + name_rows]),  # texts, and names below them
            np.concatenate([gains, shares]),
            len(self._vocabulary),
            2 * self._n_tools,
        )

    def __call__(self, query: str) -> Float32Array:
        """Describe how a query fits each tool, `(n_tools, WIDTH)`.

        The share of the query's information that the tool tells of, how much that is, and the share
        of the tool's name that the query says.
        """
        return np.asarray(self.features([query])[0])

    def features(self, texts: Sequence[str]) -> Float32Array:
        """Describe how each text fits each tool, `(n_texts, n_tools, WIDTH)`."""
        known, most = zip(*map(self._tokenize, texts), strict=True)
        found = self._word_scores.sums(known)
        told = found[:, : self._n_tools]
        fits = np.empty((len(texts), self._n_tools, N_LEXICAL_FEATURES), np.float32)
        np.divide(told, np.array(most, np.float32)[:, None], out=fits[:, :, 0])
        np.divide(told, _INFORMATION_SCALE, out=fits[:, :, 1])
        fits[:, :, 2] = found[:, self._n_tools :]
        return fits

    def _tokenize(self, text: str) -> tuple[list[int], float]:
        """Return a text's words that tools have, and what all its words would come to, never 0."""
        bag = dict.fromkeys(
            stem_tokens(text)
        )  # in their order: a sum has to come out the same again
        known = [self._vocabulary[word] for word in bag if word in self._vocabulary]
        whole = (
            sum([self._idf[word] for word in known]) + (len(bag) - len(known)) * self._unseen_idf
        )
        return known, (_K1 + 1) * whole or 1.0


def stem_tokens(text: str) -> list[str]:
    """Split a text into the beginnings of its words, without those that say nothing."""
    if text.isascii() and not _CAMEL_CASE.search(text):  # most are, and need not be split first
        return [
            word[:_STEM_LENGTH]
            for word in _ASCII_WORD.findall(text.lower())
            if word not in _STOP_WORDS
        ]
    found = _WORD.findall(identifier_to_words(text).lower())
    return [word[:_STEM_LENGTH] for word in found if len(word) > 1 and word not in _STOP_WORDS]


def _to_coo(
    bags: Sequence[Counter[str]], ids: dict[str, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Write bags of words as rows, words and counts, each `(n,)`."""
    long = [(row, ids[word], n) for row, bag in enumerate(bags) for word, n in bag.items()]
    rows, words, counts = zip(*long, strict=True) if long else ((), (), ())
    return np.array(rows, np.intp), np.array(words, np.intp), np.array(counts, np.float64)


def _idf(tools: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Say what a word tells that so many of `n` tools have, in nats."""
    return np.asarray(np.log1p((n - tools + 0.5) / (tools + 0.5)))


class WordScores(Protocol):
    """Adds up what the words of some texts give."""

    def sums(self, texts: Sequence[Sequence[int]]) -> Float32Array:
        """Add up what the words of each text give each row, `(n_texts, n_rows)`."""
        ...


def build_word_scores(
    words: IndexArray, rows: IndexArray, scores: NDArray[np.float64], n_words: int, n_rows: int
) -> WordScores:
    """Keep the pairs in the form that is the fastest to add up."""
    kind = DenseWordScores if n_words * n_rows <= _MAX_DENSE_SIZE else SparseWordScores
    return kind(words, rows, scores, n_words, n_rows)


class DenseWordScores:
    """All that words give, zeros and all: some microseconds faster than postings, and larger."""

    def __init__(
        self,
        words: IndexArray,
        rows: IndexArray,
        scores: NDArray[np.float64],
        n_words: int,
        n_rows: int,
    ) -> None:
        self._zero_row = n_words  # a row of zeros, so that no text is without words
        self._table = np.zeros((n_words + 1, n_rows))
        self._table[words, rows] = scores

    def sums(self, texts: Sequence[Sequence[int]]) -> Float32Array:
        """Add up what the words of each text give each row, `(n_texts, n_rows)`."""
        all_words: list[int] = []
        starts = []
        for words in texts:
            starts.append(len(all_words))
            all_words += (self._zero_row, *words)
        return np.add.reduceat(self._table.take(all_words, 0), starts).astype(np.float32)


class SparseWordScores:
    """For every word the rows that have it and what it gives them, one after the other."""

    def __init__(
        self,
        words: IndexArray,
        rows: IndexArray,
        scores: NDArray[np.float64],
        n_words: int,
        n_rows: int,
    ) -> None:
        order = np.argsort(words, kind="stable")
        ends = np.searchsorted(words[order], np.arange(1, n_words))
        self._rows, self._scores = np.split(rows[order], ends), np.split(scores[order], ends)
        self._n_rows = n_rows

    def sums(self, texts: Sequence[Sequence[int]]) -> Float32Array:
        """Add up what the words of each text give each row, `(n_texts, n_rows)`."""
        totals = np.zeros((len(texts), self._n_rows), np.float32)
        for total, words in zip(totals, texts, strict=True):
            if words:
                rows = np.concatenate([self._rows[word] for word in words])
                gains = np.concatenate([self._scores[word] for word in words])
                total[:] = np.bincount(rows, gains, minlength=self._n_rows)
        return totals
