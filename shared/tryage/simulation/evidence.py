"""Simulated evidence: what an answer tells about itself, where no record has it."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import check_number
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array, FloatArray


def simulated_evidence(losses: FloatArray, auc: float, seed: int = 0) -> Float64Array:
    """Return evidence of a given strength for answers with measured losses, of the same shape.

    The evidence of right and of wrong answers is normal with the same spread, and so far apart that
    a right answer has the higher evidence with probability `auc` (the area under the ROC curve); a
    partly right answer is right with probability 1 - loss. It is returned as the probability that
    the answer is right if half of all are, so it is calibrated. NaN where a loss is.

    Raises:
        InputError: `auc` is not in [0.5, 1).
    """
    check_number("auc", auc, 0.5, 1.0)
    if auc >= 1.0:
        raise InputError("auc is 1; expected less: evidence that is never wrong is the answer key.")
    rng = np.random.default_rng(seed)
    is_right = rng.random(losses.shape) >= np.nan_to_num(losses, nan=1.0)
    distance = np.sqrt(2.0) * NormalDist().inv_cdf(auc)  # of the means: auc = Phi(d / sqrt(2))
    score = rng.normal(size=losses.shape) + np.where(is_right, distance, 0.0)
    odds = np.exp(distance * score - distance**2 / 2)  # the likelihood ratio of two normals
    return np.where(np.isnan(losses), np.nan, odds / (1.0 + odds))
