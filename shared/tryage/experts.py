"""What is known about the candidate models: one `Expert`, and a `Library` of them in columns."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tryage.errors import InputError, LibraryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ANY = (-math.inf, math.inf)
_POSITIVE = (0.0, math.inf)

# Every field that is a number, with its closed range. Flesch reading ease may be negative.
NUMBER_RANGES: Mapping[str, tuple[float, float]] = {
    "parameters": _POSITIVE,
    "active_parameters": _POSITIVE,
    "released": (1, datetime.date.max.toordinal()),
    "security": (0.0, 1.0),
    "input_price": _POSITIVE,
    "output_price": _POSITIVE,
    "latency": _POSITIVE,
    "output_tokens": _POSITIVE,
    "readability": _ANY,
    "downloads": _POSITIVE,
    "context_length": _POSITIVE,
}
_OBJECTS = ("aliases", "license", "capabilities", "metadata")


def did_you_mean(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """Return " Did you mean a, b?" with the nearest choices, or "" when nothing is near."""
    folded = {choice.casefold(): choice for choice in choices}
    pool: Iterable[str] = folded
    if len(folded) > 5_000:  # difflib compares one by one: minutes for a million names
        pool = [name for name in folded if word[:4].casefold() in name][:5_000]
    near = get_close_matches(word[:200].casefold(), pool, n=limit)
    return f" Did you mean {', '.join(folded[name] for name in near)}?" if near else ""


def number(name: str, value: object, low: float = 0.0, high: float = math.inf) -> float:
    """Return `value` as a finite float within [low, high].

    Raises:
        InputError: not a real number, NaN, infinite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} must be a number, got {type(value).__name__} {value!r:.80}.")
    result = _float(value)
    if not math.isfinite(result) or not low <= result <= high:
        raise InputError(f"{name} must be {_span(low, high)}, got {value!r}. {_UNKNOWN}")
    return result


def strings(name: str, value: object) -> tuple[str, ...]:
    """Return a list, tuple or set of non-empty strings as a tuple.

    Raises:
        InputError: a lone string, not a collection, or an item that is not a non-empty string.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InputError(f"{name} must be a list of strings, got {value!r:.80}. Write [...].")
    items = tuple(sorted(value) if isinstance(value, (set, frozenset)) else value)
    for item in items:
        if not isinstance(item, str) or not item.strip():
            raise InputError(f"{name} must hold non-empty strings, got {item!r:.80}.")
    return items


def _float(value: Real) -> float:
    """Return a float; an integer too large for one is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


_UNKNOWN = "Leave it out (None) when it is unknown."


def _span(low: float, high: float) -> str:
    """Say a range in words."""
    if high < math.inf:
        return f"between {low:g} and {high:g}"
    return "finite" if low == -math.inf else f"finite and at least {low:g}"


@dataclass(frozen=True, slots=True)
class Expert:
    """What is known about a candidate model, never the client that calls it.

    None means unknown; it is never read as zero or as free. Units: `parameters` and
    `active_parameters` are counts (7e9), prices USD per million tokens, `latency` seconds to a
    typical answer, `output_tokens` the length of a typical answer, `readability` Flesch reading
    ease (higher is easier), `security` 1 when every scan passed. `metadata` is JSON-safe.

    Raises:
        InputError: a wrong type, NaN, infinite, negative or out of range.
    """

    name: str
    aliases: tuple[str, ...] = ()
    parameters: float | None = None
    active_parameters: float | None = None
    released: datetime.date | None = None
    license: str | None = None
    security: float | None = None
    input_price: float | None = None
    output_price: float | None = None
    latency: float | None = None
    output_tokens: float | None = None
    readability: float | None = None
    downloads: float | None = None
    context_length: int | None = None
    capabilities: frozenset[str] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check every field and bring it to its one form (tuple, lower case, float)."""
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"An expert's name must be a non-empty string, got {self.name!r:.80}.")
        for name, (low, high) in NUMBER_RANGES.items():
            value = getattr(self, name)
            if value is not None and name != "released":
                checked = number(f"{self.name}: {name}", value, low, high)
                self._set(name, int(checked) if name == "context_length" else checked)
        self._set("released", _date(self.released))
        for name in _OBJECTS:
            self._set(name, _clean(name, getattr(self, name)))
        self._set("aliases", self.aliases or ())
        self._set("metadata", self.metadata or {})

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the known fields, JSON-safe; unknown ones are left out."""
        result: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if value is None or (name in ("aliases", "metadata") and not value):
                continue
            result[name] = _plain(value)
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Expert:
        """Build an expert from what `to_dict` wrote.

        Raises:
            InputError: not a mapping, an unknown field, no name, or a value out of range.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"An expert is read from a dict, got {type(data).__name__}.")
        for key in data:
            if key not in _FIELDS:
                raise InputError(
                    f"{key!r} is not a field of Expert.{did_you_mean(str(key), _FIELDS)}"
                )
        if "name" not in data:
            raise InputError(f"An expert needs a name; got only {sorted(data)}.")
        known = dict(data)
        if isinstance(known.get("released"), str):
            try:
                known["released"] = datetime.date.fromisoformat(known["released"])
            except ValueError as error:
                raise InputError(f"released must be YYYY-MM-DD: {error}.") from error
        return cls(**known)


_FIELDS = tuple(f.name for f in fields(Expert))


def _date(value: object) -> datetime.date | None:
    """Return a date, or None when unknown; a datetime loses its time."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if value is None or isinstance(value, datetime.date):
        return value
    raise InputError(f"released must be a datetime.date, got {type(value).__name__} {value!r:.80}.")


