"""Exact trade-off fronts over one weight: at its breakpoints, not on a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from tryage.envelope import Path, envelope
from tryage.errors import InputError

if TYPE_CHECKING:
    from tryage.experts import Library
    from tryage.qtable import QTable

Floats: TypeAlias = NDArray[np.floating[Any]]


def front_points(
    base: Floats,
    constraint: Floats,
    values: Mapping[str, Floats],
    allowed: NDArray[np.bool_] | None = None,
) -> dict[str, Floats]:
    """Return the breakpoints as `weight`, with the mean of every table of `values` at each.

    Choose by predictions, judge by outcomes: pass predictions as `base` and `constraint` (shapes as
    in `envelope`) and true losses or dollars as `values`. Every result is `(breakpoints,)`.
    """
    path = envelope(base, constraint, allowed)
    return {"weight": path.weights, **{name: path.mean(table) for name, table in values.items()}}


def measured(table: QTable, prompts: Sequence[str], library: Library) -> Floats:
    """Look up measured losses, `(batch, n_experts)`, NaN where the table has none.

    Of twins, prompts with the same text, the first row counts.
    """
    row: dict[str, int] = {}
    for i, prompt in enumerate(table.prompts):
        row.setdefault(prompt, i)
    columns = [(j, library.index(name)) for j, name in enumerate(table.experts) if name in library]
    found = [(i, row[prompt]) for i, prompt in enumerate(prompts) if prompt in row]
    losses = np.full((len(prompts), len(library)), np.nan)
    if columns and found:
        (theirs, ours), (to, source) = zip(*columns, strict=True), zip(*found, strict=True)
        losses[np.ix_(to, ours)] = table.losses[np.ix_(source, theirs)]
    return losses


@dataclass(frozen=True, slots=True)
class Change:
    """From `weight` on, a prompt goes to `after` instead of `before`."""

    weight: float
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One breakpoint: the means over the prompts, and the share of prompts per chosen expert."""

    weight: float
    loss: float
    constraint: float
    true_loss: float | None
    share: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Front(Sequence[FrontPoint]):
    """The exact front over the weight of one constraint, a sequence of breakpoints.

    `weights`, `losses`, `constraints` and `true_losses` are `(breakpoints,)`: the mean predicted
    loss, constraint in [0, 1] and measured loss from that weight on. The constraint never rises;
    the predicted loss never falls where no other weight is in force, otherwise it and the other
    terms together never do.
    """

    constraint: str
    names: Sequence[str]
    path: Path
    weights: Floats
    losses: Floats
    constraints: Floats
    true_losses: Floats | None = None

    def __len__(self) -> int:
        """Count the breakpoints."""
        return self.weights.size

    @overload
    def __getitem__(self, i: int) -> FrontPoint: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[FrontPoint, ...]: ...
    def __getitem__(self, i: int | slice) -> FrontPoint | tuple[FrontPoint, ...]:
        """Return one breakpoint, or several."""
        if isinstance(i, slice):
            return tuple(self[j] for j in range(*i.indices(len(self))))
        chosen = self.path.chosen(float(self.weights[i]))
        return self._point(i, np.bincount(chosen, minlength=len(self.names)))

    def __iter__(self) -> Iterator[FrontPoint]:
        """Walk the breakpoints, moving only the prompts that change."""
        count = np.bincount(self.path.start, minlength=len(self.names))
        upto = np.searchsorted(self.path.weight, self.weights, side="right")
        done = 0
        for i, until in enumerate(upto):
            np.subtract.at(count, self.path.before[done:until], 1)
            np.add.at(count, self.path.after[done:until], 1)
            done = until
            yield self._point(i, count)

    def at(self, weight: float) -> FrontPoint:
        """Return the point in force at a weight, the last breakpoint not above it."""
        if not weight >= 0:
            raise InputError(f"weight {weight} must be a number, 0 or more")
        return self[int(np.searchsorted(self.weights, weight, side="right")) - 1]

    def changes(self, prompt: int = 0) -> tuple[Change, ...]:
        """Say what would change at which weight for one prompt, by its place in the batch."""
        if not 0 <= prompt < self.path.start.size:
            raise InputError(f"prompt {prompt} is not one of the {self.path.start.size} prompts")
        mine = np.flatnonzero(self.path.prompt == prompt)
        columns = (self.path.weight[mine], self.path.before[mine], self.path.after[mine])
        return tuple(
            Change(weight, self.names[before], self.names[after])
            for weight, before, after in zip(*(c.tolist() for c in columns), strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the front as JSON-safe values, without NaN."""
        points = [
            {
                "weight": point.weight,
                "loss": point.loss,
                "constraint": point.constraint,
                "true_loss": point.true_loss,
                "share": dict(point.share),
            }
            for point in self
        ]
        return {"constraint": self.constraint, "points": points}

    def _point(self, i: int, count: NDArray[np.integer[Any]]) -> FrontPoint:
        chosen = np.flatnonzero(count).tolist()
        share = {self.names[j]: float(count[j] / self.path.start.size) for j in chosen}
        true = None if self.true_losses is None else float(self.true_losses[i])
        return FrontPoint(
            weight=float(self.weights[i]),
            loss=float(self.losses[i]),
            constraint=float(self.constraints[i]),
            true_loss=None if true is None or np.isnan(true) else true,
            share=share,
        )
