"""The lower envelope of lines: who is chosen as one weight moves from zero to infinity.

For one prompt every expert is a line in the weight, `Q_i + lambda C_i`, and the chosen one is the
lowest: the choice walks the lower envelope of the lines, and changes only at its corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tryage.errors import InputError, NoExpertError

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats: TypeAlias = NDArray[np.floating[Any]]
Indices: TypeAlias = NDArray[np.intp]

_CELLS = 1 << 22  # prompts x experts looked at together: bounds the memory, not the result


@dataclass(frozen=True, slots=True)
class Path:
    """Each prompt's chosen expert from weight 0 on: where it starts, and every change after that.

    `start` is `(batch,)`, the expert just above weight 0. `weight`, `prompt`, `before` and `after`
    are `(changes,)`, ordered by weight: from `weight` on, `prompt` goes to `after`.
    """

    start: Indices
    weight: Floats
    prompt: Indices
    before: Indices
    after: Indices

    @property
    def weights(self) -> Floats:
        """The breakpoints: 0 and every distinct weight at which some prompt changes."""
        breakpoints: Floats = np.unique(np.append(self.weight, 0.0))
        return breakpoints

    def chosen(self, weight: float) -> Indices:
        """Return the expert of every prompt at a weight, `(batch,)`."""
        chosen: Indices = self.start.copy()
        until = np.searchsorted(self.weight, weight, side="right")
        chosen[self.prompt[:until]] = self.after[:until]  # of repeated prompts the last one holds
        return chosen

    def mean(self, values: Floats) -> Floats:
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
        means: Floats = np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0)
        return means


def envelope(base: Floats, constraint: Floats, allowed: NDArray[np.bool_] | None = None) -> Path:
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


_Step: TypeAlias = tuple[Floats, Indices, Indices, Indices]  # weight, prompt, before, after


def _walk(lines: Floats, slopes: Floats, offset: int) -> tuple[Indices, list[_Step]]:
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


def _path(start: Indices, steps: Sequence[_Step]) -> Path:
    """Merge the corners of all prompts, in order of weight and, for one prompt, of its walk."""
    empty: _Step = (np.empty(0), *(np.empty(0, np.intp),) * 3)
    columns = (np.concatenate(part) for part in zip(empty, *steps, strict=True))
    weight, prompt, before, after = columns
    order = np.argsort(weight, kind="stable")
    return Path(start, weight[order], prompt[order], before[order], after[order])


def _running(first: NDArray[Any], deltas: NDArray[Any]) -> Floats:
    """Sum of `first`, then with every delta added in turn, `(deltas + 1,)`."""
    return np.cumsum(np.concatenate([[first.sum()], deltas]), dtype=np.float64)
