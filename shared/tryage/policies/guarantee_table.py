"""What a router predicts of the prompts of a table, beside the scores that were measured there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tryage.core.policy import Policy
from tryage.core.request import ConversationContext
from tryage.errors import InputError
from tryage.policies.inputs import check_router, check_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.core.policy import PolicyBatch
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

Metric: TypeAlias = Literal["score", "agreement"]

_BATCH = 512  # prompts that are predicted at a time

_ROW = "row"  # the key of a request that says which row of the table it is


@dataclass(frozen=True, eq=False)
class MeasuredPredictions:
    """Prompts on which the first expert, the reference, was measured and may answer, each once.

    All tables are `(n_prompts, n_experts)`, the experts are `names`: predicted `losses`, expected
    `costs` in USD, which experts are `eligible`, and measured `scores`, NaN where unmeasured.
    """

    names: tuple[str, ...]
    losses: Float64Array
    costs: Float64Array
    eligible: BoolArray
    scores: Float64Array


def predict_measured(
    router: Router, table: QTable, reference: str, metric: Metric = "score"
) -> MeasuredPredictions:
    """Return what a router predicts of the prompts of a table, with the reference first.

    The table holds losses, 1 - score; for "agreement" the disagreement with the reference.

    Raises:
        InputError: the reference was not measured, its price is unknown, a loss is not in [0, 1],
            or something is no router or no table.
        LibraryError: the router does not know the reference.
    """
    check_router(router)
    check_table(table)
    names, scores = _measured_scores(router, table, reference, metric)
    rows, scores = _means_by_prompt(scores, table.groups)
    columns = [router.library.index(name) for name in names]
    observer = _observe(router, [table.prompts[row] for row in rows], columns)
    if rows.size and not observer.has_price:
        raise InputError(
            f"The price of {reference} is unknown, so nothing can be cheaper: give it one, "
            f'Expert("{reference}", input_price=..., output_price=...), in USD per million tokens.'
        )
    losses, costs, eligible = observer.tables(len(rows))
    answers = eligible[:, 0] == 1
    return MeasuredPredictions(
        tuple(names), losses[answers], costs[answers], eligible[answers] == 1, scores[answers]
    )


def _measured_scores(
    router: Router, table: QTable, reference: str, metric: Metric
) -> tuple[list[str], Float64Array]:
    """Return the names and the scores of the measured experts, the reference first."""
    library = router.library
    columns = {library[name].name: j for j, name in enumerate(table.experts) if name in library}
    first = library[reference].name
    if first not in columns:
        known = ", ".join(list(columns)[:10]) or "none of the router's experts"
        raise InputError(f"The table has no answers of {first} to compare with; it has {known}.")
    names = [first, *(name for name in columns if name != first)]
    losses = table.losses[:, [columns[name] for name in names]].astype(np.float64)
    if ((losses < 0) | (losses > 1)).any():
        raise InputError("The table has losses outside [0, 1]; expected 1 - score.")
    if metric == "agreement":
        losses[:, 0] = 0.0
    return names, 1 - losses


def _means_by_prompt(scores: Float64Array, groups: IndexArray) -> tuple[IndexArray, Float64Array]:
    """Return a row of each prompt with an answer of the reference, and its mean scores.

    Rows with the same text, which share a number in `groups`, are one prompt that was answered
    several times: as several they would prove more than they do.
    """
    rows = np.flatnonzero(~np.isnan(scores[:, 0]))
    _, first, place = np.unique(groups[rows], return_index=True, return_inverse=True)
    sums, counts = np.zeros((2, len(first), scores.shape[1]))
    np.add.at(sums, place, np.nan_to_num(scores[rows]))
    np.add.at(counts, place, ~np.isnan(scores[rows]))
    return rows[first], np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _observe(router: Router, prompts: Sequence[str], columns: Sequence[int]) -> _Observer:
    """Return what the policy of a router sees of prompts, for the experts at some positions."""
    observer = _Observer(columns)
    observing = router.with_policy(observer)
    for start in range(0, len(prompts), _BATCH):
        batch = prompts[start : start + _BATCH]
        contexts = [ConversationContext(keys={_ROW: str(start + i)}) for i in range(len(batch))]
        observing.decide_batch(batch, contexts=contexts)
    return observer


class _Observer(Policy):
    """Keeps what a policy sees of some experts, and changes nothing."""

    def __init__(self, columns: Sequence[int]) -> None:
        self._columns = list(columns)
        self._found: list[tuple[IndexArray, Float64Array]] = []
        self.has_price = False  # of the first of these experts

    def choose(self, batch: PolicyBatch) -> None:
        """Keep losses, costs and who is eligible, with the rows that they belong to."""
        rows = [int(one.context.keys[_ROW]) for one in batch.requests if one.context is not None]
        tables = [batch.losses, batch.counted_costs, batch.eligible]
        found = np.stack([np.asarray(one, np.float64)[:, self._columns] for one in tables])
        self._found.append((np.array(rows, np.intp), found))
        self.has_price |= bool((~np.isnan(batch.costs[:, self._columns[0]])).any())

    def tables(self, n_prompts: int) -> Float64Array:
        """Return losses, costs and 1 for who is eligible, `(3, n_prompts, n_columns)`."""
        tables = np.zeros((3, n_prompts, len(self._columns)))
        for rows, found in self._found:
            tables[:, rows] = found
        return tables
