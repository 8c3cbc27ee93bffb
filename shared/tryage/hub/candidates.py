"""`load_library`: models of the catalogue; the Hub is asked when too few of them fit."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from tryage.core.library import Provenance
from tryage.core.validation import did_you_mean
from tryage.errors import CatalogueError, HubError, HubOfflineError, InputError, LibraryError
from tryage.hub import license_bases
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_sync import sync
from tryage.hub.client import HubClient
from tryage.hub.parse import parse_model_or_none
from tryage.hub.settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tryage.core.library import Library
    from tryage.hub.endpoints import Page
    from tryage.hub.model import Model

MAX_PAGES = 10  # of a thousand models; `tryage hub sync` fetches more

# How long the Hub is not asked again for a query with too few models.
REFETCH_INTERVAL = timedelta(days=1)

_MIN_PAGE_SIZE = 100  # models of a page: some of them may not fit

# The Hub can sort by these columns; for others the most downloaded models are fetched.
_HUB_SORT_BY_COLUMN = {"likes": "likes", "released": "createdAt", "modified": "lastModified"}

_CONDITIONS = tuple("filters" if f.name == "tags" else f.name for f in fields(Query))

_SYNC_HINT = (
    "Run `tryage hub sync` where there is a network (the catalogue is in TRYAGE_HOME), and unset "
    "HF_HUB_OFFLINE if it is set."
)


def load_library(
    conditions: Mapping[str, Any],
    catalogue: Catalogue | str | Path | None = None,
    settings: HubSettings | None = None,
    *,
    newer_than: datetime | None = None,
) -> Library:
    """Return the library of the models that fit; `Library.from_hub` describes the conditions.

    The Hub is asked when the catalogue has too few models that fit; with `newer_than`, also when
    nothing in the catalogue is newer than that.

    Raises:
        InputError, LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
    """
    query = parse_query(conditions)
    if not isinstance(catalogue, Catalogue):
        with Catalogue(catalogue) as own_catalogue:
            return load_library(conditions, own_catalogue, settings, newer_than=newer_than)
    failure: HubError | CatalogueError | None = None
    try:
        _fetch_if_needed(catalogue, query, settings or HubSettings.from_environment(), newer_than)
    except (HubError, CatalogueError) as error:  # the second: a home that cannot be written
        failure = error
    library = _read_catalog(catalogue, query, failure)
    library.origin = Provenance(str(catalogue.path), as_of(catalogue, query), dict(conditions))
    return library


def explain_missing(conditions: Mapping[str, Any], path: str | Path) -> str:
    """Return which models `load_library` leaves out because something about them is unknown.

    Raises:
        CatalogueError: the catalogue cannot be read.
    """
    with Catalogue(path) as catalogue:
        return license_bases.explain_missing(catalogue, parse_query(conditions))


def parse_query(conditions: Mapping[str, Any]) -> Query:
    """Return the query of these conditions; `filters` become its `tags`.

    Raises:
        InputError: an unknown condition.
    """
    for name in conditions:
        if name not in _CONDITIONS:
            suggestion = did_you_mean(name, (*_CONDITIONS, "catalogue", "settings", "base"))
            raise InputError(
                f"{name!r} is not a condition; the conditions are {', '.join(_CONDITIONS)}."
                f"{suggestion}"
            )
    return Query(
        **{"tags" if name == "filters" else name: value for name, value in conditions.items()}
    )


def as_of(catalogue: Catalogue, query: Query) -> datetime | None:
    """Return when the Hub was last asked about these models (UTC), None if that is unknown."""
    last_fetch, synced = _last_fetch(catalogue, query), catalogue.synced_at
    if last_fetch is None:
        return synced
    fetched_at = datetime.fromtimestamp(last_fetch["at"], timezone.utc)
    return fetched_at if synced is None else max(fetched_at, synced)


def _has_too_few(catalogue: Catalogue, query: Query) -> bool:
    """Return whether the Hub may have more models that fit than the catalogue."""
    listing = catalogue.get_state("listing")
    if listing is not None and listing["ended"]:
        return False  # the catalogue has all models of the Hub
    if query.limit is not None and catalogue.count(query) >= query.limit:
        return False
    last_fetch = _last_fetch(catalogue, query)
    if last_fetch is None:
        return query.limit is not None or catalogue.synced_at is None
    asked_for_fewer = last_fetch["most"] is not None and (
        query.limit is None or last_fetch["most"] < query.limit
    )
    return not _is_recent(last_fetch) or (asked_for_fewer and not last_fetch["ended"])


def _is_recent(last_fetch: Mapping[str, Any]) -> bool:
    """Return whether the Hub was asked within the last day; a time in the future is wrong."""
    age = datetime.now(timezone.utc).timestamp() - last_fetch["at"]
    return bool(0 <= age <= REFETCH_INTERVAL.total_seconds())


def _is_outdated(catalogue: Catalogue, query: Query, newer_than: datetime) -> bool:
    last_asked = as_of(catalogue, query)
    return last_asked is None or last_asked <= newer_than


def _fetch_if_needed(
    catalogue: Catalogue, query: Query, settings: HubSettings, newer_than: datetime | None
) -> None:
    """Ask the Hub for what the catalogue lacks: models that fit, and bases that licences need."""
    if _has_too_few(catalogue, query) or (
        newer_than is not None and _is_outdated(catalogue, query, newer_than)
    ):
        _fetch(catalogue, query, settings)
    elif query.license and not settings.offline:
        _fetch_bases(catalogue, query, settings)


def _fetch_bases(catalogue: Catalogue, query: Query, settings: HubSettings) -> None:
    """Fetch the bases that licences need, at most once a day for a query."""
    last_fetch = catalogue.get_state(_bases_key(query))
    if (last_fetch is None or not _is_recent(last_fetch)) and license_bases.missing_bases(
        catalogue, query
    ):
        with HubClient(settings) as client:
            license_bases.fetch_missing_bases(client, catalogue, query)
        catalogue.set_state({_bases_key(query): {"at": datetime.now(timezone.utc).timestamp()}})


def _fetch(catalogue: Catalogue, query: Query, settings: HubSettings) -> None:
    """Ask the Hub for as many models as the query needs, and write them to the catalogue."""
    if settings.offline:
        raise HubOfflineError("HF_HUB_OFFLINE is set, so the Hub was not asked.")
    started_at = datetime.now(timezone.utc).timestamp()
    with HubClient(settings) as client:
        if query.served:
            _fetch_served(client, catalogue, query)
            is_complete = False
        else:
            completions = [
                _fetch_listing(client, catalogue, query, word) for word in query.license or (None,)
            ]
            is_complete = all(completions)
    state = {"at": started_at, "most": query.limit, "ended": is_complete}
    catalogue.set_state({_state_key(query): state, _bases_key(query): {"at": started_at}})


def _fetch_served(client: HubClient, catalogue: Catalogue, query: Query) -> None:
    """Sync, because a listing of the Hub does not give the prices of served models."""
    limit = min(query.limit or _MIN_PAGE_SIZE, MAX_PAGES * _MIN_PAGE_SIZE)
    sync(client, catalogue, limit=limit)


def _fetch_listing(
    client: HubClient, catalogue: Catalogue, query: Query, license_: str | None
) -> bool:
    """Write the pages of one listing until enough models fit; return whether it ended."""
    filters = [*query.tags, *([f"license:{license_}"] if license_ else [])]
    license_query = query if license_ is None else replace(query, license=(license_,))
    pages = client.pages(
        filters=filters,
        search=query.search,
        author=query.author,
        task=query.task,
        sort=_HUB_SORT_BY_COLUMN.get(query.sort, "downloads"),
        gated=query.gated,
        page_size=1_000 if query.limit is None else min(max(query.limit, _MIN_PAGE_SIZE), 1_000),
    )
    bases: set[str] = set()
    for page in islice(pages, MAX_PAGES):
        catalogue.put(_parse_page(page))
        bases = license_bases.fetch_missing_bases(client, catalogue, license_query, bases)
        if page.next_cursor is None:
            return True
        if query.limit is not None and catalogue.count(license_query) >= query.limit:
            return False
    return False


def _parse_page(page: Page) -> list[Model]:
    """Return the models of a page; a record without a name or `_id` is left out."""
    models = [parse_model_or_none(record, page.fetched_at) for record in page.records]
    return [model for model in models if model is not None]


def _read_catalog(
    catalogue: Catalogue, query: Query, failure: HubError | CatalogueError | None
) -> Library:
    """Return what the catalogue has; warn when asking the Hub, or writing its answer, has failed.

    Raises:
        HubError, CatalogueError: the failure, when the catalogue has no model that fits.
        LibraryError: no model fits, and the Hub was asked or need not be asked.
    """
    try:
        library = catalogue.library(query)
    except LibraryError:
        if failure is None:
            raise
        failure.args = (
            f"The catalogue {catalogue.path} holds no model that fits, and: "
            f"{str(failure).rstrip('.')}. {_SYNC_HINT}",
        )
        raise failure from None
    if failure is not None:
        warnings.warn(
            f"{_failure_start(failure)}, so only what the catalogue knows is used: {failure}",
            stacklevel=4,
        )
    return library


def _failure_start(failure: HubError | CatalogueError) -> str:
    if isinstance(failure, HubError):
        return "The Hub could not be asked"
    return "The catalogue could not be updated"


def _last_fetch(catalogue: Catalogue, query: Query) -> dict[str, Any] | None:
    """Return when the Hub was asked for this query, for how many, and whether those were all."""
    state: dict[str, Any] | None = catalogue.get_state(_state_key(query))
    return state


def _state_key(query: Query) -> str:
    conditions = asdict(replace(query, limit=None))
    nonempty = {name: value for name, value in conditions.items() if value not in (None, ())}
    return "asked:" + json.dumps(nonempty, sort_keys=True, default=str)


def _bases_key(query: Query) -> str:
    return _state_key(query).replace("asked:", "bases:", 1)