def _clean(name: str, value: object) -> Any:  # noqa: ANN401 - one of four types, named by `name`
    """Check one value that is not a number and bring it to its one form; None stays None."""
    if value is None:
        return None
    if name == "aliases":
        return strings(name, value)
    if name == "capabilities":
        return frozenset(item.strip().lower() for item in strings(name, value))
    if name == "metadata":
        if not isinstance(value, Mapping):
            raise InputError(f"metadata must be a dict, got {type(value).__name__}.")
        return dict(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"license must be a string such as 'apache-2.0', got {value!r:.80}.")
    return value.strip().lower()


def _plain(value: object) -> object:
    """Return a JSON-safe copy of one field."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, frozenset)):
        return sorted(value) if isinstance(value, frozenset) else list(value)
    return value


class Library:
    """The experts one router chooses among: immutable columns, so a rule is one vector operation.

    Names and aliases are unique, whatever their case, and either finds the expert.

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
        columns = {name: [getattr(row, name) for row in rows] for name in _FIELDS[1:]}
        self._fill([row.name for row in rows], columns)

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
            if name not in _FIELDS[1:]:
                raise InputError(f"{name!r} is not a column.{did_you_mean(name, _FIELDS[1:])}")
        library = cls.__new__(cls)
        library._fill(strings("names", names), columns)  # noqa: SLF001 - our own class
        return library

    def _fill(self, names: Sequence[str], columns: Mapping[str, Any]) -> None:
        """Check the columns, keep those in which anything is known, and index the names."""
        numbers, objects = {}, {}
        for name, values in columns.items():
            if isinstance(values, (str, bytes)) or len(values) != len(names):
                got = repr(values)[:80] if isinstance(values, str) else f"{len(values)} values"
                raise InputError(f"Column {name} needs {len(names)} values, got {got}.")
            if name in NUMBER_RANGES:
                numbers[name] = _number_column(name, values)
            elif any(value is not None for value in values):
                objects[name] = _object_column(name, values)
        self._adopt(tuple(names), numbers, objects)

    def _adopt(
        self,
        names: tuple[str, ...],
        numbers: dict[str, NDArray[np.float64]],
        objects: dict[str, NDArray[np.object_]],
    ) -> None:
        """Take checked columns over and freeze them."""
        if not names:
            raise LibraryError("The library is empty; give at least one expert.")
        self._names, self._numbers, self._objects = names, numbers, objects
        self._capability: dict[str, NDArray[np.float64]] = {}
        self._license_codes: tuple[dict[str | None, int], NDArray[np.intp]] | None = None
        self._index = _index(names, objects.get("aliases"))
        for column in (*numbers.values(), *objects.values()):
            column.setflags(write=False)

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
        """Tell whether an expert has this name or alias, whatever its case."""
        return isinstance(name, str) and name.casefold() in self._index

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
        found = self._index.get(name.casefold()) if isinstance(name, str) else None
        if found is None:
            near = did_you_mean(str(name), self._names)
            raise LibraryError(f"No expert is called {name!r:.200} among {len(self)}.{near}")
        return found

    def column(self, field: str) -> NDArray[np.float64]:
        """Return a numeric field, read-only `(n,)`, NaN where unknown; `released` in ordinal days.

        Raises:
            InputError: not a numeric field.
        """
        if field not in NUMBER_RANGES:
            near = did_you_mean(field, NUMBER_RANGES)
            raise InputError(f"{field!r} is no numeric column; there is {[*NUMBER_RANGES]}.{near}")
        if field not in self._numbers:
            self._numbers[field] = _frozen(np.full(len(self), np.nan))
        return self._numbers[field]

    @property
    def licenses(self) -> NDArray[np.object_]:
        """Licences in lower case, `(n,)`, None where unknown."""
        if "license" not in self._objects:
            self._objects["license"] = _frozen(np.full(len(self), None, dtype=object))
        return self._objects["license"]

    def licensed(self, licenses: Collection[str]) -> NDArray[np.bool_]:
        """Tell which experts are known to have one of the (lower-case) licences, `(n,)`."""
        if self._license_codes is None:  # a few dozen licences, maybe a million experts
            codes: dict[str | None, int] = {}
            rows = [codes.setdefault(item, len(codes)) for item in self.licenses]
            self._license_codes = codes, np.array(rows, dtype=np.intp)
        codes, positions = self._license_codes
        wanted = np.array([item is not None and item in licenses for item in codes], dtype=np.bool_)
        return cast("NDArray[np.bool_]", wanted[positions])

    def capability(self, name: str) -> NDArray[np.float64]:
        """Return 1 where the expert can, 0 where it cannot, NaN where unknown; read-only `(n,)`."""
        name = name.strip().lower()
        if name not in self._capability:
            known = self._objects.get("capabilities", ())
            column = [np.nan if able is None else float(name in able) for able in known]
            array = np.array(column) if column else np.full(len(self), np.nan)
            self._capability[name] = _frozen(array)
        return self._capability[name]

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
            rows = np.array([self.index(name) for name in strings("names", keep)], dtype=np.intp)
        library = Library.__new__(Library)
        library._adopt(  # noqa: SLF001 - our own class
            tuple(self._names[i] for i in rows.tolist()),
            {name: column[rows] for name, column in self._numbers.items()},
            {name: column[rows] for name, column in self._objects.items()},
        )
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


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _index(names: Sequence[str], aliases: NDArray[np.object_] | None) -> dict[str, int]:
    """Map every folded name and alias to its position; a clash is an error."""
    index: dict[str, int] = {}
    for i, name in enumerate(names):
        if index.setdefault(name.casefold(), i) != i:
            raise LibraryError(
                f"Two experts are called {name!r} (case does not count). Rename one."
            )
    for i, others in enumerate(aliases if aliases is not None else ()):
        for alias in others or ():
            owner = index.setdefault(alias.casefold(), i)
            if owner != i:
                raise LibraryError(
                    f"The alias {alias!r} of {names[i]!r} already means {names[owner]!r}. Drop one."
                )
    return index


