"""One sync under way: what it has fetched, kept apart until all of it is published at once."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tryage.hub import catalog_schema
from tryage.hub.catalog_resolve import (
    compress_json,
    decompress_json,
    facts_from_json,
    facts_to_json,
)
from tryage.hub.catalog_write import CatalogWriter, ChangeCounts
from tryage.hub.evaluations import quality_fact

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from tryage.hub.catalog import Catalogue
    from tryage.hub.evaluations import EvaluationResult
    from tryage.hub.model import Fact, Model

MODELS_PER_BATCH = 5_000  # arrivals to publish before working out what their descendants inherit


class SyncStaging:
    """One sync under way, from its first question to `publish`, through any number of processes.

    Every method that writes is one transaction: what arrived, and the place to go on from. Readers
    see nothing of it before `publish`, so they always have one whole catalogue. `name` keeps the
    walk through the whole Hub apart from the usual sync. Times are seconds since 1970.
    """

    def __init__(self, catalogue: Catalogue, name: str) -> None:
        self._catalogue = catalogue
        self._name = name
        self._base_counts: Counter[tuple[str, str | None]] = Counter()  # bases of what arrived
        self._last_counted_row = 0  # until where they were counted

    def resume_or_start(
        self, options: Mapping[str, Any], now: float, max_age: float | None
    ) -> None:
        """Go on with an interrupted run of the same options, or begin anew.

        An interrupted one counts for `patience` seconds, None for ever.
        """
        saved = self.stage_state("begun")
        age = now - saved.get("at", now)
        usable = max_age is None or 0 <= age <= max_age
        if saved.get("options") == dict(options) and usable:
            return
        with self._write_transaction() as database:
            self._clear(database)
            self._save_stage_state(database, "begun", {"at": now, "options": dict(options)})

    def stage_state(self, stage: str) -> dict[str, Any]:
        """Return where a stage is, empty where it has not begun."""
        found: dict[str, Any] = self._catalogue.get_state(f"{self._name}:{stage}") or {}
        return found

    # --- what arrives -----------------------------------------------------------------------

    def add_models(self, models: Iterable[Model], stage: str, state: Mapping[str, Any]) -> None:
        """Keep models, the last of each `_id`, together with the place after them."""
        rows = [
            (
                m.key,
                m.name,
                m.sha,
                m.downloads,
                m.fetched_at.timestamp(),
                compress_json(m.to_dict()),
            )
            for m in models
        ]
        self._add_rows("model", rows, stage, state)

    def add_served(
        self, served: Mapping[str, Mapping[str, Fact]], now: float, state: Mapping[str, Any]
    ) -> None:
        """Keep what is known of served models, by name."""
        rows = [
            (name, name, None, None, now, facts_to_json(facts)) for name, facts in served.items()
        ]
        self._add_rows("served", rows, "served", state)

    def add_leaderboard(
        self, dataset: str, results: Mapping[str, Iterable[EvaluationResult]], now: datetime
    ) -> None:
        """Keep one data set's results of models, by name."""
        facts = {name: facts_to_json(quality_fact(rows, now)) for name, rows in results.items()}
        row = (dataset, None, None, None, now.timestamp(), json.dumps(facts))
        self._add_rows("leaderboard", [row], "leaderboards", {})

    def add_scan(self, model: Model, facts: Mapping[str, Fact]) -> None:
        """Keep what the scanners say of a model."""
        row = (
            model.key,
            model.name,
            model.sha,
            None,
            model.fetched_at.timestamp(),
            facts_to_json(facts),
        )
        self._add_rows("scan", [row], "scans", {})

    def add_deleted(self, key: str, name: str, now: float) -> None:
        """Keep that a model is gone."""
        self._add_rows("gone", [(key, name, None, None, now, b"")], "vanished", {})

    def add_alias(self, name: str, model: Model) -> None:
        """Keep that this is another name of a model, one that it had before."""
        row = (name, name, None, None, model.fetched_at.timestamp(), model.key)
        self._add_rows("alias", [row], "alias", {})

    def _add_rows(
        self, kind: str, rows: list[tuple[Any, ...]], stage: str, state: Mapping[str, Any]
    ) -> None:
        with self._write_transaction() as database:
            database.executemany(_INSERT_STAGED, [(self._name, kind, *row) for row in rows])
            self._save_stage_state(database, stage, state)

    # --- what is missing --------------------------------------------------------------------

    def unknown_names(self, names: Iterable[str]) -> list[str]:
        """Return the names that are neither here nor among what arrived."""
        return [name for name in names if not self._fetch_all(_HAS_NAME, (name, self._name, name))]

    def is_published(self, key: str) -> bool:
        """Return whether the catalogue has a model of this `_id`, published."""
        return bool(self._fetch_all("SELECT 1 FROM models WHERE key = ?", (key,)))

    def staged_keys(self, kind: str) -> list[str]:
        """Return the keys of what arrived of one kind; of `served`, they are names."""
        sql = "SELECT key FROM arrivals WHERE run = ? AND kind = ? ORDER BY key"
        return [key for (key,) in self._fetch_all(sql, (self._name, kind))]

    def most_downloaded(self, limit: int) -> list[tuple[str, str]]:
        """Return key and name of the models that arrived with the most downloads."""
        return self._fetch_all(_SELECT_MOST_DOWNLOADED, (self._name, limit))

    def missing_bases(self, include_published: bool) -> list[str]:
        """Return the bases of what arrived that nobody here is, those of most models first.

        With `published`, also those of models that are in the catalogue.
        """
        with catalog_schema.wrap_sqlite_errors(self._catalogue.path):
            rows = self._catalogue.connection().execute(
                _SELECT_STAGED_MODELS, (self._name, self._last_counted_row)
            )
            for self._last_counted_row, blob in rows:
                bases = decompress_json(blob)["bases"]
                self._base_counts.update((base["name"], base["key"]) for base in bases)
        wanted = self._base_counts.copy()
        if include_published:
            wanted.update(
                {
                    (name, key): count
                    for name, key, count in self._fetch_all(_SELECT_MISSING_BASES, ())
                }
            )
        run = self._name
        missing: Counter[str] = Counter()
        for (name, key), count in wanted.items():
            if not self._fetch_all(_BASE_EXISTS, (name, key, name, run, key, run, name)):
                missing[name] += count
        return sorted(missing, key=lambda name: (-missing[name], name))

    def unconfirmed_models(
        self, min_downloads: float | None, limit: int, *, include_all: bool
    ) -> list[tuple[str, str]]:
        """Return key and name of models that should have arrived, the most downloaded first.

        With `every`, all should have; otherwise those with more than `floor` downloads.
        """
        return self._fetch_all(_SELECT_UNCONFIRMED, (include_all, min_downloads, self._name, limit))

    def _fetch_all(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with catalog_schema.wrap_sqlite_errors(self._catalogue.path):
            return self._catalogue.connection().execute(sql, values).fetchall()

    # --- the end ----------------------------------------------------------------------------

    def publish(self, state: Mapping[str, Any]) -> ChangeCounts:
        """Bring all that arrived into the catalogue, and its new state, in one transaction."""
        with self._write_transaction() as database:
            upsert = CatalogWriter(database)
            counts = self._publish_models(database, upsert)
            for name, _, key in self._staged_rows(database, "alias"):
                upsert.add_alias(name, key)
            for key, sha, facts in self._staged_rows(database, "scan"):
                upsert.write_scan(key, sha, facts_from_json(facts))
            for dataset, _, found in self._staged_rows(database, "leaderboard"):
                upsert.replace_leaderboard(dataset, json.loads(found))
            if self.stage_state("served"):
                served = self._staged_rows(database, "served")
                upsert.replace_served({name: facts_from_json(facts) for name, _, facts in served})
            gone = "SELECT key, seen FROM arrivals WHERE run = ? AND kind = 'gone'"
            for key, seen in database.execute(gone, (self._name,)).fetchall():
                upsert.mark_deleted(key, seen)
            counts += upsert.propagate()
            self._clear(database)
            catalog_schema.save_state(database, state)
        return counts

    def _publish_models(self, database: sqlite3.Connection, upsert: CatalogWriter) -> ChangeCounts:
        counts, last = ChangeCounts(), 0
        sql = "SELECT rowid, data FROM arrivals WHERE run = ? AND kind = 'model' AND rowid > ?"
        sql += " ORDER BY rowid LIMIT ?"
        while rows := database.execute(sql, (self._name, last, MODELS_PER_BATCH)).fetchall():
            for _, blob in rows:
                upsert.write_blob(blob)
            last = rows[-1][0]
            counts += upsert.propagate()
        return counts

    def _staged_rows(self, database: sqlite3.Connection, kind: str) -> list[tuple[str, str, str]]:
        sql = "SELECT key, sha, data FROM arrivals WHERE run = ? AND kind = ?"
        return database.execute(sql, (self._name, kind)).fetchall()

    def _clear(self, database: sqlite3.Connection) -> None:
        database.execute("DELETE FROM arrivals WHERE run = ?", (self._name,))
        database.execute("DELETE FROM state WHERE name GLOB ?", (f"{self._name}:*",))

    def _save_stage_state(
        self, database: sqlite3.Connection, stage: str, state: Mapping[str, Any]
    ) -> None:
        catalog_schema.save_state(database, {f"{self._name}:{stage}": {**state, "begun": True}})

    @contextmanager
    def _write_transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._catalogue.connection()
        with (
            catalog_schema.wrap_sqlite_errors(self._catalogue.path),
            catalog_schema.transaction(database),
        ):
            yield database


_INSERT_STAGED = """
INSERT OR REPLACE INTO arrivals (run, kind, key, name, sha, downloads, seen, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

_HAS_NAME = """
SELECT 1 FROM models WHERE name = ? AND gone IS NULL
UNION ALL SELECT 1 FROM arrivals WHERE run = ? AND kind = 'model' AND name = ?"""

_SELECT_STAGED_MODELS = """
SELECT rowid, data FROM arrivals WHERE run = ? AND kind = 'model' AND rowid > ? ORDER BY rowid"""

_SELECT_MISSING_BASES = """
SELECT lineage.name, lineage.key, count(*) FROM lineage JOIN models ON models.id = child
WHERE parent IS NULL AND live = 1 GROUP BY lineage.name, lineage.key"""

_BASE_EXISTS = """
SELECT 1 FROM models WHERE name = ?
UNION ALL SELECT 1 FROM models WHERE key = ?
UNION ALL SELECT 1 FROM former WHERE name = ?
UNION ALL SELECT 1 FROM arrivals WHERE run = ? AND kind = 'model' AND key = ?
UNION ALL SELECT 1 FROM arrivals WHERE run = ? AND kind IN ('model', 'alias') AND name = ?"""

_SELECT_MOST_DOWNLOADED = """
SELECT key, name FROM arrivals WHERE run = ? AND kind = 'model'
ORDER BY downloads DESC, key LIMIT ?"""

_SELECT_UNCONFIRMED = """
SELECT key, name FROM models WHERE gone IS NULL AND (? OR downloads > ?)
AND NOT EXISTS (
    SELECT 1 FROM arrivals WHERE run = ? AND kind IN ('model', 'gone') AND key = models.key
) ORDER BY downloads DESC, key LIMIT ?"""
