"""What several rules read of one record, parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tryage.hub.facts.fact import Fact
from tryage.hub.facts.wire import Record, items, mapping, size, text, texts

if TYPE_CHECKING:
    import datetime

_MOST_FILES = 20_000  # a repository with more is a data set that calls itself a model


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