def _number_column(name: str, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    """Return a checked float64 copy `(n,)`, NaN where unknown."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        days = values.astype("datetime64[D]")
        epoch = datetime.date(1970, 1, 1).toordinal()
        column = np.where(np.isnat(days), np.nan, days.astype(np.int64) + float(epoch))
    elif isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        column = values.astype(np.float64)
    else:
        column = np.array([_cell(name, value) for value in values], dtype=np.float64)
    low, high = NUMBER_RANGES[name]
    bad = ~np.isnan(column) & ~(np.isfinite(column) & (column >= low) & (column <= high))
    if column.ndim != 1 or bad.any():
        got = f"shape {column.shape}" if column.ndim != 1 else repr(float(column[bad][0]))
        raise InputError(f"Column {name} must be {_span(low, high)}, got {got}. {_UNKNOWN}")
    return column


def _cell(name: str, value: object) -> float:
    """Return one value of a numeric column, NaN when unknown."""
    if value is None:
        return math.nan
    if name == "released" and isinstance(value, datetime.date):
        return float(value.toordinal())
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"Column {name} holds {value!r:.80}; expected a number or None.")
    return _float(value)


def _object_column(name: str, values: Iterable[Any]) -> NDArray[np.object_]:
    """Return a checked object column `(n,)`, None where unknown."""
    cells = [_clean(name, value) for value in values]
    column = np.empty(len(cells), dtype=object)
    for i, cell in enumerate(cells):  # slice assignment would unpack tuples into a matrix
        column[i] = cell
    return column
