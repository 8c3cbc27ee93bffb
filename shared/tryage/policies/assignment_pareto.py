"""All best assignments of many prompts, from the cheapest to the one of the highest quality."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.pareto import lower_envelope
from tryage.core.validation import check_integer, check_number
from tryage.errors import InfeasibleError
from tryage.policies.assignment_limits import (
    allowed_pairs,
    capacity_error,
    check_prices,
    read_limits,
)
from tryage.policies.assignment_lp import solve_assignment
from tryage.policies.assignment_problem import AssignmentProblem
from tryage.policies.assignment_tables import predict_tables
from tryage.policies.inputs import check_router

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.core.pareto import EnvelopePath
    from tryage.core.request import PreferencesLike
    from tryage.policies.assignment_tables import PredictedTables
    from tryage.router import Router


@dataclass(frozen=True, eq=False)
class AssignmentFront:
    """Assignments of which no other one has a higher quality at the same cost, cheapest first.

    `costs` `(n_points,)` are expected USD of all prompts, `qualities` the mean predicted qualities;
    both rise. The points are the corners of the convex front: each is the best assignment for its
    cost, and between two of them a mixture of both is the bound.
    """

    names: tuple[str, ...]
    costs: Float64Array
    qualities: Float64Array
    choices: Callable[[int], IndexArray]

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.costs)

    def experts(self, i: int) -> tuple[str, ...]:
        """Return the names of the experts at a point, one per prompt."""
        return tuple(self.names[k] for k in self.choices(range(len(self))[i]).tolist())

    def within(self, budget: float) -> int:
        """Return the number of the best point that costs at most a budget in USD.

        Raises:
            InfeasibleError: the cheapest one costs more.
        """
        i = int(np.searchsorted(self.costs, check_number("budget", budget), side="right")) - 1
        if i < 0:
            least = float(self.costs[0])
            raise InfeasibleError(
                f"The budget is {budget:g} USD, and the cheapest assignment costs {least:g} USD: "
                "raise the budget to that, or allow cheaper experts.",
                least_budget=least,
            )
        return i

    def __str__(self) -> str:
        """Show both ends."""
        ends = [
            f"{self.costs[i]:.6g} USD for a quality of {self.qualities[i]:.4f}" for i in (0, -1)
        ]
        return f"{len(self):,} points, from {ends[0]} to {ends[1]}"


def assignment_front(  # noqa: PLR0913 - as `assign`, and the number of points
    router: Router,
    prompts: Sequence[str],
    *,
    capacity: Mapping[str, int] | None = None,
    max_points: int = 50,
    preferences: PreferencesLike = None,
    progress: Callable[[int], None] | None = None,
) -> AssignmentFront:
    """Return the assignments that no other one dominates, in expected cost and predicted quality.

    Without capacities it has every corner of the front, one for each change of one prompt, from the
    lower envelopes of all prompts. With capacities it has at most `max_points` corners, each found
    between two others where the front may bend most (Aneja and Nair, Management Science 25, 1979).

    Raises:
        TryageError: each as in `assign`; without capacities, scipy is not needed.
    """
    limits = read_limits(check_router(router).library, capacity=capacity)
    check_integer("max_points", max_points, 2)
    tables = predict_tables(router, prompts, preferences, progress)
    check_prices(tables)
    allowed = allowed_pairs(tables, limits)
    if not np.isfinite(limits.capacity).any():
        return _envelope_front(tables, allowed)
    return _bisected_front(tables, allowed, limits.capacity, max_points)


def _envelope_front(tables: PredictedTables, allowed: BoolArray) -> AssignmentFront:
    """Return the front without capacities, from the dearest corner to the cheapest and reversed."""
    path = lower_envelope(tables.losses, tables.costs, allowed)
    n_prompts, weights = len(allowed), np.asarray(path.weights[::-1], np.float64)
    costs, losses = (
        np.asarray(path.mean(one)[::-1], np.float64) for one in (tables.costs, tables.losses)
    )
    choices = partial(_experts_at, path, weights)
    return AssignmentFront(tables.names, costs * n_prompts, 1.0 - losses, choices)


def _experts_at(path: EnvelopePath, weights: Float64Array, i: int) -> IndexArray:
    return path.experts_at(float(weights[i]))


def _bisected_front(
    tables: PredictedTables, allowed: BoolArray, places: Float64Array, max_points: int
) -> AssignmentFront:
    """Return corners of the front within capacities."""
    points = _corners(tables, allowed, places, max_points)
    costs = np.array([point.cost for point in points])
    qualities = 1.0 - np.array([point.loss for point in points]) / len(allowed)
    choices = tuple(point.experts for point in points)
    return AssignmentFront(tables.names, costs, qualities, choices.__getitem__)


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """An assignment with the sums of its losses and costs."""

    experts: IndexArray
    loss: float
    cost: float


def _corners(
    tables: PredictedTables, allowed: BoolArray, places: Float64Array, max_points: int
) -> list[_Point]:
    """Return corners, cheapest first: solve where the triangle below two neighbors is largest."""
    solve = partial(_solve_weighted, tables, allowed, places)
    ends = [solve(_TINY * _unit(tables), 1.0), solve(1.0, _TINY / _unit(tables))]
    points = ends if ends[1].cost > ends[0].cost else ends[:1]
    finished: set[tuple[int, int]] = set()
    while len(points) < max_points:
        pairs = [
            (_area(a, b), i)
            for i, (a, b) in enumerate(pairwise(points))
            if (id(a), id(b)) not in finished
        ]
        if not pairs:
            break
        _, i = max(pairs)
        left, right = points[i], points[i + 1]
        found = solve(right.cost - left.cost, left.loss - right.loss)
        if _is_below(found, left, right):
            points.insert(i + 1, found)
        else:
            finished.add((id(left), id(right)))
    return points


_TINY = 1e-6  # the weight of what only breaks ties

_MIN_DEPTH = 1e-7  # of a corner below the line of its neighbors, relative


def _unit(tables: PredictedTables) -> float:
    """Return the typical USD of a prompt, so that a weight of dollars is like one of losses."""
    return max(float(np.median(tables.costs[tables.allowed])), 1e-12)


def _solve_weighted(
    tables: PredictedTables,
    allowed: BoolArray,
    places: Float64Array,
    loss_weight: float,
    cost_weight: float,
) -> _Point:
    """Return the assignment within the capacities that is best for a weighted sum.

    Raises:
        InfeasibleError: there is none.
    """
    objective = loss_weight * tables.losses.astype(np.float64) + cost_weight * tables.costs
    problem = AssignmentProblem(objective, tables.costs, allowed, np.inf, places)
    solution = solve_assignment(problem)
    if solution is None:
        raise capacity_error()
    chosen = np.arange(len(allowed)), solution.experts
    loss, cost = (float(one[chosen].sum(dtype=np.float64)) for one in (tables.losses, tables.costs))
    return _Point(solution.experts, loss, cost)


def _area(left: _Point, right: _Point) -> float:
    return (right.cost - left.cost) * (left.loss - right.loss)


def _is_below(point: _Point, left: _Point, right: _Point) -> bool:
    """Return whether a point lies below the line between two others, and between them."""
    share = (point.cost - left.cost) / (right.cost - left.cost)
    line = left.loss + share * (right.loss - left.loss)
    return 0 < share < 1 and point.loss < line - _MIN_DEPTH * abs(line)
