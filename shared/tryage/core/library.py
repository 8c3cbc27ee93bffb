"""Library: the experts of a router in columns, found by name or alias, with their provenance."""

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
    check_words,
    did_you_mean,
    preview,
)
from tryage.errors import InputError, LibraryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_LISTED_NAMES = 10  # in an error


class Library:
    """The experts that a router chooses from: immutable columns, so a rule is a vector operation.

    A column is `(n,)` for a field of `Expert`, NaN or None where unknown. Names and aliases are
    unique, ignoring case, and either finds the expert. `origin` says where the facts come from and
    how old they are, None if they were written by hand.

    Raises:
        InputError: not a list of experts (or of names).
        LibraryError: no expert, or two that share a name or an alias.
    """

    def __init__(self, experts: Iterable[Expert | str]) -> None:
        if isinstance(experts, (str, bytes, Mapping, Expert)) or not isinstance(experts, Iterable):
            raise InputError(f"A library needs a list of experts, got {experts!r:.80}.")
        rows = [Expert(item) if isinstance(item, str) else item for item in experts]
        for row in rows:
            if not isinstance(row, Expert):
                raise InputError(f"A library holds Expert or str, got {type(row).__name__}.")
        columns = {name: [getattr(row, name) for row in rows] for name in FIELDS[1:]}
        self._check_and_set([row.name for row in rows], columns)

    @classmethod
    def from_columns(cls, names: Sequence[str], **columns: Sequence[Any] | NDArray[Any]) -> Library:
        """Build a library from columns named like the fields of `Expert`, without building experts.

        Each column has one value per name; None or NaN is unknown. `released` holds dates,
        datetime64 or ordinal days.

        Raises:
            InputError: an unknown column, a wrong length, a value of the wrong type or range.
            LibraryError: no name, or names or aliases that clash.
        """
        for name in columns:
            if name not in FIELDS[1:]:
                raise InputError(f"{name!r} is not a column.{did_you_mean(name, FIELDS[1:])}")
        library = cls.__new__(cls)
        library._check_and_set(check_words("names", names), columns)  # noqa: SLF001 - the same class
        return library

    @classmethod
    def from_hub(  # noqa: PLR0913 - the usual arguments; the others are in `more`
        cls,
        task: str | None = None,
        *,
        filters: Sequence[str] = (),
        limit: int | None = 100,
        sort: str = "downloads",
        catalogue: Any = None,  # noqa: ANN401 - a path or a Catalogue, a class that core does not know
        settings: Any = None,  # noqa: ANN401 - HubSettings, a class that core does not know
        **more: Any,  # noqa: ANN401 - the other fields of `Query`, which checks them
    ) -> Library:
        """Return the matching models of the Hub, from the local catalogue.

        If the catalogue has fewer than `limit` matching models, the Hub is asked, at most once a
        day. `origin` says how old the facts are.

        Args:
            task: The Hub's pipeline tag, such as "text-generation".
            filters: Tags that a model must have, such as "en" or "gguf".
            limit: The maximum number of models, the first in the order of `sort`; None for all.
            sort: One of `tryage.hub.catalog_query.SORTS`.
            catalogue: A path or a `tryage.hub.Catalogue`; by default the catalogue of
                `tryage hub sync`.
            settings: Address and token of the Hub, `tryage.hub.HubSettings`; by default from the
                environment.
            more: `license`, `author`, `search`, `min_parameters`, `max_parameters`, `since`,
                `gated` and `served`, as in `tryage.hub.catalog_query.Query`.

        Raises:
            InputError: an unknown or malformed condition.
            LibraryError: no model matches.
            HubError: the catalogue has no matching model, and the Hub cannot be asked.
            CatalogueError: the catalogue cannot be read.
        """
        # Imported by name: users look for this method here, but core must not depend on the hub.
        load_library = import_module("tryage.hub.candidates").load_library
        query = {"task": task, "filters": filters, "limit": limit, "sort": sort, **more}
        library: Library = load_library(query, catalogue, settings)
        return library

    def explain_missing(self) -> str:
        """Return which models `from_hub` left out because something about them is unknown, and why.

        It reads the catalogue as it is now.

        Raises:
            InputError: the library does not come from `from_hub`, or it is a subset of one.
            CatalogueError: the catalogue cannot be read.
        """
        origin = self.origin
        if origin is None or origin.query is None:
            raise InputError(
                "Only a library made by Library.from_hub knows what was left out, not a subset of "
                "it: ask the whole library."
            )
        # Imported by name, for the same reason as in `from_hub`.
        explain_missing = import_module("tryage.hub.candidates").explain_missing
        explanation: str = explain_missing(origin.query, origin.path)
        return explanation

    @classmethod
    def from_dicts(cls, rows: Iterable[Mapping[str, Any]]) -> Library:
        """Build a library from the dicts that `to_dicts` returned.

        Raises:
            InputError: a malformed row.
            LibraryError: no row, or names or aliases that clash.
        """
        if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
            raise InputError(f"A library is read from a list of dicts, got {preview(rows)}.")
        return cls([Expert.from_dict(row) for row in rows])

    @property
    def names(self) -> tuple[str, ...]:
        """Canonical names, in the order of every column."""
        return self._names

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self._names)

    def __iter__(self) -> Iterator[Expert]:
        """Yield each expert in order."""
        return (self[i] for i in range(len(self)))

    def __contains__(self, name: object) -> bool:
        """Return whether an expert has this name or alias, ignoring case."""
        return isinstance(name, str) and self._index.find(name) is not None

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
        """Return the position of the expert with this name or alias, ignoring case.

        Raises:
            LibraryError: no such expert; the message suggests similar names, and lists a few.
        """
        found = self._index.find(name) if isinstance(name, str) else None
        if found is None:
            few = len(self) <= _MAX_LISTED_NAMES
            known = f"; expected one of {list(self._names)}" if few else f" among {len(self)}"
            near = did_you_mean(str(name), self._names)
            raise LibraryError(f"No expert is called {name!r:.200}{known}.{near}")
        return found

    def column(self, field: str) -> NDArray[np.float64]:
        """Return a numeric field, read-only `(n,)`, NaN where unknown; `released` in ordinal days.

        Raises:
            InputError: not a numeric field.
        """
        if field not in NUMBER_RANGES:
            near = did_you_mean(field, NUMBER_RANGES)
            raise InputError(
                f"{field!r} is not a numeric column; expected one of {[*NUMBER_RANGES]}.{near}"
            )
        if field not in self._numbers:
            self._numbers[field] = _freeze(np.full(len(self), np.nan))
        return self._numbers[field]

    @property
    def aliases(self) -> NDArray[np.object_]:
        """Other names of each expert, `(n,)`, a tuple or None."""
        return self._object_column("aliases")

    @property
    def licenses(self) -> NDArray[np.object_]:
        """Licence of each expert in lower case, `(n,)`, None where unknown."""
        return self._object_column("license")

    @property
    def metadata(self) -> NDArray[np.object_]:
        """Other facts about each expert, `(n,)`, a mapping or None."""
        return self._object_column("metadata")

    @property
    def references(self) -> dict[int, str]:
        """The model that an expert is about as good as, by its position; most have none."""
        column = self._objects.get("about_as_good_as", ())
        return {i: name for i, name in enumerate(column) if name is not None}

    def licensed(self, licenses: Collection[str]) -> NDArray[np.bool_]:
        """Return which experts are known to have one of the (lower-case) licences, `(n,)`."""
        values, codes = self._category_codes("license")
        allowed = np.array([one is not None and one in licenses for one in values], dtype=np.bool_)
        return cast("NDArray[np.bool_]", allowed.take(codes))

    @property
    def known_licenses(self) -> frozenset[str]:
        """The licences that at least one expert is known to have, in lower case."""
        values, _ = self._category_codes("license")
        return frozenset(value for value in values if value is not None)

    def capability(self, name: str) -> NDArray[np.float64]:
        """Return 1 where the expert has the capability, 0 where not, NaN where unknown, `(n,)`."""
        name = name.strip().lower()
        values, codes = self._category_codes("capabilities")
        has = np.array([np.nan if one is None else float(name in one) for one in values])
        return cast("NDArray[np.float64]", has.take(codes))

    @property
    def as_of(self) -> datetime.datetime | None:
        """When the facts were read from the Hub (UTC), None if they come from elsewhere."""
        return None if self.origin is None else self.origin.as_of

    def subset(self, keep: Iterable[str] | NDArray[np.bool_] | NDArray[np.intp]) -> Library:
        """Return the library of some experts, by names, positions or a boolean mask `(n,)`.

        Names and positions set the order.

        Raises:
            InputError: a single string, or a mask of another length.
            LibraryError: an unknown name, or no expert left.
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
        """Return the library with some columns replaced; they are as in `from_columns`.

        Raises:
            InputError, LibraryError: as in `from_columns`.
        """
        library = self.from_columns(self._names, **{**self._numbers, **self._objects, **columns})
        library.origin = self.origin
        return library

    def with_expert(self, expert: Expert) -> Library:
        """Return the library with an expert at its end; it replaces one of the same name.

        Raises:
            LibraryError: one of its names already means another expert.
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

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return every expert as a JSON-safe dict."""
        return [expert.to_dict() for expert in self]

    def __repr__(self) -> str:
        """Show the size and the first names."""
        more = ", ..." if len(self) > 3 else ""
        return f"Library({len(self)} experts: {', '.join(self._names[:3])}{more})"

    def __copy__(self) -> Library:
        """Return the library itself, because it never changes."""
        return self

    def __deepcopy__(self, memo: object) -> Library:
        """Return the library itself, because it never changes."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the columns without the name index: hashes differ between processes."""
        return _build_library, (self.origin, self._names, dict(self._numbers), dict(self._objects))

    def _check_and_set(self, names: Sequence[str], columns: Mapping[str, Any]) -> None:
        """Check the columns and set those in which any value is known."""
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
        """Set checked columns, make them read-only, and index the names."""
        if not names:
            raise LibraryError("The library is empty; give at least one expert.")
        self._names, self._numbers, self._objects = names, numbers, objects
        self._code_cache: dict[str, tuple[tuple[Any, ...], NDArray[np.int32]]] = {}
        for column in (*numbers.values(), *objects.values()):
            column.setflags(write=False)
        self._index = NameIndex(names, objects.get("aliases"))
        self.origin: Provenance | None = None

    def _object_column(self, field: str) -> NDArray[np.object_]:
        """Return a column of objects, read-only, all None if no value is known."""
        if field not in self._objects:
            self._objects[field] = _freeze(np.full(len(self), None, dtype=object))
        return self._objects[field]

    def _category_codes(self, field: str) -> tuple[tuple[Any, ...], NDArray[np.int32]]:
        """Return the distinct values of a column, and for each expert the position of its value."""
        if field not in self._code_cache:
            code_of: dict[Any, int] = {}
            column = self._objects.get(field, [None] * len(self))
            codes = [code_of.setdefault(value, len(code_of)) for value in column]
            self._code_cache[field] = tuple(code_of), np.array(codes, dtype=np.int32)
        return self._code_cache[field]


