"""The assignment problem as arrays: each prompt gets one expert, and shared limits hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray

_BLOCK_CELLS = 1 << 17  # numbers; a block and its intermediate results stay in the cache

_ROUNDING = 1e-9  # of a limit


@dataclass(frozen=True, slots=True, eq=False)
class AssignmentProblem:
    """Minimize the sum of `objective` over the chosen pairs of a prompt and an expert.

    All tables are `(n_prompts, n_experts)`. The sum of `resource` over the chosen pairs is at most
    `limit`; `capacity` `(n_experts,)` is how many prompts an expert may get. Both are infinite
    where there is no limit. Only pairs that are `allowed` are chosen, at least one per prompt.

    `prices` in the methods are dual prices, `(1 + n_experts,)`, not negative: what a unit of the
    resource and a place of each expert cost, in the unit of the objective.
    """

    objective: FloatArray
    resource: FloatArray
    allowed: BoolArray
    limit: float
    capacity: Float64Array

    @property
    def n_prompts(self) -> int:
        """The number of prompts."""
        return int(self.objective.shape[0])

    @property
    def n_experts(self) -> int:
        """The number of experts."""
        return int(self.objective.shape[1])

    @property
    def limits(self) -> Float64Array:
        """The limit of the resource and the capacities, `(1 + n_experts,)`."""
        return np.concatenate([[self.limit], self.capacity])

    def take(self, rows: IndexArray) -> AssignmentProblem:
        """Return the problem of some prompts, with the limits in proportion."""
        share = len(rows) / self.n_prompts
        return replace(
            self,
            objective=self.objective[rows],
            resource=self.resource[rows],
            allowed=self.allowed[rows],
            limit=self.limit * share,
            capacity=self.capacity * share,
        )

    def blocks(self) -> list[slice]:
        """Return slices of the prompts that together are all of them."""
        height = max(_BLOCK_CELLS // self.n_experts, 1)
        return [slice(i, i + height) for i in range(0, self.n_prompts, height)]

    def reduced(self, prices: Float64Array, rows: slice | IndexArray) -> Float64Array:
        """Return the objective of pairs plus what they use at some prices, infinite if barred."""
        values = self.resource[rows] * prices[0]
        values += self.objective[rows]
        values += prices[1:]
        values[~self.allowed[rows]] = np.inf
        return np.asarray(values, np.float64)

    def lower_bound(self, prices: Float64Array) -> float:
        """Return the Lagrange dual function: no assignment within the limits has less."""
        total = sum(float(self.reduced(prices, rows).min(axis=1).sum()) for rows in self.blocks())
        priced = prices > 0
        return total - float(prices[priced] @ self.limits[priced])

    def sums(self, experts: IndexArray) -> tuple[float, float]:
        """Return the sums of the objective and of the resource of an assignment `(n_prompts,)`."""
        chosen = np.arange(self.n_prompts), experts
        tables = (self.objective, self.resource)
        objective, resource = (float(one[chosen].sum(dtype=np.float64)) for one in tables)
        return objective, resource

    def is_within_limits(self, experts: IndexArray) -> bool:
        """Return whether an assignment `(n_prompts,)` meets all limits, apart from rounding."""
        used = np.bincount(experts, minlength=self.n_experts)
        within = self.sums(experts)[1] <= self.limit * (1 + _ROUNDING)
        return within and bool((used <= self.capacity).all())
