"""The best assignment: dual prices, a linear program of the prompts that they leave open, rounding.

At good dual prices almost every prompt has one expert that is best. The others are left open, up to
a few thousands of them, and a linear program gives them shares of experts so that the limits hold.
A vertex of it splits at most as many prompts as there are limits; those are rounded. The dual
function is a bound: how far the result is from the optimum is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tryage.core.validation import require_extra
from tryage.policies.assignment_dual import dual_prices, objective_spread
from tryage.policies.assignment_exchange import exchange

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.policies.assignment_problem import AssignmentProblem

# Open prompts and experts for each of them, and the relative gap to the bound that is good enough:
# else the next program is solved. The last one has all prompts, and pairs as far as that is quick.
_PROGRAMS = ((2_000, 4, 1e-6), (4_000, 8, 1e-5), (16_000, 8, 1e-4), (1 << 60, 1 << 60, np.inf))

_MAX_PAIRS = 250_000

_GAP = 1e-6  # of the whole experts, relative; a smaller one is not worth moves

_MIN_SHARE, _WHOLE_SHARE = 1e-4, 0.9999  # an expert with a smaller or larger share is certain

_TIE = 10.0  # temperatures; prompts whose two best experts are closer are equally open

_TOLERANCE = 1e-6  # of a limit, in the largest resource of a pair or in prompts: that of HiGHS

_SPLIT = 1e-6  # a share that is farther from 0 and 1 splits a prompt

_MOVABLE_PROMPTS = 200  # that may move after rounding, beside the split ones


@dataclass(frozen=True, slots=True, eq=False)
class AssignmentSolution:
    """An assignment: `experts` `(n_prompts,)`, and a lower `bound` on the objective of any other.

    `prices` `(1 + n_experts,)` are the dual prices: by how much the objective falls per unit of a
    higher limit, and per prompt more that an expert may get.
    """

    experts: IndexArray
    objective: float
    resource: float
    bound: float
    prices: Float64Array

    @property
    def gap(self) -> float:
        """By which share the objective may be above the lowest possible one."""
        return max(self.objective - self.bound, 0.0) / max(abs(self.objective), 1e-12)


class _Pairs(NamedTuple):
    """The pairs that a program chooses between, and what the other prompts leave of the limits.

    `rows` and `columns` `(n_pairs,)` are prompts and experts; `rows` ascend.
    """

    rows: IndexArray
    columns: IndexArray
    left: Float64Array  # (1 + n_experts,)

    def of(self, is_chosen: BoolArray, left: Float64Array) -> _Pairs:
        """Return the pairs of some prompts, `(n_prompts,)`, and what is left for them."""
        kept = is_chosen[self.rows]
        return _Pairs(self.rows[kept], self.columns[kept], left)


class _Vertex(NamedTuple):
    """An optimal vertex of the linear program of some pairs."""

    shares: Float64Array  # (n_pairs,)
    prices: Float64Array  # (1 + n_experts,)
    objective: float  # of the open prompts
    excess: float  # above the limits


def solve_assignment(problem: AssignmentProblem) -> AssignmentSolution | None:
    """Return the best assignment with a bound, None if none meets the limits.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    require_extra("scipy", "evaluate")
    prices, temperature = dual_prices(problem)
    if not _has_room(problem, prices):
        return None
    bound = problem.lower_bound(prices)
    draft = _draft_experts(problem, prices, temperature)
    gaps = np.maximum(_second_gaps(problem, prices), _TIE * temperature)
    gaps[_in_full_experts(problem, draft, gaps)] = 0.0
    for n_open, n_experts, good_gap in _PROGRAMS:
        pairs, is_open = _open_pairs(problem, prices, draft, gaps, (n_open, n_experts))
        vertex = _solve_linear(problem, pairs, prices)
        bound = max(bound, problem.lower_bound(vertex.prices))
        closed = np.flatnonzero(~is_open)
        objective = vertex.objective + problem.objective[closed, draft[closed]].sum(dtype=float)
        if vertex.excess <= _TOLERANCE and objective - bound <= good_gap * abs(objective):
            break
    if vertex.excess > _TOLERANCE:
        return None
    experts, split = _round(problem, pairs, vertex, draft)
    if problem.sums(experts)[0] - bound > _GAP * abs(bound):
        gaps[split] = 0.0
        nearest = np.argsort(gaps, kind="stable")[: len(split) + _MOVABLE_PROMPTS]
        experts = exchange(problem, experts, vertex.prices, nearest)
    return AssignmentSolution(experts, *problem.sums(experts), bound, vertex.prices)


