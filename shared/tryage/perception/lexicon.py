"""The words of a prompt as a short vector: TF-IDF over the encoder's own tokens, projected.

Latent semantic analysis (Deerwester et al., 1990), with the tokens already at hand: one more token
table beside the encoder's. It keeps the phrases by which data sets and task types are recognised,
which a sentence embedding averages away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.extras import require

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from tryage.perception.base import Floats

TokenIds = Sequence[NDArray[np.integer[Any]]]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The kept `tokens`, sorted, with their `idf`, both `(kept,)`, and `table` `(kept, width)`."""

    tokens: NDArray[np.int32]
    idf: Floats
    table: Floats

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.table.shape[1])

    def vectors(self, ids: TokenIds) -> Floats:
        """Project prompts, given as token ids, to `(batch, width)`; no known token gives zeros."""
        out = np.zeros((len(ids), self.width), np.float32)
        for row, prompt in enumerate(ids):
            # of the tokens' own type: a search among another would copy them all, every time
            kinds, counts = _counted(prompt.astype(self.tokens.dtype))
            place = np.minimum(np.searchsorted(self.tokens, kinds), len(self.tokens) - 1)
            kept = self.tokens[place] == kinds if len(self.tokens) else np.zeros(0, np.bool_)
            place, counts = place[kept], counts[kept]
            weights = (1 + np.log(counts, dtype=np.float32)) * self.idf[place]
            if weights.any():  # a token of every prompt weighs nothing
                out[row] = (weights / np.sqrt(weights @ weights)) @ self.table[place]
        return out


def fit_lexicon(ids: TokenIds, vocabulary: int, width: int, seed: int) -> Lexicon:
    """Learn a lexicon from prompts; tokens that occur in few of them are left out.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    require("sklearn", "evaluate")
    from sklearn.decomposition import TruncatedSVD

    counts = _counts(ids, vocabulary)
    prompts_with = np.asarray((counts > 0).sum(axis=0)).ravel()
    tokens = np.flatnonzero(prompts_with >= max(2, len(ids) // 5_000)).astype(np.int32)
    idf = np.log((1 + len(ids)) / (1 + prompts_with[tokens])).astype(np.float32)
    rank = min(width, len(ids) - 1, len(tokens) - 1)
    if rank < 1:
        return Lexicon(tokens[:0], idf[:0], np.zeros((0, 0), np.float32))
    svd = TruncatedSVD(rank, random_state=seed).fit(_unit_rows(counts[:, tokens], idf))
    return Lexicon(tokens, idf, np.ascontiguousarray(svd.components_.T, np.float32))


def _counted(ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Do what `np.unique(ids, return_counts=True)` does, in half of its time for a prompt."""
    ids.sort()
    starts = np.ones(len(ids) + 1, np.bool_)  # the last is that of what would come next
    np.not_equal(ids[1:], ids[:-1], out=starts[1:-1])
    places = starts.nonzero()[0]
    return ids[places[:-1]], places[1:] - places[:-1]


def _counts(ids: TokenIds, vocabulary: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    ends = np.cumsum([0, *(len(tokens) for tokens in ids)])
    flat = np.concatenate([*ids, np.zeros(0, np.intp)]).astype(np.intp)
    counts = csr_matrix((np.ones(len(flat), np.float32), flat, ends), shape=(len(ids), vocabulary))
    counts.sum_duplicates()
    return counts


def _unit_rows(counts: csr_matrix, idf: NDArray[np.floating[Any]]) -> csr_matrix:
    from sklearn.preprocessing import normalize

    weighted = counts.copy()
    weighted.data = 1 + np.log(weighted.data)
    return normalize(weighted.multiply(idf).tocsr())
