"""`sync`: bring the catalogue up to date with the Hub; options, lock and report."""

from __future__ import annotations

import os
import platform
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from tryage.core.validation import check_integer, check_strings
from tryage.errors import CatalogueError, InputError
from tryage.hub import endpoints, sync_stages
from tryage.hub.sync_stages import ProgressCallback, SyncContext, utc_now
from tryage.hub.sync_staging import SyncStaging

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from tryage.hub.catalog import Catalogue
    from tryage.hub.catalog_write import ChangeCounts
    from tryage.hub.client import HubClient
    from tryage.hub.settings import HubSettings

DEFAULT_LIMIT = 20_000  # most downloaded models: all that are widely used, in about twenty requests

RECHECK_ABSENT_AFTER = 30 * 24 * 3_600.0  # seconds until a missing base model is asked for again

MAX_RESUME_AGE = 24 * 3_600.0  # seconds after which an interrupted sync starts over

LOCK_HOLDER = "writer"  # the state that says which process syncs


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did.

    Attributes:
        new: Models that the catalogue did not have.
        changed: Models with changes.
        renamed: Models whose name has changed.
        deleted: Models that the Hub no longer has.
        models: Models of the catalogue now.
        requests: Requests to the Hub, without retries.
        seconds: How long it took.
        missing: Names that were asked for and that the Hub does not have.
        unanswered: Models without an answer; they stay as they were.
        unreadable: Records of listings without a name or `_id`.
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


