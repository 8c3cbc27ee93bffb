"""Where each name and alias of a library is, in twelve bytes; a dict would take ten times that."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import LibraryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class NameIndex:
    """Finds the position of an expert by name or alias, whatever the case: hashes in order.

    Raises:
        LibraryError: two experts share a name or an alias.
    """

    def __init__(self, names: Sequence[str], aliases: NDArray[np.object_] | None) -> None:
        self._names, self._aliases = names, aliases
        n = len(names)
        hashes = np.fromiter((hash(name.casefold()) for name in names), np.int64, n)
        others = [(hash(alias.casefold()), i) for alias, i in self._others()]
        more = np.array(others, dtype=np.int64).reshape(-1, 2)
        hashes = np.concatenate([hashes, more[:, 0]])
        positions = np.concatenate([np.arange(n), more[:, 1]])
        order = np.argsort(hashes, kind="stable")  # names come before aliases
        self._hashes = hashes[order].data
        self._positions = positions[order].astype(np.int32)
        self._refuse_clashes(hashes[order])

    def find(self, name: str) -> int | None:
        """Return the position of the expert with this name or alias, None if there is none."""
        folded = name.casefold()
        wanted = hash(folded)
        place = bisect_left(self._hashes, wanted)
        while place < len(self._hashes) and self._hashes[place] == wanted:
            i = int(self._positions[place])
            if folded in self._folded(i):
                return i
            place += 1
        return None

    def _folded(self, i: int) -> set[str]:
        """Return all that expert `i` is called."""
        aliases = () if self._aliases is None else self._aliases[i] or ()
        return {name.casefold() for name in (self._names[i], *aliases)}

    def _others(self) -> Iterator[tuple[str, int]]:
        """Yield every alias with the position of its owner."""
        for i, aliases in enumerate(self._aliases if self._aliases is not None else ()):
            yield from ((alias, i) for alias in aliases or ())

    def _refuse_clashes(self, hashes: NDArray[np.int64]) -> None:
        """Refuse two experts with one name: only those of one hash have to be compared."""
        same = np.flatnonzero(hashes[1:] == hashes[:-1])
        near = {int(self._positions[place]) for j in same.tolist() for place in (j, j + 1)}
        owners: dict[str, int] = {}
        for i in sorted(near):
            name = self._names[i]
            if owners.setdefault(name.casefold(), i) != i:
                raise LibraryError(
                    f"Two experts are called {name!r} (case does not count). Rename one."
                )
        for i in sorted(near):
            for alias in () if self._aliases is None else self._aliases[i] or ():
                owner = owners.setdefault(alias.casefold(), i)
                if owner != i:
                    raise LibraryError(
                        f"The alias {alias!r} of {self._names[i]!r} already means "
                        f"{self._names[owner]!r}. Drop one."
                    )
