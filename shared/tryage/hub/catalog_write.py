"""Writing models: by their `_id`, the newer over the older, and nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.hub.catalog_resolve import (
    RECORD_COLUMNS,
    InheritanceResolver,
    comparable_facts,
    compress_json,
    decompress_json,
    facts_from_json,
    facts_to_json,
    own_digest,
    placeholders,
    record_values,
)
from tryage.hub.catalog_schema import find_row
from tryage.hub.evaluations import merge_results
from tryage.hub.model import Model

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from tryage.hub.model import Fact

    class _Row(NamedTuple):
        id: int
        name: str
        own: bytes
        seen: float
        gone: float | None


class ChangeCounts(NamedTuple):
    """How many models a change concerned."""

    new: int = 0
    changed: int = 0
    renamed: int = 0
    deleted: int = 0

    def __add__(self, other: object) -> ChangeCounts:
        """Return both together."""
        if not isinstance(other, ChangeCounts):
            return NotImplemented
        return ChangeCounts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class CatalogWriter:
    """Writes models inside a transaction of the caller; `settle` works out what follows from it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._dirty: set[int] = set()
        self._relink: list[tuple[str, str]] = []
        self._tags: dict[str, int] = {}
        self._counts = ChangeCounts()

    def write_model(self, model: Model) -> None:
        """Write one model, unless what is here was seen later."""
        data = model.to_dict()
        self._upsert(model, data, compress_json(data))

    def write_blob(self, blob: bytes) -> None:
        """Write one model from its packed form."""
        data = decompress_json(blob)
        self._upsert(Model.from_dict(data), data, blob)

    def _upsert(self, model: Model, data: Mapping[str, Any], blob: bytes) -> None:
        row = self._db.execute(
            "SELECT id, name, own, seen, gone FROM models WHERE key = ?", (model.key,)
        ).fetchone()
        if row is None:
            self._insert(model, own_digest(data), blob)
        elif model.fetched_at.timestamp() >= max(row[3], row[4] or 0.0):
            self._update(row, model, own_digest(data), blob)

    def _insert(self, model: Model, digest: bytes, blob: bytes) -> None:
        cursor = self._db.execute(_INSERT, (model.key, *record_values(model), digest))
        row = int(cursor.lastrowid or 0)
        self._db.execute("INSERT INTO records VALUES (?, ?)", (row, blob))
        self._write_bases(row, model)
        self._update_tags(row, set(model.tags), set())
        self._relink.append((model.key, model.name))
        self._dirty.add(row)
        self._counts += ChangeCounts(new=1)

    def _update(self, row: _Row, model: Model, digest: bytes, blob: bytes) -> None:
        number, name, before, _, gone = row
        self._db.execute(_UPDATE, (*record_values(model), digest, number))
        if name != model.name:
            self._db.execute("INSERT OR REPLACE INTO former VALUES (?, ?)", (name, number))
            self._db.execute(_RENAME_LEADERBOARD, (model.name, name))
            self._relink += [(model.key, model.name), (model.key, name)]
            self._counts += ChangeCounts(renamed=1)
        if digest != before or gone is not None:
            self._update_tags(number, set(model.tags), self._read_tags(number))
            self._write_bases(number, model)
            self._dirty.add(number)
            if name == model.name:
                self._counts += ChangeCounts(changed=1)
        self._db.execute("UPDATE records SET data = ? WHERE model = ?", (blob, number))

    def _write_bases(self, row: int, model: Model) -> None:
        self._db.execute("DELETE FROM lineage WHERE child = ?", (row,))
        for place, base in enumerate(model.bases):
            parent = self._find(base.key, base.name)
            parent = None if parent == row else parent
            link = (row, place, base.name, base.key, parent, base.relation)
            self._db.execute("INSERT INTO lineage VALUES (?, ?, ?, ?, ?, ?)", link)

    def _find(self, key: str | None, name: str) -> int | None:
        """Return the row that a base means: by its `_id`, its name, or a name it had."""
        return find_row(self._db, key, name)

    def _read_tags(self, row: int) -> set[str]:
        (blob,) = self._db.execute("SELECT data FROM records WHERE model = ?", (row,)).fetchone()
        return set(decompress_json(blob)["tags"])

    def _update_tags(self, row: int, tags: set[str], before: set[str]) -> None:
        remove = [(self._tag_id(tag), row) for tag in before - tags]
        add = [(self._tag_id(tag), row) for tag in tags - before]
        self._db.executemany("DELETE FROM tagged WHERE tag = ? AND model = ?", remove)
        self._db.executemany("INSERT OR IGNORE INTO tagged VALUES (?, ?)", add)

    def _tag_id(self, tag: str) -> int:
        found = self._tags.get(tag)
        if found is None:
            self._db.execute("INSERT OR IGNORE INTO tags (tag) VALUES (?)", (tag,))
            (found,) = self._db.execute("SELECT id FROM tags WHERE tag = ?", (tag,)).fetchone()
            if len(self._tags) > 50_000:  # every data set and paper has a tag: keep memory bounded
                self._tags.clear()
            self._tags[tag] = int(found)
        return int(found)

    def write_scan(self, key: str, sha: str | None, facts: Mapping[str, Fact]) -> None:
        """Note what the scanners say of one revision of a model."""
        before = self._db.execute(
            "SELECT sha, data FROM beside WHERE kind = 'scan' AND owner = ?", (key,)
        ).fetchone()
        row = ("scan", key, sha, facts_to_json(facts))
        self._db.execute("INSERT OR REPLACE INTO beside VALUES (?, ?, ?, ?)", row)
        if (
            before is None
            or before[0] != sha
            or comparable_facts(facts_from_json(before[1])) != comparable_facts(facts)
        ):
            self._mark_dirty("key = ?", key)

    def add_alias(self, name: str, key: str) -> None:
        """Note another name of a model, unless it is the name of one."""
        self._db.execute(_INSERT_ALIAS, (name, key, name))
        self._relink.append((key, name))

    def replace_served(self, served: Mapping[str, Mapping[str, Fact]]) -> None:
        """Replace all that is known of served models, by name; others are served no more."""
        rows = self._db.execute("SELECT owner, data FROM beside WHERE kind = 'served'").fetchall()
        before = {name: comparable_facts(facts_from_json(data)) for name, data in rows}
        after = {name: comparable_facts(facts) for name, facts in served.items()}
        self._db.execute("DELETE FROM beside WHERE kind = 'served'")
        self._db.executemany(
            "INSERT INTO beside VALUES ('served', ?, NULL, ?)",
            [(name, facts_to_json(facts)) for name, facts in served.items()],
        )
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name):
                self._mark_dirty("name = ?", name)

    def replace_leaderboard(self, dataset: str, results: Mapping[str, str]) -> None:
        """Replace one data set's results, facts as JSON by model name; others are not in it."""
        rows = self._db.execute("SELECT owner, data FROM beside WHERE kind = 'leaderboard'")
        before = {name: facts_from_json(data) for name, data in rows}
        for name in before.keys() | results.keys():
            known = before.get(name, {})
            facts = merge_results(known, dataset, facts_from_json(results.get(name, "{}")))
            if comparable_facts(facts) != comparable_facts(known):
                row = ("leaderboard", name, None, facts_to_json(facts))
                self._db.execute("DELETE FROM beside WHERE kind = ? AND owner = ?", row[:2])
                if facts:
                    self._db.execute("INSERT INTO beside VALUES (?, ?, ?, ?)", row)
                self._mark_dirty("name = ?", name)

    def _mark_dirty(self, condition: str, value: str) -> None:
        found = self._db.execute(f"SELECT id FROM models WHERE {condition}", (value,))  # noqa: S608 - a condition of this file
        self._dirty.update(row[0] for row in found)

    def mark_deleted(self, key: str, deleted_at: float) -> None:
        """Note that a model is gone since `seen`, unless it was seen later."""
        cursor = self._db.execute(
            "UPDATE models SET gone = ? WHERE key = ? AND gone IS NULL AND seen <= ?",
            (deleted_at, key, deleted_at),
        )
        self._counts += ChangeCounts(deleted=cursor.rowcount)

    def propagate(self) -> ChangeCounts:
        """Work out what follows from all that was written, and return how much it was."""
        for _, name in self._relink:
            self._counts += ChangeCounts(deleted=self._db.execute(_MARK_REPLACED, (name,)).rowcount)
        for key, name in self._relink:
            self._link_children(key, name)
        InheritanceResolver(self._db).propagate(self._dirty)
        counts = self._counts
        self._dirty, self._relink, self._counts = set(), [], ChangeCounts()
        return counts

    def _link_children(self, key: str, name: str) -> None:
        """Link those who name this model as their base, also those who came before it."""
        links = self._db.execute(_SELECT_CHILDREN, (key, name)).fetchall()
        for child, place, base_name, base_key, parent in links:
            found = self._find(base_key, base_name)
            found = None if found == child else found
            if found != parent:
                self._db.execute(
                    "UPDATE lineage SET parent = ? WHERE child = ? AND place = ?",
                    (found, child, place),
                )
                self._dirty.add(child)


