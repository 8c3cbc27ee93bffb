"""Writing to the catalogue: upserts of models by their `_id`, other facts, and deletions."""

from __future__ import annotations

import time
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
from tryage.hub.catalog_schema import damaged_values, find_row
from tryage.hub.evaluations import merge_results
from tryage.hub.model import Model

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from tryage.hub.model import Fact


MAX_CLOCK_SKEW = 3_600.0  # seconds; a time further in the future was written under a wrong clock


class ChangeCounts(NamedTuple):
    """How many models were new, changed, renamed and deleted."""

    new: int = 0
    changed: int = 0
    renamed: int = 0
    deleted: int = 0

    def __add__(self, other: object) -> ChangeCounts:
        """Return the sum of two counts."""
        if not isinstance(other, ChangeCounts):
            return NotImplemented
        return ChangeCounts(*(a + b for a, b in zip(self, other, strict=True)))


class CatalogWriter:
    """Writes inside a transaction of the caller; `propagate` then updates the resolved columns."""

    def __init__(self, database: sqlite3.Connection, now: float | None = None) -> None:
        self._db = database
        self._now = time.time() if now is None else now
        self._dirty: set[int] = set()  # rows whose resolved columns are out of date
        self._pending_links: list[tuple[str, str]] = []  # keys and names that are new or have moved
        self._tag_ids: dict[str, int] = {}
        self._counts = ChangeCounts()

    # --- models -----------------------------------------------------------------------------

    def write_model(self, model: Model) -> None:
        """Write one model, unless the catalogue has a newer record of it."""
        data = model.to_dict()
        self._upsert(model, data, compress_json(data))

    def write_blob(self, blob: bytes) -> None:
        """Write one model from its compressed form."""
        with damaged_values():
            data = decompress_json(blob)
            model = Model.from_dict(data)
        self._upsert(model, data, blob)

    def _upsert(self, model: Model, data: Mapping[str, Any], blob: bytes) -> None:
        row = self._db.execute(
            "SELECT id, name, own, seen, gone FROM models WHERE key = ?", (model.key,)
        ).fetchone()
        if row is None:
            self._insert(model, own_digest(data), blob)
            return
        stored_model = _StoredModel(*row)
        if model.fetched_at.timestamp() >= stored_model.last_known_at(self._now):
            self._update(stored_model, model, own_digest(data), blob)

    def _insert(self, model: Model, digest: bytes, blob: bytes) -> None:
        cursor = self._db.execute(_INSERT, (model.key, *record_values(model), digest))
        row = int(cursor.lastrowid or 0)
        self._db.execute("INSERT INTO records VALUES (?, ?)", (row, blob))
        self._write_bases(row, model)
        self._update_tags(row, set(model.tags), set())
        self._pending_links.append((model.key, model.name))
        self._dirty.add(row)
        self._counts += ChangeCounts(new=1)

    def _update(self, stored_model: _StoredModel, model: Model, digest: bytes, blob: bytes) -> None:
        self._db.execute(_UPDATE_RECORD, (*record_values(model), digest, stored_model.row))
        renamed = stored_model.name != model.name
        if renamed:
            self._rename(stored_model, model)
        if digest != stored_model.digest or stored_model.deleted_at is not None:
            self._update_tags(stored_model.row, set(model.tags), self._read_tags(stored_model.row))
            self._write_bases(stored_model.row, model)
            self._dirty.add(stored_model.row)
            self._counts += ChangeCounts(changed=int(not renamed))
        self._db.execute("UPDATE records SET data = ? WHERE model = ?", (blob, stored_model.row))

    def _rename(self, stored_model: _StoredModel, model: Model) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO former VALUES (?, ?)", (stored_model.name, stored_model.row)
        )
        self._db.execute(_RENAME_LEADERBOARD, (model.name, stored_model.name))
        self._pending_links += [(model.key, model.name), (model.key, stored_model.name)]
        self._counts += ChangeCounts(renamed=1)

    def _write_bases(self, row: int, model: Model) -> None:
        self._db.execute("DELETE FROM lineage WHERE child = ?", (row,))
        for place, base in enumerate(model.bases):
            parent = find_row(self._db, base.key, base.name)
            parent = None if parent == row else parent
            link = (row, place, base.name, base.key, parent, base.relation)
            self._db.execute("INSERT INTO lineage VALUES (?, ?, ?, ?, ?, ?)", link)

    def _read_tags(self, row: int) -> set[str]:
        (blob,) = self._db.execute("SELECT data FROM records WHERE model = ?", (row,)).fetchone()
        return set(decompress_json(blob)["tags"])

    def _update_tags(self, row: int, tags: set[str], old_tags: set[str]) -> None:
        deletions = [(self._tag_id(tag), row) for tag in old_tags - tags]
        insertions = [(self._tag_id(tag), row) for tag in tags - old_tags]
        self._db.executemany("DELETE FROM tagged WHERE tag = ? AND model = ?", deletions)
        self._db.executemany("INSERT OR IGNORE INTO tagged VALUES (?, ?)", insertions)

    def _tag_id(self, tag: str) -> int:
        tag_id = self._tag_ids.get(tag)
        if tag_id is None:
            self._db.execute("INSERT OR IGNORE INTO tags (tag) VALUES (?)", (tag,))
            (tag_id,) = self._db.execute("SELECT id FROM tags WHERE tag = ?", (tag,)).fetchone()
            # Data sets and papers are tags, too, so memory must be bounded.
            if len(self._tag_ids) > 50_000:
                self._tag_ids.clear()
            self._tag_ids[tag] = int(tag_id)
        return int(tag_id)

    # --- facts that do not come from the record ----------------------------------------------

    def write_scan(self, key: str, sha: str | None, facts: Mapping[str, Fact]) -> None:
        """Write what the scanners report about one revision of a model."""
        old_scan = self._db.execute(
            "SELECT sha, data FROM beside WHERE kind = 'scan' AND owner = ?", (key,)
        ).fetchone()
        row = ("scan", key, sha, facts_to_json(facts))
        self._db.execute("INSERT OR REPLACE INTO beside VALUES (?, ?, ?, ?)", row)
        if (
            old_scan is None
            or old_scan[0] != sha
            or comparable_facts(facts_from_json(old_scan[1])) != comparable_facts(facts)
        ):
            self._mark_dirty("key = ?", key)

    def add_alias(self, name: str, key: str) -> None:
        """Write another name of a model, unless a model has that name now."""
        self._db.execute(_INSERT_ALIAS, (name, key, name))
        self._pending_links.append((key, name))

    def replace_served(self, served: Mapping[str, Mapping[str, Fact]]) -> None:
        """Replace the facts of all served models, by name; other models are no longer served."""
        rows = self._db.execute("SELECT owner, data FROM beside WHERE kind = 'served'").fetchall()
        old_facts = {name: comparable_facts(facts_from_json(data)) for name, data in rows}
        new_facts = {name: comparable_facts(facts) for name, facts in served.items()}
        self._db.execute("DELETE FROM beside WHERE kind = 'served'")
        self._db.executemany(
            "INSERT INTO beside VALUES ('served', ?, NULL, ?)",
            [(name, facts_to_json(facts)) for name, facts in served.items()],
        )
        for name in old_facts.keys() | new_facts.keys():
            if old_facts.get(name) != new_facts.get(name):
                self._mark_dirty("name = ?", name)

    def replace_leaderboard(self, dataset: str, results: Mapping[str, str]) -> None:
        """Replace one data set's results, facts as JSON by model name.

        Models without a result lose the one they had.
        """
        rows = self._db.execute("SELECT owner, data FROM beside WHERE kind = 'leaderboard'")
        old_results = {name: facts_from_json(data) for name, data in rows}
        for name in old_results.keys() | results.keys():
            old_facts = old_results.get(name, {})
            facts = merge_results(old_facts, dataset, facts_from_json(results.get(name, "{}")))
            if comparable_facts(facts) != comparable_facts(old_facts):
                row = ("leaderboard", name, None, facts_to_json(facts))
                self._db.execute("DELETE FROM beside WHERE kind = ? AND owner = ?", row[:2])
                if facts:
                    self._db.execute("INSERT INTO beside VALUES (?, ?, ?, ?)", row)
                self._mark_dirty("name = ?", name)

    def _mark_dirty(self, condition: str, value: str) -> None:
        rows = self._db.execute(f"SELECT id FROM models WHERE {condition}", (value,))  # noqa: S608 - the condition is a constant of this file
        self._dirty.update(row[0] for row in rows)

    def reset_future_times(self, started_at: float) -> None:
        """Let records that were written under a clock that was ahead be older than this sync.

        Otherwise every later record would count as the older one. It reads all models.
        """
        for column in ("seen", "gone"):
            self._db.execute(
                f"UPDATE models SET {column} = ? WHERE {column} > ?",  # noqa: S608 - a name of a column
                (started_at, self._now + MAX_CLOCK_SKEW),
            )

    def mark_deleted(self, key: str, deleted_at: float) -> None:
        """Mark a model as deleted at this time, unless it was seen later."""
        cursor = self._db.execute(
            "UPDATE models SET gone = ? WHERE key = ? AND gone IS NULL AND seen <= ?",
            (deleted_at, key, deleted_at),
        )
        self._counts += ChangeCounts(deleted=cursor.rowcount)

    # --- resolved columns --------------------------------------------------------------------

    def propagate(self) -> ChangeCounts:
        """Update names, links and inherited columns after writing; return the counts.

        More can be written afterwards; the counts then start at zero.
        """
        for _, name in self._pending_links:
            self._counts += ChangeCounts(deleted=self._db.execute(_MARK_REPLACED, (name,)).rowcount)
        for key, name in self._pending_links:
            self._link_children(key, name)
        InheritanceResolver(self._db).propagate(self._dirty)
        counts = self._counts
        self._dirty, self._pending_links, self._counts = set(), [], ChangeCounts()
        return counts

    def _link_children(self, key: str, name: str) -> None:
        """Link the models that name this model as their base, even those written before it."""
        links = self._db.execute(_SELECT_CHILDREN, (key, name)).fetchall()
        for child, place, base_name, base_key, old_parent in links:
            new_parent = find_row(self._db, base_key, base_name)
            new_parent = None if new_parent == child else new_parent
            if new_parent != old_parent:
                self._db.execute(
                    "UPDATE lineage SET parent = ? WHERE child = ? AND place = ?",
                    (new_parent, child, place),
                )
                self._dirty.add(child)


