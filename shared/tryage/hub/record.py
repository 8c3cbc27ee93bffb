"""JSON of the Hub, read defensively: each reader returns a value of one type, or nothing.

`ParsedRecord` holds the parts of a model's record that several parsers read.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tryage.core.printable import has_control_characters
from tryage.hub.model import Fact

HubRecord: TypeAlias = Mapping[str, Any]  # one JSON object as the Hub sent it

_EMPTY: HubRecord = {}

_MAX_TEXT_LENGTH = 500  # characters; no name, tag or licence is longer

# The Hub allows letters, digits, ".", "-" and "_"; these have a meaning in paths, pages and URLs.
_MODEL_NAME = re.compile(r"""\w[^\s/\\<>&"'`?#|]*(?:/\w[^\s/\\<>&"'`?#|]*)?""")

_MAX_SIZE = 1e15  # parameters or bytes; a thousand times the largest model

_MAX_TAGS = 10_000  # that are read; models have some dozens

_MAX_FILES = 20_000  # a repository with more is a data set in a model repository


def as_str(value: object, max_length: int = _MAX_TEXT_LENGTH) -> str | None:
    """Return a string without surrounding blanks, if it is not empty and can be shown on a line.

    Terminals and pages show these texts, so one with a control character is none.
    """
    if not isinstance(value, str):
        return None
    value = value.strip()
    if not value or len(value) > max_length or has_control_characters(value):
        return None
    return value


def as_model_name(value: object) -> str | None:
    """Return `owner/name`, or the bare name of an older model; a path on a disk is none."""
    name = as_str(value)
    if name is None or _MODEL_NAME.fullmatch(name) is None or ".." in name:
        return None
    return name


def as_strings(value: object) -> tuple[str, ...]:
    """Return the valid strings of a string or a list."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in map(as_str, items) if item is not None)


def split_words(line: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(line.split())


def as_nonnegative_float(value: object) -> float | None:
    """Return a finite number that is not negative; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) and result >= 0 else None


def as_positive_float(value: object) -> float | None:
    """Return a finite number above zero."""
    return as_nonnegative_float(value) or None


def as_size(value: object) -> float | None:
    """Return a positive number of parameters, elements or bytes that a model can have."""
    size = as_positive_float(value)
    return size if size is not None and size <= _MAX_SIZE else None


def as_bool(value: object) -> bool | None:
    """Return true or false; None for any other type."""
    return value if isinstance(value, bool) else None


def as_mapping(value: object) -> HubRecord:
    """Return a JSON object, an empty one for anything else."""
    # A dict is recognized faster than a Mapping.
    return value if isinstance(value, (dict, Mapping)) else _EMPTY


def as_list(value: object) -> Sequence[Any]:
    """Return a JSON list, an empty one for anything else."""
    return value if isinstance(value, list) else ()


def as_datetime(value: object) -> datetime.datetime | None:
    """Return an ISO 8601 time in UTC; a time without a zone is UTC."""
    if not isinstance(value, str):
        return None
    if value.endswith("Z"):  # Python 3.10 does not parse it
        value = value[:-1] + "+00:00"
    try:
        time = datetime.datetime.fromisoformat(value)
        if time.tzinfo is None:
            return time.replace(tzinfo=datetime.timezone.utc)
        return time.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file of a repository; `size` in bytes, `scan_status` as the Hub's scanners gave it."""

    path: str
    size: float | None
    scan_status: str | None


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """The parts of a record that several parsers read, each of the right type.

    `config` is the `config` of a listing, or a whole config.json if the caller put one there.
    """

    name: str
    fetched_at: datetime.datetime
    raw: HubRecord
    tags: tuple[str, ...]
    lowercase_tags: frozenset[str]
    task: str | None
    library: str | None
    config: HubRecord
    card: HubRecord
    files: tuple[RepoFile, ...]

    def fact(self, value: Any, source: str, confidence: float) -> Fact:  # noqa: ANN401 - each fact has its own type
        """Return a fact with the time of this record."""
        return Fact(value, source, self.fetched_at, confidence)

    @property
    def short_name(self) -> str:
        """The name without its owner."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def is_adapter(self) -> bool:
        """Whether the weights are an adapter to a base model."""
        return (
            self.library == "peft"
            or "peft" in self.lowercase_tags
            or any(tag.startswith("base_model:adapter:") for tag in self.tags)
            or any(file.path == "adapter_config.json" for file in self.files)
        )

    def config_value(self, key: str) -> Any:  # noqa: ANN401 - raw JSON
        """Return an entry of the config, or of the language model's part of it."""
        own_value = self.config.get(key)
        return (
            as_mapping(self.config.get("text_config")).get(key) if own_value is None else own_value
        )


def parse_record(record: HubRecord, name: str, fetched_at: datetime.datetime) -> ParsedRecord:
    """Parse the shared parts of a record."""
    tags = as_strings(list(as_list(record.get("tags"))[:_MAX_TAGS]))
    return ParsedRecord(
        name=name,
        fetched_at=fetched_at,
        raw=record,
        tags=tags,
        lowercase_tags=frozenset(tag.lower() for tag in tags),
        task=as_str(record.get("pipeline_tag")),
        library=as_str(record.get("library_name")),
        config=as_mapping(record.get("config")),
        card=as_mapping(record.get("cardData")),
        files=_parse_files(record.get("siblings")),
    )


def _parse_files(value: object) -> tuple[RepoFile, ...]:
    """Return the files of a listing (`rfilename`) or of a tree (`path`)."""
    files = []
    for entry in as_list(value)[:_MAX_FILES]:
        row = as_mapping(entry)
        path = as_str(row.get("rfilename")) or as_str(row.get("path"))
        if path is not None:
            size = as_size(as_mapping(row.get("lfs")).get("size")) or as_size(row.get("size"))
            scan = as_str(as_mapping(row.get("securityFileStatus")).get("status"))
            files.append(RepoFile(path, size, scan))
    return tuple(files)