def _comma_separated(rows: Iterable[str]) -> str:
    return ", ".join(rows)


_INSERT = f"INSERT INTO models (key, {_comma_separated(RECORD_COLUMNS)}, own) VALUES (?, {placeholders(RECORD_COLUMNS)}, ?)"  # noqa: S608 - names of columns

_UPDATE = (
    f"UPDATE models SET {' = ?, '.join(RECORD_COLUMNS)} = ?, own = ?, gone = NULL WHERE id = ?"  # noqa: S608 - names of columns
)

_RENAME_LEADERBOARD = (
    "UPDATE OR REPLACE beside SET owner = ? WHERE kind = 'leaderboard' AND owner = ?"
)

_INSERT_ALIAS = """
INSERT OR IGNORE INTO former SELECT ?, id FROM models WHERE key = ?
AND NOT EXISTS (SELECT 1 FROM models WHERE name = ?)"""

_SELECT_CHILDREN = "SELECT child, place, name, key, parent FROM lineage WHERE key = ? OR name = ?"

# A name has one owner: of two, the one seen later has it, and the other was renamed or deleted.
_MARK_REPLACED = """
UPDATE models SET gone = seen WHERE gone IS NULL AND name = ? AND EXISTS (
    SELECT 1 FROM models AS other WHERE other.name = models.name AND other.gone IS NULL
    AND other.name = models.name COLLATE BINARY AND other.id != models.id
    AND (other.seen > models.seen OR (other.seen = models.seen AND other.key > models.key))
)"""
