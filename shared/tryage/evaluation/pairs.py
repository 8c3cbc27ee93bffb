"""Strong or weak: how much of the gap a router recovers for how many strong calls.

Definitions of RouteLLM (arXiv 2406.18665): the threshold on the predicted gain is swept;
PGR = (score - weak) / (strong - weak), APGR is its integral over the fraction of strong calls
(random .5), CPT(x) the least fraction of strong calls that recovers x of the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import QTableError

if TYPE_CHECKING:
    from tryage.evaluation.metrics import Floats, Matrix


@dataclass(frozen=True, slots=True)
class PairResult:
    """One router on one pair of experts; `cpt50`, `cpt80` are fractions of strong calls."""

    strong: str
    weak: str
    apgr: float
    cpt50: float
    cpt80: float


def recovery_curve(gain: Floats, real_gain: Floats) -> tuple[Floats, Floats]:
    """Fraction of strong calls and gap recovered, at every threshold on the predicted gain.

    Both inputs are `(n_prompts,)`, strong score - weak score, predicted and real. Prompts with
    the same predicted gain have no order: the curve is straight across them.

    Raises:
        QTableError: the strong expert is not better than the weak one on these prompts.
    """
    total = float(real_gain.sum())
    if total <= 0:
        raise QTableError(
            "the strong expert scores no better than the weak one on these prompts; "
            "there is no gap to recover"
        )
    order = np.argsort(-gain, kind="stable")
    block_end = np.flatnonzero(np.append(np.diff(gain[order]) != 0, True))
    calls = np.append(0.0, (block_end + 1) / len(gain))
    recovered = np.append(0.0, np.cumsum(real_gain[order])[block_end] / total)
    return calls, recovered


def apgr(gain: Floats, real_gain: Floats) -> float:
    """Average performance gap recovered: the area under the recovery curve."""
    calls, recovered = recovery_curve(gain, real_gain)
    return float(np.sum(np.diff(calls) * (recovered[1:] + recovered[:-1]) / 2))


def cpt(gain: Floats, real_gain: Floats, target: float) -> float:
    """Call-performance threshold: least fraction of strong calls that recovers `target` of the gap.

    Between two thresholds it is interpolated, as a random choice between them would do.
    """
    calls, recovered = recovery_curve(gain, real_gain)
    reached = int(np.argmax(recovered >= target))
    if reached == 0:
        return 0.0
    before = reached - 1
    part = (target - recovered[before]) / (recovered[reached] - recovered[before])
    return float(calls[before] + part * (calls[reached] - calls[before]))


def pair_result(predicted: Matrix, losses: Matrix, experts: tuple[str, ...]) -> PairResult | None:
    """Judge predictions for exactly two experts, `(n_prompts, 2)`; None if the gap is not there.

    The strong expert is the one with the lower mean loss on these prompts; prompts with a gap in
    the measurements are left out.
    """
    full = ~np.isnan(losses).any(axis=1)
    means = losses[full].mean(axis=0)
    weak, strong = (0, 1) if means[1] < means[0] else (1, 0)
    if not means[strong] < means[weak]:
        return None
    gain = (predicted[full, weak] - predicted[full, strong]).astype(np.float64)
    real = (losses[full, weak] - losses[full, strong]).astype(np.float64)
    return PairResult(
        strong=experts[strong],
        weak=experts[weak],
        apgr=apgr(gain, real),
        cpt50=cpt(gain, real, 0.5),
        cpt80=cpt(gain, real, 0.8),
    )
