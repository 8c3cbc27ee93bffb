"""`assign` beside HiGHS's integer program, a greedy rule and single models, and its time.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/policies/assignment.py sets [--seeds 5]    # quality, predicted and measured
    python benchmarks/policies/assignment.py scale [--prompts 100000] [--experts 50]

The predictions are out of fold. Budgets lie between the cheapest assignment and the best predicted
one; the capacity of every expert is 1.5 times an equal share. HiGHS gets 1,000 prompts.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # out_of_fold.py

from out_of_fold import FOLDER, PRICED_SETS, out_of_fold

from tryage.policies.assignment_lp import solve_assignment
from tryage.policies.assignment_problem import AssignmentProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from out_of_fold import OutOfFoldTable

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray

_BUDGETS = (0.05, 0.2, 0.5)  # shares of the way from the cheapest to the best predicted

_CAPACITY = 1.5  # of an equal share

_MILP_PROMPTS, _MILP_SECONDS = 1_000, 20.0


def problem_of(table: OutOfFoldTable, share: float, *, limited: bool) -> AssignmentProblem:
    """Return the problem of a set: answers that were measured may be chosen."""
    losses, costs = (
        one.astype(np.float64) for one in (table.losses_predicted, table.costs_predicted)
    )
    allowed = table.measured & np.isfinite(losses) & np.isfinite(costs)
    rows = np.flatnonzero(allowed.any(axis=1))
    losses, costs, allowed = losses[rows], costs[rows], allowed[rows]
    n_prompts, n_experts = losses.shape
    capacity = np.full(n_experts, np.inf)
    if limited:
        capacity[:] = np.ceil(_CAPACITY * n_prompts / n_experts)
    lowest = least_cost(losses, costs, allowed, capacity)
    best = np.where(allowed, losses, np.inf).argmin(axis=1)
    highest = costs[np.arange(n_prompts), best].sum()
    losses, costs = np.where(allowed, losses, 1.0), np.where(allowed, costs, 0.0)
    limit = lowest + share * max(highest - lowest, 0.0)
    return AssignmentProblem(losses, costs, allowed, limit, capacity)


def least_cost(
    losses: Float64Array, costs: Float64Array, allowed: BoolArray, capacity: Float64Array
) -> float:
    """Return the USD of the cheapest assignment within the capacities."""
    costs = np.where(allowed, costs, 0.0)
    problem = AssignmentProblem(costs, np.zeros_like(losses), allowed, np.inf, capacity)
    found = solve_assignment(problem)
    if found is None:
        raise SystemExit("The capacities are too low for the measured answers.")
    return found.objective


def greedy(problem: AssignmentProblem) -> IndexArray:
    """Return the experts of a greedy rule: from the cheapest, the largest gains per dollar first.

    The cheapest experts are those of the cheapest assignment, so that the capacities hold.
    """
    least = AssignmentProblem(
        problem.resource, problem.resource, problem.allowed, np.inf, problem.capacity
    )
    experts = solve_assignment(least).experts
    index = np.arange(problem.n_prompts)
    left = problem.limit - problem.resource[index, experts].sum()
    room = problem.capacity - np.bincount(experts, minlength=problem.n_experts)
    gain = problem.objective[index, experts][:, None] - problem.objective
    more = np.maximum(problem.resource - problem.resource[index, experts][:, None], 1e-12)
    rate = np.where(problem.allowed & (gain > 0), gain / more, -1.0)
    for cell in np.argsort(-rate, axis=None, kind="stable")[: int((rate > 0).sum())].tolist():
        i, j = divmod(cell, problem.n_experts)
        old = experts[i]
        price = problem.resource[i, j] - problem.resource[i, old]
        if problem.objective[i, j] < problem.objective[i, old] and price <= left and room[j] >= 1:
            left -= price
            room[old] += 1
            room[j] -= 1
            experts[i] = j
    return experts


def integer_program(problem: AssignmentProblem) -> IndexArray | None:
    """Return the experts of HiGHS's integer program, None where it finds none in time."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, eye, kron, vstack

    n_prompts, n_experts = problem.objective.shape
    unit = problem.resource.max()
    rows = vstack(
        [
            kron(eye(n_prompts), np.ones((1, n_experts))),
            kron(np.ones((1, n_prompts)), eye(n_experts)),
            csr_matrix(problem.resource.reshape(1, -1) / unit),
        ]
    )
    low = np.concatenate([np.ones(n_prompts), np.full(n_experts + 1, -np.inf)])
    high = np.concatenate([np.ones(n_prompts), problem.capacity, [problem.limit / unit]])
    result = milp(
        problem.objective.ravel(),
        constraints=LinearConstraint(rows.tocsr(), low, high),
        integrality=np.ones(problem.objective.size),
        bounds=Bounds(0, problem.allowed.ravel().astype(float)),
        options={"time_limit": _MILP_SECONDS, "mip_rel_gap": 1e-5},
    )
    return None if result.x is None else result.x.reshape(problem.objective.shape).argmax(axis=1)