def _has_room(problem: AssignmentProblem, prices: Float64Array) -> bool:
    """Return whether the dual function at the prices leaves room for an assignment.

    It is a lower bound on the objective, and unbounded where no assignment meets the limits.
    """
    highest = np.where(problem.allowed, problem.objective, -np.inf).max(axis=1)
    return problem.lower_bound(prices) <= float(highest.sum(dtype=np.float64)) * (1 + 1e-9)


def _draft_experts(
    problem: AssignmentProblem, prices: Float64Array, temperature: float
) -> IndexArray:
    """Return an expert per prompt, `(n_prompts,)`, that together use the limits as the shares do.

    The shares are those of the smoothed dual. Of a prompt between several experts, the one gets it
    which has got least of its shares so far.
    """
    experts, missing = np.empty(problem.n_prompts, np.intp), np.zeros(problem.n_experts)
    for rows in problem.blocks():
        values = problem.reduced(prices, rows)
        values -= values.min(axis=1, keepdims=True)
        best = values.argmin(axis=1)
        shares = np.exp(values / -temperature)
        shares /= shares.sum(axis=1, keepdims=True)
        is_open = shares.max(axis=1) < _WHOLE_SHARE
        missing += shares[~is_open].sum(axis=0)
        missing -= np.bincount(best[~is_open], minlength=problem.n_experts)
        for row in np.flatnonzero(is_open).tolist():
            missing += shares[row]
            best[row] = np.where(shares[row] > _MIN_SHARE, missing, -np.inf).argmax()
            missing[best[row]] -= 1
        experts[rows] = best
    return experts


def _second_gaps(problem: AssignmentProblem, prices: Float64Array) -> Float64Array:
    """Return how much more the second-best expert of each prompt costs, `(n_prompts,)`."""
    gaps = np.full(problem.n_prompts, np.inf)
    if problem.n_experts > 1:
        for rows in problem.blocks():
            lowest = np.partition(problem.reduced(prices, rows), 1, axis=1)
            gaps[rows] = lowest[:, 1] - lowest[:, 0]
    return gaps


def _in_full_experts(
    problem: AssignmentProblem, draft: IndexArray, gaps: Float64Array
) -> IndexArray:
    """Return prompts of experts that have more than their capacity: some of them have to move."""
    found = [np.empty(0, np.intp)]
    excess = np.bincount(draft, minlength=problem.n_experts) - problem.capacity
    for expert in np.flatnonzero(excess > 0).tolist():
        rows = np.flatnonzero(draft == expert)
        order = np.argsort(gaps[rows], kind="stable")
        found.append(rows[order[: 10 * int(np.ceil(excess[expert]))]])
    return np.concatenate(found)


