"""The experts one router chooses among, in columns."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.columns import ExpertColumns, NameIndex
from tryage.core.expert import FIELDS, Expert
from tryage.core.validation import NUMBER_RANGES, check_strings, did_you_mean
from tryage.errors import InputError, LibraryError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Library(ExpertColumns):
    """The experts one router chooses among: immutable columns, so a rule is one vector operation.

    Names and aliases are unique, whatever their case, and either finds the expert. `origin` says
    where the facts come from and how old they are, None if somebody wrote them down.

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

    def _set_columns(
        self,
        names: tuple[str, ...],
        numbers: dict[str, NDArray[np.float64]],
        objects: dict[str, NDArray[np.object_]],
    ) -> None:
        """Take checked columns over, and index the names."""
        if not names:
            raise LibraryError("The library is empty; give at least one expert.")
        super()._set_columns(names, numbers, objects)
        self._index = NameIndex(names, objects.get("aliases"))
        self.origin: Provenance | None = None

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
