"""Weighs the estimators by what their decisions are worth, not by how well they fit.

Squared error is the wrong judge: it rewards knowing how hard a prompt is, which all experts share.
So the weights climb the expected score of a soft decision, on prompts that no estimator has seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
Array = NDArray[np.floating[Any]]

CONTENDERS = 128  # the decision is among the best; the rest only costs time
SHARPNESS = 0.03  # temperature of the soft decision, in standard deviations of the loss
PRIOR = 2.0  # how many prompts worth of belief that all estimators are alike
WISHES = (0.0, 0.05, 0.15, 0.4)  # weights of cost, in standard deviations of the loss
_STEPS, _RATE = 120, 0.3


def learn_weights(views: Array, losses: Array, penalties: Array, unit: float) -> Matrix:
    """Find weights `(n_estimators,)`, positive and summing to one.

    `views` are predicted losses `(n_estimators, n_prompts, n_experts)` on unseen prompts, `losses`
    the measured ones with gaps, `unit` the standard deviation of a loss. `penalties`
    `(n_wishes, n_experts)` are what users may weigh against the loss: a router has to choose well
    for all of them, not only for those to whom nothing but the loss counts. The objective is
    `mean_z sum_i softmax_i(-(sum_m w_m Q^_m(z, i) + C_i) / T) (L(z, i) + C_i)`, averaged over the
    penalties `C`, climbed by Adam (Kingma and Ba, 2015) from equal weights and pulled back to them.
    """
    known = ~np.isnan(losses)
    seen = known.any(axis=1)
    known, paid = known[seen], np.nan_to_num(losses[seen]).astype(np.float32)
    predicted = views[:, seen].astype(np.float32)
    n_views, n_prompts, _ = predicted.shape
    temperature = SHARPNESS * unit
    logits, momentum, power = np.zeros(n_views), np.zeros(n_views), np.zeros(n_views)
    for step in range(_STEPS):
        weights = softmax(logits)
        mixed = np.tensordot(weights.astype(np.float32), predicted, 1)
        gradient = np.mean(
            [_gradient(mixed + c, predicted, paid + c, known, temperature) for c in penalties],
            axis=0,
        )
        gradient /= unit
        gradient = weights * (gradient - weights @ gradient)
        gradient += PRIOR * (logits - logits.mean()) / n_prompts
        momentum = 0.9 * momentum + 0.1 * gradient
        power = 0.99 * power + 0.01 * gradient**2
        pace = np.sqrt(power / (1 - 0.99 ** (step + 1))) + 1e-6
        logits -= _RATE * (1 - step / _STEPS) * momentum / (1 - 0.9 ** (step + 1)) / pace
    return softmax(logits)


def wishes(dearness: Array, unit: float) -> Array:
    """Penalties `(n_wishes, n_experts)` from what the experts cost, `(n_experts,)` in [0, 1]."""
    return np.outer(np.asarray(WISHES) * unit, dearness).astype(np.float32)


def _gradient(
    total: Array, predicted: Array, paid: Array, known: NDArray[np.bool_], temperature: float
) -> Matrix:
    """Gradient of the mean paid loss with respect to the weights, `(n_estimators,)`."""
    chance = softmax(np.where(known, total / -temperature, -np.inf))
    excess = chance * (paid - (chance * paid).sum(axis=1, keepdims=True))
    return np.asarray(-np.einsum("zi,mzi->m", excess, predicted) / temperature / len(paid))


def softmax(logits: Array) -> Matrix:
    """Turn logits `(..., n)` into chances that sum to one."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