def _open_pairs(
    problem: AssignmentProblem,
    prices: Float64Array,
    draft: IndexArray,
    gaps: Float64Array,
    size: tuple[int, int],
) -> tuple[_Pairs, BoolArray]:
    """Open the prompts whose two best experts are closest, among some experts each."""
    n_open = min(size[0], problem.n_prompts)
    n_experts = min(size[1], problem.n_experts, max(_MAX_PAIRS // n_open, 2))
    order = np.lexsort((np.random.default_rng(0).random(problem.n_prompts), gaps))
    rows = np.sort(order[:n_open])
    is_open = np.zeros(problem.n_prompts, np.bool_)
    is_open[rows] = True
    values = problem.reduced(prices, rows)
    values[np.arange(len(rows)), draft[rows]] = -np.inf  # the draft stays possible
    highest = np.partition(values, n_experts - 1, axis=1)[:, n_experts - 1]
    local, columns = np.nonzero((values <= highest[:, None]) & problem.allowed[rows])
    return _Pairs(rows[local], columns, _left(problem, draft, is_open)), is_open


def _left(problem: AssignmentProblem, experts: IndexArray, is_open: BoolArray) -> Float64Array:
    """Return what the prompts that are not open leave of the limits, `(1 + n_experts,)`."""
    closed = np.flatnonzero(~is_open)
    used = problem.resource[closed, experts[closed]].sum(dtype=np.float64)
    counts = np.bincount(experts[closed], minlength=problem.n_experts)
    return np.asarray(problem.limits - np.concatenate([[used], counts]), np.float64)


def _solve_linear(problem: AssignmentProblem, pairs: _Pairs, prices: Float64Array) -> _Vertex:
    """Solve the linear program of some pairs; excess above a limit costs far more than its price.

    The objective is in units of its spread, the resource in units of its largest value.
    """
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix, eye, hstack

    unit, spread = _unit(problem, pairs), objective_spread(problem)
    limits, choices, shared = _matrices(problem, pairs, unit)
    n_pairs, n_shared = len(pairs.rows), len(shared)
    units = np.where(shared == 0, unit, 1.0)
    penalties = 10.0 + 10.0 * prices[shared] * units / spread
    result: Any = linprog(
        np.concatenate([problem.objective[pairs.rows, pairs.columns] / spread, penalties]),
        A_ub=hstack([limits, -eye(n_shared)]).tocsr() if n_shared else None,
        b_ub=pairs.left[shared] / units if n_shared else None,
        A_eq=hstack([choices, coo_matrix((choices.shape[0], n_shared))]).tocsr(),
        b_eq=np.ones(choices.shape[0]),
        method="highs-ipm",
    )
    found = np.zeros(1 + problem.n_experts)
    if n_shared:
        found[shared] = np.maximum(-result.ineqlin.marginals, 0.0) * spread / units
    objective = float(problem.objective[pairs.rows, pairs.columns] @ result.x[:n_pairs])
    return _Vertex(result.x[:n_pairs], found, objective, float(result.x[n_pairs:].sum()))


def _unit(problem: AssignmentProblem, pairs: _Pairs) -> float:
    """Return the largest resource of some pairs."""
    return max(float(np.abs(problem.resource[pairs.rows, pairs.columns]).max(initial=0)), 1e-30)


def _matrices(
    problem: AssignmentProblem, pairs: _Pairs, unit: float
) -> tuple[Any, Any, IndexArray]:
    """Return what pairs use of the limits that exist, to which prompt they belong, and the limits.

    The first two are sparse, `(n_limits, n_pairs)` and `(n_open, n_pairs)`.
    """
    from scipy.sparse import coo_matrix, vstack

    index, n_pairs = np.arange(len(pairs.rows)), len(pairs.rows)
    resource = problem.resource[pairs.rows, pairs.columns].astype(np.float64) / unit
    first = coo_matrix((resource, (np.zeros(n_pairs, np.intp), index)), shape=(1, n_pairs))
    counts = coo_matrix(
        (np.ones(n_pairs), (pairs.columns, index)), shape=(problem.n_experts, n_pairs)
    )
    _, prompts = np.unique(pairs.rows, return_inverse=True)
    choices = coo_matrix((np.ones(n_pairs), (prompts, index)))
    shared = np.flatnonzero(np.isfinite(problem.limits))
    return vstack([first, counts]).tocsr()[shared], choices.tocsr(), shared


def _round(
    problem: AssignmentProblem, pairs: _Pairs, vertex: _Vertex, draft: IndexArray
) -> tuple[IndexArray, IndexArray]:
    """Return whole experts of all prompts, `(n_prompts,)`, and the prompts that the vertex splits.

    These get the experts of lowest resource within the capacities. All vertices of that program are
    whole, and the shares are within its limits, so its lowest resource is not above theirs.
    """
    experts, is_whole = draft.copy(), vertex.shares > 1 - _SPLIT
    experts[pairs.rows[is_whole]] = pairs.columns[is_whole]
    split = np.setdiff1d(pairs.rows, pairs.rows[is_whole])
    if split.size:
        cheapest = replace(problem, objective=problem.resource, limit=np.inf)
        is_open = np.isin(np.arange(problem.n_prompts), split)
        part = pairs.of(is_open, _left(cheapest, experts, is_open))
        chosen = _solve_linear(cheapest, part, np.zeros_like(vertex.prices)).shares > 0.5
        experts[part.rows[chosen]] = part.columns[chosen]
    return experts, split
