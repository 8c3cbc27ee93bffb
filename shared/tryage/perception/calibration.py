"""What is tuned on prompts the estimators have not seen: weights, stretch, caution and link."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tryage.perception.caution import Caution, fit_caution
from tryage.perception.latent import contention, spread
from tryage.perception.link import Link, fit_scored
from tryage.perception.mixture import CONTENDERS, learn_weights, wishes
from tryage.perception.squeeze import fit_squeezed, in_reach

if TYPE_CHECKING:
    from tryage.perception.abilities import Abilities
    from tryage.perception.base import Floats
    from tryage.qtable import QTable

Matrix = NDArray[np.floating[Any]]

_STRETCH = (0.5, 3.0)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The tuned parts of a perception, and the `report` of what they are worth (mean losses).

    `noise` is the mean squared distance of a measured loss from its prediction.
    """

    weights: Floats
    stretch: Floats
    caution: Caution
    link: Link
    noise: float
    report: dict[str, float]


def calibrate(
    unseen: Floats,
    abilities: Abilities,
    table: QTable,
    mean: Matrix,
    squeezed: tuple[float, Matrix] | None = None,
) -> Calibration:
    """Tune on where estimators that never saw a prompt place it, `(n_estimators, n_prompts, rank)`.

    `mean` `(n_experts,)` are the mean losses of the experts on all prompts. Real-valued losses
    are tuned as they were `squeezed`.
    """
    scale, losses = squeezed or (None, table.losses)
    told = replace(table, losses=losses)
    unit = spread(losses)
    weights = _weigh(unseen, abilities, told, mean, unit)
    mixed = np.tensordot(weights, unseen, 1)
    ones = np.ones((len(mixed), 1))
    said = abilities.losses(np.concatenate([ones, mixed], axis=1))
    contending = contention(mean, losses) if scale is None else in_reach(said, losses)
    stretch = _stretch(mixed, abilities, told, contending)
    y = abilities.losses(np.concatenate([ones, mixed * stretch], axis=1))
    noise = float(np.nanmean((losses - y) ** 2)) + 1e-6
    caution = fit_caution(y, losses, mean, unit)
    y = caution(y)
    link = fit_scored(y, losses) if scale is None else fit_squeezed(scale, y, table.losses)
    return Calibration(weights.astype(np.float32), stretch, caution, link, noise, _report(y, table))


def _weigh(
    unseen: Floats, abilities: Abilities, table: QTable, mean: Matrix, unit: float
) -> Matrix:
    """Weigh the estimators by the decisions among the experts that may win."""
    contenders = np.argsort(mean)[:CONTENDERS]
    means = abilities.means[contenders].astype(np.float32)
    return learn_weights(
        means[:, 0] + unseen @ means[:, 1:].T,
        table.losses[:, contenders],
        wishes(_dearness(table, mean)[contenders], unit),
        unit,
    )


def _stretch(mixed: Matrix, abilities: Abilities, table: QTable, contending: Matrix) -> Floats:
    """Regress losses on unseen predictions, `(rank,)`: a slope for difficulty, one for the rest."""
    means = abilities.means
    parts = mixed[:, :1] @ means[:, 1:2].T, mixed[:, 1:] @ means[:, 2:].T
    inputs = np.stack([part[table.measured] for part in parts])
    target = (table.losses - means[:, 0])[table.measured]
    weight = np.broadcast_to(contending, table.losses.shape)[table.measured]
    gram = (inputs * weight) @ inputs.T
    ridge = 1e-3 * np.trace(gram) * np.eye(2) + 1e-12 * np.eye(2)
    slopes = np.clip(
        np.linalg.solve(gram + ridge, (inputs * weight) @ target + ridge @ np.ones(2)), *_STRETCH
    )
    return np.repeat(slopes, [1, mixed.shape[1] - 1]).astype(np.float32)


def _dearness(table: QTable, mean: Matrix) -> Matrix:
    """Say what experts cost beside the best, `(n_experts,)` in [0, 1]; unknown: as if good."""
    good = (mean.max() - mean) / max(float(np.ptp(mean)), 1e-12)
    if table.costs is None or np.isnan(table.costs).all():
        return np.asarray(good)
    known = ~np.isnan(table.costs)
    usd = np.nansum(table.costs, axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    best = usd[np.where(np.isnan(usd), np.inf, mean).argmin()]
    dear = np.clip(usd / max(float(best), 1e-12), 0, 1)
    return np.asarray(np.where(np.isnan(usd), good, dear))


def _report(predicted: Matrix, table: QTable) -> dict[str, float]:
    """Measure, on prompts that the estimators had not seen, what routing is worth (mean loss).

    Means are over the experts measured on each prompt; the best single expert is the one of the
    lowest mean loss, where it was measured.
    """
    losses = table.losses
    routed = np.where(table.measured, predicted, np.inf).argmin(axis=1)
    means = np.where(table.measured.mean(axis=0) >= 0.5, np.nanmean(losses, axis=0), np.inf)
    ranked = np.where(table.measured, np.where(np.isfinite(means), means, 1e9), np.inf)
    rows = np.arange(len(table))
    return {
        "prompts": float(len(table)),
        "experts": float(len(table.experts)),
        "routed": float(losses[rows, routed].mean()),
        "best_single": float(losses[rows, ranked.argmin(axis=1)].mean()),
        "random": float(np.nanmean(losses, axis=1).mean()),
        "oracle": float(np.nanmin(losses, axis=1).mean()),
    }
