"""A model: its metadata as compact JSON, and the values by which listings sort and filter."""

from __future__ import annotations

import hashlib
import json
from sys import intern
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.testing.hub.history import History

Record = dict[str, Any]

# The Hub sends these for every model, so a record need not hold them.
DEFAULTS: Mapping[str, Any] = {
    "private": False,
    "gated": False,
    "disabled": False,
    "downloads": 0,
    "likes": 0,
    "trendingScore": 0,
    "tags": [],
}
EPOCH = "2025-01-01T00:00:00.000Z"


def make_key(name: str) -> str:
    """Return the 24 hexadecimal digits that stand for the Hub's `_id` of a model."""
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:24]


class Repo:
    """One model; about 1.5 KB beside its files, so that a million fit."""

    __slots__ = ("_raw", "author", "created", "downloads", "gated", "git", "key", "likes",
                 "modified", "name", "parameters", "private", "providers", "tags", "task",
                 "trending")  # fmt: skip

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.git: History | None = None
        self.write(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the metadata."""
        full = {"createdAt": EPOCH, **DEFAULTS, **record}
        self.name: str = full["id"]
        self.key: str = full.get("_id") or make_key(self.name)
        self.author = intern(full.get("author") or self.name.rpartition("/")[0])
        self.task = intern(full.get("pipeline_tag") or "")
        self.tags = tuple(intern(tag) for tag in full["tags"])
        self.gated, self.private = full["gated"], bool(full["private"])
        self.providers = tuple(full.get("inferenceProviderMapping") or ())
        self.parameters: int | None = _total(full)
        self.downloads, self.likes, self.trending = (
            full[name] or 0 for name in ("downloads", "likes", "trendingScore")
        )
        self.created: str = full["createdAt"]
        self.modified: str = full.get("lastModified") or self.created
        kept = {name: value for name, value in record.items() if DEFAULTS.get(name, ...) != value}
        self._raw = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()

    def read(self) -> Record:
        """Return all metadata, with what the Hub always sends."""
        dates = {"createdAt": self.created, "lastModified": self.modified}
        named = {"_id": self.key, "id": self.name}
        if self.author:
            named["author"] = self.author
        return {**named, **DEFAULTS, **dates, **json.loads(self._raw.decode())}


def _total(record: Mapping[str, Any]) -> int | None:
    """Return the parameter count by which the Hub filters, or None."""
    for format_ in ("safetensors", "gguf"):
        total = (record.get(format_) or {}).get("total")
        if total:
            return int(total)
    return None