def sync(  # noqa: PLR0913 - each option has a use and a default
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

    1. Models modified since the last sync, newest first, with an hour of overlap.
    2. The results of `leaderboards`, data sets such as "Idavidrein/gpqa"; the models that providers
       serve, with prices; the models of `names`.
    3. The `limit` most downloaded models (20,000 by default), when the last listing is older than
       `refresh`: downloads, gates and licences change without a modification. With `limit`, step 1
       adds no other models. With `full` all models of the Hub instead, in thousands of requests.
    4. After step 3, the scans of the `scans` most downloaded models, and at most `checks` requests
       for models that are missing from the listing: they are deleted or renamed.
    5. At most `bases` base models that are in no listing, those with the most derived models first:
       without them, licences and parameters of derived models may be unknown. Not with `full`.
    6. All of it is published in one transaction.

    If anything stops it before step 6, kill -9 included, the catalogue stays as it was, and the
    next call with the same options goes on from there. `progress` is called with the stage, how
    much of it is done, and how much there is.

    Raises:
        InputError: a limit below 1, or an invalid name.
        HubError: the Hub cannot be reached, refuses, sends an unreadable answer, or has no such
            leaderboard.
        CatalogueError: the catalogue cannot be written, or another process is syncing it.
    """
    options = SyncOptions(
        limit=limit,
        full=full,
        names=check_strings("names", names),
        leaderboards=check_strings("leaderboards", leaderboards),
        served=served,
        scans=scans,
        checks=checks,
        bases=bases,
    )
    options.check_names(client.settings)
    start = time.perf_counter()
    with sync_lock(catalogue):
        context = SyncContext(client, SyncStaging(catalogue, options.run_name), clock, progress)
        counts, missing = _run(context, catalogue, options, refresh)
    return SyncReport(
        *counts,
        models=len(catalogue),
        requests=context.requests,
        seconds=time.perf_counter() - start,
        missing=missing,
        unanswered=tuple(context.unanswered),
        unreadable=context.unreadable,
    )


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """The options of `sync`."""

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
        for name, minimum in (("limit", 1), ("scans", 0), ("checks", 0), ("bases", 0)):
            value = getattr(self, name)
            if value is not None or name != "limit":
                check_integer(name, value, minimum)
        if self.full and self.limit is not None:
            raise InputError("full asks for all models and limit for some; give one of them.")

    def check_names(self, settings: HubSettings) -> None:
        """Raise InputError for a name that no model or data set can have."""
        for name in self.names:
            endpoints.model_request(settings, name)
        for dataset in self.leaderboards:
            endpoints.leaderboard_request(settings, dataset)

    @property
    def run_name(self) -> str:
        """The name of the run: a full sync and a usual one are resumed independently."""
        return "full" if self.full else "usual"

    @property
    def listing_limit(self) -> int | None:
        """How many models to list, None for all."""
        return None if self.full else self.limit or DEFAULT_LIMIT


def _run(
    context: SyncContext, catalogue: Catalogue, options: SyncOptions, refresh: timedelta
) -> tuple[ChangeCounts, tuple[str, ...]]:
    """Fetch and publish; return the counts, and the requested names that the Hub does not have."""
    now = context.clock().timestamp()
    needs_listing = options.full or _is_due(
        catalogue.get_state("listing"), options.listing_limit, now, refresh
    )
    context.staging.resume_or_start(
        {"limit": options.limit, "listing": needs_listing},
        now,
        None if options.full else MAX_RESUME_AGE,
    )
    absent = _recently_absent(catalogue.get_state("absent") or {}, now)
    watermark = catalogue.get_state("watermark")
    missing = _run_stages(context, options, watermark, absent, needs_listing=needs_listing)
    state = _final_state(context.staging, options, absent, needs_listing=needs_listing)
    return context.staging.publish(state, context.clock().timestamp()), missing


def _is_due(
    last_listing: Mapping[str, Any] | None, limit: int | None, now: float, refresh: timedelta
) -> bool:
    """Return whether to list models again: the last listing is too old, or was too short."""
    if last_listing is None or not 0 <= now - last_listing["at"] < refresh.total_seconds():
        return True
    return limit is not None and not last_listing["ended"] and limit > last_listing["most"]


def _recently_absent(absent: Mapping[str, float], now: float) -> dict[str, float]:
    """Return the base models that are not asked for again: they were recently missing."""
    return {
        name: absent_since
        for name, absent_since in absent.items()
        if 0 <= now - absent_since < RECHECK_ABSENT_AFTER
    }


def _run_stages(
    context: SyncContext,
    options: SyncOptions,
    watermark: float | None,
    absent: Collection[str],
    *,
    needs_listing: bool,
) -> tuple[str, ...]:
    """Run the stages; return the names of `options.names` that the Hub does not have."""
    # Leaderboards come first, so that a wrong name fails before anything else is fetched.
    sync_stages.fetch_leaderboards(context, options.leaderboards)
    sync_stages.fetch_changes(
        context,
        None if options.full else watermark,
        published_only=options.limit is not None,
    )
    if options.served:
        sync_stages.fetch_served(context)
    names = [*options.names, *context.staging.staged_keys("served")]
    missing = sync_stages.fetch_named(context, names)
    if needs_listing:
        sync_stages.fetch_listing(context, options.listing_limit)
        sync_stages.fetch_scans(context, options.scans)
        sync_stages.check_deleted(context, options.checks)
    if not options.full:  # a full listing contains every base model
        sync_stages.fetch_bases(context, options.bases, absent, after_listing=needs_listing)
    return tuple(name for name in missing if name in options.names)


def _final_state(
    staging: SyncStaging, options: SyncOptions, absent: Mapping[str, float], *, needs_listing: bool
) -> dict[str, Any]:
    """Return the state to store with what was fetched."""
    started_at = staging.stage_state("begun")["at"]
    new_absent = staging.stage_state("bases").get("absent", ())
    state = {
        "synced": started_at,
        "watermark": staging.stage_state("changes").get("mark"),
        "absent": {**absent, **dict.fromkeys(new_absent, started_at)},
    }
    if needs_listing:
        is_complete = options.full or staging.stage_state("listed")["ended"]
        state["listing"] = {"at": started_at, "most": options.listing_limit, "ended": is_complete}
    return state


@contextmanager
def sync_lock(catalogue: Catalogue) -> Iterator[None]:
    """Hold the lock of the catalogue; a process loses it when it ends or is killed.

    The lock is on a file next to the catalogue. The catalogue stores which process holds it, for
    the error message of another process; that entry itself locks nothing.

    Raises:
        CatalogueError: another sync holds the lock, or the lock file cannot be written.
    """
    catalogue.connection()  # creates the folder
    lock = FileLock(f"{catalogue.path}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise CatalogueError(_locked_message(catalogue)) from error
    except (OSError, NotImplementedError) as error:  # the second: a file system without locks
        raise CatalogueError(
            f"The catalogue {catalogue.path} cannot be written ({error}). Give a writable "
            "folder with --catalogue or TRYAGE_HOME."
        ) from error
    try:
        catalogue.set_state({LOCK_HOLDER: _current_process()})
        yield
        catalogue.set_state({LOCK_HOLDER: None})
    finally:
        lock.release()


def _current_process() -> dict[str, str | int]:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"process": os.getpid(), "machine": platform.node(), "since": now}


def _locked_message(catalogue: Catalogue) -> str:
    holder = catalogue.get_state(LOCK_HOLDER)
    process = (
        "another process"
        if holder is None
        else f"process {holder['process']} on {holder['machine']} since {holder['since']}"
    )
    return (
        f"The catalogue {catalogue.path} is being synced by {process}. Wait until that has "
        "finished, or stop it: what it has fetched is kept. Searching and routing go on meanwhile."
    )