class _StoredModel(NamedTuple):
    """What the catalogue has of a model; times are seconds since 1970."""

    row: int
    name: str
    digest: bytes
    fetched_at: float
    deleted_at: float | None

    def last_known_at(self, now: float) -> float:
        """Return when the Hub was last asked about the model; a time in the future is wrong."""
        times = (self.fetched_at, self.deleted_at or 0.0)
        return max((time for time in times if time <= now + MAX_CLOCK_SKEW), default=0.0)


# --- SQL ------------------------------------------------------------------------------------

_INSERT = (
    f"INSERT INTO models (key, {', '.join(RECORD_COLUMNS)}, own)"  # noqa: S608 - names of columns
    f" VALUES (?, {placeholders(RECORD_COLUMNS)}, ?)"
)

_UPDATE_RECORD = (
    f"UPDATE models SET {' = ?, '.join(RECORD_COLUMNS)} = ?, own = ?, gone = NULL WHERE id = ?"  # noqa: S608 - names of columns
)

_RENAME_LEADERBOARD = (
    "UPDATE OR REPLACE beside SET owner = ? WHERE kind = 'leaderboard' AND owner = ?"
)

_INSERT_ALIAS = """
INSERT OR IGNORE INTO former SELECT ?, id FROM models WHERE key = ?
AND NOT EXISTS (SELECT 1 FROM models WHERE name = ?)"""

_SELECT_CHILDREN = "SELECT child, place, name, key, parent FROM lineage WHERE key = ? OR name = ?"

# Two models cannot share a name: the model seen later has it, the other was renamed or deleted.
_MARK_REPLACED = """
UPDATE models SET gone = seen WHERE gone IS NULL AND name = ? AND EXISTS (
    SELECT 1 FROM models AS other WHERE other.name = models.name AND other.gone IS NULL
    AND other.name = models.name COLLATE BINARY AND other.id != models.id
    AND (other.seen > models.seen OR (other.seen = models.seen AND other.key > models.key))
)"""
