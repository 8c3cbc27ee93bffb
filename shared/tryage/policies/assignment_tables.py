"""What a router predicts for many prompts, as tables that an assignment is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.request import check_prompts
from tryage.errors import InputError
from tryage.policies.batch_reader import BatchReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray
    from tryage.core.request import PreferencesLike
    from tryage.router import Router

_CHUNK = 4_096  # prompts that are predicted at once


@dataclass(frozen=True, slots=True, eq=False)
class PredictedTables:
    """Predictions for prompts, `(n_prompts, n_experts)`.

    `losses` of a default expert without a prediction count as 1. `costs` are in USD, where unknown
    those of a dear model. `allowed` marks the experts that meet the requirements; where the default
    answers, it alone. `has_costs` says whether any price is known.
    """

    names: tuple[str, ...]
    losses: Float32Array
    costs: FloatArray
    allowed: BoolArray
    has_costs: bool


def predict_tables(
    router: Router,
    prompts: Sequence[str],
    preferences: PreferencesLike = None,
    progress: Callable[[int], None] | None = None,
) -> PredictedTables:
    """Return what a router predicts for prompts; the policies of the router restrict the experts.

    `progress` is called with the number of prompts that are done.

    Raises:
        InputError: the prompts are not a list of strings, or there is none.
        NoExpertError, PerceptionError: a prompt has no eligible expert, and there is no default.
    """
    check_prompts(prompts)
    if not prompts:
        raise InputError("An assignment needs at least one prompt, got none.")
    shape = len(prompts), len(router.library)
    losses, costs = np.empty(shape, np.float32), np.empty(shape, np.float64)  # cents add up
    allowed, has_costs = np.empty(shape, np.bool_), False
    for start in range(0, len(prompts), _CHUNK):
        rows = slice(start, start + _CHUNK)
        chunk = preferences[rows] if isinstance(preferences, list) else preferences
        tables = losses[rows], costs[rows], allowed[rows]
        has_costs |= _fill(router, prompts[rows], chunk, tables)
        if progress is not None:
            progress(min(start + _CHUNK, len(prompts)))
    return PredictedTables(router.library.names, losses, costs, allowed, has_costs)


def _fill(
    router: Router,
    prompts: Sequence[str],
    preferences: PreferencesLike,
    tables: tuple[Float32Array, FloatArray, BoolArray],
) -> bool:
    """Write the tables of some prompts, each `(batch, n_experts)`; return whether costs are known.

    The prompts of a batch are found by the ids of their decisions.
    """
    reader, (losses, costs, allowed) = BatchReader(), tables
    policy = reader if router.policy is None else router.policy | reader
    decisions = router.with_policy(policy).decide_batch(prompts, preferences)
    row_of = {decision.id: row for row, decision in enumerate(decisions)}
    for batch in reader.batches:
        rows = np.array([row_of[one] for one in batch.ids], np.intp)
        losses[rows], costs[rows] = batch.losses, batch.counted_costs
        allowed[rows] = batch.eligible
    for row, decision in enumerate(decisions):
        if decision.default_used:
            allowed[row] = False
            allowed[row, router.library.index(decision.expert.name)] = True
    np.nan_to_num(losses, copy=False, nan=1.0)
    return any(bool(np.isfinite(batch.costs).any()) for batch in reader.batches)
