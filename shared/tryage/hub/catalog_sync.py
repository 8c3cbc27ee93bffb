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

from tryage.core.validation import check_strings
from tryage.errors import CatalogueError, InputError
from tryage.hub import catalog_schema, endpoints, sync_stages
from tryage.hub.sync_stages import ProgressCallback, SyncContext, utc_now
from tryage.hub.sync_staging import SyncStaging

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from tryage.hub.catalog import Catalogue
    from tryage.hub.client import HubClient

DEFAULT_LIMIT = 20_000  # models by downloads: all that people use much, for about twenty requests

RECHECK_ABSENT_AFTER = 30 * 24 * 3_600.0  # seconds before a base that nobody has is asked for again

MAX_RESUME_AGE = 24 * 3_600.0  # seconds after which an interrupted sync begins anew

LOCK_HOLDER = "writer"


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did.

    `requests` counts questions to the Hub without further attempts; `missing` names wanted models
    that the Hub does not have; `unanswered` those that were asked for in vain and left as they
    were; `unreadable` counts records of listings without name or `_id`.
    """

    new: int
    changed: int
    renamed: int
    deleted: int
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
    progress: ProgressCallback = lambda *_: None,
    clock: Callable[[], datetime] = utc_now,
) -> SyncReport:
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
    datasets = check_strings("leaderboards", leaderboards)
    sync_options = SyncOptions(
        limit, full, check_strings("names", names), datasets, served, scans, checks, bases
    )
    for name in sync_options.names:
        endpoints.model_request(client.settings, name)  # raises for what no model can be called
    for dataset in sync_options.leaderboards:
        endpoints.leaderboard_request(client.settings, dataset)  # and this for what no data set can
    started = time.perf_counter()
    with sync_lock(catalogue):
        context = SyncContext(
            client, SyncStaging(catalogue, sync_options.run_name), clock, progress
        )
        now = clock().timestamp()
        listing = full or _is_due(
            catalogue.get_state("listing"), sync_options.listing_limit, now, refresh
        )
        options = {"limit": limit, "listing": listing}
        context.staging.resume_or_start(options, now, None if full else MAX_RESUME_AGE)
        absent = _recently_absent(catalogue.get_state("absent") or {}, now)
        missing = _run_stages(
            context, sync_options, catalogue.get_state("watermark"), absent, listing=listing
        )
        counts = context.staging.publish(
            _final_state(context.staging, sync_options, absent, listing=listing)
        )
    return SyncReport(
        *counts,
        models=len(catalogue),
        requests=context.requests,
        seconds=time.perf_counter() - started,
        missing=missing,
        unanswered=tuple(context.unanswered),
        unreadable=context.unreadable,
    )


@dataclass(frozen=True, slots=True)
class SyncOptions:
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
    def run_name(self) -> str:
        """The run's name: a long walk through the whole Hub is kept apart from the usual sync."""
        return "full" if self.full else "usual"

    @property
    def listing_limit(self) -> int | None:
        """How many models to list, None for all."""
        return None if self.full else self.limit or DEFAULT_LIMIT


def _is_due(
    last: Mapping[str, Any] | None, limit: int | None, now: float, refresh: timedelta
) -> bool:
    """Return whether models are to be listed again: too long ago, or fewer than now wanted."""
    if last is None or not 0 <= now - last["at"] < refresh.total_seconds():
        return True
    return limit is not None and not last["ended"] and limit > last["most"]


def _recently_absent(absent: Mapping[str, float], now: float) -> dict[str, float]:
    """Return the bases that need not be asked for again, since when nobody has them."""
    return {
        name: since for name, since in absent.items() if 0 <= now - since < RECHECK_ABSENT_AFTER
    }


def _run_stages(
    context: SyncContext,
    options: SyncOptions,
    watermark: float | None,
    absent: Collection[str],
    *,
    listing: bool,
) -> tuple[str, ...]:
    """Go through the stages; return the wanted names that nobody finds."""
    sync_stages.fetch_leaderboards(
        context, options.leaderboards
    )  # first: a wrong name is told at once
    sync_stages.fetch_changes(
        context, None if options.full else watermark, known_only=options.limit is not None
    )
    if options.served:
        sync_stages.fetch_served(context)
    missing = sync_stages.fetch_named(
        context, [*options.names, *context.staging.staged_keys("served")]
    )
    if listing:
        sync_stages.fetch_listing(context, options.listing_limit)
        sync_stages.fetch_scans(context, options.scans)
        sync_stages.check_deleted(context, options.checks)
    if not options.full:  # of all there are, none is missing
        sync_stages.fetch_bases(context, options.bases, absent, listing=listing)
    return tuple(name for name in missing if name in options.names)


def _final_state(
    staging: SyncStaging, options: SyncOptions, absent: Mapping[str, float], *, listing: bool
) -> dict[str, Any]:
    """Return the state to store with what was fetched: the watermark comes last."""
    started_at = staging.stage_state("begun")["at"]
    state = {"synced": started_at, "watermark": staging.stage_state("changes").get("mark")}
    state["absent"] = {
        **absent,
        **dict.fromkeys(staging.stage_state("bases").get("absent", ()), started_at),
    }
    if listing:
        ended = options.full or staging.stage_state("listed")["ended"]
        state["listing"] = {"at": started_at, "most": options.listing_limit, "ended": ended}
    return state


@contextmanager
def sync_lock(catalogue: Catalogue) -> Iterator[None]:
    """Hold the catalogue's lock; who holds it is noted for whoever comes meanwhile.

    The lock is one on an SQLite file beside the catalogue, because that works on every platform
    and is free again when its holder dies; the note alone locks nothing.

    Raises:
        CatalogueError: somebody else holds it.
    """
    catalogue.connection()  # makes the folder
    with catalog_schema.wrap_sqlite_errors(catalogue.path):
        lock = sqlite3.connect(
            f"{catalogue.path}.lock", timeout=0.0, isolation_level=None, check_same_thread=False
        )
        try:
            _acquire(lock, catalogue)
            catalogue.set_state({LOCK_HOLDER: _current_process()})
            yield
            catalogue.set_state({LOCK_HOLDER: None})
        finally:
            lock.close()


def _acquire(lock: sqlite3.Connection, catalogue: Catalogue) -> None:
    try:
        lock.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        raise CatalogueError(
            f"The catalogue {catalogue.path} is being synced by {_describe_holder(catalogue.get_state(LOCK_HOLDER))}. "
            "Wait until that has finished, or stop it: what it has fetched is kept. Searching and "
            "routing go on meanwhile."
        ) from error


def _current_process() -> dict[str, str | int]:
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"process": os.getpid(), "machine": platform.node(), "since": since}


def _describe_holder(note: dict[str, str | int] | None) -> str:
    if note is None:
        return "another process"
    return f"process {note['process']} on {note['machine']} since {note['since']}"
