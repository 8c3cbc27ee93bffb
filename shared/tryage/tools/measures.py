"""How good a ranking of tools is: recall, set F1, and how well abstention tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tryage.core.arrays import FloatArray


def recall(ranked: Sequence[str], useful: Collection[str], k: int) -> float:
    """Share of the useful tools that are among the first `k`."""
    return len(set(ranked[:k]) & set(useful)) / len(useful)


def set_f1(chosen: Collection[str], useful: Collection[str]) -> float:
    """Harmonic mean of precision and recall of a set; two empty sets agree."""
    if not chosen and not useful:
        return 1.0
    return 2 * len(set(chosen) & set(useful)) / (len(chosen) + len(useful))


def auroc(positive: FloatArray, negative: FloatArray) -> float:
    """Probability that a positive is above a negative, ties half (Mann and Whitney, 1947)."""
    below = np.searchsorted(np.sort(negative), positive, side="left")
    upto = np.searchsorted(np.sort(negative), positive, side="right")
    return float((below + upto).sum() / (2 * len(positive) * len(negative)))
