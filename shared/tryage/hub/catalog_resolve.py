"""What changed models and their descendants inherit, and the stored forms of models and facts."""

from __future__ import annotations

import datetime
import hashlib
import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.hub.catalog_schema import damaged_values
from tryage.hub.evaluations import with_results
from tryage.hub.lineage import inherit, topological_groups
from tryage.hub.model import BaseModelRef, Fact, Model, to_plain
from tryage.hub.providers import with_served

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence

# The columns that the record alone decides.
RECORD_COLUMNS = (
    "name", "author", "task", "downloads", "likes", "gated", "modified", "seen", "sha", "disabled",
)  # fmt: skip

# The columns that bases, scans, leaderboards and providers may change as well.
RESOLVED_COLUMNS = (
    "license", "parameters", "active_parameters", "released", "security", "input_price",
    "output_price", "latency", "context_length", "capabilities", "provider",
)  # fmt: skip

MAX_RECORD_BYTES = 32 * 1024 * 1024  # of JSON; the largest records of the Hub have some megabytes

# A change of these alone is not a change of the model.
_VOLATILE_FIELDS = frozenset(("seen", "downloads", "likes"))


class InheritanceResolver:
    """Reads models with their own facts, and adds what they inherit.

    It caches what it has resolved: make a new one after anything was written.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._parents: dict[int, list[int]] = {}
        self._base_ids: set[int] = set()  # bases, whose result is needed again
        self._resolved: dict[int, Model] = {}

    def resolve(self, model: int) -> Model:
        """Return one model with inherited facts, and with those of its provider."""
        self._set_touched([model])
        self._load_parents("touched")
        self._topological_groups([model])
        return self._with_served(self._resolve_inherited(model))

    def propagate(self, changed_models: Collection[int]) -> None:
        """Update the resolved columns of these models, and of those that inherit from them.

        A descendant is resolved again only when something that it may inherit has changed.
        """
        self._set_touched(changed_models)
        descendants = [row[0] for row in self._db.execute(_DESCENDANTS_CTE + _SELECT_DESCENDANTS)]
        self._load_parents("down")
        dirty_models = set(changed_models)
        different_models: set[int] = set()
        for group in self._topological_groups(descendants):
            parents = {p for model in group for p in self._parents.get(model, ())}
            if dirty_models.isdisjoint(group) and different_models.isdisjoint(parents):
                continue
            different_models.update(model for model in group if self._store_resolved(model))

    def _set_touched(self, models: Iterable[int]) -> None:
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS touched (id INTEGER PRIMARY KEY)")
        self._db.execute("DELETE FROM touched")
        self._db.executemany("INSERT INTO touched VALUES (?)", ((model,) for model in models))

    def _load_parents(self, start: str) -> None:
        """Read the parents of the models in this table and of all their ancestors."""
        self._parents.clear()
        for child, parent in self._db.execute(
            _DESCENDANTS_CTE + _ANCESTOR_LINKS.format(start=start)
        ):
            self._parents.setdefault(child, []).append(parent)

    def _topological_groups(self, models: Sequence[int]) -> list[list[int]]:
        """Return the models in groups, bases first, and drop the links inside a cycle.

        A group is one model, or all models of a cycle; within a cycle nothing is inherited.
        """
        groups = list(topological_groups(models, self._parents))
        for group in groups:
            cycle = set(group)
            for model in group:
                if not cycle.isdisjoint(self._parents.get(model, ())):
                    outside_parents = [p for p in self._parents[model] if p not in cycle]
                    self._parents[model] = outside_parents
        self._base_ids = {parent for parents in self._parents.values() for parent in parents}
        return groups

    def _store_resolved(self, model: int) -> bool:
        """Store the resolved columns; return whether what derived models inherit has changed."""
        resolved_model = self._resolve_inherited(model)
        digest = resolved_digest(resolved_model)
        (old_digest,) = self._db.execute(
            "SELECT resolved FROM models WHERE id = ?", (model,)
        ).fetchone()
        self._db.execute(
            _UPDATE_RESOLVED, (*resolved_values(self._with_served(resolved_model)), digest, model)
        )
        return bool(digest != old_digest)

    def _resolve_inherited(self, target: int) -> Model:
        """Return a model with what it inherits; no recursion, so a chain may have any length."""
        stack = [target]
        while stack:
            model = stack[-1]
            missing_parents = [p for p in self._parents.get(model, ()) if p not in self._resolved]
            if missing_parents and model not in self._resolved:
                stack += missing_parents
                continue
            stack.pop()
            if model not in self._resolved:
                self._resolved[model] = self._inherit_from_parents(model)
        result = self._resolved[target]
        if target not in self._base_ids:  # most models are no base: save memory
            del self._resolved[target]
        return result

    def _inherit_from_parents(self, model: int) -> Model:
        own_model = self._load_own_model(model)
        if not own_model.bases:
            return own_model
        parents = self._parents.get(model, ())
        places = self._db.execute("SELECT place, parent FROM lineage WHERE child = ?", (model,))
        keys = {place: self._resolved[parent].key for place, parent in places if parent in parents}
        bases = tuple(
            BaseModelRef(b.name, keys.get(i), b.relation) for i, b in enumerate(own_model.bases)
        )
        return inherit(
            replace(own_model, bases=bases), [self._resolved[parent] for parent in parents]
        )

    def _load_own_model(self, model: int) -> Model:
        """Return a record with its scans, if they are of this revision, and leaderboard results."""
        (data,) = self._db.execute("SELECT data FROM records WHERE model = ?", (model,)).fetchone()
        with damaged_values():
            model_with_facts = Model.from_dict(decompress_json(data))
        scan = self._load_external("scan", model_with_facts.key)
        if scan is not None and scan[0] == model_with_facts.sha and not model_with_facts.disabled:
            model_with_facts = model_with_facts.with_facts(facts_from_json(scan[1]))
        results = self._load_external("leaderboard", model_with_facts.name)
        if results is None:
            return model_with_facts
        return with_results(model_with_facts, facts_from_json(results[1])["quality"].value)

    def _with_served(self, model: Model) -> Model:
        """Return a model with the facts of its provider, which are never inherited."""
        external_facts = self._load_external("served", model.name)
        return (
            model
            if external_facts is None
            else with_served(model, facts_from_json(external_facts[1]))
        )

    def _load_external(self, kind: str, owner: str) -> tuple[str | None, str] | None:
        """Return facts that do not come from the record, and their revision."""
        row: tuple[str | None, str] | None = self._db.execute(
            "SELECT sha, data FROM beside WHERE kind = ? AND owner = ?", (kind, owner)
        ).fetchone()
        return row


# --- stored forms ---------------------------------------------------------------------------


def record_values(model: Model) -> tuple[Any, ...]:
    """Return the values of `RECORD_COLUMNS`; times in seconds since 1970."""
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
    """Return the values of `RESOLVED_COLUMNS`; `released` is an ordinal day."""
    values = {name: _sql_value(model.value(name)) for name in RESOLVED_COLUMNS}
    if values["provider"] is None:  # a provider serves it, at an unknown price
        values["provider"] = next(iter(model.value("providers") or ()), None)
    return tuple(values.values())


def _sql_value(value: object) -> object:
    if isinstance(value, datetime.date):
        return value.toordinal()
    return " ".join(sorted(value)) if isinstance(value, frozenset) else value


def compress_json(data: Mapping[str, Any]) -> bytes:
    """Return compressed JSON: a third of the size, for a hundredth of the time of its download."""
    return zlib.compress(_encode_json(data), 1)


def decompress_json(data: bytes) -> dict[str, Any]:
    """Return the data that `compress_json` has compressed.

    Raises:
        ValueError: it is larger than any record of the Hub.
    """
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(data, MAX_RECORD_BYTES)
    if decompressor.unconsumed_tail:
        raise ValueError(f"a record has more than {MAX_RECORD_BYTES:,} bytes")
    decompressed_data: dict[str, Any] = json.loads(text)
    return decompressed_data


def own_digest(data: Mapping[str, Any]) -> bytes:
    """Return a digest of what `Model.to_dict` wrote, without volatile fields."""
    stable_fields = {name: value for name, value in data.items() if name not in _VOLATILE_FIELDS}
    facts = data["facts"].items()
    stable_fields["facts"] = {name: [fact["value"], fact["source"]] for name, fact in facts}
    return _json_digest(stable_fields)


def resolved_digest(model: Model) -> bytes:
    """Return a digest of everything that a derived model may inherit."""
    bases = [[base.name, base.key, base.relation] for base in model.bases]
    return _json_digest([bases, comparable_facts(model.facts)])


def comparable_facts(facts: Mapping[str, Fact]) -> dict[str, Any]:
    """Return facts in a form to compare: without when they were fetched."""
    return {
        name: [to_plain(fact.value), fact.source, fact.confidence] for name, fact in facts.items()
    }


def facts_to_json(facts: Mapping[str, Fact]) -> str:
    """Return facts as JSON."""
    return json.dumps({name: fact.to_dict() for name, fact in facts.items()}, ensure_ascii=False)


def facts_from_json(text: str) -> dict[str, Fact]:
    """Return the facts that `facts_to_json` wrote."""
    with damaged_values():
        return {name: Fact.from_dict(name, fact) for name, fact in json.loads(text).items()}


def placeholders(names: Iterable[str]) -> str:
    """Return the question marks of an SQL statement with these columns."""
    return ", ".join("?" for _ in names)


def _json_digest(value: object) -> bytes:
    return hashlib.blake2b(_encode_json(value), digest_size=8).digest()


def _encode_json(value: object) -> bytes:
    return _ENCODER.encode(value).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


# --- SQL ------------------------------------------------------------------------------------

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

_UPDATE_RESOLVED = (
    f"UPDATE models SET {' = ?, '.join(RESOLVED_COLUMNS)} = ?, resolved = ? WHERE id = ?"  # noqa: S608 - names of columns
)
