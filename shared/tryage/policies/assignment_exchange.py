"""Better assignments by moves of one or two prompts, which use what rounding leaves of limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.policies.assignment_problem import AssignmentProblem

_N_MOVES = 400  # all pairs of them are compared

_MAX_EXCHANGES = 100

_MIN_GAIN = 1e-12  # of the objective; rounding errors are smaller


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """Moves of prompts from `old` to `new` experts, and what they change; the last one is none.

    All are `(n_moves,)`. The move that changes nothing has -1 as its prompt and experts.
    """

    prompt: IndexArray
    old: IndexArray
    new: IndexArray
    objective: Float64Array
    resource: Float64Array


def exchange(
    problem: AssignmentProblem, experts: IndexArray, prices: Float64Array, rows: IndexArray
) -> IndexArray:
    """Return the experts `(n_prompts,)` after the best moves of the prompts `rows`.

    Each time it takes the one or two moves that lower the objective most within the limits, among
    those that cost least at the dual prices.
    """
    experts = experts.copy()
    for _ in range(_MAX_EXCHANGES):
        moves = _nearest_moves(problem, experts, prices, rows)
        pair = _best_pair(problem, experts, moves)
        if pair is None:
            break
        taken = pair[moves.prompt[pair] >= 0]
        experts[moves.prompt[taken]] = moves.new[taken]
    return experts


def _nearest_moves(
    problem: AssignmentProblem, experts: IndexArray, prices: Float64Array, rows: IndexArray
) -> _Moves:
    """Return the moves whose loss at the dual prices is lowest, and the one that is none."""
    own, index = experts[rows], np.arange(len(rows))
    values = problem.reduced(prices, rows)
    values -= values[index, own][:, None]
    values[index, own] = np.inf
    order = np.argsort(values, axis=None, kind="stable")[:_N_MOVES]
    order = order[np.isfinite(values.ravel()[order])]
    local, new = np.unravel_index(order, values.shape)
    old, prompt = own[local], rows[local]
    objective, resource = (
        table[prompt, new].astype(np.float64) - table[prompt, old]
        for table in (problem.objective, problem.resource)
    )
    prompt, old, new = (np.append(one, -1) for one in (prompt, old, new))
    return _Moves(prompt, old, new, np.append(objective, 0.0), np.append(resource, 0.0))


def _best_pair(problem: AssignmentProblem, experts: IndexArray, moves: _Moves) -> IndexArray | None:
    """Return the two moves that together lower the objective most, None if none do."""
    objective, resource = problem.sums(experts)
    gains = moves.objective[:, None] + moves.objective
    changed = moves.resource[:, None] + moves.resource
    is_possible = changed <= max(problem.limit - resource, 0.0)
    is_possible &= moves.prompt[:, None] != moves.prompt
    has_room = _has_room(problem, experts, moves)
    gains = np.where(is_possible & has_room & has_room.T, gains, np.inf)
    best = np.unravel_index(gains.argmin(), gains.shape)
    return np.array(best) if gains[best] < -_MIN_GAIN * abs(objective) else None


def _has_room(problem: AssignmentProblem, experts: IndexArray, moves: _Moves) -> BoolArray:
    """Return whether the new expert of each move has room beside each other move."""
    counts = np.bincount(experts, minlength=problem.n_experts)
    room = np.append(problem.capacity - counts, np.inf)  # the last is for the move that is none
    needed = 1 + (moves.new[:, None] == moves.new) - (moves.new[:, None] == moves.old)
    return np.asarray(room[moves.new][:, None] >= needed)
