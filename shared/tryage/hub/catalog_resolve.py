"""What models inherit, worked out for those that changed and for their descendants only."""

from __future__ import annotations

import datetime
import hashlib
import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.hub.evaluations import with_rows
from tryage.hub.lineage import bases_first, inherit
from tryage.hub.model import Base, Fact, Model, plain
from tryage.hub.providers import with_served

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence

_DOWN = """
WITH RECURSIVE down(id) AS (
    SELECT id FROM touched UNION SELECT child FROM lineage JOIN down ON parent = down.id
)"""

_ALL = "SELECT id FROM down"

_UP = """, up(id) AS (
    SELECT id FROM {start} UNION
    SELECT parent FROM lineage JOIN up ON child = up.id WHERE parent IS NOT NULL
)
SELECT child, parent FROM lineage JOIN up ON child = up.id WHERE parent IS NOT NULL
ORDER BY child, place"""

# What the record says, and what is known once the bases have spoken.
PLAIN = (
    "name", "author", "task", "downloads", "likes", "gated", "modified", "seen", "sha", "disabled",
)  # fmt: skip

RESOLVED = (
    "license", "parameters", "active_parameters", "released", "security", "input_price",
    "output_price", "latency", "context_length", "capabilities", "provider",
)  # fmt: skip

_SILENT = frozenset(("seen", "downloads", "likes"))  # they change without the model changing


class Resolver:
    """Reads what models say themselves, and works out what they inherit.

    It remembers what it has worked out: make a new one when anything was written.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._parents: dict[int, list[int]] = {}
        self._needed: set[int] = set()  # whose result somebody may inherit
        self._known: dict[int, Model] = {}

    def resolve(self, model: int) -> Model:
        """Return one model with all that it inherits, and as it is served."""
        self._touch([model])
        self._learn_lineage("touched")
        for _ in self._groups([model]):
            pass
        return self._as_served(self._inherited(model))

    def spread(self, changed: Collection[int]) -> None:
        """Bring the columns of these models and of those that inherit from them up to date.

        A descendant is looked at only when what it could inherit has changed.
        """
        self._touch(changed)
        touched = [row[0] for row in self._db.execute(_DOWN + _ALL)]
        self._learn_lineage("down")
        moved: set[int] = set(changed)  # what was asked for; then also what turned out different
        different: set[int] = set()
        for group in self._groups(touched):
            parents = {p for model in group for p in self._parents.get(model, ())}
            if moved.isdisjoint(group) and different.isdisjoint(parents):
                continue
            different.update(model for model in group if self._write(model))

    def _touch(self, models: Iterable[int]) -> None:
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS touched (id INTEGER PRIMARY KEY)")
        self._db.execute("DELETE FROM touched")
        self._db.executemany("INSERT INTO touched VALUES (?)", ((model,) for model in models))

    def _learn_lineage(self, start: str) -> None:
        """Read the parents of these models and of all their ancestors."""
        self._parents.clear()
        for child, parent in self._db.execute(_DOWN + _UP.format(start=start)):
            self._parents.setdefault(child, []).append(parent)

    def _groups(self, models: Sequence[int]) -> Iterable[list[int]]:
        """Yield who inherits together, bases first; within a circle nobody inherits."""
        groups = list(bases_first(models, self._parents))
        for group in groups:
            circle = set(group)
            for model in group:
                if not circle.isdisjoint(self._parents.get(model, ())):
                    kept = [p for p in self._parents[model] if p not in circle]
                    self._parents[model] = kept
        self._needed = {parent for found in self._parents.values() for parent in found}
        return groups

    def _write(self, model: int) -> bool:
        """Store what a model is now; return whether anybody inherits anything else than before."""
        inherited = self._inherited(model)
        digest = resolved_digest(inherited)
        (before,) = self._db.execute(
            "SELECT resolved FROM models WHERE id = ?", (model,)
        ).fetchone()
        self._db.execute(_UPDATE, (*resolved_columns(self._as_served(inherited)), digest, model))
        return bool(digest != before)

    def _inherited(self, wanted: int) -> Model:
        """Return a model with what it inherits; without recursion, for chains of any length."""
        stack = [wanted]
        while stack:
            model = stack[-1]
            missing = [p for p in self._parents.get(model, ()) if p not in self._known]
            if missing and model not in self._known:
                stack += missing
                continue
            stack.pop()
            if model not in self._known:
                self._known[model] = self._combined(model)
        found = self._known[wanted]
        if wanted not in self._needed:  # most are bases of nothing: keep memory for those who are
            del self._known[wanted]
        return found

    def _combined(self, model: int) -> Model:
        own = self._own(model)
        if not own.bases:
            return own
        allowed = self._parents.get(model, ())
        places = self._db.execute("SELECT place, parent FROM lineage WHERE child = ?", (model,))
        keys = {place: self._known[parent].key for place, parent in places if parent in allowed}
        bases = tuple(Base(b.name, keys.get(i), b.relation) for i, b in enumerate(own.bases))
        return inherit(replace(own, bases=bases), [self._known[parent] for parent in allowed])

    def _own(self, model: int) -> Model:
        """Return what a record says, with its scans if they are of this revision, and its ranks."""
        (data,) = self._db.execute("SELECT data FROM records WHERE model = ?", (model,)).fetchone()
        own = Model.from_dict(unpack(data))
        scan = self._beside("scan", own.key)
        if scan is not None and scan[0] == own.sha and not own.disabled:
            own = own.with_facts(read_facts(scan[1]))
        ranked = self._beside("leaderboard", own.name)
        if ranked is None:
            return own
        return with_rows(own, read_facts(ranked[1])["quality"].value)

    def _as_served(self, model: Model) -> Model:
        """Return a model with its prices, which are its own and nobody inherits."""
        found = self._beside("served", model.name)
        return model if found is None else with_served(model, read_facts(found[1]))

    def _beside(self, kind: str, owner: str) -> tuple[str | None, str] | None:
        """Return what came another way than the record: the revision it is about, and facts."""
        found: tuple[str | None, str] | None = self._db.execute(
            "SELECT sha, data FROM beside WHERE kind = ? AND owner = ?", (kind, owner)
        ).fetchone()
        return found


_UPDATE = f"UPDATE models SET {' = ?, '.join(RESOLVED)} = ?, resolved = ? WHERE id = ?"  # noqa: S608 - names of columns


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
