"""A model as the catalogue stores it: its resolved columns, its record, and digests of both."""

from __future__ import annotations

import datetime
import hashlib
import json
import zlib
from typing import TYPE_CHECKING, Any

from tryage.hub.facts.fact import Fact, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tryage.hub.facts.model import Model

# What the record says, and what is known once the bases have spoken.
PLAIN = (
    "name", "author", "task", "downloads", "likes", "gated", "modified", "seen", "sha", "disabled",
)  # fmt: skip
RESOLVED = (
    "license", "parameters", "active_parameters", "released", "security", "input_price",
    "output_price", "latency", "context_length", "capabilities", "provider",
)  # fmt: skip
_SILENT = frozenset(("seen", "downloads", "likes"))  # they change without the model changing


def plain_columns(model: Model) -> tuple[Any, ...]:
    """Return the columns of `PLAIN`; times in seconds since 1970."""
    gated = "no" if model.gated is False else model.gated
    return (
        model.name,
        model.author,
        model.task,
        model.downloads,
        model.likes,
        gated,
        None if model.modified is None else model.modified.timestamp(),
        model.seen.timestamp(),
        model.sha,
        bool(model.disabled),
    )


def resolved_columns(model: Model) -> tuple[Any, ...]:
    """Return the columns of `RESOLVED`; `released` is an ordinal day."""
    cells = {name: _cell(model.value(name)) for name in RESOLVED}
    if cells["provider"] is None:  # served, at an unknown price
        cells["provider"] = next(iter(model.value("providers") or ()), None)
    return tuple(cells.values())


def _cell(value: object) -> object:
    if isinstance(value, datetime.date):
        return value.toordinal()
    return " ".join(sorted(value)) if isinstance(value, frozenset) else value


def pack(data: Mapping[str, Any]) -> bytes:
    """Return JSON, deflated: a third of its size, for a hundredth of the time to fetch it."""
    return zlib.compress(_json(data), 1)


def unpack(data: bytes) -> dict[str, Any]:
    """Return what `pack` was given."""
    found: dict[str, Any] = json.loads(zlib.decompress(data))
    return found


def own_digest(data: Mapping[str, Any]) -> bytes:
    """Return a digest of what `Model.to_dict` wrote, without what changes silently."""
    rest = {name: value for name, value in data.items() if name not in _SILENT}
    facts = data["facts"].items()
    rest["facts"] = {name: [fact["value"], fact["source"]] for name, fact in facts}
    return _digest(rest)


def resolved_digest(model: Model) -> bytes:
    """Return a digest of all that a derivative may inherit."""
    bases = [[base.name, base.key, base.relation] for base in model.bases]
    return _digest([bases, said(model.facts)])


def said(facts: Mapping[str, Fact]) -> dict[str, Any]:
    """Return what facts say, without when it was seen."""
    return {name: [plain(fact.value), fact.source, fact.confidence] for name, fact in facts.items()}


def write_facts(facts: Mapping[str, Fact]) -> str:
    """Return facts as JSON."""
    return json.dumps({name: fact.to_dict() for name, fact in facts.items()}, ensure_ascii=False)


def read_facts(text: str) -> dict[str, Fact]:
    """Return the facts that `write_facts` wrote."""
    return {name: Fact.from_dict(name, fact) for name, fact in json.loads(text).items()}


def marks(names: Iterable[str]) -> str:
    """Return the question marks of a SQL statement with these columns."""
    return ", ".join("?" for _ in names)


def _digest(value: object) -> bytes:
    return hashlib.blake2b(_json(value), digest_size=8).digest()


def _json(value: object) -> bytes:
    return _ENCODER.encode(value).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
