"""Measures of a ranking of tools: recall, F1 of a set, and AUROC of the abstention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tryage.core.arrays import FloatArray


def recall(ranked: Sequence[str], useful: Collection[str], k: int) -> float:
    """Return the share of the useful tools that are among the first `k`."""
    return len(set(ranked[:k]) & set(useful)) / len(useful)


def set_f1(chosen: Collection[str], useful: Collection[str]) -> float:
    """Return the harmonic mean of precision and recall of a set; 1 if both are empty."""
    if not chosen and not useful:
        return 1.0
    return 2 * len(set(chosen) & set(useful)) / (len(chosen) + len(useful))


def auroc(positive: FloatArray, negative: FloatArray) -> float:
    """Return the probability that a positive is above a negative (Mann and Whitney, 1947).

    A tie counts half.
    """
    below = np.searchsorted(np.sort(negative), positive, side="left")
    not_above = np.searchsorted(np.sort(negative), positive, side="right")
    return float((below + not_above).sum() / (2 * len(positive) * len(negative)))
