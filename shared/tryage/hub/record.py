"""Odd JSON made harmless: each reader returns a value of the one right type, or None."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tryage.hub.model import Fact

Record: TypeAlias = Mapping[str, Any]  # one JSON object as the Hub sent it

_EMPTY: Record = {}

_LONGEST = 500  # no name, tag or licence is longer; what is, is not one

_LARGEST = 1e15  # a thousand times the largest model

_MOST_FILES = 20_000  # a repository with more is a data set that calls itself a model


def text(value: object, longest: int = _LONGEST) -> str | None:
    """Return a non-empty string without surrounding blanks that can be stored as UTF-8."""
    if not isinstance(value, str):
        return None
    value = value.strip()
    if not value or len(value) > longest:
        return None
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair: legal JSON, no text
            return None
    return None if "\0" in value else value


def texts(value: object) -> tuple[str, ...]:
    """Return the usable strings of a string or a list."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in map(text, items) if item is not None)


def words(line: str) -> frozenset[str]:
    """Return the words of a table."""
    return frozenset(line.split())


def amount(value: object) -> float | None:
    """Return a finite number that is not negative; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) and result >= 0 else None


def positive(value: object) -> float | None:
    """Return a finite number above zero."""
    return amount(value) or None


def size(value: object) -> float | None:
    """Return a number of parameters, elements or bytes that a model can have."""
    found = positive(value)
    return found if found is not None and found <= _LARGEST else None


def flag(value: object) -> bool | None:
    """Return true or false, and nothing for whatever only looks like it."""
    return value if isinstance(value, bool) else None


def mapping(value: object) -> Record:
    """Return an object, an empty one for anything else."""
    return value if isinstance(value, (dict, Mapping)) else _EMPTY  # dict alone is found quicker


def items(value: object) -> Sequence[Any]:
    """Return a list, an empty one for anything else."""
    return value if isinstance(value, list) else ()


def moment(value: object) -> datetime.datetime | None:
    """Return an ISO 8601 time in UTC; a time without a zone is UTC."""
    if not isinstance(value, str):
        return None
    if value.endswith("Z"):  # Python 3.10 does not read it
        value = value[:-1] + "+00:00"
    try:
        found = datetime.datetime.fromisoformat(value)
        if found.tzinfo is None:
            return found.replace(tzinfo=datetime.timezone.utc)
        return found.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class File:
    """One file of a repository; `size` in bytes, `scan` the status its scanners gave."""

    path: str
    size: float | None
    scan: str | None


@dataclass(frozen=True, slots=True)
class Clues:
    """The parts of a record that more than one rule reads, each of the one right type.

    `config` is the listing's `config`, or a whole config.json where the caller fetched one and put
    it in the record in its place.
    """

    name: str
    seen: datetime.datetime
    record: Record
    tags: tuple[str, ...]
    marks: frozenset[str]
    task: str | None
    library: str | None
    config: Record
    card: Record
    files: tuple[File, ...]

    def fact(self, value: Any, source: str, confidence: float) -> Fact:  # noqa: ANN401 - any fact
        """Return a fact that was seen with this record."""
        return Fact(value, source, self.seen, confidence)

    @property
    def short_name(self) -> str:
        """The name without its owner."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def is_adapter(self) -> bool:
        """Whether the weights are a small addition to those of a base model."""
        return (
            self.library == "peft"
            or "peft" in self.marks
            or any(tag.startswith("base_model:adapter:") for tag in self.tags)
            or any(file.path == "adapter_config.json" for file in self.files)
        )

    def nested(self, key: str) -> Any:  # noqa: ANN401 - raw JSON
        """Return an entry of the config, or of the language model's part of it."""
        found = self.config.get(key)
        return mapping(self.config.get("text_config")).get(key) if found is None else found


def gather(record: Record, name: str, seen: datetime.datetime) -> Clues:
    """Read the shared parts of a record."""
    tags = texts(record["tags"]) if isinstance(record.get("tags"), list) else ()
    return Clues(
        name=name,
        seen=seen,
        record=record,
        tags=tags,
        marks=frozenset(tag.lower() for tag in tags),
        task=text(record.get("pipeline_tag")),
        library=text(record.get("library_name")),
        config=mapping(record.get("config")),
        card=mapping(record.get("cardData")),
        files=_files(record.get("siblings")),
    )


def _files(value: object) -> tuple[File, ...]:
    """Return the files of a listing (`rfilename`) or of a tree (`path`)."""
    found = []
    for entry in items(value)[:_MOST_FILES]:
        row = mapping(entry)
        path = text(row.get("rfilename")) or text(row.get("path"))
        if path is not None:
            length = size(mapping(row.get("lfs")).get("size")) or size(row.get("size"))
            scan = text(mapping(row.get("securityFileStatus")).get("status"))
            found.append(File(path, length, scan))
    return tuple(found)
