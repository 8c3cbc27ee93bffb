"""The exact front of predicted loss against one constraint, at its breakpoints, not on a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload

import numpy as np

from tryage.core.arrays import FloatArray, IndexArray
from tryage.errors import InputError, NoExpertError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.library import Library

_MAX_CELLS = 1 << 22  # prompts x experts in one block; limits the memory, not the result

# weight, prompt, old expert, new expert of one corner per prompt
_Step: TypeAlias = tuple[FloatArray, IndexArray, IndexArray, IndexArray]


class MeasuredLosses(Protocol):
    """Measured losses of experts on prompts, such as a `QTable`."""

    def losses_for(self, prompts: Sequence[str], library: Library) -> FloatArray:
        """Return measured losses, `(batch, n_experts)`, NaN where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class ChoiceChange:
    """From `weight` on, a prompt goes to the expert `after` instead of `before`."""

    weight: float
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One breakpoint: means over the prompts, and the share of prompts per chosen expert."""

    weight: float
    loss: float
    constraint: float
    true_loss: float | None
    share: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class ParetoFront(Sequence[FrontPoint]):
    """The exact front over the weight of one constraint, a sequence of breakpoints.

    `weights`, `losses`, `constraints` and `true_losses` are `(breakpoints,)`: the weight, and from
    that weight on the mean predicted loss, constraint in [0, 1] and measured loss. The constraint
    never rises. Without other weights the predicted loss never falls; with other weights its sum
    with their terms never falls.
    """

    constraint: str
    names: Sequence[str]
    path: EnvelopePath
    weights: FloatArray
    losses: FloatArray
    constraints: FloatArray
    true_losses: FloatArray | None = None

    def __len__(self) -> int:
        """Return the number of breakpoints."""
        return self.weights.size

    @overload
    def __getitem__(self, i: int) -> FrontPoint: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[FrontPoint, ...]: ...
    def __getitem__(self, i: int | slice) -> FrontPoint | tuple[FrontPoint, ...]:
        """Return one breakpoint, or several."""
        if isinstance(i, slice):
            return tuple(self[j] for j in range(*i.indices(len(self))))
        chosen = self.path.experts_at(float(self.weights[i]))
        return self._point(i, np.bincount(chosen, minlength=len(self.names)))

    def __iter__(self) -> Iterator[FrontPoint]:
        """Yield the breakpoints; each step updates only the prompts that change."""
        count = np.bincount(self.path.start, minlength=len(self.names))
        ends = np.searchsorted(self.path.weight, self.weights, side="right")
        start = 0
        for i, end in enumerate(ends):
            np.subtract.at(count, self.path.old_expert[start:end], 1)
            np.add.at(count, self.path.new_expert[start:end], 1)
            start = end
            yield self._point(i, count)

    def at(self, weight: float) -> FrontPoint:
        """Return the point at a weight: the last breakpoint that is not above it."""
        if not weight >= 0:
            raise InputError(f"weight {weight} must be a number, 0 or more")
        return self[int(np.searchsorted(self.weights, weight, side="right")) - 1]

    def changes(self, prompt: int = 0) -> tuple[ChoiceChange, ...]:
        """Return the changes of one prompt, by its position in the batch, as the weight rises."""
        if not 0 <= prompt < self.path.start.size:
            raise InputError(f"prompt {prompt} is not one of the {self.path.start.size} prompts")
        rows = np.flatnonzero(self.path.prompt == prompt)
        columns = (self.path.weight[rows], self.path.old_expert[rows], self.path.new_expert[rows])
        return tuple(
            ChoiceChange(weight, self.names[before], self.names[after])
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
class EnvelopePath:
    """The chosen expert of each prompt at weight 0, and every change as the weight rises.

    `start` is `(batch,)`, the expert just above weight 0. `weight`, `prompt`, `old_expert` and
    `new_expert` are `(changes,)`, ordered by weight: from `weight` on, `prompt` goes to
    `new_expert`.
    """

    start: IndexArray
    weight: FloatArray
    prompt: IndexArray
    old_expert: IndexArray
    new_expert: IndexArray

    @property
    def weights(self) -> FloatArray:
        """The breakpoints: 0 and every distinct weight at which some prompt changes."""
        breakpoints: FloatArray = np.unique(np.append(self.weight, 0.0))
        return breakpoints

    def experts_at(self, weight: float) -> IndexArray:
        """Return the expert of every prompt at a weight, `(batch,)`."""
        chosen: IndexArray = self.start.copy()
        end = np.searchsorted(self.weight, weight, side="right")
        chosen[self.prompt[:end]] = self.new_expert[:end]  # the last change of a prompt wins
        return chosen

    def mean(self, values: FloatArray) -> FloatArray:
        """Return the mean over the prompts of the chosen expert's value, `(breakpoints,)`.

        `values` is `(n_experts,)` or `(batch, n_experts)`. A prompt does not count where the value
        of its chosen expert is NaN.
        """
        batch = np.arange(self.start.size)
        table = np.asarray(values, dtype=np.float64)
        table = np.broadcast_to(table, (batch.size, table.shape[-1]))
        first, old, new = (
            table[rows, experts]
            for rows, experts in (
                (batch, self.start),
                (self.prompt, self.old_expert),
                (self.prompt, self.new_expert),
            )
        )
        ends = np.searchsorted(self.weight, self.weights, side="right")
        deltas = np.nan_to_num(new) - np.nan_to_num(old)
        total = _cumulative_sums(np.nan_to_num(first), deltas)[ends]
        known_deltas = np.isfinite(new) * 1.0 - np.isfinite(old)
        known = _cumulative_sums(np.isfinite(first), known_deltas)[ends]
        no_value = np.full(total.shape, np.nan)
        means: FloatArray = np.divide(total, known, out=no_value, where=known > 0)
        return means


def lower_envelope(
    base: FloatArray, constraint: FloatArray, allowed: NDArray[np.bool_] | None = None
) -> EnvelopePath:
    """Compute the lower envelope of `base + weight * constraint` for every prompt, exactly.

    `base` is `(batch, n_experts)`, the loss with every other weighted term, NaN where unknown;
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
    block = max(1, _MAX_CELLS // max(1, lines.shape[1]))
    traces = [
        _trace_envelope(lines[i : i + block], slopes[i : i + block], i)
        for i in range(0, len(lines), block)
    ]
    start = np.concatenate([start for start, _ in traces]) if traces else np.empty(0, np.intp)
    return _merge_steps(start, [step for _, steps in traces for step in steps])


def _trace_envelope(
    lines: FloatArray, slopes: FloatArray, offset: int
) -> tuple[IndexArray, list[_Step]]:
    """Follow the envelopes of all rows to the right, one corner of each per round."""
    lowest = lines == lines.min(axis=1, keepdims=True)
    start = np.where(lowest, slopes, np.inf).argmin(axis=1)
    rows, current, weight = np.arange(len(lines)), start, np.zeros(len(lines))
    steps: list[_Step] = []
    while rows.size:
        own = (np.arange(rows.size), current)
        gain = slopes[own][:, None] - slopes  # above 0: that line ends up lower
        rise = lines - lines[own][:, None]
        crossings = np.full(lines.shape, np.inf)
        np.divide(rise, gain, out=crossings, where=gain > 0)
        next_crossing = crossings.min(axis=1)
        after = np.where(crossings == next_crossing[:, None], slopes, np.inf).argmin(axis=1)
        continues = np.isfinite(next_crossing)
        # Lines that meet in one point may cross slightly to the left, by a rounding error.
        weight = np.maximum(next_crossing, weight)[continues]
        rows, lines, slopes = rows[continues], lines[continues], slopes[continues]
        before, current = current[continues], after[continues]
        steps.append((weight, rows + offset, before, current))
    return start, steps


def _merge_steps(start: IndexArray, steps: Sequence[_Step]) -> EnvelopePath:
    """Merge the corners of all prompts by weight; those of one prompt stay in their order."""
    empty: _Step = (np.empty(0), *(np.empty(0, np.intp),) * 3)
    columns = (np.concatenate(part) for part in zip(empty, *steps, strict=True))
    weight, prompt, before, after = columns
    order = np.argsort(weight, kind="stable")
    return EnvelopePath(start, weight[order], prompt[order], before[order], after[order])


def _cumulative_sums(first: NDArray[Any], deltas: NDArray[Any]) -> FloatArray:
    """Return the sum of `first`, and the sums after each delta, `(deltas + 1,)`."""
    return np.cumsum(np.concatenate([[first.sum()], deltas]), dtype=np.float64)
