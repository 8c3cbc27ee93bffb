"""Notices that an expert has changed: a sequential test of its losses against what is expected.

For every expert, overall and for each kind of prompt, and in both directions, there is a process
`M_t = (M_(t-1) + 1) (1 + stake (loss_t - bound_t))`. As long as the mean of a loss, given the past,
is not above its bound, the expectation of `M_t` is at most `t`. So with a threshold `A` alarms come
on average at most once in `A` losses, whatever the distribution: an e-detector (Shin, Ramdas and
Rinaldo, 2024, "E-detectors"), in the form of Shiryaev and Roberts. Several stakes share the
evidence, because the size of a change is not known.

A prediction that is wrong from the beginning is no change. So a bound is raised by how far losses
have been above their predictions so far, and the first losses of a process are a baseline only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array

Direction: TypeAlias = Literal["worse", "better"]

DIRECTIONS: tuple[Direction, Direction] = ("worse", "better")

REQUESTS_PER_FALSE_ALARM = 10_000 * 365  # one a year at 10,000 requests a day

_PROCESSES_PER_LOSS = 4  # overall and of the kind, in two directions each

MARGIN = 0.05  # of the range of losses: a change that is too small to be told

BELIEF_STDS = 1.0  # the mean may be as far from the prediction as the belief is uncertain

MIN_BASELINE = 50  # losses

_STAKES = np.array([0.2, 0.5, 0.9])  # shares of the mean bound

_MIN_BOUND = 1e-6  # of the range; a prediction may lie outside of it

_MAX_STAKE = 0.95  # of what could be lost, so that no process ever ends


@dataclass(frozen=True, slots=True)
class ExpectedLoss:
    """What was expected of a loss: its `mean`, the `std` of that belief, and the loss's range."""

    mean: float
    std: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class DriftProcess:
    """The evidence for a change: `evidence` `(2, n_stakes)`, by direction and stake.

    `bound_sum` `(2,)` is the sum of the bounds of its `count` losses, each as a distance from the
    end of the range that the change leads away from. `surprise_sum` is that of the differences from
    the predictions.
    """

    evidence: Float64Array
    bound_sum: Float64Array
    surprise_sum: float
    count: int

    def update(self, loss: float, expected: ExpectedLoss) -> DriftProcess:
        """Multiply the evidence by what one loss tells."""
        observed = np.array([loss - expected.lowest, expected.highest - loss])
        bound = self._bound(expected)
        bound_sum, count = self.bound_sum + bound, self.count + 1
        # Stakes are shares of the MEAN bound: with one share of each bound, prompts of which too
        # little loss is expected would count more than those of which too much is.
        stake = _STAKES * (count / bound_sum)[:, None]
        stake = np.minimum(stake, _MAX_STAKE / bound[:, None])
        span = expected.highest - expected.lowest
        factors = 1 + stake * (observed - bound).clip(-bound, span)[:, None]
        evidence = (self.evidence + 1) * factors if count > MIN_BASELINE else self.evidence
        surprise_sum = self.surprise_sum + loss - expected.mean
        return DriftProcess(evidence, bound_sum, surprise_sum, count)

    def _bound(self, expected: ExpectedLoss) -> Float64Array:
        """Return the highest mean that is no change, in both directions, `(2,)`."""
        span = expected.highest - expected.lowest
        slack = BELIEF_STDS * expected.std + MARGIN * span
        bias = self.surprise_sum / max(self.count, 1)
        mean = np.array([expected.mean - expected.lowest, expected.highest - expected.mean])
        return np.clip(mean + slack + np.maximum([bias, -bias], 0), _MIN_BOUND * span, span)


NO_EVIDENCE = DriftProcess(np.zeros((2, len(_STAKES))), np.zeros(2), 0.0, 0)


@dataclass
class DriftDetector:
    """The evidence that experts have changed, by expert and kind of prompt; None is overall."""

    requests_per_false_alarm: float = REQUESTS_PER_FALSE_ALARM
    processes: dict[tuple[str, str | None], DriftProcess] = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """How much evidence makes an alarm."""
        return _PROCESSES_PER_LOSS * self.requests_per_false_alarm

    def update(
        self, expert: str, kind: str | None, loss: float, expected: ExpectedLoss
    ) -> tuple[Direction, str | None] | None:
        """Take one loss into account; return which change is certain now, and of which kind."""
        found: tuple[Direction, str | None] | None = None
        for key in dict.fromkeys(((expert, None), (expert, kind))):
            process = self.processes.get(key, NO_EVIDENCE).update(loss, expected)
            self.processes[key] = process
            certain = np.flatnonzero(process.evidence.mean(axis=1) >= self.threshold)
            if certain.size and found is None:
                found = (DIRECTIONS[int(certain[0])], key[1])
        if found is not None:
            self.forget(expert)
        return found

    def forget(self, expert: str) -> None:
        """Start again with an expert."""
        for key in [key for key in self.processes if key[0] == expert]:
            del self.processes[key]
