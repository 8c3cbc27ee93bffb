"""What models inherit, worked out for those that changed and for their descendants only."""

from __future__ import annotations

import datetime
import hashlib
import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.hub.evaluations import with_results
from tryage.hub.lineage import inherit, topological_groups
from tryage.hub.model import BaseModelRef, Fact, Model, to_plain
from tryage.hub.providers import with_served

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence

_DESCENDANTS_CTE = """
WITH RECURSIVE down(id) AS (
    SELECT id FROM touched UNION SELECT child FROM lineage JOIN down ON parent = down.id
)"""

_SELECT_DESCENDANTS = "SELECT id FROM down"

_ANCESTOR_LINKS = """, up(id) AS (
    SELECT id FROM {start} UNION
    SELECT parent FROM lineage JOIN up ON child = up.id WHERE parent IS NOT NULL
)
SELECT child, parent FROM lineage JOIN up ON child = up.id WHERE parent IS NOT NULL
ORDER BY child, place"""

# What the record says, and what is known once the bases have spoken.
RECORD_COLUMNS = (
    "name", "author", "task", "downloads", "likes", "gated", "modified", "seen", "sha", "disabled",
)  # fmt: skip

RESOLVED_COLUMNS = (
    "license", "parameters", "active_parameters", "released", "security", "input_price",
    "output_price", "latency", "context_length", "capabilities", "provider",
)  # fmt: skip

_VOLATILE_FIELDS = frozenset(
    ("seen", "downloads", "likes")
)  # they change without the model changing


