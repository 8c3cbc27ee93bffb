"""Predicts whose answer people prefer, which is another question than whose answer is good enough.

A rubric finds most answers to everyday prompts good enough, and a blind comparison still orders
them. So experts have a second table, the mean loss in blind comparisons by category.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float32Array, FloatArray

MEASURE = "preferred_losses"  # the name of the table among the forecasts of a perception

# Share of the adequate loss that is added: among answers that fail, the better one is preferred.
ADEQUATE_SHARE = 0.5


def preferred_losses(adequate: Float32Array, compared: Float32Array) -> Float32Array:
    """Return the losses in a blind comparison, `(batch, n_experts)` in [0, 1].

    Args:
        adequate: Predicted losses of answers that have to be good enough, `(batch, n_experts)`.
        compared: Mean losses in blind comparisons, of the same shape, NaN where unknown. There they
            follow the adequate loss, as they do over the known experts.
    """
    is_known = ~np.isnan(compared)
    if not is_known.any():
        return adequate
    filled = np.where(is_known, compared, _predict_from_adequate(adequate, compared, is_known))
    relative = adequate - _known_mean(adequate, is_known)
    return np.clip(filled + ADEQUATE_SHARE * relative, 0, 1).astype(np.float32)


def _predict_from_adequate(
    adequate: FloatArray, compared: FloatArray, is_known: BoolArray
) -> FloatArray:
    """Regress the compared losses on the adequate ones, per prompt, over the known experts."""
    centered = adequate - _known_mean(adequate, is_known)
    level = _known_mean(np.nan_to_num(compared), is_known)
    deviations = np.where(is_known, compared - level, 0.0)
    inputs = np.where(is_known, centered, 0.0)
    squares = (inputs**2).sum(axis=1, keepdims=True)
    slopes = (inputs * deviations).sum(axis=1, keepdims=True) / np.maximum(squares, 1e-9)
    return np.asarray(level + slopes * centered)


def _known_mean(table: FloatArray, is_known: BoolArray) -> FloatArray:
    counts = np.maximum(is_known.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.where(is_known, table, 0.0).sum(axis=1, keepdims=True) / counts)
