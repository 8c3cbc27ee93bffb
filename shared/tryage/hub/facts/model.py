"""One model of the Hub: its identity, its place among the others, and the facts about it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tryage.hub.facts.fact import Fact

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Base:
    """A model that another one was made from.

    `relation` is the Hub's word: adapter, finetune, merge or quantized. `key` is the base's `_id`,
    None where the record names it only.
    """

    name: str
    key: str | None = None
    relation: str = "finetune"

    def to_dict(self) -> dict[str, Any]:
        """Return the base, JSON-safe."""
        return {"name": self.name, "key": self.key, "relation": self.relation}


@dataclass(frozen=True, slots=True)
class Model:
    """What one record of the Hub says; None is unknown.

    `key` is the Hub's `_id`, which survives a rename; `name` is the repository id. `downloads` are
    those of the last 30 days, `gated` is False, "auto" or "manual", `seen` is when the record was
    fetched (UTC). `facts` are keyed by the fields of `Expert`, and by what it has no field for:
    `quality`, `scan`, `custom_code`, `formats`, `languages`, `weight_bytes`, `provider`,
    `providers`, `max_context_length`, `incapable`.
    """

    key: str
    name: str
    seen: datetime.datetime
    author: str | None = None
    task: str | None = None
    library: str | None = None
    sha: str | None = None
    tags: tuple[str, ...] = ()
    created: datetime.datetime | None = None
    modified: datetime.datetime | None = None
    downloads: float | None = None
    likes: float | None = None
    gated: str | bool | None = None
    private: bool | None = None
    disabled: bool | None = None
    bases: tuple[Base, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict, hash=False)

    def value(self, fact: str) -> Any:  # noqa: ANN401 - each fact has its own type
        """Return the value of a fact, None where it is unknown."""
        found = self.facts.get(fact)
        return None if found is None else found.value

    def with_facts(self, facts: Mapping[str, Fact]) -> Model:
        """Return the model with these facts added; they replace those of the same name."""
        return replace(self, facts={**self.facts, **facts})

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is known, JSON-safe; unknown fields are left out."""
        result: dict[str, Any] = {"key": self.key, "name": self.name, "seen": self.seen.isoformat()}
        for name in _PLAIN:
            value = getattr(self, name)
            if value is not None:
                result[name] = value
        for name in _TIMES:
            value = getattr(self, name)
            if value is not None:
                result[name] = value.isoformat()
        result["tags"] = list(self.tags)
        result["bases"] = [base.to_dict() for base in self.bases]
        result["facts"] = {name: fact.to_dict() for name, fact in self.facts.items()}
        return result

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Model:
        """Build a model from what `to_dict` wrote."""
        known: dict[str, Any] = {name: data[name] for name in _PLAIN if name in data}
        for name in ("seen", *_TIMES):
            if name in data:
                known[name] = datetime.datetime.fromisoformat(data[name])
        return cls(
            key=data["key"],
            name=data["name"],
            **known,
            tags=tuple(data["tags"]),
            bases=tuple(Base(**base) for base in data["bases"]),
            facts={name: Fact.from_dict(name, fact) for name, fact in data["facts"].items()},
        )


_PLAIN = (
    "author",
    "task",
    "library",
    "sha",
    "downloads",
    "likes",
    "gated",
    "private",
    "disabled",
)
_TIMES = ("created", "modified")
