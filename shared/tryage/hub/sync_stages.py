"""The stages of a sync: changes, listing, named models, scans, deletions, base models.

Each stage asks the Hub for one kind of data and stages what arrives. It can be stopped or killed at
any time, and continues from its last transaction.
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
from tryage.hub.parse import parse_model, parse_model_or_none
from tryage.hub.providers import parse_served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.hub.client import HubClient
    from tryage.hub.endpoints import Page
    from tryage.hub.model import Model
    from tryage.hub.record import HubRecord
    from tryage.hub.sync_staging import SyncStaging

# Called after each step with the stage, how much of it is done, and how much there is (or None).
ProgressCallback = Callable[[str, int, int | None], object]

OVERLAP_SECONDS = 3_600.0  # so that a modification that the Hub indexed late is not missed

MAX_UNANSWERED_SHARE = 0.1  # of the models asked for: more without an answer stop the sync

_FATAL_ERRORS = (HubAccessError, HubOfflineError, HubQuotaError)  # they concern every model

_SCAN_FACTS = ("scan", "security", "formats", "custom_code")


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(timezone.utc)


@dataclass
class SyncContext:
    """What the stages of one sync share; `requests` counts requests without retries."""

    client: HubClient
    staging: SyncStaging
    clock: Callable[[], datetime]
    progress: ProgressCallback
    requests: int = 0
    unreadable: int = 0
    unanswered: list[str] = field(default_factory=list)

    def iter_pages(self, stage: str, **params: Any) -> Iterator[tuple[Page, list[Model]]]:  # noqa: ANN401 - the arguments of `HubClient.pages`
        """Yield the pages of a listing from the stage's cursor on, each with its models.

        If the Hub rejects the saved cursor, start again from the first page.
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
        """Return the models of a page; a record without a name or `_id` is counted and left out.

        Raises:
            HubReplyError: no record of the page has both.
        """
        models_or_none = [parse_model_or_none(record, page.fetched_at) for record in page.records]
        models = [model for model in models_or_none if model is not None]
        self.unreadable += len(models_or_none) - len(models)
        if models_or_none and not models:
            parse_model(page.records[0], page.fetched_at)  # raises, and says what is wrong
        return models

    def fetch_models(
        self,
        names: Collection[str],
        stage: str,
        *,
        must_exist: bool = False,
        **params: Any,  # noqa: ANN401 - the arguments of `HubClient.iter_models`
    ) -> Iterator[tuple[str, Model | HubMissingError]]:
        """Yield each name with its model, or a HubMissingError, in the order of the answers.

        A model without an answer stays as it is, and its name is added to `unanswered`. With
        `must_exist`, a missing model counts as one without an answer.

        Raises:
            HubError: more than a tenth had no answer, or the error concerns every model.
        """
        names = [name for name in names if self._is_valid_name(name)]
        failed_names: list[str] = []
        last_error: HubError | None = None
        for count, (name, answer) in enumerate(self.client.iter_models(names, **params), 1):
            self.requests += 1
            self.progress(stage, count, len(names))
            try:
                is_missing = isinstance(answer, HubMissingError) and not must_exist
                result = cast("HubMissingError", answer) if is_missing else self._parse(answer)
            except _FATAL_ERRORS:
                raise
            except HubError as error:
                last_error = error
                failed_names.append(name)
            else:
                yield name, result
        if last_error is not None and len(failed_names) > MAX_UNANSWERED_SHARE * len(names):
            raise last_error
        self.unanswered += failed_names

    def _is_valid_name(self, name: str) -> bool:
        """Return whether a repository can have this name; some names at providers are invalid."""
        try:
            endpoints.model_request(self.client.settings, name)
        except InputError:
            return False
        return True

    def _parse(self, answer: HubRecord | HubError) -> Model:
        if isinstance(answer, HubError):
            raise answer
        return parse_model(answer, self.clock())


# --- the stages, in the order in which they run ---------------------------------------------


def fetch_leaderboards(context: SyncContext, datasets: Sequence[str]) -> None:
    """Fetch the results that the Hub collects for these data sets.

    Raises:
        HubReplyError: no row of a leaderboard has a model and a score.
    """
    fetched_datasets = set(context.staging.staged_keys("leaderboard"))
    for count, dataset in enumerate(datasets, 1):
        if dataset not in fetched_datasets:
            _fetch_leaderboard(context, dataset)
        context.progress("leaderboards", count, len(datasets))


