"""Requests that mean the same, by their embeddings and a threshold from labelled pairs."""

from __future__ import annotations

import math
import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tryage.core.validation import check_number, require_extra
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from typing_extensions import Self

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray, IndexArray

Encode: TypeAlias = "Callable[[Sequence[str]], Float32Array]"
"""From texts to vectors `(batch, dim)`, such as `router.perception.encoder.encode`."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W_]+")
_APOSTROPHE = re.compile("(?<=\\w)['\u2019](?=\\w)")
_MAX_WORDS = 2_000  # longer texts take too long to compare word by word
_MIN_OVERLAP = 0.5  # share of common words from which on texts are compared word by word
_MIN_SPELLING_RATIO, _MIN_SPELLED = 0.85, 4  # of letters that match, and letters in all
_MAX_SEQUENCES = 2
_STEP = 1.1  # by how much more hits each next threshold of a calibration has


def may_be_same(one: str, other: str) -> bool:
    """Tell whether two texts may mean the same: their numbers are the same, and no word is another.

    Texts that differ in one word or number have nearly equal embeddings, and other answers. Where
    at least half of the words are common, one text may have more words before and after them, and
    words may be spelled otherwise. Texts with fewer common words are left to their embeddings.
    """
    if Counter(_NUMBER.findall(one)) != Counter(_NUMBER.findall(other)):
        return False
    words, others = _words(one), _words(other)
    if max(len(words), len(others)) > _MAX_WORDS:
        return words == others
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    blocks = [block for block in matcher.get_matching_blocks() if block.size]
    common = 2 * sum(block.size for block in blocks)
    if not blocks or common < _MIN_OVERLAP * (len(words) + len(others)):
        return True
    first, last = blocks[0], blocks[-1]
    edges = [
        (words[: first.a], others[: first.b]),
        (words[last.a + last.size :], others[last.b + last.size :]),
    ]
    inner = [
        (words[one.a + one.size : two.a], others[one.b + one.size : two.b])
        for one, two in pairwise(blocks)
    ]
    replaced = [edge for edge in edges if all(edge)]  # the others add words
    return all(_is_same_spelling(*gap) for gap in [*replaced, *inner])


def _words(text: str) -> list[str]:
    return _WORD.findall(_APOSTROPHE.sub("", text.casefold()))


def _is_same_spelling(words: list[str], others: list[str]) -> bool:
    """Tell whether some words between common ones are the same, as "what is" and "what's"."""
    one, other = "".join(words), "".join(others)
    if one == other:
        return True
    ratio = SequenceMatcher(None, one, other, autojunk=False).ratio()
    return min(len(one), len(other)) >= _MIN_SPELLED and ratio >= _MIN_SPELLING_RATIO


class SimilarRequests:
    """Tells which requests count as the same: those whose embeddings are close enough.

    Two requests with other numbers, or with one word for another, never count as the same.

    Args:
        encode: From texts to vectors, such as `router.perception.encoder.encode`.
        threshold: The lowest cosine of two embeddings that counts as the same.

    Raises:
        InputError: the threshold is not between 0 and 1.
    """

    def __init__(self, encode: Encode, threshold: float) -> None:
        self.encode, self.threshold = encode, check_number("threshold", threshold, 0.0, 1.0)

    @classmethod
    def calibrate(
        cls,
        encode: Encode,
        pairs: Sequence[tuple[str, str]],
        labels: Sequence[bool],
        *,
        max_false_hits: float = 0.01,
        confidence: float = 0.95,
    ) -> Self:
        """Fit the threshold: with the confidence, at most that share of the hits is false.

        The pairs are of a new request and the one in the cache that is most similar to it, drawn as
        they come in your traffic; a label says whether one answer serves both. A share of 1% at 95%
        needs at least 299 pairs that count as the same.

        Raises:
            InputError: there are too few such pairs, or too many of them have other answers.
            MissingExtraError: scipy is not installed.
        """
        require_extra("scipy", "evaluate")
        if len(pairs) != len(labels):
            raise InputError(f"{len(labels)} labels for {len(pairs)} pairs; give one each.")
        similarities = pair_similarities(encode, pairs)
        same = np.asarray(labels, np.bool_)
        threshold = fit_threshold(similarities, same, max_false_hits, confidence)
        if threshold is None:
            raise InputError(
                _refusal(similarities, same, max_false_hits, confidence)
                + " Give more pairs, a higher max_false_hits, or use the cache without "
                "`similar`, where only equal requests are hits."
            )
        return cls(encode, threshold)

    def __repr__(self) -> str:
        """Show the threshold."""
        return f"SimilarRequests(threshold={self.threshold:.4g})"


def pair_similarities(encode: Encode, pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """Return the cosine of each pair `(n,)`, 0 where numbers or single words differ."""
    first, second = (unit_rows(encode([pair[i] for pair in pairs])) for i in (0, 1))
    cosines = np.einsum("ij,ij->i", first, second)
    return np.where([may_be_same(*pair) for pair in pairs], cosines, 0.0)


def fit_threshold(
    similarities: FloatArray, same: BoolArray, max_false_hits: float, confidence: float
) -> float | None:
    """Return the lowest threshold whose hits are false in at most a share, with a confidence.

    Thresholds are tested in fixed sequences, from few hits to all of them, each until one does not
    pass: learn then test (Angelopoulos et al. 2021) with exact binomial tails. So the confidence
    holds for all of them together. None if none passes.

    Args:
        similarities: Of each pair `(n,)`.
        same: Whether one answer serves both, `(n,)`.
        max_false_hits: The highest share of false ones among the hits.
        confidence: The probability with which the share holds.

    Raises:
        InputError: a share is not between 0 and 1.
    """
    check_number("max_false_hits", max_false_hits, 1e-6, 0.5)
    check_number("confidence", confidence, 0.5, 1.0 - 1e-9)
    order = np.argsort(-similarities, kind="stable")
    ordered, false_hits = similarities[order], np.cumsum(~same[order], dtype=np.intp)
    usable = int((ordered > 0).sum())
    starts = _first_hits(usable, max_false_hits, confidence)
    level = (1 - confidence) / max(len(starts), 1)
    hits = [_most_hits(ordered[:usable], false_hits, n, max_false_hits, level) for n in starts]
    most = max(hits, default=0)
    return float(ordered[most - 1]) if most else None


def _first_hits(usable: int, max_false_hits: float, confidence: float) -> list[int]:
    """Return with how many hits each sequence of tests begins.

    With many pairs several sequences share the risk of an error, so that a single false hit among
    the most similar pairs does not end all of them.
    """
    for n_sequences in range(_MAX_SEQUENCES, 0, -1):
        needed = fewest_hits(max_false_hits, 1 - (1 - confidence) / n_sequences)
        starts = [needed * 2**i for i in range(n_sequences)]
        if starts[-1] <= usable:
            return starts
    return []


def _most_hits(
    ordered: FloatArray, false_hits: IndexArray, first: int, max_false_hits: float, level: float
) -> int:
    """Return the number of hits of the last threshold that passes in one sequence, 0 if none."""
    from scipy.stats import binom

    passed, n = 0, first
    while n <= len(ordered):
        hits = int(np.searchsorted(-ordered, -ordered[n - 1], side="right"))  # ties are hits, too
        if binom.cdf(false_hits[hits - 1], hits, max_false_hits) > level:
            break
        passed, n = hits, math.ceil(max(hits + 1, hits * _STEP))
    return passed


def fewest_hits(max_false_hits: float, confidence: float) -> int:
    """Return how many hits without a false one are needed: 299 for 1% at 95%."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_false_hits))