@dataclass(frozen=True, slots=True)
class Provenance:
    """The catalogue that a library was read from.

    `path` is the file of the catalogue. `as_of` is when the Hub was asked (UTC), None if unknown.
    `query` holds the arguments of `Library.from_hub`, without a token, None if the library is a
    subset of the models that they find. `supplement` is a library that fills in missing facts.
    `added_experts` names the experts that were onboarded later.
    """

    path: str
    as_of: datetime.datetime | None = None
    query: Mapping[str, Any] | None = field(default=None, hash=False)
    supplement: Library | None = None
    added_experts: tuple[str, ...] = ()


class NameIndex:
    """Finds the position of an expert by name or alias, ignoring case, in a sorted array of hashes.

    The array takes less memory than a dict of a million names.

    Raises:
        LibraryError: two experts share a name or an alias.
    """

    def __init__(self, names: Sequence[str], aliases: NDArray[np.object_] | None) -> None:
        self._names, self._aliases = names, aliases
        n = len(names)
        hashes = np.fromiter((hash(name.casefold()) for name in names), np.int64, n)
        alias_pairs = [(hash(alias.casefold()), i) for alias, i in self._iter_aliases()]
        alias_table = np.array(alias_pairs, dtype=np.int64).reshape(-1, 2)
        hashes = np.concatenate([hashes, alias_table[:, 0]])
        positions = np.concatenate([np.arange(n), alias_table[:, 1]])
        order = np.argsort(hashes, kind="stable")  # names come before aliases
        self._hashes = hashes[order].data
        self._positions = positions[order].astype(np.int32)
        self._check_unique(hashes[order])

    def find(self, name: str) -> int | None:
        """Return the position of the expert with this name or alias, None if there is none."""
        folded = name.casefold()
        target = hash(folded)
        row = bisect_left(self._hashes, target)
        while row < len(self._hashes) and self._hashes[row] == target:
            i = int(self._positions[row])
            if folded in self._casefolded_names(i):
                return i
            row += 1
        return None

    def _casefolded_names(self, i: int) -> set[str]:
        """Return the name and the aliases of expert `i`."""
        aliases = () if self._aliases is None else self._aliases[i] or ()
        return {name.casefold() for name in (self._names[i], *aliases)}

    def _iter_aliases(self) -> Iterator[tuple[str, int]]:
        """Yield every alias with the position of its expert."""
        for i, aliases in enumerate(self._aliases if self._aliases is not None else ()):
            yield from ((alias, i) for alias in aliases or ())

    def _check_unique(self, hashes: NDArray[np.int64]) -> None:
        """Raise if two experts share a name; only equal hashes have to be compared."""
        same = np.flatnonzero(hashes[1:] == hashes[:-1])
        suspects = {int(self._positions[row]) for j in same.tolist() for row in (j, j + 1)}
        owners: dict[str, int] = {}
        for i in sorted(suspects):
            name = self._names[i]
            if owners.setdefault(name.casefold(), i) != i:
                raise LibraryError(f"Two experts are called {name!r} (ignoring case). Rename one.")
        for i in sorted(suspects):
            for alias in () if self._aliases is None else self._aliases[i] or ():
                owner = owners.setdefault(alias.casefold(), i)
                if owner != i:
                    raise LibraryError(
                        f"The alias {alias!r:.80} of {self._names[i]!r:.80} already means "
                        f"{self._names[owner]!r}. Drop one."
                    )


