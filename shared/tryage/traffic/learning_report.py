"""What was learned between two states of a learner, expert by expert, as a table for the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tryage.traffic.learner import Learner

_Z = 1.96  # a 95% interval


@dataclass(frozen=True, slots=True)
class ExpertChange:
    """What was learned about one expert: predicted losses with 95% intervals.

    `count` pieces of feedback had a mean loss of `measured`. The predictions are for a prompt in
    the middle of all those that the expert had feedback on.
    """

    expert: str
    count: int
    measured: float
    before: float
    before_interval: tuple[float, float]
    after: float
    after_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What was learned: the `changes`, most feedback first, and the experts that are `suspect`.

    `skipped` counts the rows that could not teach anything, by reason.
    """

    changes: tuple[ExpertChange, ...]
    suspect: tuple[str, ...]
    skipped: dict[str, int]

    def __str__(self) -> str:
        """Return a table."""
        rows = [("expert", "feedback", "mean loss", "predicted before", "predicted now")]
        rows += [
            (
                f"{one.expert} (suspect)" if one.expert in self.suspect else one.expert,
                str(one.count),
                f"{one.measured:.3f}",
                _show(one.before, one.before_interval),
                _show(one.after, one.after_interval),
            )
            for one in self.changes
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines if self.changes else ["Nothing was learned."])


def _interval(mean: float, std: float, loss_range: tuple[float, float]) -> tuple[float, float]:
    lowest, highest = loss_range
    return max(mean - _Z * std, lowest), min(mean + _Z * std, highest)


def _show(loss: float, interval: tuple[float, float]) -> str:
    return f"{loss:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def compare(before: Learner, after: Learner) -> LearningReport:
    """Return what `after` knows that `before` did not."""
    changes = []
    for name, belief in after.state.beliefs.items():
        earlier = before.state.beliefs.get(name)
        count = belief.count - (0 if earlier is None else earlier.count)
        if count <= 0:
            continue
        total = belief.total_loss - (0.0 if earlier is None else earlier.total_loss)
        middle = belief.position_sum / belief.count
        old, old_std = before.level(name, middle)
        new, new_std = after.level(name, middle)
        changes.append(
            ExpertChange(
                name,
                count,
                total / count,
                old,
                _interval(old, old_std, after.loss_range),
                new,
                _interval(new, new_std, after.loss_range),
            )
        )
    changes.sort(key=lambda one: -one.count)
    return LearningReport(tuple(changes), tuple(after.state.suspects), dict(after.state.skipped))