def _fetch_leaderboard(context: SyncContext, dataset: str) -> None:
    context.requests += 1
    records, now = context.client.leaderboard(dataset), context.clock()
    results = parse_leaderboard(dataset, records, now)
    if records and not results:
        raise HubReplyError(
            f"No row of the leaderboard {dataset} has a model and a score; the first of "
            f"{len(records)} is {records[0]!r:.200}. Leave it out until that is fixed."
        )
    context.staging.add_leaderboard(dataset, results, now)


def fetch_changes(context: SyncContext, watermark: float | None, published_only: bool) -> None:
    """Fetch the models modified after `watermark`, newest first; None fetches no model.

    With `published_only`, only models that the catalogue has. The newest modification is stored as
    `mark`: the next sync starts from it.
    """
    if context.staging.stage_state("changes").get("done"):
        return
    size = endpoints.MAX_PAGE_SIZE if watermark is not None else 1
    for page, models in context.iter_pages("changes", sort="lastModified", page_size=size):
        state = context.staging.stage_state("changes")
        modified_models = (
            [] if watermark is None else _modified_after(models, watermark - OVERLAP_SECONDS)
        )
        is_done = page.next_cursor is None or len(modified_models) < len(models)
        models_to_add = [
            m for m in modified_models if not published_only or context.staging.is_published(m.key)
        ]
        count = state.get("count", 0) + len(models_to_add)
        new_watermark = state.get("mark") or _newest_modification(page, models)
        state = {"cursor": page.next_cursor, "mark": new_watermark, "count": count, "done": is_done}
        context.staging.add_models(models_to_add, "changes", state)
        context.progress("changes", count, None)
        if is_done:
            return


def _modified_after(models: Sequence[Model], time: float) -> list[Model]:
    return [model for model in models if _modified_timestamp(model) >= time]


def _newest_modification(page: Page, models: Sequence[Model]) -> float | None:
    """Return the newest modification of a page, at most the time when it was fetched."""
    fetched_at = page.fetched_at.timestamp()
    return max((min(_modified_timestamp(model), fetched_at) for model in models), default=None)


def _modified_timestamp(model: Model) -> float:
    """Return when a model was modified, in seconds since 1970; 0 where unknown."""
    return 0.0 if model.modified is None else model.modified.timestamp()


def fetch_served(context: SyncContext) -> None:
    """Fetch the models that providers serve, with prices."""
    if context.staging.stage_state("served").get("done"):
        return
    context.requests += 1
    records, now = context.client.served_models(), context.clock()
    served = parse_served(records, now)
    context.progress("served", len(served), len(served))
    context.staging.add_served(served, now.timestamp(), {"done": True})


def fetch_named(context: SyncContext, names: Sequence[str]) -> list[str]:
    """Fetch the models of these names that are not known yet; return those that do not exist."""
    unknown_names = context.staging.unknown_names(names)
    missing_names = []
    for name, result in context.fetch_models(
        unknown_names, "wanted", expand=endpoints.DEFAULT_EXPAND
    ):
        if isinstance(result, HubMissingError):
            missing_names.append(name)
        else:
            context.staging.add_models([result], "wanted", {})
    return missing_names


def fetch_listing(context: SyncContext, limit: int | None) -> None:
    """Fetch the `limit` most downloaded models, or with None all models, the oldest first.

    The downloads of the last one are stored as `floor`: a model with more downloads that is not in
    the listing was deleted or renamed.
    """
    if context.staging.stage_state("listed").get("done"):
        return
    size = endpoints.MAX_PAGE_SIZE if limit is None else min(limit, endpoints.MAX_PAGE_SIZE)
    order = {"sort": "createdAt", "ascending": True} if limit is None else {"sort": "downloads"}
    for page, models in context.iter_pages("listed", page_size=size, **order):
        count = context.staging.stage_state("listed").get("count", 0)
        models_to_add = models if limit is None else models[: limit - count]
        count += len(models_to_add)
        state = {
            "cursor": page.next_cursor,
            "count": count,
            "floor": models_to_add[-1].downloads if models_to_add else None,
            "ended": page.next_cursor is None and len(models_to_add) == len(models),
            "done": page.next_cursor is None or count == limit,
        }
        context.staging.add_models(models_to_add, "listed", state)
        context.progress("listed", count, limit)
        if state["done"]:
            return