def best_constant(problem: AssignmentProblem) -> IndexArray | None:
    """Return the expert of lowest predicted loss that may answer all within the limits."""
    choices = [np.full(problem.n_prompts, j) for j in range(problem.n_experts)]
    usable = [
        one for one in choices if problem.allowed[:, one[0]].all() and problem.is_within_limits(one)
    ]
    return min(usable, key=lambda one: problem.sums(one)[0], default=None)


def compare(table: OutOfFoldTable) -> Iterator[tuple[str, float, str, dict[str, float]]]:
    """Yield the scores of each rule by budget and with or without capacities."""
    rows = np.flatnonzero(table.measured.any(axis=1))
    true = np.nan_to_num(table.losses_true[rows], nan=1.0).astype(np.float64)
    billed = np.nan_to_num(table.costs_true[rows]).astype(np.float64)
    for share in _BUDGETS:
        for limited in (False, True):
            problem = problem_of(table, share, limited=limited)
            started = time.process_time()
            found = solve_assignment(problem)
            seconds = time.process_time() - started
            oracle = replace(problem, objective=true, resource=billed)
            best = solve_assignment(oracle)
            rules = {
                "assign": found.experts,
                "greedy": greedy(problem),
                "best model": best_constant(problem),
                "oracle": None if best is None else best.experts,
            }
            for rule, experts in rules.items():
                if experts is not None:
                    score = _score(problem, experts, true, billed)
                    extra = {"gap": found.gap, "seconds": seconds} if rule == "assign" else {}
                    yield rule, share, "capacities" if limited else "budget", score | extra


def _score(
    problem: AssignmentProblem, experts: IndexArray, true: Float64Array, billed: Float64Array
) -> dict[str, float]:
    index = np.arange(problem.n_prompts), experts
    return {
        "predicted": 100 * (1 - problem.objective[index].mean()),
        "measured": 100 * (1 - true[index].mean()),
        "billed": billed[index].sum() / problem.limit,
    }


def compare_integer(table: OutOfFoldTable, seed: int) -> Iterator[tuple[bool, float, float]]:
    """Yield with which limits, by which share `assign` is above HiGHS's program, and its gap."""
    for limited in (False, True):
        whole = problem_of(table, 0.2, limited=limited)
        size = min(_MILP_PROMPTS, whole.n_prompts)
        rows = np.random.default_rng(seed).permutation(whole.n_prompts)[:size]
        part = whole.take(np.sort(rows))
        part = replace(part, capacity=np.ceil(part.capacity))
        found, exact = solve_assignment(part), integer_program(part)
        if found is not None and exact is not None:
            optimum = part.sums(exact)[0]
            yield limited, (found.objective - optimum) / optimum, found.gap