def _refusal(
    similarities: FloatArray, same: BoolArray, max_false_hits: float, confidence: float
) -> str:
    """Return why no threshold passes."""
    needed, usable = fewest_hits(max_false_hits, confidence), int((similarities > 0).sum())
    goal = f"at most {max_false_hits:.2%} false hits with confidence {confidence:.0%}"
    if usable < needed:
        return f"{goal} needs at least {needed} pairs that may be hits; there are {usable}."
    top = np.argsort(-similarities, kind="stable")[:needed]
    return (
        f"The pairs do not allow {goal}: of the {needed} most similar ones, "
        f"{int((~same[top]).sum())} have other answers."
    )


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Return vectors `(batch, dim)` of length 1; one of zeros stays."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    units: Float32Array = vectors / np.where(lengths > 0, lengths, np.float32(1.0))
    return units


class VectorIndex:
    """Unit vectors by key, in one matrix in memory."""

    def __init__(self) -> None:
        self._keys: list[Hashable] = []
        self._rows: dict[Hashable, int] = {}
        self._matrix: Float32Array = np.empty((0, 0), np.float32)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._keys)

    def add(self, key: Hashable, vector: Float32Array) -> None:
        """Add a vector `(dim,)`, or replace the one of the key."""
        row = self._rows.get(key)
        if row is None:
            row = len(self._keys)
            if row >= len(self._matrix):
                larger = np.empty((max(16, 2 * row), len(vector)), np.float32)
                if row:
                    larger[:row] = self._matrix
                self._matrix = larger
            self._keys.append(key)
            self._rows[key] = row
        self._matrix[row] = vector

    def discard(self, key: Hashable) -> None:
        """Remove a vector; the last one takes its row."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        last = self._keys.pop()
        if row < len(self._keys):
            self._keys[row], self._rows[last] = last, row
            self._matrix[row] = self._matrix[len(self._keys)]

    def nearest(self, vector: Float32Array, least: float) -> list[tuple[Hashable, float]]:
        """Return the keys whose cosine with a vector is at least `least`, the closest first."""
        cosines = self._matrix[: len(self)] @ vector if len(self) else np.empty(0, np.float32)
        close = np.flatnonzero(cosines >= least - 1e-6)  # single precision
        close = close[np.argsort(-cosines[close], kind="stable")]
        return [(self._keys[row], min(float(cosines[row]), 1.0)) for row in close.tolist()]
