"""`ModelSnapshot`: facts about models that can be called, each with source, date and confidence.

A snapshot is one gzip file of JSON, made from public tables by `benchmarks/model_facts/make.py`:

    {"format": 1, "made": "2026-11-28", "sources": {source: {"url", "licence", "date"}},
     "models": {name: {field: [value, source, date, confidence]}},
     "builds": {name: {date: {field: [value, source, date, confidence]}}},
     "hosts": {name: {host: {field: [value, source, date, confidence]}}},
     "aliases": {key: name}}

`builds` and `hosts` hold only what differs from the model: "gpt-4o-2024-05-13" has its own price,
and so has an open model at each host.
"""

from __future__ import annotations

import datetime
import gzip
import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from tryage.errors import CatalogueError
from tryage.models.hosts import host_of
from tryage.models.names import ModelName, name_key, parse_model_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FORMAT = 1

MAX_BYTES = 32 * 2**20  # of a snapshot without compression; the bundled one has a tenth of it


# --- facts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelFact:
    """One value with its provenance.

    Attributes:
        value: As in the file: a number, a text, a bool, or a list of texts.
        source: Where it comes from: a key of `ModelSnapshot.sources`, or a text for people.
        date: When the source was right, as an ISO date; None if it does not say.
        confidence: How often such a source is right, from 0 to 1.
    """

    value: Any
    source: str
    date: str | None
    confidence: float


def _is_number(value: object, limit: float = 1e12) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= cast("float", value) < limit


def _is_price(value: object) -> bool:
    return _is_number(value, 1e5)


def _is_count(value: object) -> bool:
    return _is_number(value) and cast("float", value) == round(cast("float", value))


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_date(value: object) -> bool:
    """Return whether a value is an ISO date, month or year."""
    if not isinstance(value, str):
        return False
    try:
        datetime.date.fromisoformat(value + _REST_OF_DATE.get(len(value), ""))
    except ValueError:
        return False
    return True


_REST_OF_DATE = {4: "-01-01", 7: "-01"}


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MAX_TEXTS and all(map(_is_text, value))


def _is_text(value: object) -> bool:
    """Return whether a value is a text that can be shown on a line of a terminal."""
    return isinstance(value, str) and 0 < len(value) <= _MAX_LETTERS and value.isprintable()


_MAX_TEXTS, _MAX_LETTERS = 20, 120


FIELDS: Mapping[str, Callable[[object], bool]] = {
    "input_price": _is_price,
    "output_price": _is_price,
    "cached_input_price": _is_price,
    "cache_write_price": _is_price,
    "context_length": _is_count,
    "output_limit": _is_count,
    "input_modalities": _is_texts,
    "output_modalities": _is_texts,
    "tools": _is_bool,
    "structured_output": _is_bool,
    "reasoning": _is_bool,
    "open_weights": _is_bool,
    "released": _is_date,
    "knowledge": _is_date,
}
"""The facts of a model and what their values may be; prices are USD per million tokens."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What a snapshot knows about one model.

    Attributes:
        name: The canonical name: "claude-sonnet-4-5".
        spelling: What the given name says beside the model: provider, date, effort, quantization.
        records: Of each known field value, source, date and confidence, as in the file.
    """

    name: str
    spelling: ModelName
    records: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False)

    @property
    def facts(self) -> dict[str, ModelFact]:
        """The facts by field of `FIELDS`; an unknown fact is absent."""
        return {name: ModelFact(*record) for name, record in self.records.items()}

    def value(self, name: str) -> Any:  # noqa: ANN401 - the type depends on the field
        """Return the value of a fact, None if it is unknown."""
        record = self.records.get(name)
        return None if record is None else record[0]


# --- the snapshot -----------------------------------------------------------------------------


