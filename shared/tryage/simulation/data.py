"""Reads what a simulation runs on, a Q-table or a log, for the experts of a router."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import preview
from tryage.errors import InputError
from tryage.scoring.qtable import QTable
from tryage.simulation.logged import read_traffic
from tryage.simulation.stream import stream_of_table
from tryage.traffic.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import FloatArray
    from tryage.core.library import Library
    from tryage.core.request import ConversationContext
    from tryage.simulation.recorded_perception import RecordedPerception
    from tryage.simulation.stream import RequestStream

_MAX_NAMED = 5  # experts in a note


@dataclass(frozen=True, eq=False)
class SimulationData:
    """Requests to experts of a router; `perception` predicts them, None leaves that to the router.

    `notes` say what the data lack.
    """

    stream: RequestStream
    perception: RecordedPerception | None = None
    notes: tuple[str, ...] = ()


def read_data(
    data: QTable | Traffic | str,
    library: Library,
    *,
    requests_per_day: float | None = None,
    contexts: Sequence[ConversationContext] | None = None,
    evidence: FloatArray | None = None,
) -> SimulationData:
    """Return the requests that a table or a log holds, to the experts that the library has.

    The arguments are those of `Router.simulate`; a log has its own times and contexts.

    Raises:
        InputError: the data are something else, or share no expert with the library; or what only
            a table can have is given for a log.
        QTableError: no prompt was measured.
        TrafficError: there is no log, or the store fails.
    """
    if isinstance(data, QTable):
        table, notes = _known_experts(data, library)
        stream = stream_of_table(
            table,
            contexts=contexts,
            evidence=None if evidence is None else _columns(evidence, data, table),
            requests_per_day=requests_per_day,
        )
        names = [library.names[library.index(name)] for name in stream.experts]
        return SimulationData(stream.select(stream.experts, names), notes=notes)
    if not isinstance(data, (Traffic, str)) or (isinstance(data, str) and "://" not in data):
        given = preview(data) if isinstance(data, str) else f"a {type(data).__name__}"
        raise InputError(
            f"data is {given}; expected a QTable, a Traffic or the URL of a log, such as "
            'QTable.read("outcomes.parquet") or "sqlite:///tryage.db".'
        )
    if requests_per_day is not None or contexts is not None or evidence is not None:
        raise InputError(
            "requests_per_day, contexts and evidence are for a table; a log has its own."
        )
    if isinstance(data, Traffic):
        return _logged(data, library)
    with Traffic(data, create=False) as traffic:
        return _logged(traffic, library)


def _logged(traffic: Traffic, library: Library) -> SimulationData:
    logged = read_traffic(traffic.decisions(), library)
    return SimulationData(logged.stream, logged.perception, logged.notes)


def _known_experts(table: QTable, library: Library) -> tuple[QTable, tuple[str, ...]]:
    """Return the part of a table that the library knows, and what is left out."""
    if not table.experts:
        raise InputError("The table has no row; expected a loss of a model in each.")
    known = [name for name in table.experts if name in library]
    if not known:
        raise InputError(
            f"The table has {_some(table.experts)}, and none of them is an expert of this router "
            f"({_some(library.names)})."
        )
    named = {library.index(name) for name in known}
    unknown = [name for name in table.experts if name not in library]
    unmeasured = [name for i, name in enumerate(library.names) if i not in named]
    notes = []
    if unknown:
        notes.append(f"Left out, because the router does not know them: {_some(unknown)}.")
    if unmeasured:
        notes.append(f"Left out, because the table does not have them: {_some(unmeasured)}.")
    return table.select(known), tuple(notes)


def _columns(evidence: FloatArray, table: QTable, part: QTable) -> FloatArray:
    """Return the columns of the evidence that belong to a part of the experts."""
    values = np.asarray(evidence, np.float64)
    if values.shape != table.shape:
        raise InputError(f"evidence has the shape {values.shape}; expected {table.shape}.")
    if ((values < 0) | (values > 1)).any():
        raise InputError(
            f"evidence is from {np.nanmin(values):g} to {np.nanmax(values):g}; expected "
            "probabilities that an answer is right, from 0 to 1, NaN where there is none."
        )
    return values[:, [table.experts.index(name) for name in part.experts]]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
