"""The stages of a sync: each asks the Hub for one kind of news and keeps what arrives.

A stage can be stopped at any moment, also by force, and goes on where its last transaction ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from tryage.errors import (
    HubAccessError,
    HubError,
    HubMissingError,
    HubOfflineError,
    HubQuotaError,
    HubReplyError,
    InputError,
)
from tryage.hub import endpoints
from tryage.hub.evaluations import parse_leaderboard
from tryage.hub.parse import parse_model
from tryage.hub.providers import parse_served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.hub.client import HubClient
    from tryage.hub.endpoints import Page
    from tryage.hub.model import Model
    from tryage.hub.record import Record
    from tryage.hub.sync_staging import SyncStaging

OVERLAP_SECONDS = 3_600.0  # seconds: what was indexed late is asked for twice rather than never

_SCAN_FACTS = ("scan", "security", "formats", "custom_code")

# Told after each step: the stage, how much of it is done, and how much there is, None if unknown.
ProgressCallback = Callable[[str, int, int | None], object]

MAX_UNANSWERED_SHARE = (
    0.1  # of the models asked for: so many may stay without an answer, for reasons of their own
)

_FATAL_ERRORS = (HubAccessError, HubOfflineError, HubQuotaError)  # they concern more than one model


def fetch_leaderboards(context: SyncContext, datasets: Sequence[str]) -> None:
    """Fetch the results that the Hub gathers for these data sets.

    Raises:
        HubReplyError: of a leaderboard's rows, none says which model has which score.
    """
    had = set(context.staging.staged_keys("leaderboard"))
    for done, dataset in enumerate(datasets, 1):
        if dataset not in had:
            context.requests += 1
            records, now = context.client.leaderboard(dataset), context.now()
            found = parse_leaderboard(dataset, records, now)
            if records and not found:
                raise HubReplyError(
                    f"No row of the leaderboard {dataset} has a model and a score; the first of "
                    f"{len(records)} is {records[0]!r:.200}. Leave it out until that is mended."
                )
            context.staging.add_leaderboard(dataset, found, now)
        context.progress("leaderboards", done, len(datasets))


def fetch_changes(context: SyncContext, since: float | None, known_only: bool) -> None:
    """Fetch what was modified `since`, newest first; with `known`, only what the catalogue has.

    Notes the newest modification as `mark`, from which the next sync goes on. None fetches nothing
    but that.
    """
    if context.staging.stage_state("changes").get("done"):
        return
    size = endpoints.MAX_PAGE_SIZE if since is not None else 1
    for page, models in context.iter_pages("changes", sort="lastModified", page_size=size):
        state = context.staging.stage_state("changes")
        newest = [min(_modified_timestamp(model), page.fetched_at.timestamp()) for model in models]
        mark = state.get("mark") or max(newest, default=None)  # never a date to come
        fresh = (
            []
            if since is None
            else [m for m in models if _modified_timestamp(m) >= since - OVERLAP_SECONDS]
        )
        done = page.next_cursor is None or len(fresh) < len(models)
        kept = [
            model for model in fresh if not known_only or context.staging.is_published(model.key)
        ]
        count = state.get("count", 0) + len(kept)
        state = {"cursor": page.next_cursor, "mark": mark, "count": count, "done": done}
        context.staging.add_models(kept, "changes", state)
        context.progress("changes", count, None)
        if done:
            return


def _modified_timestamp(model: Model) -> float:
    """Return when a model was modified, in seconds since 1970; long ago where unknown."""
    return 0.0 if model.modified is None else model.modified.timestamp()


def fetch_listing(context: SyncContext, limit: int | None) -> None:
    """Fetch the most downloaded models, or with None all there are, the oldest first.

    Notes the downloads of the last one as `floor`: what had more and did not come has vanished.
    """
    if context.staging.stage_state("listed").get("done"):
        return
    size = endpoints.MAX_PAGE_SIZE if limit is None else min(limit, endpoints.MAX_PAGE_SIZE)
    order = {"sort": "createdAt", "ascending": True} if limit is None else {"sort": "downloads"}
    for page, models in context.iter_pages("listed", page_size=size, **order):
        count = context.staging.stage_state("listed").get("count", 0)
        kept = models if limit is None else models[: limit - count]
        count += len(kept)
        state = {
            "cursor": page.next_cursor,
            "count": count,
            "floor": kept[-1].downloads if kept else None,
            "ended": page.next_cursor is None and len(kept) == len(models),
            "done": page.next_cursor is None or count == limit,
        }
        context.staging.add_models(kept, "listed", state)
        context.progress("listed", count, limit)
        if state["done"]:
            return


def fetch_served(context: SyncContext) -> None:
    """Fetch what providers serve, with prices."""
    if context.staging.stage_state("served").get("done"):
        return
    context.requests += 1
    records, now = context.client.served_models(), context.now()
    found = parse_served(records, now)
    context.progress("served", len(found), len(found))
    context.staging.add_served(found, now.timestamp(), {"done": True})


def fetch_named(context: SyncContext, names: Sequence[str]) -> list[str]:
    """Fetch the models of these names that are not known yet; return those that nobody finds."""
    unknown = context.staging.unknown_names(names)
    missing = []
    for name, found in context.fetch_models(unknown, "wanted", expand=endpoints.DEFAULT_EXPAND):
        if isinstance(found, HubMissingError):
            missing.append(name)
        else:
            context.staging.add_models([found], "wanted", {})
    return missing


def fetch_scans(context: SyncContext, limit: int) -> None:
    """Fetch what scanners say of the most downloaded models; they say it one model at a time."""
    scanned = set(context.staging.staged_keys("scan"))
    names = [name for key, name in context.staging.most_downloaded(limit) if key not in scanned]
    for _, found in context.fetch_models(names, "scans", must_exist=True, security=True):
        if not isinstance(found, HubMissingError):
            facts = {name: found.facts[name] for name in _SCAN_FACTS if name in found.facts}
            context.staging.add_scan(found, facts)


def check_deleted(context: SyncContext, limit: int) -> None:
    """Ask for models that were not listed where they should have been; who is gone is noted."""
    state = context.staging.stage_state("listed")
    unconfirmed = context.staging.unconfirmed_models(
        state.get("floor"), limit, include_all=state["ended"]
    )
    keys = {name: key for key, name in unconfirmed}

    def keep(name: str, found: Model) -> None:
        context.staging.add_models([found], "vanished", {})
        if name in keys and found.key != keys[name]:  # the name means another model now
            context.staging.add_deleted(keys[name], name, context.now().timestamp())

    for name in _confirm_absent(context, keys, "vanished", keep):
        context.staging.add_deleted(keys[name], name, context.now().timestamp())


def fetch_bases(
    context: SyncContext, limit: int, absent: Collection[str], *, listing: bool
) -> None:
    """Fetch bases that nobody here is, the most wanted first, then their own; at most so many.

    After a listing, those that others wait for as well. Whom the Hub does not have is noted as
    `absent`; those known to be are not asked for.
    """
    asked = {*absent, *context.staging.stage_state("bases").get("absent", ())}

    def keep(name: str, found: Model) -> None:
        state = context.staging.stage_state("bases")
        if found.name.casefold() != name.casefold():
            context.staging.add_alias(name, found)
        state["count"] = state.get("count", 0) + (name in names)
        context.staging.add_models([found], "bases", state)

    while True:
        left = limit - context.staging.stage_state("bases").get("count", 0)
        names = [name for name in context.staging.missing_bases(listing) if name not in asked][
            :left
        ]
        if not names:
            return
        asked.update(names)
        none = _confirm_absent(context, names, "bases", keep)
        place = context.staging.stage_state("bases")
        place["count"] = place.get("count", 0) + len(none)
        place["absent"] = sorted(none.union(place.get("absent", ())))
        context.staging.add_models([], "bases", place)


def _confirm_absent(
    context: SyncContext, names: Collection[str], stage: str, keep: Callable[[str, Model], None]
) -> set[str]:
    """Ask for models, keep what is found, and return whom the Hub does not have.

    To strangers the Hub says of a missing model what it says of a bad login. So whoever seems gone
    is asked for twice, the second time together with a model that was listed just now.
    """
    missing = list(_fetch_absent(context, names, stage, keep))
    if not missing:
        return set()
    there = [name for _, name in context.staging.most_downloaded(1)]
    gone = set(_fetch_absent(context, [*missing, *there], stage, keep))
    if not gone.isdisjoint(there):
        raise HubAccessError(
            f"The Hub says that it has no model {there[0]}, which it has listed just now, so "
            "it is believed of no other. Check the token and the endpoint, and try again."
        )
    return gone


def _fetch_absent(
    context: SyncContext, names: Collection[str], stage: str, keep: Callable[[str, Model], None]
) -> Iterator[str]:
    """Ask for models and yield those that nobody finds; what is found is kept."""
    for name, found in context.fetch_models(names, stage, expand=endpoints.DEFAULT_EXPAND):
        if isinstance(found, HubMissingError):
            yield name
        else:
            keep(name, found)


@dataclass
class SyncContext:
    """What the stages of one sync share; `requests` are questions to the Hub, without retries."""

    client: HubClient
    staging: SyncStaging
    now: Callable[[], datetime]
    progress: ProgressCallback
    requests: int = 0
    unreadable: int = 0
    unanswered: list[str] = field(default_factory=list)

    def iter_pages(self, stage: str, **params: Any) -> Iterator[tuple[Page, list[Model]]]:  # noqa: ANN401 - as `HubClient.pages` takes it
        """Yield the pages of a listing from where the stage is, each with its models.

        A place that the Hub knows no more is given up for the beginning.
        """
        cursor = self.staging.stage_state(stage).get("cursor")
        pages = self.client.pages(**params, cursor=cursor)
        while True:
            self.requests += 1
            try:
                page = next(pages, None)
            except HubError as error:
                if cursor is None or error.status != 400:
                    raise
                pages, cursor = self.client.pages(**params), None
                self.staging.add_models([], stage, {})
                continue
            if page is None:
                return
            cursor = None
            yield page, self._parse_page(page)

    def _parse_page(self, page: Page) -> list[Model]:
        """Return the models of a page; a record without a name or `_id` is counted and left out."""
        found = [_parse_or_none(record, page.fetched_at) for record in page.records]
        models = [model for model in found if model is not None]
        self.unreadable += len(found) - len(models)
        if found and not models:
            parse_model(page.records[0], page.fetched_at)  # says what is wrong
        return models

    def fetch_models(
        self,
        names: Collection[str],
        stage: str,
        *,
        must_exist: bool = False,
        **params: Any,  # noqa: ANN401 - as `HubClient.models` takes it
    ) -> Iterator[tuple[str, Model | HubMissingError]]:
        """Yield what the Hub says of each model, in the order of the answers.

        A model for which there is no answer is left as it is, and named in `unanswered`; for one
        that is known to be `there`, "there is none" is no answer.

        Raises:
            HubError: more than a tenth had no answer, or the error concerns more than one.
        """
        names = [name for name in names if self._is_valid_name(name)]
        failed: list[str] = []
        error: HubError | None = None
        for done, (name, answer) in enumerate(self.client.iter_models(names, **params), 1):
            self.requests += 1
            self.progress(stage, done, len(names))
            try:
                missing = isinstance(answer, HubMissingError) and not must_exist
                found = cast("HubMissingError", answer) if missing else self._parse(answer)
            except _FATAL_ERRORS:
                raise
            except HubError as failure:
                error = failure
                failed.append(name)
            else:
                yield name, found
        if error is not None and len(failed) > MAX_UNANSWERED_SHARE * len(names):
            raise error
        self.unanswered += failed

    def _is_valid_name(self, name: str) -> bool:
        """Return whether a name can be asked for; providers and odd Hubs have others as well."""
        try:
            endpoints.model_request(self.client.settings, name)
        except InputError:
            return False
        return True

    def _parse(self, answer: Record | HubError) -> Model:
        if isinstance(answer, HubError):
            raise answer
        return parse_model(answer, self.now())


def _parse_or_none(record: Record, fetched_at: datetime) -> Model | None:
    try:
        return parse_model(record, fetched_at)
    except HubReplyError:
        return None


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)
