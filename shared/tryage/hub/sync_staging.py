"""What a sync has fetched and not yet published; an interrupted sync resumes from here."""

from __future__ import annotations

import json
from collections import Counter
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
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from tryage.hub.catalog import Catalogue
    from tryage.hub.evaluations import EvaluationResult
    from tryage.hub.model import Fact, Model

MODELS_PER_BATCH = 5_000  # models that are published together, before their descendants are updated


class SyncStaging:
    """The staging area of one sync, from its first request to `publish`, in one or more processes.

    Every method that writes is one transaction: what arrived, and the state to resume from. Readers
    see nothing of it before `publish`, so they always read one complete catalogue. `name`
    distinguishes a full sync from the usual one. Times are seconds since 1970.
    """

    def __init__(self, catalogue: Catalogue, name: str) -> None:
        self._catalogue = catalogue
        self._name = name
        # How many staged models have which base, by name and key, up to the last counted row.
        self._base_counts: Counter[tuple[str, str | None]] = Counter()
        self._last_counted_row = 0

    def resume_or_start(
        self, options: Mapping[str, Any], now: float, max_age: float | None
    ) -> None:
        """Resume an interrupted sync with the same options, or start a new one.

        An interrupted sync that began more than `max_age` seconds ago is not resumed; None sets no
        limit.
        """
        saved_state = self.stage_state("begun")
        age = now - saved_state.get("at", now)
        is_recent = max_age is None or 0 <= age <= max_age
        if saved_state.get("options") == dict(options) and is_recent:
            return
        with self._catalogue.transaction() as database:
            self._clear(database)
            self._save_stage_state(database, "begun", {"at": now, "options": dict(options)})

    def stage_state(self, stage: str) -> dict[str, Any]:
        """Return the state of a stage; empty when it has not begun."""
        state: dict[str, Any] = self._catalogue.get_state(f"{self._name}:{stage}") or {}
        return state

    # --- staging ----------------------------------------------------------------------------

    def add_models(self, models: Iterable[Model], stage: str, state: Mapping[str, Any]) -> None:
        """Stage models together with the state of their stage; the last of each `_id` counts."""
        self._add_rows("model", [_model_row(model) for model in models], stage, state)

    def add_served(
        self, served: Mapping[str, Mapping[str, Fact]], now: float, state: Mapping[str, Any]
    ) -> None:
        """Stage the facts of served models, by name."""
        rows = [
            (name, name, None, None, now, facts_to_json(facts)) for name, facts in served.items()
        ]
        self._add_rows("served", rows, "served", state)

    def add_leaderboard(
        self, dataset: str, results: Mapping[str, Iterable[EvaluationResult]], now: datetime
    ) -> None:
        """Stage one data set's results of models, by name."""
        facts = {name: facts_to_json(quality_fact(rows, now)) for name, rows in results.items()}
        row = (dataset, None, None, None, now.timestamp(), json.dumps(facts))
        self._add_rows("leaderboard", [row], "leaderboards", {})

    def add_scan(self, model: Model, facts: Mapping[str, Fact]) -> None:
        """Stage what the scanners report about a model."""
        fetched_at, data = model.fetched_at.timestamp(), facts_to_json(facts)
        self._add_rows(
            "scan", [(model.key, model.name, model.sha, None, fetched_at, data)], "scans", {}
        )

    def add_deleted(self, key: str, name: str, now: float) -> None:
        """Stage that a model is deleted."""
        self._add_rows("gone", [(key, name, None, None, now, b"")], "vanished", {})

    def add_alias(self, name: str, model: Model) -> None:
        """Stage a former name of a model."""
        row = (name, name, None, None, model.fetched_at.timestamp(), model.key)
        self._add_rows("alias", [row], "alias", {})

    def _add_rows(
        self, kind: str, rows: list[tuple[Any, ...]], stage: str, state: Mapping[str, Any]
    ) -> None:
        with self._catalogue.transaction() as database:
            database.executemany(_INSERT_STAGED, [(self._name, kind, *row) for row in rows])
            self._save_stage_state(database, stage, state)

    # --- queries ----------------------------------------------------------------------------

    def unknown_names(self, names: Iterable[str]) -> list[str]:
        """Return the names of models that are neither published nor staged."""
        return [name for name in names if not self._fetch_all(_HAS_NAME, (name, self._name, name))]

    def is_published(self, key: str) -> bool:
        """Return whether the catalogue has a model with this `_id`."""
        return bool(self._fetch_all("SELECT 1 FROM models WHERE key = ?", (key,)))

    def staged_keys(self, kind: str) -> list[str]:
        """Return the keys of what is staged of one kind; for `served`, they are names."""
        sql = "SELECT key FROM arrivals WHERE run = ? AND kind = ? ORDER BY key"
        return [key for (key,) in self._fetch_all(sql, (self._name, kind))]

    def most_downloaded(self, limit: int) -> list[tuple[str, str]]:
        """Return key and name of the staged models with the most downloads."""
        return self._fetch_all(_SELECT_MOST_DOWNLOADED, (self._name, limit))

    def missing_bases(self, include_published: bool) -> list[str]:
        """Return the base models that are neither published nor staged, those of most models first.

        It counts the bases of staged models and, with `include_published`, those of models in the
        catalogue.
        """
        self._count_new_bases()
        base_counts = self._base_counts.copy()
        if include_published:
            rows = self._fetch_all(_SELECT_MISSING_BASES, ())
            base_counts.update({(name, key): count for name, key, count in rows})
        run = self._name
        missing_counts: Counter[str] = Counter()
        for (name, key), count in base_counts.items():
            if not self._fetch_all(_BASE_EXISTS, (name, key, name, run, key, run, name)):
                missing_counts[name] += count
        return sorted(missing_counts, key=lambda name: (-missing_counts[name], name))

    def _count_new_bases(self) -> None:
        """Count the bases of the models that were staged since the last call."""
        with catalog_schema.wrap_sqlite_errors(self._catalogue.path):
            rows = self._catalogue.connection().execute(
                _SELECT_STAGED_MODELS, (self._name, self._last_counted_row)
            )
            for self._last_counted_row, blob in rows:
                with catalog_schema.damaged_values():
                    bases = decompress_json(blob)["bases"]
                    self._base_counts.update((base["name"], base["key"]) for base in bases)

    def unconfirmed_models(
        self, min_downloads: float | None, limit: int, *, include_all: bool
    ) -> list[tuple[str, str]]:
        """Return key and name of published models that a listing lacks, most downloads first.

        With `include_all` the listing should contain every model; otherwise those with more than
        `min_downloads`.
        """
        return self._fetch_all(_SELECT_UNCONFIRMED, (include_all, min_downloads, self._name, limit))

    def _fetch_all(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with catalog_schema.wrap_sqlite_errors(self._catalogue.path):
            return self._catalogue.connection().execute(sql, values).fetchall()

    # --- publishing -------------------------------------------------------------------------

    def publish(self, state: Mapping[str, Any], now: float) -> ChangeCounts:
        """Move all that is staged into the catalogue, with its new state, in one transaction."""
        with self._catalogue.transaction() as database:
            writer = CatalogWriter(database, now)
            writer.reset_future_times(self.stage_state("begun").get("at", now))
            counts = self._publish_models(database, writer)
            self._publish_facts(database, writer)
            counts += writer.propagate()
            self._clear(database)
            catalog_schema.save_state(database, state)
        return counts

    def _publish_models(self, database: sqlite3.Connection, writer: CatalogWriter) -> ChangeCounts:
        """Write the models in batches, so that memory stays bounded."""
        counts, last_row = ChangeCounts(), 0
        sql = f"{_SELECT_STAGED_MODELS} LIMIT ?"
        while rows := database.execute(sql, (self._name, last_row, MODELS_PER_BATCH)).fetchall():
            for _, blob in rows:
                writer.write_blob(blob)
            last_row = rows[-1][0]
            counts += writer.propagate()
        return counts

    def _publish_facts(self, database: sqlite3.Connection, writer: CatalogWriter) -> None:
        """Write the facts that do not come from the record of a model."""
        for name, _, key in self._staged_rows(database, "alias"):
            writer.add_alias(name, key)
        for key, sha, facts in self._staged_rows(database, "scan"):
            writer.write_scan(key, sha, facts_from_json(facts))
        for dataset, _, results in self._staged_rows(database, "leaderboard"):
            writer.replace_leaderboard(dataset, json.loads(results))
        if self.stage_state("served"):
            served = self._staged_rows(database, "served")
            writer.replace_served({name: facts_from_json(facts) for name, _, facts in served})
        for key, deleted_at in database.execute(_SELECT_DELETED, (self._name,)).fetchall():
            writer.mark_deleted(key, deleted_at)

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


def _model_row(model: Model) -> tuple[Any, ...]:
    fetched_at, data = model.fetched_at.timestamp(), compress_json(model.to_dict())
    return (model.key, model.name, model.sha, model.downloads, fetched_at, data)


# --- SQL ------------------------------------------------------------------------------------

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

_SELECT_DELETED = "SELECT key, seen FROM arrivals WHERE run = ? AND kind = 'gone'"
