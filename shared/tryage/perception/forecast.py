"""What an answer will take: tokens, USD or seconds per expert, by the category of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from tryage.perception.base import Floats
    from tryage.qtable import QTable

MEASURES = ("output_tokens", "costs", "latencies")
_PRIOR_PROMPTS = 5.0  # an expert's mean over all prompts counts as this many of each category


def fit_forecasts(table: QTable, one_hot: Floats) -> dict[str, Floats]:
    """Average what the table has measured: name -> `(n_categories, n_experts)`, NaN unknown."""
    measured = {name: getattr(table, name) for name in MEASURES}
    return {
        name: _per_category(values, one_hot)
        for name, values in measured.items()
        if values is not None and not np.isnan(values).all()
    }


def _per_category(values: NDArray[np.floating[Any]], one_hot: Floats) -> Floats:
    known = ~np.isnan(values)
    given = np.where(known, values, 0.0).astype(np.float64)
    counts = known.sum(axis=0)
    mean = np.where(counts > 0, given.sum(axis=0) / np.maximum(counts, 1), np.nan)
    sums = one_hot.T @ given + _PRIOR_PROMPTS * mean
    return np.asarray(sums / (one_hot.T @ known + _PRIOR_PROMPTS), np.float32)


def one_wider(forecasts: Mapping[str, Floats]) -> dict[str, Floats]:
    """Add the column of an expert of whom nothing is known."""
    return {
        name: np.concatenate([table, np.full((len(table), 1), np.nan, np.float32)], axis=1)
        for name, table in forecasts.items()
    }