def fetch_scans(context: SyncContext, limit: int) -> None:
    """Fetch the scans of the most downloaded models, each in its own request."""
    scanned_keys = set(context.staging.staged_keys("scan"))
    names = [
        name for key, name in context.staging.most_downloaded(limit) if key not in scanned_keys
    ]
    for _, result in context.fetch_models(names, "scans", must_exist=True, security=True):
        if not isinstance(result, HubMissingError):
            facts = {name: result.facts[name] for name in _SCAN_FACTS if name in result.facts}
            context.staging.add_scan(result, facts)


def check_deleted(context: SyncContext, limit: int) -> None:
    """Ask for models that are missing from the listing, and stage which of them are deleted."""
    state = context.staging.stage_state("listed")
    unconfirmed_models = context.staging.unconfirmed_models(
        state.get("floor"), limit, include_all=state["ended"]
    )
    keys_by_name = {name: key for key, name in unconfirmed_models}

    def add_model(name: str, model: Model) -> None:
        context.staging.add_models([model], "vanished", {})
        if (
            name in keys_by_name and model.key != keys_by_name[name]
        ):  # another model has the name now
            context.staging.add_deleted(keys_by_name[name], name, context.clock().timestamp())

    for name in _confirm_absent(context, keys_by_name, "vanished", add_model):
        context.staging.add_deleted(keys_by_name[name], name, context.clock().timestamp())


def fetch_bases(
    context: SyncContext, limit: int, absent: Collection[str], *, after_listing: bool
) -> None:
    """Fetch up to `limit` base models that the catalogue lacks, then their own base models.

    Those with the most derived models come first. After a listing, base models of models that are
    already published count as well. Names that the Hub does not have are added to `absent` of the
    stage; names in `absent` are not asked for.
    """
    skipped_names = {*absent, *context.staging.stage_state("bases").get("absent", ())}

    def add_model(name: str, model: Model) -> None:
        state = context.staging.stage_state("bases")
        if model.name.casefold() != name.casefold():
            context.staging.add_alias(name, model)
        state["count"] = state.get("count", 0) + (name in names)
        context.staging.add_models([model], "bases", state)

    while True:
        remaining_count = limit - context.staging.stage_state("bases").get("count", 0)
        missing_names = [
            name
            for name in context.staging.missing_bases(after_listing)
            if name not in skipped_names
        ]
        names = missing_names[:remaining_count]
        if not names:
            return
        skipped_names.update(names)
        not_found = _confirm_absent(context, names, "bases", add_model)
        state = context.staging.stage_state("bases")
        state["count"] = state.get("count", 0) + len(not_found)
        state["absent"] = sorted(not_found.union(state.get("absent", ())))
        context.staging.add_models([], "bases", state)


def _confirm_absent(
    context: SyncContext,
    names: Collection[str],
    stage: str,
    add_model: Callable[[str, Model], None],
) -> set[str]:
    """Ask for models, keep those that are found, and return the names that the Hub does not have.

    Without a token the Hub gives the same answer for a missing model and for a bad login. So each
    missing model is asked for twice, the second time together with a model that was just listed.

    Raises:
        HubAccessError: the Hub denies the listed model as well.
    """
    missing_names = list(_fetch_absent(context, names, stage, add_model))
    if not missing_names:
        return set()
    listed_names = [name for _, name in context.staging.most_downloaded(1)]
    absent = set(_fetch_absent(context, [*missing_names, *listed_names], stage, add_model))
    if not absent.isdisjoint(listed_names):
        raise HubAccessError(
            f"The Hub says that it has no model {listed_names[0]}, which it has just listed, so "
            "its other answers are not trusted. Check the token and the endpoint, and try again."
        )
    return absent


def _fetch_absent(
    context: SyncContext,
    names: Collection[str],
    stage: str,
    add_model: Callable[[str, Model], None],
) -> Iterator[str]:
    """Ask for models, keep those that are found, and yield the names of the others."""
    for name, result in context.fetch_models(names, stage, expand=endpoints.DEFAULT_EXPAND):
        if isinstance(result, HubMissingError):
            yield name
        else:
            add_model(name, result)
