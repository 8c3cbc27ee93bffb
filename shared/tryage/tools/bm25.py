"""BM25 over the words that a query shares with each tool: exact words, which embeddings blur."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tryage.tools.tool import identifier_to_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, IndexArray
    from tryage.tools.tool import Tool

N_LEXICAL_FEATURES = 3

_K1, _B = 1.2, 0.6  # the parameters k1 and b of BM25

# Nats. A query shares about this much information with a tool that fits it well.
_INFORMATION_SCALE = 20.0

_WORD = re.compile(r"[^\W\d_]+|\d+")

# The same for ASCII texts, without words of one character, which are dropped.
_ASCII_WORD = re.compile(r"[a-z]{2,}|[0-9]{2,}")

_CAMEL_CASE = re.compile(r"[a-z0-9][A-Z]")  # where `identifier_to_words` splits camelCase

# "calculates" and "calculating" become one word, as most inflected forms of a language do.
_STEM_LENGTH = 6

# fmt: off
_STOP_WORDS = frozenset((
    "the", "a", "an", "of", "to", "and", "or", "in", "on", "for", "with", "from", "is", "are",
    "be", "by", "this", "that", "it", "as", "at", "i", "you", "me", "my", "your", "we", "can",
    "could", "would", "please", "what", "how", "do", "does", "which", "want", "need", "give",
    "get", "find", "using", "use",
))
# fmt: on


class BM25Index:
    """An inverted index of the words of tools (BM25, Robertson and Zaragoza, 2009).

    The text of a tool is its name, description and arguments, with the name twice. The name is also
    scored alone. The rarity of a word is counted among these tools.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._n_tools = len(tools)
        texts = [Counter(stem_tokens(_indexed_text(tool))) for tool in tools]
        self._vocabulary = {word: i for i, word in enumerate(dict.fromkeys(_all_words(texts)))}
        entries = _to_entries(texts, self._vocabulary)
        n_tools_by_word = np.bincount(entries.words, minlength=len(self._vocabulary))
        idf = _idf(n_tools_by_word, self._n_tools)
        self._idf: list[float] = idf.tolist()
        self._unseen_idf = float(_idf(np.zeros(1), self._n_tools)[0])  # of a word that no tool has
        names = [Counter(set(stem_tokens(identifier_to_words(tool.name)))) for tool in tools]
        name_entries = _to_entries(names, self._vocabulary)
        self._postings = PostingLists(
            np.concatenate([entries.words, name_entries.words]),
            np.concatenate([entries.rows, self._n_tools + name_entries.rows]),  # names below texts
            np.concatenate(
                [_bm25_scores(entries, idf, self._n_tools), _name_shares(name_entries, idf)]
            ),
            len(self._vocabulary),
            2 * self._n_tools,
        )

    def __call__(self, query: str) -> Float32Array:
        """Return the features of one query, `(n_tools, N_LEXICAL_FEATURES)`."""
        return np.asarray(self.features([query])[0])

    def features(self, texts: Sequence[str]) -> Float32Array:
        """Return how each text fits each tool, `(n_texts, n_tools, N_LEXICAL_FEATURES)`.

        The features are the BM25 score as a share of the most that the text could reach, the score
        itself, scaled, and the share of the tool's name that the text contains.
        """
        word_ids, max_scores = zip(*map(self._tokenize, texts), strict=True)
        sums = self._postings.sum_scores(word_ids)
        scores = sums[:, : self._n_tools]
        features = np.empty((len(texts), self._n_tools, N_LEXICAL_FEATURES), np.float32)
        np.divide(scores, np.array(max_scores, np.float32)[:, None], out=features[:, :, 0])
        np.divide(scores, _INFORMATION_SCALE, out=features[:, :, 1])
        features[:, :, 2] = sums[:, self._n_tools :]
        return features

    def _tokenize(self, text: str) -> tuple[list[int], float]:
        """Return the ids of the words that tools have, and the most a text could score, never 0."""
        # Always in the order of the text: the sum of floats depends on it.
        words = dict.fromkeys(stem_tokens(text))
        word_ids = [self._vocabulary[word] for word in words if word in self._vocabulary]
        n_unseen = len(words) - len(word_ids)
        information = sum([self._idf[word] for word in word_ids]) + n_unseen * self._unseen_idf
        return word_ids, (_K1 + 1) * information or 1.0


class PostingLists:
    """For every word the rows that have it, and what it scores there.

    A dense table of all words and rows saves at most 4 microseconds of the 110 that a selection
    takes, and that only below about 100 tools. So there is no second form for few tools.
    """

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

    def sum_scores(self, texts: Sequence[Sequence[int]]) -> Float32Array:
        """Return the sum of the scores of each text's words in each row, `(n_texts, n_rows)`."""
        sums = np.zeros((len(texts), self._n_rows), np.float32)
        for text_sums, words in zip(sums, texts, strict=True):
            if words:
                rows = np.concatenate([self._rows[word] for word in words])
                scores = np.concatenate([self._scores[word] for word in words])
                text_sums[:] = np.bincount(rows, scores, minlength=self._n_rows)
        return sums


def stem_tokens(text: str) -> list[str]:
    """Return the first letters of each word of a text, without stop words."""
    if text.isascii() and not _CAMEL_CASE.search(text):  # the fast case, which most texts are
        return [
            word[:_STEM_LENGTH]
            for word in _ASCII_WORD.findall(text.lower())
            if word not in _STOP_WORDS
        ]
    words = _WORD.findall(identifier_to_words(text).lower())
    return [word[:_STEM_LENGTH] for word in words if len(word) > 1 and word not in _STOP_WORDS]


class _Entries(NamedTuple):
    """The entries of a sparse matrix of counts, three arrays `(n_entries,)`."""

    rows: NDArray[np.intp]
    words: NDArray[np.intp]
    counts: NDArray[np.float64]


def _to_entries(bags: Sequence[Counter[str]], ids: dict[str, int]) -> _Entries:
    entries = [(row, ids[word], n) for row, bag in enumerate(bags) for word, n in bag.items()]
    rows, words, counts = zip(*entries, strict=True) if entries else ((), (), ())
    return _Entries(np.array(rows, np.intp), np.array(words, np.intp), np.array(counts, np.float64))


def _indexed_text(tool: Tool) -> str:
    return f"{tool.title} {identifier_to_words(tool.name)} {tool.arguments_text}"


def _all_words(bags: Sequence[Counter[str]]) -> list[str]:
    return [word for bag in bags for word in bag]


def _idf(n_tools_by_word: NDArray[Any], n_tools: int) -> NDArray[np.float64]:
    """Return the inverse document frequency of words in nats, from how many tools have each."""
    return np.asarray(np.log1p((n_tools - n_tools_by_word + 0.5) / (n_tools_by_word + 0.5)))


def _bm25_scores(entries: _Entries, idf: NDArray[np.float64], n_tools: int) -> NDArray[np.float64]:
    """Return what each word scores in each text that has it, `(n_entries,)`."""
    rows, words, counts = entries
    lengths = np.bincount(rows, counts, minlength=n_tools)
    relative_length = lengths / max(float(lengths.mean()), 1.0) if n_tools else lengths
    normalization = _K1 * (1 - _B + _B * relative_length[rows])
    return np.asarray(counts * (_K1 + 1) / (counts + normalization) * idf[words])


def _name_shares(entries: _Entries, idf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each word's share of the information of the name that has it, `(n_entries,)`."""
    information = np.bincount(entries.rows, idf[entries.words])
    return np.asarray(idf[entries.words] / information[entries.rows])
