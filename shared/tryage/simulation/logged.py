"""Logged traffic as a stream of requests, with the predictions that the log has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.request import ConversationContext
from tryage.errors import InputError
from tryage.simulation.recorded_perception import RecordedPerception
from tryage.simulation.stream import RequestStream
from tryage.traffic.ratings import mean_rating, served_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tryage.core.arrays import Float64Array, IndexArray
    from tryage.core.library import Library
    from tryage.traffic.records import DecisionRecord, Feedback, Outcome

    _Row = tuple[DecisionRecord, Outcome | None, Sequence[Feedback]]


@dataclass(frozen=True, eq=False)
class LoggedTraffic:
    """Logged requests, a perception that predicts them as the log says, and what the log lacks."""

    stream: RequestStream
    perception: RecordedPerception
    notes: tuple[str, ...]


def read_traffic(rows: Iterable[_Row], library: Library) -> LoggedTraffic:
    """Return logged decisions as requests to the experts of a library.

    Only one expert has answered each of them: the answers of the others have the predicted loss and
    the expected cost of their time, and so has an answer without a rating. Decisions without
    candidates, such as those for the default, are left out.

    Args:
        rows: Decisions with what came of them, as `Traffic.decisions` returns them.
        library: The experts that may be asked; others that the log names are left out.

    Raises:
        InputError: the log has no decision that can be decided again.
    """
    usable = [row for row in rows if any(name in library for name in row[0].candidates)]
    if not usable:
        raise InputError("The log has no decision among experts of this router.")
    records = [record for record, _, _ in usable]
    losses, std, costs = _candidate_tables(records, library)
    prompts = tuple(one.prompt or f"decision {one.id}" for one in records)
    perception = RecordedPerception(library.names, prompts, losses, std, costs)
    measured = np.full(losses.shape, np.nan)
    for row, place in enumerate(usable):
        _fill_measured(measured[row], costs[row], place, library)
    is_measured = ~np.isnan(measured)
    stream = RequestStream(
        prompts=prompts,
        experts=tuple(library.names),
        losses=np.where(is_measured, measured, losses),
        costs=costs,
        times=np.array([one.time for one in records], np.float64),
        groups=_groups(records),
        estimated=~is_measured,
        contexts=tuple(ConversationContext(keys=_keys(one), tags=one.tags) for one in records),
    )
    return LoggedTraffic(stream, perception, tuple(_notes(records, is_measured)))


def _candidate_tables(
    records: Sequence[DecisionRecord], library: Library
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return the logged losses, std and USD of the candidates, `(n, n_experts)` each."""
    tables = np.full((3, len(records), len(library)), np.nan)
    for row, record in enumerate(records):
        for name, *values in zip(
            record.candidates, record.losses, record.stds, record.costs, strict=True
        ):
            if name in library:
                tables[:, row, library.index(name)] = _floats(values)
    return tables[0], tables[1], tables[2]


def _fill_measured(losses: Float64Array, costs: Float64Array, row: _Row, library: Library) -> None:
    """Fill in what is known of the one expert that answered."""
    record, outcome, given = row
    expert = served_by(record, outcome, given)
    if expert is None or expert not in library:
        return
    place, rating = library.index(expert), mean_rating(given)
    if rating is not None:
        losses[place] = 1.0 - rating
    if outcome is not None and outcome.cost is not None:
        costs[place] = outcome.cost


def _keys(record: DecisionRecord) -> dict[str, str]:
    """Return the thread and the user; what is missing is the other, as in logs of before 0003."""
    known = {"thread_id": record.key or record.user_id, "user_id": record.user_id or record.key}
    return {name: value for name, value in known.items() if value is not None}


def _groups(records: Sequence[DecisionRecord]) -> IndexArray:
    """Return a number per thread or user, and one of its own for each decision without a key."""
    numbers: dict[object, int] = {}
    keys: list[object] = [one.key or one.user_id or (one.id,) for one in records]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)


def _notes(records: Sequence[DecisionRecord], is_measured: np.ndarray) -> list[str]:
    share = float(is_measured.any(axis=1).mean())
    notes = [
        f"Only one expert answered each request, and {share:.0%} of the answers have a rating: "
        "all other answers have the score that was predicted, so that no difference here is "
        "measured. `tryage evaluate --traffic` estimates what the log can prove."
    ]
    if any(one.prompt is None for one in records):
        notes.append(
            "The log has no prompts: policies that read them see none. Keep them with "
            "Traffic(..., keep_prompts=True)."
        )
    return notes


def _floats(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]
