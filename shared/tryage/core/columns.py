"""What is known of many experts, in columns: checked, frozen, and read as one vector."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tryage.core.validation import (
    NUMBER_RANGES,
    check_number_column,
    check_object_column,
    did_you_mean,
)
from tryage.errors import InputError, LibraryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class ExpertColumns:
    """The columns of a library: `(n,)` arrays by the field of `Expert`, NaN or None if unknown."""

    def _check_and_set(self, names: Sequence[str], columns: Mapping[str, Any]) -> None:
        """Check the columns, keep those in which anything is known, and adopt them."""
        numbers, objects = {}, {}
        for name, values in columns.items():
            if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Collection):
                raise InputError(f"Column {name} must be a list, got {values!r:.80}.")
            if len(values) != len(names):
                raise InputError(f"Column {name} needs {len(names)} values, got {len(values)}.")
            if name in NUMBER_RANGES:
                column = check_number_column(name, values)
                if not np.isnan(column).all():
                    numbers[name] = column
            elif any(value is not None for value in values):
                objects[name] = check_object_column(name, values)
        self._set_columns(tuple(names), numbers, objects)

    def _set_columns(
        self,
        names: tuple[str, ...],
        numbers: dict[str, NDArray[np.float64]],
        objects: dict[str, NDArray[np.object_]],
    ) -> None:
        """Take checked columns over and freeze them."""
        self._names, self._numbers, self._objects = names, numbers, objects
        self._code_cache: dict[str, tuple[tuple[Any, ...], NDArray[np.int32]]] = {}
        for column in (*numbers.values(), *objects.values()):
            column.setflags(write=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Canonical names, in the order of every column."""
        return self._names

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self._names)

    def column(self, field: str) -> NDArray[np.float64]:
        """Return a numeric field, read-only `(n,)`, NaN where unknown; `released` in ordinal days.

        Raises:
            InputError: not a numeric field.
        """
        if field not in NUMBER_RANGES:
            near = did_you_mean(field, NUMBER_RANGES)
            raise InputError(f"{field!r} is no numeric column; there is {[*NUMBER_RANGES]}.{near}")
        if field not in self._numbers:
            self._numbers[field] = _freeze(np.full(len(self), np.nan))
        return self._numbers[field]

    @property
    def aliases(self) -> NDArray[np.object_]:
        """Other names of each expert, `(n,)`, a tuple or None."""
        return self._object_column("aliases")

    @property
    def licenses(self) -> NDArray[np.object_]:
        """Licences in lower case, `(n,)`, None where unknown."""
        return self._object_column("license")

    @property
    def metadata(self) -> NDArray[np.object_]:
        """What else is known of each expert, `(n,)`, a mapping or None."""
        return self._object_column("metadata")

    def _object_column(self, field: str) -> NDArray[np.object_]:
        """Return a column of objects, read-only; all None if nothing is known."""
        if field not in self._objects:
            self._objects[field] = _freeze(np.full(len(self), None, dtype=object))
        return self._objects[field]

    def licensed(self, licenses: Collection[str]) -> NDArray[np.bool_]:
        """Tell which experts are known to have one of the (lower-case) licences, `(n,)`."""
        known, codes = self._category_codes("license")
        wanted = np.array([item is not None and item in licenses for item in known], dtype=np.bool_)
        return cast("NDArray[np.bool_]", wanted.take(codes))

    def capability(self, name: str) -> NDArray[np.float64]:
        """Return 1 where the expert can, 0 where it cannot, NaN where unknown, `(n,)`."""
        name = name.strip().lower()
        known, codes = self._category_codes("capabilities")
        able = np.array([np.nan if able is None else float(name in able) for able in known])
        return cast("NDArray[np.float64]", able.take(codes))

    def _category_codes(self, field: str) -> tuple[tuple[Any, ...], NDArray[np.int32]]:
        """Return the few different values of a column of words, and which one each expert has."""
        if field not in self._code_cache:
            numbers: dict[Any, int] = {}
            column = self._objects.get(field, [None] * len(self))
            codes = [numbers.setdefault(value, len(numbers)) for value in column]
            self._code_cache[field] = tuple(numbers), np.array(codes, dtype=np.int32)
        return self._code_cache[field]


def _freeze(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


class NameIndex:
    """Finds the position of an expert by name or alias, whatever the case: hashes in order.

    Raises:
        LibraryError: two experts share a name or an alias.
    """

    def __init__(self, names: Sequence[str], aliases: NDArray[np.object_] | None) -> None:
        self._names, self._aliases = names, aliases
        n = len(names)
        hashes = np.fromiter((hash(name.casefold()) for name in names), np.int64, n)
        others = [(hash(alias.casefold()), i) for alias, i in self._iter_aliases()]
        more = np.array(others, dtype=np.int64).reshape(-1, 2)
        hashes = np.concatenate([hashes, more[:, 0]])
        positions = np.concatenate([np.arange(n), more[:, 1]])
        order = np.argsort(hashes, kind="stable")  # names come before aliases
        self._hashes = hashes[order].data
        self._positions = positions[order].astype(np.int32)
        self._check_unique(hashes[order])

    def find(self, name: str) -> int | None:
        """Return the position of the expert with this name or alias, None if there is none."""
        folded = name.casefold()
        wanted = hash(folded)
        place = bisect_left(self._hashes, wanted)
        while place < len(self._hashes) and self._hashes[place] == wanted:
            i = int(self._positions[place])
            if folded in self._casefolded_names(i):
                return i
            place += 1
        return None

    def _casefolded_names(self, i: int) -> set[str]:
        """Return all that expert `i` is called."""
        aliases = () if self._aliases is None else self._aliases[i] or ()
        return {name.casefold() for name in (self._names[i], *aliases)}

    def _iter_aliases(self) -> Iterator[tuple[str, int]]:
        """Yield every alias with the position of its owner."""
        for i, aliases in enumerate(self._aliases if self._aliases is not None else ()):
            yield from ((alias, i) for alias in aliases or ())

    def _check_unique(self, hashes: NDArray[np.int64]) -> None:
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
