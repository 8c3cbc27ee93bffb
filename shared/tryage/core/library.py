"""The experts one router chooses among, in columns."""

from __future__ import annotations

import datetime
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tryage.core.expert import FIELDS, Expert
from tryage.core.validation import (
    NUMBER_RANGES,
    check_number_column,
    check_object_column,
    check_strings,
    did_you_mean,
)
from tryage.errors import InputError, LibraryError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Library:
    """The experts one router chooses among: immutable columns, so a rule is one vector operation.

    A column is `(n,)`, by the field of `Expert`, NaN or None where unknown. Names and aliases are
    unique, whatever their case, and either finds the expert. `origin` says where the facts come
    from and how old they are, None if they were written by hand.

    Raises:
        InputError: not a list of experts (or of names).
        LibraryError: no expert, or two that share a name or an alias.
    """

    def __init__(self, experts: Iterable[Expert | str]) -> None:
        if isinstance(experts, (str, bytes, Mapping, Expert)) or not isinstance(experts, Iterable):
            raise InputError(f"A library is made of a list of experts, got {experts!r:.80}.")
        rows = [Expert(item) if isinstance(item, str) else item for item in experts]
        for row in rows:
            if not isinstance(row, Expert):
                raise InputError(f"A library holds Expert or str, got {type(row).__name__}.")
        columns = {name: [getattr(row, name) for row in rows] for name in FIELDS[1:]}
        self._check_and_set([row.name for row in rows], columns)

    @classmethod
    def from_columns(cls, names: Sequence[str], **columns: Sequence[Any] | NDArray[Any]) -> Library:
        """Build a library from columns named like the fields of `Expert`, without making objects.

        Each column has one value per name; None or NaN is unknown. `released` holds dates,
        datetime64 or ordinal days.

        Raises:
            InputError: an unknown column, a wrong length, a value of a wrong type or range.
            LibraryError: no name, or names or aliases that clash.
        """
        for name in columns:
            if name not in FIELDS[1:]:
                raise InputError(f"{name!r} is not a column.{did_you_mean(name, FIELDS[1:])}")
        library = cls.__new__(cls)
        library._check_and_set(check_strings("names", names), columns)  # noqa: SLF001 - our own class
        return library

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

    def __copy__(self) -> Library:
        """Return the library itself: it never changes."""
        return self

    def __deepcopy__(self, memo: object) -> Library:
        """Return the library itself, with the columns that all its copies share."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the columns; hashes differ between processes, so the index is made anew."""
        return _build_library, (self.origin, self._names, dict(self._numbers), dict(self._objects))

    def __iter__(self) -> Iterator[Expert]:
        """Yield each expert in order."""
        return (self[i] for i in range(len(self)))

    def __contains__(self, name: object) -> bool:
        """Tell whether an expert has this name or alias, whatever its case."""
        return isinstance(name, str) and self._index.find(name) is not None

    def __repr__(self) -> str:
        """Show the size and the first names."""
        more = ", ..." if len(self) > 3 else ""
        return f"Library({len(self)} experts: {', '.join(self._names[:3])}{more})"

    def __getitem__(self, key: int | str) -> Expert:
        """Return one expert by position, name or alias.

        Raises:
            LibraryError: no such name.
            IndexError: no such position.
        """
        i = self.index(key) if isinstance(key, str) else range(len(self))[key]
        known: dict[str, Any] = {
            name: column[i] for name, column in self._objects.items() if column[i] is not None
        }
        for name, numbers in self._numbers.items():
            if not np.isnan(numbers[i]):
                known[name] = float(numbers[i])
        if "released" in known:
            known["released"] = datetime.date.fromordinal(int(known["released"]))
        return Expert(self._names[i], **known)

    def index(self, name: str) -> int:
        """Return the position of the expert with this name or alias, whatever its case.

        Raises:
            LibraryError: no such expert; the message names near ones.
        """
        found = self._index.find(name) if isinstance(name, str) else None
        if found is None:
            near = did_you_mean(str(name), self._names)
            raise LibraryError(f"No expert is called {name!r:.200} among {len(self)}.{near}")
        return found

    @property
    def as_of(self) -> datetime.datetime | None:
        """When the Hub told what is known here (UTC); None if it came from elsewhere."""
        return None if self.origin is None else self.origin.as_of

    def subset(self, keep: Iterable[str] | NDArray[np.bool_] | NDArray[np.intp]) -> Library:
        """Return the library of the experts named, masked or numbered by `keep`.

        Names and positions set the order; a mask is boolean `(n,)`.

        Raises:
            InputError: a lone string, or a mask of another length.
            LibraryError: an unknown name, or nothing left.
        """
        if isinstance(keep, np.ndarray) and keep.dtype.kind in "biu":
            if keep.dtype == np.bool_ and keep.shape != (len(self),):
                raise InputError(f"The mask has shape {keep.shape}, expected ({len(self)},).")
            rows = np.arange(len(self))[keep]
        else:
            rows = np.array(
                [self.index(name) for name in check_strings("names", keep)], dtype=np.intp
            )
        return _build_library(
            self.origin and replace(self.origin, query=None),
            tuple(self._names[i] for i in rows.tolist()),
            {name: column[rows] for name, column in self._numbers.items()},
            {name: column[rows] for name, column in self._objects.items()},
        )

    def with_columns(self, **columns: Sequence[Any] | NDArray[Any]) -> Library:
        """Return the library with other columns in place of these; they are as in `from_columns`.

        Raises:
            InputError, LibraryError: as in `from_columns`.
        """
        library = self.from_columns(self._names, **{**self._numbers, **self._objects, **columns})
        library.origin = self.origin
        return library

    def with_expert(self, expert: Expert) -> Library:
        """Return the library with one more expert at its end, in place of one of the same name.

        Raises:
            LibraryError: one of its names means another expert.
        """
        own = Library([expert])
        keep = np.ones(len(self), dtype=np.bool_)
        if expert.name in self and self[expert.name].name.casefold() == expert.name.casefold():
            keep[self.index(expert.name)] = False
        names = (*(name for name, kept in zip(self._names, keep, strict=True) if kept), expert.name)
        numbers = {
            name: np.append(self.column(name)[keep], own.column(name))
            for name in (*self._numbers, *own._numbers)
        }
        objects = {
            name: np.concatenate([self._object_column(name)[keep], own._object_column(name)])
            for name in (*self._objects, *own._objects)
        }
        origin = self.origin and replace(
            self.origin, added_experts=(*self.origin.added_experts, expert.name)
        )
        return _build_library(origin, names, numbers, objects)

    @classmethod
    def from_hub(  # noqa: PLR0913 - those that most people need; the rest is `more`
        cls,
        task: str | None = None,
        *,
        filters: Sequence[str] = (),
        limit: int | None = 100,
        sort: str = "downloads",
        catalogue: Any = None,  # noqa: ANN401 - a path or a Catalogue, which core does not know
        settings: Any = None,  # noqa: ANN401 - HubSettings, which core does not know
        **more: Any,  # noqa: ANN401 - the other fields of `Query`, checked there
    ) -> Library:
        """Return the models of the Hub that fit, from the local catalogue.

        Only when the catalogue has fewer than `limit` that fit is the Hub asked, once a day at
        most. `origin` says how old the facts are.

        Args:
            task: The Hub's pipeline tag, such as "text-generation".
            filters: Tags that a model must have, such as "en" or "gguf".
            limit: How many at most, the first in the order of `sort`; None is all of them.
            sort: One of `tryage.hub.catalog_query.SORTS`.
            catalogue: Where the facts are, a path or a `tryage.hub.Catalogue`; by default the
                catalogue of `tryage hub sync`.
            settings: Where the Hub is and who asks, `tryage.hub.HubSettings`; by default as the
                environment says.
            more: `license`, `author`, `search`, `min_parameters`, `max_parameters`, `since`,
                `gated` and `served`, as in `tryage.hub.catalog_query.Query`.

        Raises:
            InputError: a condition that is none.
            LibraryError: no model fits.
            HubError: none is in the catalogue, and the Hub cannot be asked.
            CatalogueError: the catalogue cannot be read.
        """
        # By name: people look for this method here, and core does not depend on the hub.
        load_library = import_module("tryage.hub.candidates").load_library
        query = {"task": task, "filters": filters, "limit": limit, "sort": sort, **more}
        library: Library = load_library(query, catalogue, settings)
        return library

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return every expert as a JSON-safe dict."""
        return [expert.to_dict() for expert in self]

    @classmethod
    def from_dicts(cls, rows: Iterable[Mapping[str, Any]]) -> Library:
        """Build a library from what `to_dicts` wrote.

        Raises:
            InputError: a malformed row.
            LibraryError: no row, or names or aliases that clash.
        """
        return cls([Expert.from_dict(row) for row in rows])

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
        """Take over columns that are checked, freeze them, and index the names."""
        if not names:
            raise LibraryError("The library is empty; give at least one expert.")
        self._names, self._numbers, self._objects = names, numbers, objects
        self._code_cache: dict[str, tuple[tuple[Any, ...], NDArray[np.int32]]] = {}
        for column in (*numbers.values(), *objects.values()):
            column.setflags(write=False)
        self._index = NameIndex(names, objects.get("aliases"))
        self.origin: Provenance | None = None

    def _object_column(self, field: str) -> NDArray[np.object_]:
        """Return a column of objects, read-only; all None if nothing is known."""
        if field not in self._objects:
            self._objects[field] = _freeze(np.full(len(self), None, dtype=object))
        return self._objects[field]

    def _category_codes(self, field: str) -> tuple[tuple[Any, ...], NDArray[np.int32]]:
        """Return the few different values of a column of words, and which one each expert has."""
        if field not in self._code_cache:
            numbers: dict[Any, int] = {}
            column = self._objects.get(field, [None] * len(self))
            codes = [numbers.setdefault(value, len(numbers)) for value in column]
            self._code_cache[field] = tuple(numbers), np.array(codes, dtype=np.int32)
        return self._code_cache[field]


def _build_library(origin: Provenance | None, *columns: Any) -> Library:  # noqa: ANN401 - as `_adopt` takes them
    """Make a library of columns that are checked."""
    library = Library.__new__(Library)
    library._set_columns(*columns)  # noqa: SLF001 - our own class
    library.origin = origin
    return library


def merge_missing_facts(library: Library, other: Library) -> Library:
    """Return `library` with what `other` knows of its experts, whatever they are called there.

    Names of both find them, unless they already mean somebody else. A number that is known here
    stays; of nobody more is known than before, unless `other` has the expert.
    """
    pairs = _match_experts(library, other)
    if not pairs:
        return library
    aliases = library.aliases.copy()
    taken: set[str] = set()
    for here, there in pairs.items():
        expert = other[there]
        own = list(aliases[here] or ())
        for name in (expert.name, *expert.aliases):
            if name not in library and name.casefold() not in taken:
                own.append(name)
                taken.add(name.casefold())
        aliases[here] = tuple(own) or None
    rows, others = (np.array(side, dtype=np.intp) for side in zip(*pairs.items(), strict=True))
    numbers: dict[str, Any] = {}
    for name in NUMBER_RANGES:
        column = library.column(name).copy()
        known = column[rows]
        column[rows] = np.where(np.isnan(known), other.column(name)[others], known)
        numbers[name] = column
    return library.with_columns(aliases=aliases, **numbers)


def _match_experts(library: Library, other: Library) -> dict[int, int]:
    """Return, by position here, the position there of the experts that both have."""
    pairs: dict[int, int] = {}
    for there, name in enumerate(other.names):
        names = (name, *(other.aliases[there] or ()))
        here = next((library.index(one) for one in names if one in library), None)
        if here is not None:
            pairs.setdefault(here, there)
    return pairs


@dataclass(frozen=True, slots=True)
class Provenance:
    """The catalogue that a library was read from.

    `as_of` is the moment (UTC) at which the Hub was asked, None if that is not known. `query` are
    the arguments of `Library.from_hub`, None if the library is only a part of what they find.
    `path` is the catalogue's file; a token is never kept. `beside` completes what the catalogue
    knows; the experts `added` were onboarded later.
    """

    path: str
    as_of: datetime.datetime | None = None
    query: Mapping[str, Any] | None = field(default=None, hash=False)
    supplement: Library | None = None
    added_experts: tuple[str, ...] = ()


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


def _freeze(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
