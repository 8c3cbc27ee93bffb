"""Weighs the estimators by what their decisions are worth, not by how well they fit.

Squared error is the wrong judge: it rewards knowing how hard a prompt is, which all experts share.
So the weights climb the expected score of a soft decision, on prompts that no estimator has seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Array = NDArray[np.floating[Any]]

CONTENDERS = 128  # the decision is among the best; the rest only costs time
SHARPNESS = 0.045  # temperature of the soft decision, in standard deviations of the loss
PRIOR = 5.0  # how many prompts worth of belief that all estimators are alike
TRUSTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
CAUTION = 1.0  # standard errors
_STEPS, _RATE = 120, 0.3


def learn_weights(
    views: Array, losses: Array, unit: float
) -> Matrix:
    """Find weights `(n_estimators,)`, positive and summing to one.

    `views` are predicted losses `(n_estimators, n_prompts, n_experts)` on unseen prompts, `losses`
    the measured ones with gaps, `unit` the standard deviation of a loss. The objective is
    `mean_z sum_i softmax_i(-sum_m w_m Q^_m(z, i) / T) L(z, i)`, climbed by Adam (Kingma and Ba,
    2015) from equal weights and pulled back to them.
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
        gradient = _gradient(weights, predicted, paid, known, temperature) / unit
        gradient = weights * (gradient - weights @ gradient)
        gradient += PRIOR * (logits - logits.mean()) / n_prompts
        momentum = 0.9 * momentum + 0.1 * gradient
        power = 0.99 * power + 0.01 * gradient**2
        pace = np.sqrt(power / (1 - 0.99 ** (step + 1))) + 1e-6
        logits -= _RATE * (1 - step / _STEPS) * momentum / (1 - 0.9 ** (step + 1)) / pace
    return softmax(logits)


def learn_trust(places: Array, abilities: Array, losses: Array) -> float:
    """Say how far to believe predicted differences between experts, from 0 (not at all) to 1.

    The winner's curse: the lowest of many noisy predictions is too low, and with little to tell
    experts apart a router pays for it. `places` `(n_prompts, 1 + rank)` are of unseen prompts,
    their first two columns the constant and the difficulty; `abilities` `(n_experts, 1 + rank)`.
    No trust is the best single expert; it is kept unless the best trust pays less by more than a
    standard error (the rule of Breiman et al., 1984).
    """
    paid = []
    for trust in TRUSTS:
        tempered = np.concatenate([places[:, :2], trust * places[:, 2:]], axis=1)
        predicted = np.where(np.isnan(losses), np.inf, tempered @ abilities.T)
        paid.append(losses[np.arange(len(losses)), predicted.argmin(axis=1)])
    best = int(np.argmin([loss.mean() for loss in paid]))
    gain = paid[0] - paid[best]
    certain = gain.mean() > CAUTION * gain.std() / np.sqrt(len(gain))
    return TRUSTS[best] if certain else TRUSTS[0]


def _gradient(
    weights: Matrix, predicted: Array, paid: Array, known: NDArray[np.bool_], temperature: float
) -> Matrix:
    """Gradient of the mean paid loss with respect to the weights, `(n_estimators,)`."""
    mixed = np.tensordot(weights.astype(np.float32), predicted, 1) / -temperature
    mixed = np.where(known, mixed, -np.inf)
    chance = softmax(mixed)
    excess = chance * (paid - (chance * paid).sum(axis=1, keepdims=True))
    return np.asarray(-np.einsum("zi,mzi->m", excess, predicted) / temperature / len(paid))


def softmax(logits: Array) -> Matrix:
    """Turn logits `(..., n)` into chances that sum to one."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
