"""Exact trade-off fronts over one weight: at its breakpoints, not on a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from tryage.core.arrays import FloatArray, IndexArray
from tryage.errors import InputError, NoExpertError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CELLS = 1 << 22  # prompts x experts looked at together: bounds the memory, not the result


def front_points(
    base: FloatArray,
    constraint: FloatArray,
    values: Mapping[str, FloatArray],
    allowed: NDArray[np.bool_] | None = None,
) -> dict[str, FloatArray]:
    """Return the breakpoints as `weight`, with the mean of every table of `values` at each.

    Choose by predictions, judge by outcomes: pass predictions as `base` and `constraint` (shapes as
    in `envelope`) and true losses or dollars as `values`. Every result is `(breakpoints,)`.
    """
    path = envelope(base, constraint, allowed)
    return {"weight": path.weights, **{name: path.mean(table) for name, table in values.items()}}


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
    weights: FloatArray
    losses: FloatArray
    constraints: FloatArray
    true_losses: FloatArray | None = None

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


@dataclass(frozen=True, slots=True)
class Path:
    """Each prompt's chosen expert from weight 0 on: where it starts, and every change after that.

    `start` is `(batch,)`, the expert just above weight 0. `weight`, `prompt`, `before` and `after`
    are `(changes,)`, ordered by weight: from `weight` on, `prompt` goes to `after`.
    """

    start: IndexArray
    weight: FloatArray
    prompt: IndexArray
    before: IndexArray
    after: IndexArray

    @property
    def weights(self) -> FloatArray:
        """The breakpoints: 0 and every distinct weight at which some prompt changes."""
        breakpoints: FloatArray = np.unique(np.append(self.weight, 0.0))
        return breakpoints

    def chosen(self, weight: float) -> IndexArray:
        """Return the expert of every prompt at a weight, `(batch,)`."""
        chosen: IndexArray = self.start.copy()
        until = np.searchsorted(self.weight, weight, side="right")
        chosen[self.prompt[:until]] = self.after[:until]  # of repeated prompts the last one holds
        return chosen

    def mean(self, values: FloatArray) -> FloatArray:
        """Mean of `values` `(n_experts,)` or `(batch, n_experts)` over the prompts, per breakpoint.

        NaN is a gap: the mean is over the prompts whose chosen expert has a value.
        """
        batch = np.arange(self.start.size)
        table = np.asarray(values, dtype=np.float64)
        table = np.broadcast_to(table, (batch.size, table.shape[-1]))
        first, old, new = (
            table[rows, experts]
            for rows, experts in (
                (batch, self.start),
                (self.prompt, self.before),
                (self.prompt, self.after),
            )
        )
        upto = np.searchsorted(self.weight, self.weights, side="right")
        total = _running(np.nan_to_num(first), np.nan_to_num(new) - np.nan_to_num(old))[upto]
        known = _running(np.isfinite(first), np.isfinite(new) * 1.0 - np.isfinite(old))[upto]
        means: FloatArray = np.divide(
            total, known, out=np.full(total.shape, np.nan), where=known > 0
        )
        return means


def envelope(
    base: FloatArray, constraint: FloatArray, allowed: NDArray[np.bool_] | None = None
) -> Path:
    """Walk the lower envelope of `base + weight * constraint` for every prompt, exactly.

    `base` is `(batch, n_experts)`, the loss with every other weighted term, NaN where unusable;
    `constraint` and `allowed` are `(n_experts,)` or `(batch, n_experts)`. Ties go to the lower
    constraint, then to library order.

    Raises:
        InputError: the shapes do not fit, or a constraint is not finite.
        NoExpertError: a prompt has no expert that is allowed and has a finite base.
    """
    base = np.asarray(base, dtype=np.float64)
    constraint = np.asarray(constraint, dtype=np.float64)
    if base.ndim != 2 or constraint.shape not in (base.shape, base.shape[1:]):
        raise InputError(
            f"base has shape {base.shape} and constraint {constraint.shape}; expected "
            "(batch, n_experts) and the same or (n_experts,)"
        )
    if not np.isfinite(constraint).all():
        raise InputError("the constraint has values that are not finite; unknown counts as 1")
    usable = np.isfinite(base) if allowed is None else np.isfinite(base) & allowed
    if not usable.any(axis=1).all():
        row = int(np.argmin(usable.any(axis=1)))
        raise NoExpertError(f"prompt {row} has no expert that is allowed and has a prediction")
    lines = np.where(usable, base, np.inf)
    slopes = np.broadcast_to(constraint, lines.shape)
    block = max(1, _CELLS // max(1, lines.shape[1]))
    walks = [
        _walk(lines[i : i + block], slopes[i : i + block], i) for i in range(0, len(lines), block)
    ]
    start = np.concatenate([start for start, _ in walks]) if walks else np.empty(0, np.intp)
    return _path(start, [step for _, steps in walks for step in steps])


_Step: TypeAlias = tuple[
    FloatArray, IndexArray, IndexArray, IndexArray
]  # weight, prompt, before, after


def _walk(lines: FloatArray, slopes: FloatArray, offset: int) -> tuple[IndexArray, list[_Step]]:
    """Follow the envelope of every row at once, one corner per round, to the right."""
    lowest = lines == lines.min(axis=1, keepdims=True)
    start = np.where(lowest, slopes, np.inf).argmin(axis=1)
    rows, here, weight = np.arange(len(lines)), start, np.zeros(len(lines))
    steps: list[_Step] = []
    while rows.size:
        own = (np.arange(rows.size), here)
        gain = slopes[own][:, None] - slopes  # above 0: that line is the lower one in the end
        rise = lines - lines[own][:, None]
        meets = np.full(lines.shape, np.inf)
        np.divide(rise, gain, out=meets, where=gain > 0)
        first = meets.min(axis=1)
        after = np.where(meets == first[:, None], slopes, np.inf).argmin(axis=1)
        moves = np.isfinite(first)
        # Concurrent lines may meet a rounding error to the left of where we stand.
        weight = np.maximum(first, weight)[moves]
        rows, lines, slopes = rows[moves], lines[moves], slopes[moves]
        before, here = here[moves], after[moves]
        steps.append((weight, rows + offset, before, here))
    return start, steps


def _path(start: IndexArray, steps: Sequence[_Step]) -> Path:
    """Merge the corners of all prompts, in order of weight and, for one prompt, of its walk."""
    empty: _Step = (np.empty(0), *(np.empty(0, np.intp),) * 3)
    columns = (np.concatenate(part) for part in zip(empty, *steps, strict=True))
    weight, prompt, before, after = columns
    order = np.argsort(weight, kind="stable")
    return Path(start, weight[order], prompt[order], before[order], after[order])


def _running(first: NDArray[Any], deltas: NDArray[Any]) -> FloatArray:
    """Sum of `first`, then with every delta added in turn, `(deltas + 1,)`."""
    return np.cumsum(np.concatenate([[first.sum()], deltas]), dtype=np.float64)