def report_sets(names: list[str], seeds: int, folder: Path) -> None:
    """Print a table of all sets: means over the seeds."""
    for name in names:
        rows: dict[tuple[float, str, str], list[dict[str, float]]] = {}
        worst = {False: [0.0], True: [0.0]}
        for seed in range(seeds):
            table = out_of_fold(name, seed, folder)
            for rule, share, kind, score in compare(table):
                rows.setdefault((share, kind, rule), []).append(score)
            if seed == 0:
                for limited, above, _ in compare_integer(table, seed):
                    worst[limited].append(above)
        for (share, kind, rule), scores in rows.items():
            numbers = {key: [one[key] for one in scores] for key in scores[0]}
            text = ", ".join(
                f"{key} {np.mean(values):.3g} ({np.min(values):.3g} to {np.max(values):.3g})"
                if key in {"gap", "seconds"}
                else f"{key} {np.mean(values):.2f} ± {np.std(values):.2f}"
                for key, values in numbers.items()
            )
            print(f"{name:20} {share:4} {kind:10} {rule:10} {text}", flush=True)
        for limited, values in worst.items():
            print(f"{name}: above HiGHS {'capacities' if limited else 'budget'} {values[1:]}")


def report_scale(n_prompts: int, n_experts: int) -> None:
    """Print the time, the gap and the memory of problems of one size, easy and degenerate ones."""
    for name, problem in scale_problems(n_prompts, n_experts):
        started, cpu = time.perf_counter(), time.process_time()
        found = solve_assignment(problem)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        within = problem.is_within_limits(found.experts)
        print(
            f"{name:28} {wall:5.1f} s, {cpu:5.1f} s of one core, gap {found.gap:.1e}, "
            f"within limits: {within}, {memory:.0f} MiB",
            flush=True,
        )


def scale_problems(n_prompts: int, n_experts: int) -> Iterator[tuple[str, AssignmentProblem]]:
    """Yield problems of one size: budgets, capacities with and without slack, many equal losses."""
    random = np.random.default_rng(1)
    skill = np.sort(random.random(n_experts))
    price = 10 ** (3 * skill - 4) * random.lognormal(sigma=0.5, size=n_experts)
    difficulty, noise = random.random((n_prompts, 1)), random.normal(size=(n_prompts, n_experts))
    losses = (1 / (1 + np.exp(6 * (skill - difficulty) + 0.7 * noise))).astype(np.float32)
    costs = (price * random.lognormal(size=(n_prompts, 1))).astype(np.float32)
    allowed = np.ones(losses.shape, np.bool_)
    lowest = float(costs.min(axis=1).sum(dtype=np.float64))
    best = float(costs[np.arange(n_prompts), losses.argmin(axis=1)].sum(dtype=np.float64))
    share = np.full(n_experts, np.ceil(n_prompts / n_experts))
    free = np.full(n_experts, np.inf)
    for part in (0.01, 0.1, 0.6):
        limit = lowest + part * (best - lowest)
        yield f"budget {part}", AssignmentProblem(losses, costs, allowed, limit, free)
    middle = lowest + 0.1 * (best - lowest)
    yield "tight capacities", AssignmentProblem(losses, costs, allowed, np.inf, share)
    yield "budget and capacities", AssignmentProblem(losses, costs, allowed, middle, 4 * share)
    limit = 1.1 * float(losses.min(axis=1).sum(dtype=np.float64))
    yield "least cost for a quality", AssignmentProblem(costs, losses, allowed, limit, free)
    equal, same = np.round(losses, 1), np.tile(costs[:1], (n_prompts, 1))
    yield "equal losses, tight", AssignmentProblem(equal, same, allowed, np.inf, share)
    limit = 0.3 * float(same[np.arange(n_prompts), equal.argmin(axis=1)].sum(dtype=np.float64))
    yield "equal losses, budget", AssignmentProblem(equal, same, allowed, limit, 2 * share)


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("sets", "scale"))
    parser.add_argument("--sets", nargs="+", choices=PRICED_SETS, default=list(PRICED_SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--experts", type=int, default=50)
    arguments = parser.parse_args()
    if arguments.part == "scale":
        report_scale(arguments.prompts, arguments.experts)
    else:
        report_sets(arguments.sets, arguments.seeds, arguments.folder)


if __name__ == "__main__":
    main()
