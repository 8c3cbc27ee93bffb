"""`Model` and `Fact`: one model of the Hub, and facts about it with sources; as an `Expert`."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tryage.core.expert import Expert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Facts of types that JSON lacks; all others are strings, numbers, booleans or lists.
_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "released": datetime.date.fromisoformat,
    "capabilities": frozenset,
    "formats": tuple,
    "incapable": frozenset,
    "languages": tuple,
    "providers": tuple,
    "quality": tuple,
}

# Facts that are fields of an Expert; the others become `metadata["hub"]`.
EXPERT_FIELDS = (
    "parameters",
    "active_parameters",
    "released",
    "license",
    "security",
    "input_price",
    "output_price",
    "latency",
    "context_length",
    "capabilities",
)

_PLAIN_FIELDS = (
    "author", "task", "library", "sha", "downloads", "likes", "gated", "private", "disabled",
)  # fmt: skip

_PLAIN_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "key": str, "name": str, "author": str, "task": str, "library": str, "sha": str,
    "downloads": (int, float), "likes": (int, float), "gated": (str, bool), "private": bool,
    "disabled": bool,
}  # fmt: skip

_TIME_FIELDS = ("created", "modified")

# Attributes of a Model that become `metadata["hub"]`.
_HUB_FIELDS = ("key", "sha", "author", "task", "library", "likes", "gated", "private", "disabled")

_HUB_URL = "https://huggingface.co/"


@dataclass(frozen=True, slots=True)
class BaseModelRef:
    """A model that another one was made from.

    `relation` is the Hub's word: adapter, finetune, merge or quantized. `key` is the base's `_id`,
    None where the record has only its name.
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

    Attributes:
        key: The Hub's `_id`, which stays the same when the model is renamed.
        name: The repository id.
        fetched_at: When the record was fetched (UTC).
        downloads: The number of downloads in the last 30 days.
        gated: False, "auto" or "manual".
        bases: The models that this one was made from.
        facts: By the fields of `Expert`, and by names that it has no field for: `quality`, `scan`,
            `custom_code`, `formats`, `languages`, `weight_bytes`, `provider`, `providers`,
            `max_context_length`, `incapable`.
    """

    key: str
    name: str
    fetched_at: datetime.datetime
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
    bases: tuple[BaseModelRef, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict, hash=False)

    def check_types(self) -> None:
        """Check the types of what was stored.

        Raises:
            TypeError: a value of the wrong type.
        """
        for name, kind in _PLAIN_TYPES.items():
            value = getattr(self, name)
            if not (value is None or isinstance(value, kind)):
                raise TypeError(f"{name} is a {type(value).__name__}")
        Expert.from_dict(to_expert(self).to_dict())

    def value(self, name: str) -> Any:  # noqa: ANN401 - each fact has its own type
        """Return the value of a fact, None where it is unknown."""
        fact = self.facts.get(name)
        return None if fact is None else fact.value

    def with_facts(self, facts: Mapping[str, Fact]) -> Model:
        """Return the model with these facts added; they replace those of the same name."""
        return replace(self, facts={**self.facts, **facts})

    def to_dict(self) -> dict[str, Any]:
        """Return everything that is known, JSON-safe; unknown fields are left out."""
        result: dict[str, Any] = {
            "key": self.key,
            "name": self.name,
            "seen": self.fetched_at.isoformat(),
        }
        for name in _PLAIN_FIELDS:
            value = getattr(self, name)
            if value is not None:
                result[name] = value
        for name in _TIME_FIELDS:
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
        fields: dict[str, Any] = {name: data[name] for name in _PLAIN_FIELDS if name in data}
        for name in _TIME_FIELDS:
            if name in data:
                fields[name] = datetime.datetime.fromisoformat(data[name])
        return cls(
            key=data["key"],
            name=data["name"],
            fetched_at=datetime.datetime.fromisoformat(data["seen"]),
            **fields,
            tags=tuple(data["tags"]),
            bases=tuple(BaseModelRef(**base) for base in data["bases"]),
            facts={name: Fact.from_dict(name, fact) for name, fact in data["facts"].items()},
        )


@dataclass(frozen=True, slots=True)
class Fact:
    """One value with its provenance.

    Attributes:
        value: None when the value is unknown for a reason, which `source` names; without a reason
            the fact is absent.
        source: Where the value comes from, as a text for people.
        fetched_at: When it was fetched (UTC).
        confidence: How often such a source is right, from 0 to 1.
    """

    value: Any
    source: str
    fetched_at: datetime.datetime
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fact, JSON-safe."""
        return {"value": to_plain(self.value), **self.provenance()}

    def provenance(self) -> dict[str, Any]:
        """Return source, time and confidence, JSON-safe."""
        return {
            "source": self.source,
            "seen": self.fetched_at.isoformat(),
            "confidence": self.confidence,
        }

    @classmethod
    def from_dict(cls, name: str, data: Mapping[str, Any]) -> Fact:
        """Build the fact of this field from what `to_dict` wrote."""
        value, decode = data["value"], _DECODERS.get(name)
        if value is not None and decode is not None:
            value = decode(value)
        fetched_at = datetime.datetime.fromisoformat(data["seen"])
        return cls(value, data["source"], fetched_at, data["confidence"])


def to_plain(value: object) -> object:
    """Return a JSON-safe form of a fact's value."""
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def to_expert(model: Model) -> Expert:
    """Return the model as an expert, named like its repository.

    `metadata["sources"][field]` has the source, time and confidence of each field that is known, or
    unknown for a reason; `metadata["hub"]` has what an expert has no field for. There are no
    aliases: among a hundred thousand models several share every short name.
    """
    facts = {name: model.facts[name] for name in EXPERT_FIELDS if name in model.facts}
    sources = {name: fact.provenance() for name, fact in facts.items()}
    if model.downloads is not None:
        sources["downloads"] = {
            "source": "downloads of the last 30 days",
            "seen": model.fetched_at.isoformat(),
            "confidence": 1.0,
        }
    return Expert(
        model.name,
        downloads=model.downloads,
        metadata={"sources": sources, "hub": _hub_metadata(model)},
        **{name: fact.value for name, fact in facts.items()},
    )


def _hub_metadata(model: Model) -> dict[str, Any]:
    """Return what an expert has no field for, JSON-safe, without unknown values."""
    metadata: dict[str, Any] = {name: getattr(model, name) for name in _HUB_FIELDS}
    metadata["url"] = _HUB_URL + model.name
    metadata["bases"] = [base.to_dict() for base in model.bases] or None
    for name, fact in model.facts.items():
        if name not in EXPERT_FIELDS:
            metadata[name] = to_plain(fact.value)
    return {name: value for name, value in metadata.items() if value is not None}
