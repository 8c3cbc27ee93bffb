"""The requests that Tryage sends to the Hub: their addresses, and the shapes of their answers.

Each function takes the settings and returns a `HubRequest`; `HubClient` has a method for each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from tryage.errors import HubReplyError, InputError
from tryage.hub.protocol import HubRequest, QueryParams

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tryage.hub.protocol import HubResponse
    from tryage.hub.record import HubRecord
    from tryage.hub.settings import HubSettings

# The fields of each record of a listing. `parse.py` reads all of them; without lists of files and
# widgets a page of a thousand models stays small.
DEFAULT_EXPAND = (
    "author", "baseModels", "cardData", "config", "createdAt", "disabled", "downloads",
    "evalResults", "gated", "gguf", "inferenceProviderMapping", "lastModified", "library_name",
    "likes", "model-index", "pipeline_tag", "private", "safetensors", "sha", "tags",
)  # fmt: skip

HUB_SORTS = ("createdAt", "downloads", "lastModified", "likes", "trendingScore")

MAX_PAGE_SIZE = 1000  # records; the Hub gives no more

_REPO_ID = re.compile(r"(?!.*\.\.)[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)

_NEXT_LINK = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing: its records, where the next page starts, and when it was fetched (UTC).

    `next_cursor` is opaque, holds no host and no token, and may be stored:
    `pages(cursor=next_cursor)` goes on from there. It is None on the last page.
    """

    records: list[HubRecord]
    next_cursor: str | None
    fetched_at: datetime


def list_models_request(  # noqa: PLR0913 - one argument for each filter of the Hub
    settings: HubSettings,
    *,
    filters: Sequence[str] = (),
    search: str | None = None,
    author: str | None = None,
    task: str | None = None,
    sort: str = "downloads",
    ascending: bool = False,
    gated: bool | None = None,
    expand: Sequence[str] = DEFAULT_EXPAND,
    page_size: int = MAX_PAGE_SIZE,
    cursor: str | None = None,
) -> HubRequest[Page]:
    """Return the request for one page of models; the arguments are those of `HubClient.pages`.

    Raises:
        InputError: an unknown sort, a page size out of range, or a cursor of no page.
    """
    if cursor is not None:
        return _page_request(settings, _parse_cursor(cursor))
    if sort not in HUB_SORTS:
        raise InputError(f"sort must be one of {', '.join(HUB_SORTS)}; got {sort!r:.80}.")
    if isinstance(page_size, bool) or not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InputError(f"page_size must be from 1 to {MAX_PAGE_SIZE}, got {page_size!r}.")
    single_params = {
        "search": search,
        "author": author,
        "pipeline_tag": task,
        "gated": None if gated is None else str(gated).lower(),
        "sort": sort,
        "direction": "1" if ascending else None,  # without it the Hub sorts descending
        "limit": str(page_size),
    }
    params = [("filter", tag) for tag in _check_strings("filters", filters)]
    params += [(name, value) for name, value in single_params.items() if value is not None]
    return _page_request(settings, (*params, *_expand_params(expand)))


def next_page_request(settings: HubSettings, page: Page) -> HubRequest[Page] | None:
    """Return the request for the page after this one; None after the last."""
    if page.next_cursor is None:
        return None
    return _page_request(settings, _parse_cursor(page.next_cursor))


def model_request(
    settings: HubSettings, name: str, *, security: bool = False, expand: Sequence[str] | None = None
) -> HubRequest[HubRecord]:
    """Return the request for one model; see `HubClient.model`.

    Raises:
        InputError: an invalid name, or `security` together with `expand`.
    """
    if security and expand is not None:
        raise InputError("the Hub gives either the security status or expand; ask for one of them.")
    url = f"{settings.endpoint}/api/models/{_check_repo_id(name)}"
    params: QueryParams = (
        (("securityStatus", "true"),) if security else _expand_params(expand or ())
    )
    return HubRequest(url, params, lambda _, data: _check_record(data), repo_id=name)


def leaderboard_request(settings: HubSettings, dataset: str) -> HubRequest[list[HubRecord]]:
    """Return the request for a benchmark's results; see `HubClient.leaderboard`.

    Raises:
        InputError: an invalid name.
    """
    url = f"{settings.endpoint}/api/datasets/{_check_repo_id(dataset)}/leaderboard"
    return HubRequest(url, (), lambda _, data: _check_records(data), repo_id=dataset)


def served_models_request(settings: HubSettings) -> HubRequest[list[HubRecord]]:
    """Return the request for the models that inference providers serve."""
    url = f"{settings.inference}/v1/models"
    return HubRequest(url, (), lambda _, data: _check_records(_check_record(data).get("data")))


def _page_request(settings: HubSettings, params: QueryParams) -> HubRequest[Page]:
    cursor = dict(params).get("cursor")

    def parse(response: HubResponse, data: object) -> Page:
        next_cursor = _parse_next_link(response.headers.get("link", ""))
        if next_cursor is not None and dict(parse_qsl(next_cursor)).get("cursor") == cursor:
            raise HubReplyError("the next page is this page; the listing would never end")
        return Page(_check_records(data), next_cursor, response.received_at)

    return HubRequest(f"{settings.endpoint}/api/models", params, parse, is_listing=True)


def _parse_next_link(header: str) -> str | None:
    """Return the parameters of the link to the next page; the rest of its address is ignored.

    So a link cannot lead to another host, and a stored cursor survives a change of the endpoint.
    """
    match = _NEXT_LINK.search(header)
    if match is None:
        return None
    query = urlsplit(match[1]).query
    if not dict(parse_qsl(query)).get("cursor"):
        raise HubReplyError(f"the link to the next page holds no cursor: {match[1]!r:.120}")
    return query


def _parse_cursor(cursor: object) -> QueryParams:
    params = tuple(parse_qsl(cursor)) if isinstance(cursor, str) else ()
    if "cursor" not in dict(params):
        raise InputError(f"cursor must be the `next_cursor` of a page, got {cursor!r:.80}.")
    return params


def _expand_params(names: Sequence[str]) -> QueryParams:
    return tuple(("expand", name) for name in _check_strings("expand", names))


def _check_strings(name: str, values: Sequence[str]) -> Sequence[str]:
    """Return the values; a single string would silently be taken letter by letter."""
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{name} must be a sequence of strings, got {values!r:.80}.")
    return values


def _check_repo_id(name: object) -> str:
    """Return the name if it can be part of an address."""
    if not isinstance(name, str) or not _REPO_ID.fullmatch(name):
        raise InputError(f"a repository is named like 'org/name', got {name!r:.80}.")
    return name


def _check_record(data: object) -> HubRecord:
    if not isinstance(data, dict):
        raise HubReplyError(f"expected a JSON object, got {type(data).__name__}")
    return data


def _check_records(data: object) -> list[HubRecord]:
    if not isinstance(data, list):
        raise HubReplyError(f"expected a JSON list, got {type(data).__name__}")
    return [_check_record(item) for item in data]
