"""Assign many prompts at once: the best experts within a budget, capacities, or for a quality.

As OptLLM does (Liu et al., arXiv 2405.15130), but by exact optimization with a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.cache import cached_property
from tryage.policies.assignment_limits import (
    allowed_pairs,
    budget_error,
    capacity_error,
    check_prices,
    quality_error,
    read_limits,
)
from tryage.policies.assignment_lp import AssignmentSolution, solve_assignment
from tryage.policies.assignment_problem import AssignmentProblem
from tryage.policies.assignment_tables import predict_tables
from tryage.policies.inputs import check_router

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.core.arrays import Float64Array, IndexArray
    from tryage.core.request import PreferencesLike
    from tryage.policies.assignment_limits import AssignmentLimits
    from tryage.policies.assignment_tables import PredictedTables
    from tryage.router import Router

_EQUAL = 1e-9  # relative; limits are met up to rounding

_SHOWN_EXPERTS = 5


@dataclass(frozen=True, eq=False)
class Assignment:
    """An expert for every prompt, and how far it is from the best that is possible.

    `choice` `(n_prompts,)` are positions in `names`; `losses` and `costs`, in USD, `(n_prompts,)`
    are what is predicted of the chosen experts. `goal` is what was optimized, "quality" or "cost";
    `bound` is its best possible value within the limits: no assignment has a higher quality, or a
    lower cost.

    `limit_price` is what a looser limit would bring: right answers per USD more of the budget, or
    the USD that one right answer less would save. `capacity_prices` say the same of one more prompt
    for an expert, for those whose capacity is reached.
    """

    names: tuple[str, ...]
    choice: IndexArray
    losses: Float64Array
    costs: Float64Array
    goal: str
    bound: float
    limit_price: float
    capacity_prices: Mapping[str, float]

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.choice)

    @cached_property
    def experts(self) -> tuple[str, ...]:
        """The names of the experts, one per prompt."""
        return tuple(self.names[i] for i in self.choice.tolist())

    @property
    def cost(self) -> float:
        """The expected USD of all prompts."""
        return float(self.costs.sum())

    @property
    def quality(self) -> float:
        """The mean predicted quality, 1 minus the loss."""
        return 1.0 - float(self.losses.mean())

    @property
    def gap(self) -> float:
        """By which share the loss, or the cost, may be above the lowest possible one."""
        lowest, found = self.bound, self.cost
        if self.goal == "quality":
            lowest, found = 1.0 - self.bound, float(self.losses.mean())
        return max(found - lowest, 0.0) / max(abs(found), 1e-12)

    @property
    def counts(self) -> dict[str, int]:
        """How many prompts each expert has, the most first; only those that have any."""
        counts = np.bincount(self.choice, minlength=len(self.names))
        order = np.argsort(-counts, kind="stable")
        return {self.names[i]: int(counts[i]) for i in order.tolist() if counts[i]}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe values, without the prompts."""
        return {
            "prompts": len(self),
            "cost": self.cost,
            "quality": self.quality,
            "goal": self.goal,
            "bound": self.bound,
            "gap": self.gap,
            "limit_price": self.limit_price,
            "capacity_prices": dict(self.capacity_prices),
            "counts": self.counts,
        }

    def __str__(self) -> str:
        """Show the totals, how good they are, and who gets how many prompts."""
        best = (
            f"at most {self.bound:.4f}" if self.goal == "quality" else f"at least {self.bound:.6g}"
        )
        counts = [f"{name} {count:,}" for name, count in self.counts.items()]
        more = len(counts) - _SHOWN_EXPERTS
        shown = ", ".join(counts[:_SHOWN_EXPERTS]) + (f", {more} others" if more > 0 else "")
        return (
            f"{len(self):,} prompts for {self.cost:.6g} USD, expected quality {self.quality:.4f} "
            f"({self.goal} {best} within the limits): {shown}"
        )


