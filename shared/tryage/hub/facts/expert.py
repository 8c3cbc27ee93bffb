"""A `Model` of the Hub becomes an `Expert`, with the provenance of every field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tryage.experts import Expert
from tryage.hub.facts.fact import plain

if TYPE_CHECKING:
    from tryage.hub.facts.model import Model

# Facts that are fields of an Expert; the others go to `metadata["hub"]`.
FIELDS = (
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
_HUB = ("key", "sha", "author", "task", "library", "likes", "gated", "private", "disabled")
_PAGE = "https://huggingface.co/"


def to_expert(model: Model) -> Expert:
    """Return what a router knows of the model; its name is the repository's on the Hub.

    `metadata["sources"][field]` has the source, time and confidence of each field that is known,
    and of one that is unknown for a reason; `metadata["hub"]` has what an expert has no field for.
    No aliases: among a hundred thousand models every short name is somebody else's too.
    """
    facts = {name: model.facts[name] for name in FIELDS if name in model.facts}
    sources = {name: fact.provenance() for name, fact in facts.items()}
    if model.downloads is not None:
        sources["downloads"] = {
            "source": "downloads of the last 30 days",
            "seen": model.seen.isoformat(),
            "confidence": 1.0,
        }
    return Expert(
        model.name,
        downloads=model.downloads,
        metadata={"sources": sources, "hub": _rest(model)},
        **{name: fact.value for name, fact in facts.items()},
    )


def _rest(model: Model) -> dict[str, Any]:
    """Return what an expert has no field for, JSON-safe, without what is unknown."""
    hub: dict[str, Any] = {name: getattr(model, name) for name in _HUB}
    hub["url"] = _PAGE + model.name
    hub["bases"] = [base.to_dict() for base in model.bases] or None
    for name, fact in model.facts.items():
        if name not in FIELDS:
            hub[name] = plain(fact.value)
    return {name: value for name, value in hub.items() if value is not None}
