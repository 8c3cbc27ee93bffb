"""The experts that a query finds: from the catalogue, from the Hub only what is missing there."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

from tryage.core.library import Origin
from tryage.core.validation import did_you_mean
from tryage.errors import HubError, HubOfflineError, HubReplyError, InputError, LibraryError
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_sync import sync
from tryage.hub.client import HubClient
from tryage.hub.parse import read_model
from tryage.hub.settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tryage.core.library import Library
    from tryage.hub.endpoints import Page
    from tryage.hub.model import Model
    from tryage.hub.record import Record

PAGES = 10  # of a thousand models: what is asked for beyond that is a matter of `tryage hub sync`

AGAIN = timedelta(days=1)  # until the Hub is asked once more for what it had too few of

_LEAST = 100  # models a page: some of them may turn out not to fit

# The Hub can sort by these; for other columns the most downloaded models have to do.
_SORTS = {"likes": "likes", "released": "createdAt", "modified": "lastModified"}

_CONDITIONS = tuple("filters" if f.name == "tags" else f.name for f in fields(Query))

_CURE = (
    "Run `tryage hub sync` where there is a network (TRYAGE_HOME is where the catalogue lies), and "
    "unset HF_HUB_OFFLINE if it is set."
)


def supply(
    conditions: Mapping[str, Any],
    catalogue: Catalogue | str | Path | None = None,
    settings: HubSettings | None = None,
    *,
    after: datetime | None = None,
) -> Library:
    """Return the library of the models that fit, see `Library.from_hub` for the conditions.

    With `after`, the Hub is also asked when the catalogue knows nothing newer than that.

    Raises:
        InputError, LibraryError, HubError, CatalogueError: as in `Library.from_hub`.
    """
    query = read_query(conditions)
    if not isinstance(catalogue, Catalogue):
        with Catalogue(catalogue) as own:
            return supply(conditions, own, settings, after=after)
    failure = None
    if _is_lacking(catalogue, query) or (after is not None and _not_newer(catalogue, query, after)):
        try:
            _fetch(catalogue, query, settings or HubSettings.from_environment())
        except HubError as error:
            failure = error
    library = _read(catalogue, query, failure)
    library.origin = Origin(str(catalogue.path), as_of(catalogue, query), dict(conditions))
    return library


def read_query(conditions: Mapping[str, Any]) -> Query:
    """Return the query of these conditions; `filters` are its `tags`.

    Raises:
        InputError: a condition that is none.
    """
    for name in conditions:
        if name not in _CONDITIONS:
            near = did_you_mean(name, _CONDITIONS)
            raise InputError(f"{name!r} is no condition; there is {', '.join(_CONDITIONS)}.{near}")
    return Query(**{"tags" if name == "filters" else name: v for name, v in conditions.items()})


def as_of(catalogue: Catalogue, query: Query) -> datetime | None:
    """Return when the Hub was last asked about these models (UTC), None if nobody knows."""
    asked, synced = _asked(catalogue, query), catalogue.synced
    if asked is None:
        return synced
    moment = datetime.fromtimestamp(asked["at"], timezone.utc)
    return moment if synced is None else max(moment, synced)


def _is_lacking(catalogue: Catalogue, query: Query) -> bool:
    """Tell whether the Hub may have more that fits than the catalogue."""
    listing = catalogue.state("listing")
    if listing is not None and listing["ended"]:
        return False  # it has all models there are
    if query.limit is not None and catalogue.count(query) >= query.limit:
        return False
    asked = _asked(catalogue, query)
    if asked is None:
        return query.limit is not None or catalogue.synced is None
    fewer = asked["most"] is not None and (query.limit is None or asked["most"] < query.limit)
    old = datetime.now(timezone.utc).timestamp() - asked["at"] > AGAIN.total_seconds()
    return old or (fewer and not asked["ended"])


def _not_newer(catalogue: Catalogue, query: Query, after: datetime) -> bool:
    known = as_of(catalogue, query)
    return known is None or known <= after


def _fetch(catalogue: Catalogue, query: Query, settings: HubSettings) -> None:
    """Ask the Hub for as many models as the query needs, and keep them."""
    if settings.offline:
        raise HubOfflineError("HF_HUB_OFFLINE is set, so the Hub was not asked.")
    begun = datetime.now(timezone.utc).timestamp()
    with HubClient(settings) as client:
        if query.served:  # what providers serve is no listing of its own
            sync(client, catalogue, limit=min(query.limit or _LEAST, PAGES * _LEAST))
            ended = False
        else:
            ends = [_list(client, catalogue, query, one) for one in query.license or (None,)]
            ended = all(ends)
    answer = {"at": begun, "most": query.limit, "ended": ended}
    catalogue.store({_key(query): answer})


def _list(client: HubClient, catalogue: Catalogue, query: Query, license_: str | None) -> bool:
    """Keep the pages of one listing until enough models fit; tell whether it came to its end."""
    filters = [*query.tags, *([f"license:{license_}"] if license_ else [])]
    wanted = query if license_ is None else replace(query, license=(license_,))
    pages = client.pages(
        filters=filters,
        search=query.search,
        author=query.author,
        task=query.task,
        sort=_SORTS.get(query.sort, "downloads"),
        gated=query.gated,
        page_size=1_000 if query.limit is None else min(max(query.limit, _LEAST), 1_000),
    )
    for page in islice(pages, PAGES):
        catalogue.put(_models(page))
        if page.next is None:
            return True
        if query.limit is not None and catalogue.count(wanted) >= query.limit:
            return False
    return False


def _models(page: Page) -> Iterator[Model]:
    """Read the records of a page; one without a name or `_id` is left out."""
    found = (_model(record, page) for record in page.records)
    return (model for model in found if model is not None)


def _model(record: Record, page: Page) -> Model | None:
    try:
        return read_model(record, page.fetched)
    except HubReplyError:
        return None


def _read(catalogue: Catalogue, query: Query, failure: HubError | None) -> Library:
    """Return what the catalogue has; say it when the Hub should have been asked and could not."""
    try:
        library = catalogue.library(query)
    except LibraryError:
        if failure is None:
            raise
        told = f"The catalogue {catalogue.path} holds no model that fits, and: {failure} {_CURE}"
        failure.args = (told,)
        raise failure from None
    if failure is not None:
        warnings.warn(
            f"The Hub could not be asked, so only what the catalogue knows is used: {failure}",
            stacklevel=4,
        )
    return library


def _asked(catalogue: Catalogue, query: Query) -> dict[str, Any] | None:
    """Return when the Hub was asked this, for how many, and whether that were all."""
    found: dict[str, Any] | None = catalogue.state(_key(query))
    return found


def _key(query: Query) -> str:
    asked = asdict(replace(query, limit=None))
    known = {name: value for name, value in asked.items() if value not in (None, ())}
    return "asked:" + json.dumps(known, sort_keys=True, default=str)