class ModelSnapshot:
    """Facts about models by name, at one date.

    Attributes:
        made: When the newest of its tables was right.
        sources: Address, licence and date of each table.
        other_keys: Keys that no rule joins to their model: "mistral-large-3".

    Args:
        data: The content of a snapshot file, as the head of this module shows.

    Raises:
        CatalogueError: `data` is not a snapshot, or one of a newer format.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        _check_structure(data)
        self.made = datetime.date.fromisoformat(data["made"])
        self.sources: Mapping[str, Mapping[str, str]] = data["sources"]
        self._models: Mapping[str, Mapping[str, Any]] = data["models"]
        self._builds: Mapping[str, Mapping[str, Mapping[str, Any]]] = data["builds"]
        self._hosts: Mapping[str, Mapping[str, Mapping[str, Any]]] = data["hosts"]
        self.other_keys: Mapping[str, str] = data["aliases"]
        self._names = {
            key: name
            for key, name in self.other_keys.items()
            if isinstance(name, str) and name in self._models
        }
        self._names |= {name_key(name): name for name in self._models}

    @classmethod
    def from_bytes(cls, data: bytes, *, check: bool = False) -> ModelSnapshot:
        """Read a snapshot file; `check` checks every fact of it.

        Raises:
            CatalogueError: it is damaged, too large, or of a newer format.
        """
        content = _read_json(data)
        snapshot = cls(content)
        if check:
            check_facts(content)
        return snapshot

    def __len__(self) -> int:
        """Return the number of models."""
        return len(self._models)

    def __iter__(self) -> Iterator[str]:
        """Yield the canonical names."""
        return iter(self._models)

    def find(self, name: str) -> KnownModel | None:
        """Return the model that a name means; None if the snapshot does not know it.

        A name is never taken for another generation: without "gpt-9" in the snapshot, "gpt-9" is
        unknown.
        """
        spelling = parse_model_name(name, self._names)
        model = None if spelling is None else self._names.get(spelling.key)
        if spelling is None or model is None:
            return None
        records = self._models[model]
        if build := self._builds.get(model, {}).get(spelling.date or ""):
            records = _with_prices(records, build)
        if spelling.provider is not None and (offers := self._hosts.get(model)) is not None:
            host = host_of(spelling.provider) or ""
            offer = offers.get(host) or offers.get(host.partition("/")[0])
            records = records if offer is None else _with_prices(records, offer)
        return KnownModel(model, spelling, records)

    def suggest(self, name: str, limit: int = 3) -> list[str]:
        """Return names that look like a name which is not known."""
        import difflib

        spelling = parse_model_name(name, self._names)
        key = name_key(name) if spelling is None else spelling.key
        keys = difflib.get_close_matches(key, self._names, n=limit, cutoff=0.75)
        return list(dict.fromkeys(self._names[key] for key in keys))

    def age(self, today: datetime.date) -> int:
        """Return how many days old the snapshot is; zero on a clock that is behind."""
        return max(0, (today - self.made).days)


PRICE_FIELDS = ("input_price", "output_price", "cached_input_price", "cache_write_price")


def _with_prices(records: Mapping[str, Any], prices: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts with other prices; a price of a cache that is not among them is unknown."""
    others = {name: record for name, record in records.items() if name not in PRICE_FIELDS}
    return {**others, **prices}


# --- reading and checking ---------------------------------------------------------------------


def encode_snapshot(data: Mapping[str, Any]) -> bytes:
    """Return the file of a snapshot; equal data give equal bytes.

    Raises:
        CatalogueError: the data are not a snapshot.
    """
    _check_structure(data)
    check_facts(data)
    text = json.dumps(data, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return gzip.compress(text.encode(), mtime=0)


def _read_json(data: bytes) -> Any:  # noqa: ANN401 - the structure is checked after it
    """Return what a file holds, without unpacking more than `MAX_BYTES`."""
    try:
        unpacker = zlib.decompressobj(wbits=31)  # a gzip file
        text = unpacker.decompress(data, MAX_BYTES)
        if not unpacker.eof or unpacker.unused_data:
            raise CatalogueError(
                f"The snapshot is cut off, larger than {MAX_BYTES >> 20} MB, or followed by other "
                f"data. {_MEND}"
            )
        return json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise CatalogueError(f"The snapshot is not gzip of JSON ({error}). {_MEND}") from error


_MEND = "Fetch it again with `tryage models update`, or delete it to use the one in the package."

_PARTS = {"made": str, "sources": dict, "models": dict, "builds": dict, "hosts": dict,
          "aliases": dict}  # fmt: skip


def _check_structure(data: object) -> None:
    if not isinstance(data, dict) or "format" not in data:
        raise CatalogueError(f"The file holds no snapshot of models. {_MEND}")
    if data["format"] != FORMAT:
        raise CatalogueError(
            f"The snapshot has format {data['format']!r:.20}; this version of Tryage reads "
            f"{FORMAT}. Upgrade with `pip install --upgrade tryage`."
        )
    wrong = [name for name, kind in _PARTS.items() if not isinstance(data.get(name), kind)]
    if wrong or not _is_date(data["made"]) or len(data["made"]) != 10:
        raise CatalogueError(f"The snapshot has no {wrong[0] if wrong else 'date'!r}. {_MEND}")


def check_facts(data: Mapping[str, Any]) -> None:
    """Check every fact of a snapshot.

    Raises:
        CatalogueError: a fact is of an unknown field or has a value that such a fact cannot have;
            or an alias means no model.
    """
    try:
        for name, records in data["models"].items():
            _check_records(name, records, data["sources"])
        for name, variants in [*data["builds"].items(), *data["hosts"].items()]:
            for variant, records in variants.items():
                _check_records(f"{name} ({variant})", records, data["sources"])
        for key, name in data["aliases"].items():
            if name not in data["models"]:
                raise CatalogueError(
                    f"The alias {key!r:.80} means {name!r:.80}, which is no model."
                )
    except (AttributeError, TypeError) as error:
        raise CatalogueError(
            f"A part of the snapshot has another form: {error}. {_MEND}"
        ) from error


def _check_records(name: str, records: object, sources: Mapping[str, Any]) -> None:
    if not _is_text(name):
        raise CatalogueError(f"{name!r:.80} is no name of a model. {_MEND}")
    if not isinstance(records, dict):
        raise CatalogueError(f"The facts of {name!r:.80} are a {type(records).__name__}. {_MEND}")
    for field_name, record in records.items():
        if field_name not in FIELDS or not isinstance(record, list) or len(record) != 4:
            raise CatalogueError(f"{name!r:.80} has no readable fact {field_name!r:.40}. {_MEND}")
        value, source, date, confidence = record
        is_known = source in sources and (date is None or _is_date(date))
        if not FIELDS[field_name](value) or not is_known or not _is_number(confidence, 1.01):
            raise CatalogueError(f"{name!r:.80} has {field_name} {record!r:.80}. {_MEND}")
