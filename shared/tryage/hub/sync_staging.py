"""One sync under way: what it has fetched, kept apart until all of it is published at once."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tryage.hub import catalog_schema
from tryage.hub.catalog_resolve import pack, read_facts, unpack, write_facts
from tryage.hub.catalog_write import Changes, Upsert
from tryage.hub.evaluations import quality_fact

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from tryage.hub.catalog import Catalogue
    from tryage.hub.evaluations import Row
    from tryage.hub.model import Fact, Model

CHUNK = 5_000  # arrivals to publish before working out what their descendants inherit


class Run:
    """One sync under way, from its first question to `publish`, through any number of processes.

    Every method that writes is one transaction: what arrived, and the place to go on from. Readers
    see nothing of it before `publish`, so they always have one whole catalogue. `name` keeps the
    walk through the whole Hub apart from the usual sync. Times are seconds since 1970.
    """

    def __init__(self, catalogue: Catalogue, name: str) -> None:
        self._catalogue = catalogue
        self._name = name
        self._wanted: Counter[tuple[str, str | None]] = Counter()  # bases of what arrived
        self._read = 0  # until where they were counted

    def begin(self, options: Mapping[str, Any], now: float, patience: float | None) -> None:
        """Go on with an interrupted run of the same options, or begin anew.

        An interrupted one counts for `patience` seconds, None for ever.
        """
        begun = self.place("begun")
        age = now - begun.get("at", now)
        usable = patience is None or 0 <= age <= patience
        if begun.get("options") == dict(options) and usable:
            return
        with self._writing() as database:
            self._clear(database)
            self._note(database, "begun", {"at": now, "options": dict(options)})

    def place(self, stage: str) -> dict[str, Any]:
        """Return where a stage is, empty where it has not begun."""
        found: dict[str, Any] = self._catalogue.state(f"{self._name}:{stage}") or {}
        return found

    # --- what arrives -----------------------------------------------------------------------

    def models(self, models: Iterable[Model], stage: str, place: Mapping[str, Any]) -> None:
        """Keep models, the last of each `_id`, together with the place after them."""
        rows = [
            (m.key, m.name, m.sha, m.downloads, m.seen.timestamp(), pack(m.to_dict()))
            for m in models
        ]
        self._keep("model", rows, stage, place)

    def served(
        self, served: Mapping[str, Mapping[str, Fact]], now: float, place: Mapping[str, Any]
    ) -> None:
        """Keep what is known of served models, by name."""
        rows = [(name, name, None, None, now, write_facts(facts)) for name, facts in served.items()]
        self._keep("served", rows, "served", place)

    def leaderboard(self, dataset: str, found: Mapping[str, Iterable[Row]], now: datetime) -> None:
        """Keep one data set's results of models, by name."""
        facts = {name: write_facts(quality_fact(rows, now)) for name, rows in found.items()}
        row = (dataset, None, None, None, now.timestamp(), json.dumps(facts))
        self._keep("leaderboard", [row], "leaderboards", {})

    def scan(self, model: Model, facts: Mapping[str, Fact]) -> None:
        """Keep what the scanners say of a model."""
        row = (model.key, model.name, model.sha, None, model.seen.timestamp(), write_facts(facts))
        self._keep("scan", [row], "scans", {})

    def gone(self, key: str, name: str, now: float) -> None:
        """Keep that a model is gone."""
        self._keep("gone", [(key, name, None, None, now, b"")], "vanished", {})

    def alias(self, name: str, model: Model) -> None:
        """Keep that this is another name of a model, one that it had before."""
        row = (name, name, None, None, model.seen.timestamp(), model.key)
        self._keep("alias", [row], "alias", {})

    def _keep(
        self, kind: str, rows: list[tuple[Any, ...]], stage: str, place: Mapping[str, Any]
    ) -> None:
        with self._writing() as database:
            database.executemany(_ARRIVE, [(self._name, kind, *row) for row in rows])
            self._note(database, stage, place)

    # --- what is missing --------------------------------------------------------------------

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return the names that are neither here nor among what arrived."""
        return [name for name in names if not self._all(_HAS_NAME, (name, self._name, name))]

    def knows(self, key: str) -> bool:
        """Return whether the catalogue has a model of this `_id`, published."""
        return bool(self._all("SELECT 1 FROM models WHERE key = ?", (key,)))

    def keys(self, kind: str) -> list[str]:
        """Return the keys of what arrived of one kind; of `served`, they are names."""
        sql = "SELECT key FROM arrivals WHERE run = ? AND kind = ? ORDER BY key"
        return [key for (key,) in self._all(sql, (self._name, kind))]

    def popular(self, most: int) -> list[tuple[str, str]]:
        """Return key and name of the models that arrived with the most downloads."""
        return self._all(_POPULAR, (self._name, most))

    def baseless(self, published: bool) -> list[str]:
        """Return the bases of what arrived that nobody here is, those of most models first.

        With `published`, also those of models that are in the catalogue.
        """
        with catalog_schema.guarded(self._catalogue.path):
            rows = self._catalogue.database().execute(_ARRIVED_MODELS, (self._name, self._read))
            for self._read, blob in rows:
                bases = unpack(blob)["bases"]
                self._wanted.update((base["name"], base["key"]) for base in bases)
        wanted = self._wanted.copy()
        if published:
            wanted.update({(name, key): count for name, key, count in self._all(_BASELESS, ())})
        run = self._name
        missing: Counter[str] = Counter()
        for (name, key), count in wanted.items():
            if not self._all(_IS_BASE, (name, key, name, run, key, run, name)):
                missing[name] += count
        return sorted(missing, key=lambda name: (-missing[name], name))

    def suspects(self, floor: float | None, most: int, *, every: bool) -> list[tuple[str, str]]:
        """Return key and name of models that should have arrived, the most downloaded first.

        With `every`, all should have; otherwise those with more than `floor` downloads.
        """
        return self._all(_SUSPECTS, (every, floor, self._name, most))

    def _all(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        with catalog_schema.guarded(self._catalogue.path):
            return self._catalogue.database().execute(sql, values).fetchall()

    # --- the end ----------------------------------------------------------------------------

    def publish(self, state: Mapping[str, Any]) -> Changes:
        """Bring all that arrived into the catalogue, and its new state, in one transaction."""
        with self._writing() as database:
            upsert = Upsert(database)
            counts = self._publish_models(database, upsert)
            for name, _, key in self._arrived(database, "alias"):
                upsert.alias(name, key)
            for key, sha, facts in self._arrived(database, "scan"):
                upsert.scan(key, sha, read_facts(facts))
            for dataset, _, found in self._arrived(database, "leaderboard"):
                upsert.rank(dataset, json.loads(found))
            if self.place("served"):
                served = self._arrived(database, "served")
                upsert.serve({name: read_facts(facts) for name, _, facts in served})
            gone = "SELECT key, seen FROM arrivals WHERE run = ? AND kind = 'gone'"
            for key, seen in database.execute(gone, (self._name,)).fetchall():
                upsert.bury(key, seen)
            counts += upsert.settle()
            self._clear(database)
            catalog_schema.store(database, state)
        return counts

    def _publish_models(self, database: sqlite3.Connection, upsert: Upsert) -> Changes:
        counts, last = Changes(), 0
        sql = "SELECT rowid, data FROM arrivals WHERE run = ? AND kind = 'model' AND rowid > ?"
        sql += " ORDER BY rowid LIMIT ?"
        while rows := database.execute(sql, (self._name, last, CHUNK)).fetchall():
            for _, blob in rows:
                upsert.packed(blob)
            last = rows[-1][0]
            counts += upsert.settle()
        return counts

    def _arrived(self, database: sqlite3.Connection, kind: str) -> list[tuple[str, str, str]]:
        sql = "SELECT key, sha, data FROM arrivals WHERE run = ? AND kind = ?"
        return database.execute(sql, (self._name, kind)).fetchall()

    def _clear(self, database: sqlite3.Connection) -> None:
        database.execute("DELETE FROM arrivals WHERE run = ?", (self._name,))
        database.execute("DELETE FROM state WHERE name GLOB ?", (f"{self._name}:*",))

    def _note(self, database: sqlite3.Connection, stage: str, place: Mapping[str, Any]) -> None:
        catalog_schema.store(database, {f"{self._name}:{stage}": {**place, "begun": True}})

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        database = self._catalogue.database()
        with catalog_schema.guarded(self._catalogue.path), catalog_schema.transaction(database):
            yield database


_ARRIVE = """
INSERT OR REPLACE INTO arrivals (run, kind, key, name, sha, downloads, seen, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

_HAS_NAME = """
SELECT 1 FROM models WHERE name = ? AND gone IS NULL
UNION ALL SELECT 1 FROM arrivals WHERE run = ? AND kind = 'model' AND name = ?"""

_ARRIVED_MODELS = """
SELECT rowid, data FROM arrivals WHERE run = ? AND kind = 'model' AND rowid > ? ORDER BY rowid"""

_BASELESS = """
SELECT lineage.name, lineage.key, count(*) FROM lineage JOIN models ON models.id = child
WHERE parent IS NULL AND live = 1 GROUP BY lineage.name, lineage.key"""

_IS_BASE = """
SELECT 1 FROM models WHERE name = ?
UNION ALL SELECT 1 FROM models WHERE key = ?
UNION ALL SELECT 1 FROM former WHERE name = ?
UNION ALL SELECT 1 FROM arrivals WHERE run = ? AND kind = 'model' AND key = ?
UNION ALL SELECT 1 FROM arrivals WHERE run = ? AND kind IN ('model', 'alias') AND name = ?"""

_POPULAR = """
SELECT key, name FROM arrivals WHERE run = ? AND kind = 'model'
ORDER BY downloads DESC, key LIMIT ?"""

_SUSPECTS = """
SELECT key, name FROM models WHERE gone IS NULL AND (? OR downloads > ?)
AND NOT EXISTS (
    SELECT 1 FROM arrivals WHERE run = ? AND kind IN ('model', 'gone') AND key = models.key
) ORDER BY downloads DESC, key LIMIT ?"""
