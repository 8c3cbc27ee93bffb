"""A stream of requests with what is known of each expert's answer: what a simulation runs on."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.request import ConversationContext
from tryage.core.simulated_answer import SimulatedAnswer
from tryage.core.validation import check_integer, check_number
from tryage.errors import InputError, QTableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
    from tryage.scoring.qtable import QTable

ORDERS = ("given", "shuffled", "easy first", "hard first")

FIRST_DAY = 1_767_225_600.0  # 2026-01-01 00:00 UTC, when the requests of a table begin

DAY = 86_400.0  # seconds


@dataclass(frozen=True, eq=False)
class RequestStream:
    """Requests in their order, with what is known of each expert's answer.

    All tables are `(n, n_experts)`: `losses` and `costs` (USD) are NaN where unknown. `estimated`
    marks losses that are predictions, for lack of a measurement; `latencies` are in seconds, and
    `evidence` is the probability that an answer is right, as the answer itself tells. `times`
    `(n,)` are in seconds since 1970 (UTC). Requests with the same number in `groups` `(n,)` have
    the same prompt or belong together: a bootstrap draws them together.

    Raises:
        InputError: a shape does not fit.
    """

    prompts: tuple[str, ...]
    experts: tuple[str, ...]
    losses: FloatArray
    costs: FloatArray
    times: Float64Array
    groups: IndexArray
    estimated: BoolArray
    contexts: tuple[ConversationContext, ...]
    latencies: FloatArray | None = None
    evidence: FloatArray | None = None
    columns: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the shapes."""
        object.__setattr__(self, "columns", {name: i for i, name in enumerate(self.experts)})
        expected = (len(self.prompts), len(self.experts))
        for name in ("losses", "costs", "estimated", "latencies", "evidence"):
            table = getattr(self, name)
            if table is not None and table.shape != expected:
                raise InputError(f"{name} has the shape {table.shape}; expected {expected}.")
        for name in ("times", "groups", "contexts"):
            if len(getattr(self, name)) != len(self.prompts):
                raise InputError(f"{name} has another length than the {expected[0]} prompts.")

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.prompts)

    def take(self, rows: IndexArray) -> RequestStream:
        """Return some requests, in the order of `rows`, at the times of the first ones."""
        parts = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        for name in ("losses", "costs", "groups", "estimated", "latencies", "evidence"):
            parts[name] = None if parts[name] is None else parts[name][rows]
        for name in ("prompts", "contexts"):
            parts[name] = tuple(parts[name][row] for row in rows.tolist())
        return RequestStream(**parts | {"times": self.times[: len(rows)]})

    def ordered(self, order: str, seed: int = 0) -> RequestStream:
        """Return the requests in one of `ORDERS`; the times stay where they are.

        An easy prompt has a low mean loss over the experts; ties are shuffled.

        Raises:
            InputError: there is no such order.
        """
        if order not in ORDERS:
            raise InputError(f"order is {order!r:.80}; expected one of {', '.join(ORDERS)}.")
        if order == "given":
            return self
        rows = np.random.default_rng(check_integer("seed", seed)).permutation(len(self))
        if order == "shuffled":
            return self.take(rows)
        difficulty = np.nan_to_num(row_means(self.losses), nan=0.5)[rows]
        ascending = difficulty if order == "easy first" else -difficulty
        return self.take(rows[np.argsort(ascending, kind="stable")])

    def select(self, experts: Sequence[str], names: Sequence[str]) -> RequestStream:
        """Return the columns of some experts, which are called `names` from now on."""
        columns = [self.columns[expert] for expert in experts]
        parts = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        for name in ("losses", "costs", "estimated", "latencies", "evidence"):
            parts[name] = None if parts[name] is None else parts[name][:, columns]
        return RequestStream(**parts | {"experts": tuple(names)})

    def filled(self, losses: FloatArray | None, costs: FloatArray) -> RequestStream:
        """Return the requests with predictions where nothing was measured, `(n, n_experts)` each.

        Without `losses` only costs are filled.
        """
        both = np.where(np.isnan(self.costs), costs, self.costs)
        if losses is None:
            return replace(self, costs=both)
        is_missing = np.isnan(self.losses)
        return replace(
            self,
            costs=both,
            losses=np.where(is_missing, losses, self.losses),
            estimated=self.estimated | (is_missing & ~np.isnan(losses)),
        )

    def answer(self, row: int, expert: str) -> SimulatedAnswer:
        """Return the answer of an expert to a request; nothing is known of one without a column."""
        column = self.columns.get(expert)
        if column is None:
            return SimulatedAnswer(expert, None, None, called=(expert,))
        latency, evidence = (
            None if table is None else _known(table[row, column])
            for table in (self.latencies, self.evidence)
        )
        return SimulatedAnswer(
            expert,
            _known(self.losses[row, column]),
            _known(self.costs[row, column]),
            latency,
            evidence,
            called=(expert,),
            estimated=bool(self.estimated[row, column]),
        )


def stream_of_table(
    table: QTable,
    *,
    contexts: Sequence[ConversationContext] | None = None,
    evidence: FloatArray | None = None,
    requests_per_day: float | None = None,
) -> RequestStream:
    """Return the measured prompts of a Q-table as requests, without those that have no answer.

    Args:
        table: Losses, and costs in USD if they are known.
        contexts: Keys and tags of each prompt, `(n_prompts,)`.
        evidence: As in `RequestStream`.
        requests_per_day: How many requests come on a day; by default the table is one day.

    Raises:
        QTableError: no prompt was measured.
        InputError: `contexts` or `evidence` do not fit the table, or a number is out of range.
    """
    rows = np.flatnonzero(table.measured.any(axis=1))
    if not rows.size:
        raise QTableError("No prompt of the table has a measured loss; there is nothing to run.")
    rate = float(len(rows))
    if requests_per_day is not None:
        rate = check_number("requests_per_day", requests_per_day)
        if not rate > 0:
            raise InputError(f"requests_per_day is {rate:g}; expected a number above 0.")
    everything = RequestStream(
        prompts=table.prompts,
        experts=table.experts,
        losses=table.losses,
        costs=np.full(table.shape, np.nan) if table.costs is None else table.costs,
        times=np.asarray(FIRST_DAY + DAY / rate * np.arange(len(table)), np.float64),
        groups=table.groups,
        estimated=np.zeros(table.shape, bool),
        contexts=_contexts(contexts, len(table)),
        latencies=table.latencies,
        evidence=evidence,
    )
    return everything.take(rows)


def _contexts(
    given: Sequence[ConversationContext] | None, size: int
) -> tuple[ConversationContext, ...]:
    if given is None:
        return (ConversationContext(),) * size
    for one in given:
        if not isinstance(one, ConversationContext):
            raise InputError(f"contexts has {one!r:.80}; expected a ConversationContext for each.")
    return tuple(given)


def row_means(table: FloatArray) -> Float64Array:
    """Return the mean of the known values of each row, NaN where none is known."""
    counts = (~np.isnan(table)).sum(axis=1)
    means = np.full(len(table), np.nan)
    np.divide(np.nansum(table, axis=1), counts, out=means, where=counts > 0)
    return means


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
