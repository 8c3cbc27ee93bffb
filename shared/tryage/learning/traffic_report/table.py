"""The log of traffic as columns, one row for each decision, in the order of time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tryage.errors import InputError
from tryage.traffic.feedback_model import LIKELIHOOD_RATIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.traffic.records import DecisionRecord, Feedback, Outcome

TrafficRow: TypeAlias = "tuple[DecisionRecord, Outcome | None, Sequence[Feedback]]"
"""A decision with what came of it, as `Traffic.decisions` returns it."""

SIGNAL_KINDS = frozenset(LIKELIHOOD_RATIOS)
"""Kinds of feedback that only bad answers get: their mean says nothing about quality."""

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class TrafficTable:
    """Columns of `(n,)`; unknown numbers are NaN and unknown names are `UNKNOWN`.

    `chosen`, `served`, `frozen`, `best_singles` and each of `shadows` are positions in `experts`.
    `arms` are positions in `arm_names`. `clusters` has one number for each thread or user, and one
    of its own for each decision without a key. `scores` are the mean ratings, without the kinds in
    `SIGNAL_KINDS`; `signals` counts those. `predicted` is the predicted loss of the chosen expert.
    `billed`, `best_single_costs` and `dearest_costs` are in USD as the outcome says, `expected` as
    the router predicted. `losses`, `costs` and `propensities` are `(n, n_experts)`, of the
    candidates; the probability of any other expert is 0.
    """

    records: Sequence[DecisionRecord]
    experts: tuple[str, ...]
    arm_names: tuple[str, ...]
    times: Float64Array
    chosen: IndexArray
    served: IndexArray
    frozen: IndexArray
    shadows: Mapping[str, IndexArray]
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
    signals: Mapping[str, int]
    ratings: Mapping[str, int]
    losses: Float64Array
    costs: Float64Array
    propensities: Float64Array

    def __len__(self) -> int:
        """Return the number of decisions."""
        return len(self.records)

    @property
    def spending(self) -> Float64Array:
        """What each decision cost in USD: as billed, else as expected, NaN where neither is."""
        return np.where(np.isnan(self.billed), self.expected, self.billed)


def read_table(rows: Iterable[TrafficRow], *, kind: str | None = None) -> TrafficTable:
    """Return the rows as columns.

    Args:
        rows: The decisions, in any order.
        kind: The only kind of feedback that counts as a rating; None for all but signals.

    Raises:
        InputError: there is no decision.
    """
    ordered = sorted(rows, key=lambda row: row[0].time)
    if not ordered:
        raise InputError("The log has no decision in this period; check --since and --until.")
    records = [record for record, _, _ in ordered]
    outcomes = [outcome for _, outcome, _ in ordered]
    feedback = [given for _, _, given in ordered]
    served = [_served_by(*row) for row in ordered]
    shadow_names = sorted({name for record in records for name in record.shadow_choices})
    experts = _names(records, [*served, *(one.best_single for one in outcomes if one)])
    place = {name: i for i, name in enumerate(experts)}
    arm_names = tuple(sorted({record.arm for record in records if record.arm is not None}))
    losses, costs, propensities = _candidates(records, place)

    def places(names: Iterable[str | None]) -> IndexArray:
        return np.array([UNKNOWN if n is None else place[n] for n in names], dtype=np.intp)

    return TrafficTable(
        records=records,
        experts=experts,
        arm_names=arm_names,
        times=np.array([record.time for record in records]),
        chosen=places(record.chosen for record in records),
        served=places(served),
        frozen=places(record.frozen_choice for record in records),
        shadows={
            name: places(record.shadow_choices.get(name) for record in records)
            for name in shadow_names
        },
        arms=_codes([record.arm for record in records], arm_names),
        clusters=_clusters(records),
        scores=np.array([_rating(given, kind) for given in feedback]),
        predicted=_of_chosen(records, losses, place),
        billed=_column(outcomes, lambda one: one.cost),
        expected=_of_chosen(records, costs, place),
        best_singles=places(None if one is None else one.best_single for one in outcomes),
        best_single_costs=_column(outcomes, lambda one: one.best_single_cost),
        dearest_costs=_column(outcomes, lambda one: one.dearest_cost),
        latencies=_column(outcomes, lambda one: one.latency),
        failed=np.array([bool(one and (one.error or one.failed)) for one in outcomes]),
        signals=_count(feedback, lambda one: one.kind in SIGNAL_KINDS and one.kind != kind),
        ratings=_count(feedback, lambda one: _is_rating(one, kind)),
        losses=losses,
        costs=costs,
        propensities=propensities,
    )


def _served_by(
    record: DecisionRecord, outcome: Outcome | None, given: Sequence[Feedback]
) -> str | None:
    """Return the expert that answered; the chosen one where no outcome says another."""
    named = next((one.expert for one in given if one.expert is not None), None)
    if named is not None:
        return named
    if outcome is None:
        return record.chosen
    return outcome.served_by


def _names(records: Sequence[DecisionRecord], others: Sequence[str | None]) -> tuple[str, ...]:
    """Return the names of all experts that the records name, and the others."""
    names = {name for name in others if name is not None}
    for record in records:
        names.update((record.chosen, *record.candidates, *record.shadow_choices.values()))
        if record.frozen_choice is not None:
            names.add(record.frozen_choice)
    return tuple(sorted(names))


def _codes(values: Sequence[str | None], names: Sequence[str]) -> IndexArray:
    place = {name: i for i, name in enumerate(names)}
    return np.array([UNKNOWN if value is None else place[value] for value in values], dtype=np.intp)


def _clusters(records: Sequence[DecisionRecord]) -> IndexArray:
    """Return one number for each key, and one of its own for each decision without a key."""
    code_by_key: dict[str, int] = {}
    codes = [
        len(records) + i if record.key is None else code_by_key.setdefault(record.key, i)
        for i, record in enumerate(records)
    ]
    return np.array(codes, dtype=np.intp)


def _is_rating(one: Feedback, kind: str | None) -> bool:
    return one.kind not in SIGNAL_KINDS if kind is None else one.kind == kind


def _rating(given: Sequence[Feedback], kind: str | None) -> float:
    """Return the mean score of the ratings of a decision, NaN without any."""
    scores = [one.score for one in given if _is_rating(one, kind)]
    return sum(scores) / len(scores) if scores else math.nan


def _count(
    feedback: Sequence[Sequence[Feedback]], counts: Callable[[Feedback], bool]
) -> dict[str, int]:
    """Return how much feedback there is of each kind, of that which counts."""
    found: dict[str, int] = {}
    for one in (one for given in feedback for one in given if counts(one)):
        found[one.kind] = found.get(one.kind, 0) + 1
    return dict(sorted(found.items()))


def _column(
    outcomes: Sequence[Outcome | None], read: Callable[[Outcome], float | None]
) -> Float64Array:
    values = [None if one is None else read(one) for one in outcomes]
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _candidates(
    records: Sequence[DecisionRecord], place: Mapping[str, int]
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the losses, costs and propensities of all candidates, each `(n, n_experts)`."""
    losses = np.full((len(records), len(place)), np.nan)
    costs, propensities = np.full_like(losses, np.nan), np.zeros_like(losses)
    for row, record in enumerate(records):
        columns = [place[name] for name in record.candidates]
        losses[row, columns] = record.losses
        costs[row, columns] = [math.nan if usd is None else usd for usd in record.costs]
        if record.propensities:
            propensities[row, columns] = record.propensities
        else:
            propensities[row, place[record.chosen]] = record.propensity
    return losses, costs, propensities


def _of_chosen(
    records: Sequence[DecisionRecord], values: Float64Array, place: Mapping[str, int]
) -> Float64Array:
    """Return the value of each decision's chosen expert, `(n,)`."""
    columns = [place[record.chosen] for record in records]
    return np.asarray(values[np.arange(len(records)), columns], dtype=np.float64)