class InheritanceResolver:
    """Reads what models say themselves, and works out what they inherit.

    It remembers what it has worked out: make a new one when anything was written.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._parents: dict[int, list[int]] = {}
        self._inherited_from: set[int] = set()  # whose result somebody may inherit
        self._resolved: dict[int, Model] = {}

    def resolve(self, model: int) -> Model:
        """Return one model with all that it inherits, and as it is served."""
        self._set_touched([model])
        self._load_parents("touched")
        for _ in self._topological_groups([model]):
            pass
        return self._with_served(self._resolve_inherited(model))

    def propagate(self, changed: Collection[int]) -> None:
        """Bring the columns of these models and of those that inherit from them up to date.

        A descendant is looked at only when what it could inherit has changed.
        """
        self._set_touched(changed)
        touched = [row[0] for row in self._db.execute(_DESCENDANTS_CTE + _SELECT_DESCENDANTS)]
        self._load_parents("down")
        dirty: set[int] = set(changed)  # what was asked for; then also what turned out different
        different: set[int] = set()
        for group in self._topological_groups(touched):
            parents = {p for model in group for p in self._parents.get(model, ())}
            if dirty.isdisjoint(group) and different.isdisjoint(parents):
                continue
            different.update(model for model in group if self._store_resolved(model))

    def _set_touched(self, models: Iterable[int]) -> None:
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS touched (id INTEGER PRIMARY KEY)")
        self._db.execute("DELETE FROM touched")
        self._db.executemany("INSERT INTO touched VALUES (?)", ((model,) for model in models))

    def _load_parents(self, start: str) -> None:
        """Read the parents of these models and of all their ancestors."""
        self._parents.clear()
        for child, parent in self._db.execute(
            _DESCENDANTS_CTE + _ANCESTOR_LINKS.format(start=start)
        ):
            self._parents.setdefault(child, []).append(parent)

    def _topological_groups(self, models: Sequence[int]) -> Iterable[list[int]]:
        """Yield who inherits together, bases first; within a circle nobody inherits."""
        groups = list(topological_groups(models, self._parents))
        for group in groups:
            cycle = set(group)
            for model in group:
                if not cycle.isdisjoint(self._parents.get(model, ())):
                    kept = [p for p in self._parents[model] if p not in cycle]
                    self._parents[model] = kept
        self._inherited_from = {parent for found in self._parents.values() for parent in found}
        return groups

    def _store_resolved(self, model: int) -> bool:
        """Store what a model is now; return whether anybody inherits anything else than before."""
        inherited = self._resolve_inherited(model)
        digest = resolved_digest(inherited)
        (before,) = self._db.execute(
            "SELECT resolved FROM models WHERE id = ?", (model,)
        ).fetchone()
        self._db.execute(_UPDATE, (*resolved_values(self._with_served(inherited)), digest, model))
        return bool(digest != before)

    def _resolve_inherited(self, target: int) -> Model:
        """Return a model with what it inherits; without recursion, for chains of any length."""
        stack = [target]
        while stack:
            model = stack[-1]
            missing = [p for p in self._parents.get(model, ()) if p not in self._resolved]
            if missing and model not in self._resolved:
                stack += missing
                continue
            stack.pop()
            if model not in self._resolved:
                self._resolved[model] = self._inherit_from_parents(model)
        found = self._resolved[target]
        if (
            target not in self._inherited_from
        ):  # most are bases of nothing: keep memory for those who are
            del self._resolved[target]
        return found

    def _inherit_from_parents(self, model: int) -> Model:
        own = self._load_own(model)
        if not own.bases:
            return own
        allowed = self._parents.get(model, ())
        places = self._db.execute("SELECT place, parent FROM lineage WHERE child = ?", (model,))
        keys = {place: self._resolved[parent].key for place, parent in places if parent in allowed}
        bases = tuple(
            BaseModelRef(b.name, keys.get(i), b.relation) for i, b in enumerate(own.bases)
        )
        return inherit(replace(own, bases=bases), [self._resolved[parent] for parent in allowed])

    def _load_own(self, model: int) -> Model:
        """Return what a record says, with its scans if they are of this revision, and its ranks."""
        (data,) = self._db.execute("SELECT data FROM records WHERE model = ?", (model,)).fetchone()
        own = Model.from_dict(decompress_json(data))
        scan = self._load_external("scan", own.key)
        if scan is not None and scan[0] == own.sha and not own.disabled:
            own = own.with_facts(facts_from_json(scan[1]))
        ranked = self._load_external("leaderboard", own.name)
        if ranked is None:
            return own
        return with_results(own, facts_from_json(ranked[1])["quality"].value)

    def _with_served(self, model: Model) -> Model:
        """Return a model with its prices, which are its own and nobody inherits."""
        found = self._load_external("served", model.name)
        return model if found is None else with_served(model, facts_from_json(found[1]))

    def _load_external(self, kind: str, owner: str) -> tuple[str | None, str] | None:
        """Return what came another way than the record: the revision it is about, and facts."""
        found: tuple[str | None, str] | None = self._db.execute(
            "SELECT sha, data FROM beside WHERE kind = ? AND owner = ?", (kind, owner)
        ).fetchone()
        return found


_UPDATE = f"UPDATE models SET {' = ?, '.join(RESOLVED_COLUMNS)} = ?, resolved = ? WHERE id = ?"  # noqa: S608 - names of columns


def record_values(model: Model) -> tuple[Any, ...]:
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
        model.fetched_at.timestamp(),
        model.sha,
        bool(model.disabled),
    )


def resolved_values(model: Model) -> tuple[Any, ...]:
    """Return the columns of `RESOLVED`; `released` is an ordinal day."""
    cells = {name: _sql_value(model.value(name)) for name in RESOLVED_COLUMNS}
    if cells["provider"] is None:  # served, at an unknown price
        cells["provider"] = next(iter(model.value("providers") or ()), None)
    return tuple(cells.values())


def _sql_value(value: object) -> object:
    if isinstance(value, datetime.date):
        return value.toordinal()
    return " ".join(sorted(value)) if isinstance(value, frozenset) else value


def compress_json(data: Mapping[str, Any]) -> bytes:
    """Return JSON, deflated: a third of its size, for a hundredth of the time to fetch it."""
    return zlib.compress(_encode_json(data), 1)


def decompress_json(data: bytes) -> dict[str, Any]:
    """Return what `pack` was given."""
    found: dict[str, Any] = json.loads(zlib.decompress(data))
    return found


def own_digest(data: Mapping[str, Any]) -> bytes:
    """Return a digest of what `Model.to_dict` wrote, without what changes silently."""
    rest = {name: value for name, value in data.items() if name not in _VOLATILE_FIELDS}
    facts = data["facts"].items()
    rest["facts"] = {name: [fact["value"], fact["source"]] for name, fact in facts}
    return _digest(rest)


def resolved_digest(model: Model) -> bytes:
    """Return a digest of all that a derivative may inherit."""
    bases = [[base.name, base.key, base.relation] for base in model.bases]
    return _digest([bases, comparable_facts(model.facts)])


def comparable_facts(facts: Mapping[str, Fact]) -> dict[str, Any]:
    """Return what facts say, without when it was seen."""
    return {
        name: [to_plain(fact.value), fact.source, fact.confidence] for name, fact in facts.items()
    }


def facts_to_json(facts: Mapping[str, Fact]) -> str:
    """Return facts as JSON."""
    return json.dumps({name: fact.to_dict() for name, fact in facts.items()}, ensure_ascii=False)


def facts_from_json(text: str) -> dict[str, Fact]:
    """Return the facts that `write_facts` wrote."""
    return {name: Fact.from_dict(name, fact) for name, fact in json.loads(text).items()}


def placeholders(names: Iterable[str]) -> str:
    """Return the question marks of a SQL statement with these columns."""
    return ", ".join("?" for _ in names)


def _digest(value: object) -> bytes:
    return hashlib.blake2b(_encode_json(value), digest_size=8).digest()


def _encode_json(value: object) -> bytes:
    return _ENCODER.encode(value).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
