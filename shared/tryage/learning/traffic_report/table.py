"""The log of traffic as columns, one row for each decision, in the order of time."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tryage.errors import InputError
from tryage.traffic.ratings import SIGNAL_KINDS, is_rating, mean_rating, served_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.traffic.records import DecisionRecord, Feedback, Outcome

TrafficRow: TypeAlias = "tuple[DecisionRecord, Outcome | None, Sequence[Feedback]]"
"""A decision with what came of it, as `Traffic.decisions` returns it."""

UNKNOWN = -1

_CHUNK_SIZE = 10_000  # rows that are in memory as objects at a time
_MAX_EXPERTS = 256  # with columns in the tables of candidates, if no records are kept


@dataclass(frozen=True, eq=False)
class TrafficTable:
    """Columns of `(n,)`; unknown numbers are NaN and unknown names are `UNKNOWN`.

    `chosen`, `served`, `frozen` and `best_singles` are positions in `experts`, and so are the
    entries of `shadow_choices`, `(n, n_shadows)`. `arms` are positions in `arm_names`. `clusters`
    has one number for each thread or user, and one of its own for each decision without a key.
    `scores` are the mean ratings, without the kinds in `SIGNAL_KINDS`; `signals` counts those.
    `predicted` is the loss of the chosen expert. `billed`, `best_single_costs`, `dearest_costs` are
    in USD as the outcome says, `expected` as the router predicted. `losses`, `costs` and
    `propensities` are `(n, n_experts)`, of the candidates; the probability of any other expert is
    0. `ids`, `kinds` and `prompts` are of the records; the records themselves are there only if
    they were kept.
    """

    records: Sequence[DecisionRecord]
    experts: tuple[str, ...]
    arm_names: tuple[str, ...]
    shadow_names: tuple[str, ...]
    ratings: Mapping[str, int]
    signals: Mapping[str, int]
    ids: NDArray[Any]
    kinds: NDArray[Any]
    prompts: NDArray[Any]
    times: Float64Array
    chosen: IndexArray
    served: IndexArray
    frozen: IndexArray
    shadow_choices: IndexArray
    arms: IndexArray
    clusters: IndexArray
    scores: Float64Array
    predicted: Float64Array
    billed: Float64Array
    expected: Float64Array
    best_singles: IndexArray
    best_single_costs: Float64Array
    dearest_costs: Float64Array
    latencies: Float64Array
    failed: BoolArray
    is_default: BoolArray
    explored: BoolArray
    losses: Float64Array
    costs: Float64Array
    propensities: Float64Array

    def __len__(self) -> int:
        """Return the number of decisions."""
        return len(self.times)

    @property
    def shadows(self) -> dict[str, IndexArray]:
        """The choices of each shadow by its name, `(n,)` each."""
        return {name: self.shadow_choices[:, i] for i, name in enumerate(self.shadow_names)}

    @property
    def spending(self) -> Float64Array:
        """What each decision cost in USD: as billed, else as expected, NaN where neither is."""
        return np.where(np.isnan(self.billed), self.expected, self.billed)


def read_table(
    rows: Iterable[TrafficRow], *, kind: str | None = None, keep_records: bool = True
) -> TrafficTable:
    """Return the rows as columns.

    Args:
        rows: The decisions, in any order.
        kind: The only kind of feedback that counts as a rating; None for all but signals.
        keep_records: Whether the table has the records, too. Without them a long log takes a third
            of the memory, and only the first 256 experts have columns in the tables of candidates.

    Raises:
        InputError: there is no decision.
    """
    reader = _Reader(kind, keep_records=keep_records)
    parts = [reader.read(chunk) for chunk in _chunks(rows)]
    if not parts:
        raise InputError("The log has no decision in this period; check --since and --until.")
    columns = {name: _join([part[name] for part in parts]) for name in parts[0]}
    columns["propensities"] = np.nan_to_num(columns["propensities"])
    order = columns["times"].argsort(kind="stable")
    records = reader.records
    return TrafficTable(
        records=[records[row] for row in order.tolist()] if keep_records else (),
        experts=tuple(reader.experts),
        arm_names=tuple(reader.arms),
        shadow_names=tuple(reader.shadows),
        ratings=dict(sorted(reader.ratings.items())),
        signals=dict(sorted(reader.signals.items())),
        **{name: column[order] for name, column in columns.items()},
    )


def _chunks(rows: Iterable[TrafficRow]) -> Iterator[list[TrafficRow]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, _CHUNK_SIZE)):
        yield chunk


def _join(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Join the parts of a column; tables get as many columns as the widest, without a value."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    missing = UNKNOWN if parts[0].dtype.kind == "i" else np.nan
    wide = [
        np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=missing)
        for part in parts
    ]
    return np.concatenate(wide)


class _Reader:
    """Reads rows into columns, and gives every name that it finds a number."""

    def __init__(self, kind: str | None, *, keep_records: bool) -> None:
        self._kind, self._keep_records = kind, keep_records
        self.records: list[DecisionRecord] = []
        self.experts: dict[str, int] = {}
        self.arms: dict[str, int] = {}
        self.shadows: dict[str, int] = {}
        self.ratings: dict[str, int] = {}
        self.signals: dict[str, int] = {}
        self._keys: dict[object, int] = {}

    def read(self, rows: Sequence[TrafficRow]) -> dict[str, NDArray[Any]]:
        """Return the columns of some rows, by the names of the fields of a table."""
        records = [record for record, _, _ in rows]
        outcomes = [outcome for _, outcome, _ in rows]
        self.records += records if self._keep_records else ()
        for _, _, given in rows:
            self._count(given)
        named = {
            "chosen": self._numbers(self.experts, [one.chosen for one in records]),
            "served": self._numbers(self.experts, [served_by(*row) for row in rows]),
            "frozen": self._numbers(self.experts, [one.frozen_choice for one in records]),
            "shadow_choices": self._shadow_choices(records),
            "best_singles": self._numbers(
                self.experts, [None if one is None else one.best_single for one in outcomes]
            ),
            "arms": self._numbers(self.arms, [one.arm for one in records]),
            "clusters": self._numbers(
                self._keys, [one.key or one.user_id or (one.id,) for one in records]
            ),
        }
        losses, costs, propensities = self._candidates(records)
        return named | {
            "ids": np.array([one.id for one in records], dtype=object),
            "kinds": np.array([one.kind for one in records], dtype=object),
            "prompts": np.array([one.prompt for one in records], dtype=object),
            "times": np.array([one.time for one in records], dtype=np.float64),
            "scores": _floats([mean_rating(given, self._kind) for _, _, given in rows]),
            "predicted": np.array([_of_chosen(one, one.losses) for one in records]),
            "expected": np.array([_of_chosen(one, one.costs) for one in records]),
            "billed": _column(outcomes, lambda one: one.cost),
            "best_single_costs": _column(outcomes, lambda one: one.best_single_cost),
            "dearest_costs": _column(outcomes, lambda one: one.dearest_cost),
            "latencies": _column(outcomes, lambda one: one.latency),
            "failed": np.array([bool(one and (one.error or one.failed)) for one in outcomes]),
            "is_default": np.array([one.is_default for one in records]),
            "explored": np.array([one.propensity < 1 for one in records]),
            "losses": losses,
            "costs": costs,
            "propensities": propensities,
        }

    @staticmethod
    def _numbers(numbers: dict[Any, int], names: Sequence[object]) -> IndexArray:
        """Return the number of each name, a new one for a new name."""
        return np.array(
            [UNKNOWN if name is None else numbers.setdefault(name, len(numbers)) for name in names],
            dtype=np.intp,
        )

    def _shadow_choices(self, records: Sequence[DecisionRecord]) -> IndexArray:
        """Return the choices of each shadow, `(n, n_shadows)`."""
        for record in records:
            self._numbers(self.shadows, [*record.shadow_choices])
        columns = [
            self._numbers(self.experts, [record.shadow_choices.get(name) for record in records])
            for name in self.shadows
        ]
        table: IndexArray = np.array(columns, dtype=np.intp).reshape(len(columns), len(records)).T
        return table

    def _candidates(
        self, records: Sequence[DecisionRecord]
    ) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return losses, costs and propensities of the candidates, each `(n, n_experts)`."""
        found = [self._numbers(self.experts, record.candidates) for record in records]
        n_experts = len(self.experts)
        shape = len(records), n_experts if self._keep_records else min(n_experts, _MAX_EXPERTS)
        losses, costs, propensities = (
            np.full(shape, np.nan),
            np.full(shape, np.nan),
            np.zeros(shape),
        )
        for row, (record, columns) in enumerate(zip(records, found, strict=True)):
            usable = columns < shape[1]
            losses[row, columns[usable]] = np.array(record.losses)[usable]
            costs[row, columns[usable]] = _floats(record.costs)[usable]
            if record.propensities:
                propensities[row, columns[usable]] = np.array(record.propensities)[usable]
            place = self.experts[record.chosen]
            if place < shape[1] and not propensities[row, place] > 0:  # it is no candidate
                propensities[row, place] = record.propensity
        return losses, costs, propensities

    def _count(self, given: Sequence[Feedback]) -> None:
        """Count the feedback of a decision by its kind."""
        for one in given:
            if is_rating(one, self._kind):
                self.ratings[one.kind] = self.ratings.get(one.kind, 0) + 1
            elif one.kind in SIGNAL_KINDS:
                self.signals[one.kind] = self.signals.get(one.kind, 0) + 1


def _column(
    outcomes: Sequence[Outcome | None], read: Callable[[Outcome], float | None]
) -> Float64Array:
    return _floats([None if one is None else read(one) for one in outcomes])


def _floats(values: Sequence[float | None]) -> Float64Array:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _of_chosen(record: DecisionRecord, values: Sequence[float | None]) -> float:
    """Return the value of the chosen expert, NaN if it is no candidate or the value is unknown."""
    for name, value in zip(record.candidates, values, strict=False):
        if name == record.chosen:
            return math.nan if value is None else value
    return math.nan