def merge_missing_facts(library: Library, other: Library) -> Library:
    """Return `library` with its missing numbers filled in from `other`.

    Experts are matched by any of their names. The names in `other` become aliases, unless they
    already mean another expert. Known numbers stay, and experts that `other` lacks do not change.
    """
    pairs = _match_experts(library, other)
    if not pairs:
        return library
    aliases = library.aliases.copy()
    taken: set[str] = set()
    for i, j in pairs.items():
        expert = other[j]
        own = list(aliases[i] or ())
        for name in (expert.name, *expert.aliases):
            if name not in library and name.casefold() not in taken:
                own.append(name)
                taken.add(name.casefold())
        aliases[i] = tuple(own) or None
    rows, other_rows = (np.array(side, dtype=np.intp) for side in zip(*pairs.items(), strict=True))
    numbers: dict[str, Any] = {}
    for name in NUMBER_RANGES:
        column = library.column(name).copy()
        known = column[rows]
        column[rows] = np.where(np.isnan(known), other.column(name)[other_rows], known)
        numbers[name] = column
    return library.with_columns(aliases=aliases, **numbers)


def _match_experts(library: Library, other: Library) -> dict[int, int]:
    """Return position in `library` -> position in `other` of the experts that both have."""
    pairs: dict[int, int] = {}
    for j, name in enumerate(other.names):
        names = (name, *(other.aliases[j] or ()))
        i = next((library.index(one) for one in names if one in library), None)
        if i is not None:
            pairs.setdefault(i, j)
    return pairs


def _build_library(origin: Provenance | None, *columns: Any) -> Library:  # noqa: ANN401 - the arguments of `_set_columns`
    """Build a library from checked columns."""
    library = Library.__new__(Library)
    library._set_columns(*columns)  # noqa: SLF001 - the constructor would check them again
    library.origin = origin
    return library


def _freeze(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array
