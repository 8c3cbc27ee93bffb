"""Which of a perception's experts each expert of a library is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.experts import Library


def match(known: Sequence[str], library: Library) -> NDArray[np.intp]:
    """Return, per expert of the library, its column in the perception, -1 if it has none."""
    columns = np.full(len(library), -1, dtype=np.intp)
    for column, name in enumerate(known):
        if name in library:
            i = library.index(name)
            # Two columns may mean one expert: its own name counts before an alias.
            if columns[i] < 0 or library.names[i] == name:
                columns[i] = column
    return columns
