"""What is known of a model: each value with where it comes from, when, and how sure it is."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What JSON has no type for; every other value is a string, a number, a bool or a list.
_RESTORE: Mapping[str, Callable[[Any], Any]] = {
    "released": datetime.date.fromisoformat,
    "capabilities": frozenset,
    "formats": tuple,
    "incapable": frozenset,
    "languages": tuple,
    "providers": tuple,
    "quality": tuple,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One value with its provenance.

    `value` is None when it is known *why* nothing can be said (the source tells it); a fact that
    nobody looked for is absent instead. `source` is for people, `seen` is in UTC, and
    `confidence`, between 0 and 1, is how often such a source is right.
    """

    value: Any
    source: str
    seen: datetime.datetime
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fact, JSON-safe."""
        return {"value": plain(self.value), **self.provenance()}

    def provenance(self) -> dict[str, Any]:
        """Return where the value comes from, when, and how sure it is, JSON-safe."""
        return {
            "source": self.source,
            "seen": self.seen.isoformat(),
            "confidence": self.confidence,
        }

    @classmethod
    def from_dict(cls, field: str, data: Mapping[str, Any]) -> Fact:
        """Build the fact of this field from what `to_dict` wrote."""
        value, restore = data["value"], _RESTORE.get(field)
        if value is not None and restore is not None:
            value = restore(value)
        seen = datetime.datetime.fromisoformat(data["seen"])
        return cls(value, data["source"], seen, data["confidence"])


def plain(value: object) -> object:
    """Return a JSON-safe form of a fact's value."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value
