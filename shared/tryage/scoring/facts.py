"""What measuring tells about the experts: how long, readable and fast their answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tryage.experts import Expert, Library

if TYPE_CHECKING:
    from tryage.qtable import QTable

_FACTS = {
    "output_tokens": "output_tokens",
    "readability": "readabilities",
    "latency": "latencies",
}


def with_measurements(library: Library, table: QTable) -> Library:
    """Return the library with what the table measured: mean output tokens, readability, latency.

    A measured fact takes the place of a told one; what was not measured stays. Experts that the
    library lacks are added. The constraints verbosity, readability and latency then weigh facts.

    Raises:
        LibraryError: a name of the table means two experts.
    """
    absent = [Expert(name) for name in table.experts if name not in library]
    for expert in absent:
        library = library.with_expert(expert)
    at = np.array([library.index(name) for name in table.experts], dtype=np.intp)
    columns = {}
    for fact, name in _FACTS.items():
        matrix = getattr(table, name)
        if matrix is None:
            continue
        counted = np.count_nonzero(~np.isnan(matrix), axis=0)
        mean = np.nansum(matrix, axis=0, dtype=np.float64) / np.maximum(counted, 1)
        column = library.column(fact).copy()
        column[at[counted > 0]] = mean[counted > 0]
        columns[fact] = column
    return library.with_columns(**columns) if columns else library