def assign(  # noqa: PLR0913 - a limit each; only the router and the prompts are required
    router: Router,
    prompts: Sequence[str],
    *,
    budget: float | None = None,
    capacity: Mapping[str, int] | None = None,
    min_quality: float | None = None,
    preferences: PreferencesLike = None,
    progress: Callable[[int], None] | None = None,
) -> Assignment:
    """Assign an expert to each of many prompts, the best within limits for all together.

    The sum of predicted losses is minimized. With `min_quality` and no budget the cost is, and the
    mean predicted quality is at least that. Weights and dollars of the preferences do not count:
    the limits take their place. Requirements, and policies of the router that restrict the experts,
    do.

    Args:
        router: It predicts losses and costs.
        prompts: All at once, such as 100,000.
        budget: USD for all prompts together. An unknown price counts as that of a dear model.
        capacity: The number of prompts that an expert may get, by name; others have no limit.
        min_quality: The mean of 1 minus the predicted loss.
        preferences: As in `Router.route_batch`.
        progress: Called with the number of prompts that are predicted.

    Raises:
        InfeasibleError: the limits cannot be met; the error says which, and what is possible.
        InputError: a limit out of range, no prompt, or a budget without any known price.
        LibraryError: a capacity of an unknown expert.
        NoExpertError, PerceptionError: a prompt has no eligible expert, and there is no default.
        MissingExtraError: scipy is not installed.
    """
    limits = read_limits(check_router(router).library, budget, capacity, min_quality)
    tables = predict_tables(router, prompts, preferences, progress)
    return assign_tables(tables, limits)


def assign_tables(tables: PredictedTables, limits: AssignmentLimits) -> Assignment:
    """Assign experts to prompts whose predictions are known already.

    Raises:
        InfeasibleError, InputError, MissingExtraError: as in `assign`.
    """
    if limits.budget is not None or limits.min_quality is not None:
        check_prices(tables)
    losses, costs, allowed = tables.losses, tables.costs, allowed_pairs(tables, limits)
    if limits.budget is None and limits.min_quality is not None:
        limit = len(losses) * (1.0 - limits.min_quality)
        problem = AssignmentProblem(costs, losses, allowed, limit, limits.capacity)
        return _assignment(tables, problem, _solve(problem, limits), "cost")
    limit = math.inf if limits.budget is None else limits.budget
    problem = AssignmentProblem(losses, costs, allowed, limit, limits.capacity)
    solution = _solve(problem, limits)
    assignment = _assignment(tables, problem, solution, "quality")
    if limits.min_quality is not None and assignment.quality < limits.min_quality - _EQUAL:
        raise quality_error(limits, assignment.quality)
    return assignment


def _assignment(
    tables: PredictedTables, problem: AssignmentProblem, solution: AssignmentSolution, goal: str
) -> Assignment:
    chosen = np.arange(problem.n_prompts), solution.experts
    bound = solution.bound if goal == "cost" else 1.0 - solution.bound / problem.n_prompts
    prices = solution.prices[1:]
    return Assignment(
        names=tables.names,
        choice=solution.experts,
        losses=tables.losses[chosen].astype(np.float64),
        costs=tables.costs[chosen].astype(np.float64),
        goal=goal,
        bound=bound,
        limit_price=float(solution.prices[0]),
        capacity_prices={tables.names[i]: float(prices[i]) for i in np.flatnonzero(prices > 0)},
    )


def _solve(problem: AssignmentProblem, limits: AssignmentLimits) -> AssignmentSolution:
    """Return the best assignment.

    Raises:
        InfeasibleError: there is none; it says what the lowest possible sum is.
    """
    solution = solve_assignment(problem)
    if solution is not None and problem.is_within_limits(solution.experts):
        return solution
    cheapest = replace(problem, objective=problem.resource, limit=math.inf)
    least = solve_assignment(cheapest)
    if least is None:
        raise capacity_error()
    if problem.is_within_limits(least.experts):  # the only ones are those of the lowest sum
        objective, resource = problem.sums(least.experts)
        bound = problem.lower_bound(np.zeros_like(least.prices))
        return AssignmentSolution(least.experts, objective, resource, bound, least.prices * 0)
    if limits.budget is None:
        raise quality_error(limits, 1.0 - least.bound / problem.n_prompts)
    raise budget_error(limits, least.resource)
