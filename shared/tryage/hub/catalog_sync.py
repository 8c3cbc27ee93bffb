"""Bring the catalogue up to date with the Hub: `sync`."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from tryage.core.validation import strings
from tryage.errors import CatalogueError, InputError
from tryage.hub import catalog_schema, endpoints, sync_stages
from tryage.hub.sync_stages import Progress, Trip, utc_now
from tryage.hub.sync_staging import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from tryage.hub.catalog import Catalogue
    from tryage.hub.client import HubClient

TOP = 20_000  # models by downloads: all that people use much, for about twenty requests

ABSENT = 30 * 24 * 3_600.0  # seconds before a base that nobody has is asked for again

ABANDONED = 24 * 3_600.0  # seconds after which an interrupted sync begins anew

NOTE = "writer"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a sync did.

    `requests` counts questions to the Hub without further attempts; `missing` names wanted models
    that the Hub does not have; `unanswered` those that were asked for in vain and left as they
    were; `unreadable` counts records of listings without name or `_id`.
    """

    new: int
    changed: int
    renamed: int
    gone: int
    models: int
    requests: int
    seconds: float
    missing: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()
    unreadable: int = 0


def sync(  # noqa: PLR0913 - each has a use and a default
    client: HubClient,
    catalogue: Catalogue,
    *,
    limit: int | None = None,
    full: bool = False,
    refresh: timedelta = timedelta(days=1),
    names: Sequence[str] = (),
    leaderboards: Sequence[str] = (),
    served: bool = True,
    scans: int = 200,
    checks: int = 200,
    bases: int = 200,
    progress: Progress = lambda *_: None,
    clock: Callable[[], datetime] = utc_now,
) -> Summary:
    """Bring the catalogue up to date with the Hub, and return what that changed.

    1. What was modified since the last sync, newest first, with an hour of overlap.
    2. The results of `leaderboards`, data sets such as "Idavidrein/gpqa"; what providers serve,
       with prices; the models of `names`.
    3. The `limit` most downloaded models (20,000 by default), when they were last listed longer ago
       than `refresh`: downloads, gates and licences change without a modification. With `limit`, 1
       brings no others. With `full` all models of the Hub instead, thousands of requests.
    4. After 3, the scans of the `scans` most downloaded, and at most `checks` questions for models
       that were not listed where they should have been: who is gone or renamed.
    5. At most `bases` models that the others were made from and nobody has listed, the most wanted
       first: without them, licences and parameters of derivatives may be unknown. Not with `full`.
    6. All of it is published in one transaction.

    Whatever stops it before, kill -9 included, leaves the catalogue as it was; the next call with
    the same options goes on from there. `progress` is told the stage, how much of it is done and
    how much there is.

    Raises:
        InputError: a limit below 1, a name that no model can have.
        HubError: the Hub cannot be reached, refuses, answers what cannot be read, or has no such
            leaderboard.
        CatalogueError: the catalogue cannot be written, or somebody else is syncing it.
    """
    boards = strings("leaderboards", leaderboards)
    plan = Plan(limit, full, strings("names", names), boards, served, scans, checks, bases)
    for name in plan.names:
        endpoints.model(client.settings, name)  # raises for what no model can be called
    for dataset in plan.leaderboards:
        endpoints.leaderboard(client.settings, dataset)  # and this for what no data set can
    begun = time.perf_counter()
    with held(catalogue):
        trip = Trip(client, Run(catalogue, plan.name), clock, progress)
        now = clock().timestamp()
        listing = full or _is_due(catalogue.state("listing"), plan.most, now, refresh)
        options = {"limit": limit, "listing": listing}
        trip.run.begin(options, now, None if full else ABANDONED)
        absent = _still(catalogue.state("absent") or {}, now)
        missing = _fetch(trip, plan, catalogue.state("watermark"), absent, listing=listing)
        counts = trip.run.publish(_outcome(trip.run, plan, absent, listing=listing))
    return Summary(
        *counts,
        models=len(catalogue),
        requests=trip.requests,
        seconds=time.perf_counter() - begun,
        missing=missing,
        unanswered=tuple(trip.unanswered),
        unreadable=trip.unreadable,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync was asked for; see `sync`."""

    limit: int | None
    full: bool
    names: tuple[str, ...]
    leaderboards: tuple[str, ...]
    served: bool
    scans: int
    checks: int
    bases: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, least in (("limit", 1), ("scans", 0), ("checks", 0), ("bases", 0)):
            value = getattr(self, name)
            if value is None and name == "limit":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number from {least}, got {value!r:.80}.")
        if self.full and self.limit is not None:
            raise InputError("full asks for all models and limit for some; give one of them.")

    @property
    def name(self) -> str:
        """The run's name: a long walk through the whole Hub is kept apart from the usual sync."""
        return "full" if self.full else "usual"

    @property
    def most(self) -> int | None:
        """How many models to list, None for all."""
        return None if self.full else self.limit or TOP


def _is_due(
    last: Mapping[str, Any] | None, most: int | None, now: float, refresh: timedelta
) -> bool:
    """Return whether models are to be listed again: too long ago, or fewer than now wanted."""
    if last is None or not 0 <= now - last["at"] < refresh.total_seconds():
        return True
    return most is not None and not last["ended"] and most > last["most"]


def _still(absent: Mapping[str, float], now: float) -> dict[str, float]:
    """Return the bases that need not be asked for again, since when nobody has them."""
    return {name: since for name, since in absent.items() if 0 <= now - since < ABSENT}


def _fetch(
    trip: Trip,
    plan: Plan,
    watermark: float | None,
    absent: Collection[str],
    *,
    listing: bool,
) -> tuple[str, ...]:
    """Go through the stages; return the wanted names that nobody finds."""
    sync_stages.leaderboards(trip, plan.leaderboards)  # first: a wrong name is told at once
    sync_stages.changes(trip, None if plan.full else watermark, known=plan.limit is not None)
    if plan.served:
        sync_stages.served(trip)
    missing = sync_stages.wanted(trip, [*plan.names, *trip.run.keys("served")])
    if listing:
        sync_stages.listed(trip, plan.most)
        sync_stages.scans(trip, plan.scans)
        sync_stages.vanished(trip, plan.checks)
    if not plan.full:  # of all there are, none is missing
        sync_stages.bases(trip, plan.bases, absent, listing=listing)
    return tuple(name for name in missing if name in plan.names)


def _outcome(run: Run, plan: Plan, absent: Mapping[str, float], *, listing: bool) -> dict[str, Any]:
    """Return the state to store with what was fetched: the watermark comes last."""
    begun = run.place("begun")["at"]
    state = {"synced": begun, "watermark": run.place("changes").get("mark")}
    state["absent"] = {**absent, **dict.fromkeys(run.place("bases").get("absent", ()), begun)}
    if listing:
        ended = plan.full or run.place("listed")["ended"]
        state["listing"] = {"at": begun, "most": plan.most, "ended": ended}
    return state


@contextmanager
def held(catalogue: Catalogue) -> Iterator[None]:
    """Hold the catalogue's lock; who holds it is noted for whoever comes meanwhile.

    The lock is one on an SQLite file beside the catalogue, because that works on every platform
    and is free again when its holder dies; the note alone locks nothing.

    Raises:
        CatalogueError: somebody else holds it.
    """
    catalogue.database()  # makes the folder
    with catalog_schema.guarded(catalogue.path):
        lock = sqlite3.connect(
            f"{catalogue.path}.lock", timeout=0.0, isolation_level=None, check_same_thread=False
        )
        try:
            _take(lock, catalogue)
            catalogue.store({NOTE: _me()})
            yield
            catalogue.store({NOTE: None})
        finally:
            lock.close()


def _take(lock: sqlite3.Connection, catalogue: Catalogue) -> None:
    try:
        lock.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise CatalogueError(
            f"The catalogue {catalogue.path} is being synced by {_who(catalogue.state(NOTE))}. "
            "Wait until that has finished, or stop it: what it has fetched is kept. Searching and "
            "routing go on meanwhile."
        ) from error


def _me() -> dict[str, str | int]:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"process": os.getpid(), "machine": platform.node(), "since": since}


def _who(note: dict[str, str | int] | None) -> str:
    if note is None:
        return "another process"
    return f"process {note['process']} on {note['machine']} since {note['since']}"
