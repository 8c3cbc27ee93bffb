"""What models inherit, worked out for those that changed and for their descendants only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tryage.hub.catalogue.columns import (
    RESOLVED,
    read_facts,
    resolved_columns,
    resolved_digest,
    unpack,
)
from tryage.hub.catalogue.kin import bases_first
from tryage.hub.facts.lineage import inherit
from tryage.hub.facts.model import Base, Model
from tryage.hub.facts.quality import with_rows
from tryage.hub.facts.serving import with_served

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

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
