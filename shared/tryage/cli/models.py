"""How `tryage hub` shows models: a line of a table, or all facts with their provenance."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from tryage.cli.table import aligned, count, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.hub.catalogue.query import Entry
    from tryage.hub.facts.model import Model


def identity(model: Model) -> list[list[str]]:
    """Return what the Hub itself says of a model, which nobody has to work out."""
    bases = ", ".join(f"{base.name} ({base.relation})" for base in model.bases)
    rows = {
        "author": model.author,
        "task": model.task,
        "library": model.library,
        "made from": bases or None,
        "created": model.created and f"{model.created:%Y-%m-%d}",
        "modified": model.modified and f"{model.modified:%Y-%m-%d}",
        "downloads": None if model.downloads is None else f"{model.downloads:,.0f} in 30 days",
        "likes": None if model.likes is None else f"{model.likes:,.0f}",
        "gated": f"yes, {model.gated}" if model.gated else None if model.gated is None else "no",
        "disabled": "yes" if model.disabled else None,
    }
    return [[head, plain(value)] for head, value in rows.items() if value is not None]


def facts(model: Model) -> list[list[str]]:
    """Return a table of all facts with their provenance."""
    rows = [["fact", "value", "sure", "seen", "from"]]
    for name, fact in sorted(model.facts.items()):
        if name == "quality":
            continue
        value = _written(name, fact.value)
        rows.append([name, value, f"{fact.confidence:.0%}", f"{fact.seen:%Y-%m-%d}", fact.source])
    return rows


def _written(name: str, value: Any) -> str:  # noqa: ANN401 - each fact has its own type
    if name in _COUNTS:
        return count(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list, frozenset)):
        return ", ".join(map(str, sorted(value))) or "none"
    return plain(value)


def results(model: Model) -> list[str]:
    """Return what was measured, if anything was; scores are in the unit of their source."""
    found = model.value("quality")
    if not found:
        return []
    rows = [["measured", "metric", "score", "weight", "seen", "by"]]
    for row in found:
        what = " ".join(str(row[key]) for key in ("dataset", "task") if row.get(key))
        base = f"base {row['base']}" if row.get("base") else None
        by = ", ".join(filter(None, (row["origin"], base, row.get("source"))))
        weight, seen = f"{row['weight']:.2f}", row.get("date", "-")
        rows.append([what, row.get("metric", ""), plain(row["value"]), weight, seen, by])
    return ["", *aligned(rows, 6)]


_COUNTS = frozenset(
    ("parameters", "active_parameters", "context_length", "max_context_length", "weight_bytes")
)


def _released(entry: Entry) -> str:
    if entry.released is None:
        return "-"
    return datetime.date.fromordinal(entry.released).isoformat()


COLUMNS: tuple[tuple[str, Callable[[Entry], str]], ...] = (
    ("name", lambda e: e.name),
    ("task", lambda e: plain(e.task)),
    ("license", lambda e: plain(e.license)),
    ("size", lambda e: count(e.parameters)),
    ("released", _released),
    ("downloads", lambda e: count(e.downloads)),
    ("$/M in", lambda e: plain(e.input_price)),
    ("$/M out", lambda e: plain(e.output_price)),
    ("context", lambda e: count(e.context_length)),
    ("gated", lambda e: plain(e.gated)),
)


def plain_entry(entry: Entry) -> dict[str, Any]:
    """Return what is known of an entry, JSON-safe."""
    found = {name: value for name, value in entry._asdict().items() if value is not None}
    if entry.released is not None:
        found["released"] = _released(entry)
    for name in ("modified", "seen"):
        if name in found:
            moment = datetime.datetime.fromtimestamp(found[name], datetime.timezone.utc)
            found[name] = moment.isoformat(timespec="seconds")
    if entry.capabilities is not None:
        found["capabilities"] = entry.capabilities.split()
    return found
