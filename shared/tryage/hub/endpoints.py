"""The questions that Tryage asks the Hub, and the shape of their answers.

Each function takes the settings and what is asked; both clients have it as a method that asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from tryage.errors import HubReplyError, InputError
from tryage.hub.protocol import HubRequest, QueryParams

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tryage.hub.protocol import HubResponse
    from tryage.hub.record import Record
    from tryage.hub.settings import HubSettings

# What a page brings for each model. Each has a use in reading.py; leaving out file lists and
# widgets keeps a page of a thousand small.
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
    """A part of a listing: its records, when it was fetched (UTC), and where the next one starts.

    `next` is opaque, holds no host and no token, and may be stored: `pages(cursor=next)` goes on
    from there. It is None on the last page.
    """

    records: list[Record]
    next_cursor: str | None
    fetched_at: datetime


def list_models_request(  # noqa: PLR0913 - one argument for each filter that the Hub knows
    settings: HubSettings,
    *,
    filters: Sequence[str] = (),
    search: str | None = None,
    author: str | None = None,
    task: str | None = None,
    sort: str = "downloads",
    ascending: bool = False,
    gated: bool | None = None,
    parameters: tuple[float | None, float | None] | None = None,
    inference_provider: str | None = None,
    expand: Sequence[str] = DEFAULT_EXPAND,
    page_size: int = MAX_PAGE_SIZE,
    cursor: str | None = None,
) -> HubRequest[Page]:
    """Yield the pages of a listing of models, in the order of `sort`, the highest first.

    `filters` are tags that a model must have (`pytorch`, `en`, `license:mit`), `task` is its
    pipeline tag, `parameters` the least and the most parameters. With `cursor`, the `next` of an
    earlier page, the listing goes on from there and nothing else counts.

    Raises:
        InputError: an unknown sort, a page size out of range, a cursor that no page gave.
        HubError: offline, refused, or unanswered after all attempts.
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
        "num_parameters": _format_parameter_range(parameters),
        "inference_provider": inference_provider,
        "sort": sort,
        "direction": "1" if ascending else None,  # descending is the Hub's own
        "limit": str(page_size),
    }
    params = [("filter", tag) for tag in _check_strings("filters", filters)]
    params += [(name, value) for name, value in single_params.items() if value is not None]
    return _page_request(settings, (*params, *_expand_params(expand)))


def next_page_request(settings: HubSettings, page: Page) -> HubRequest[Page] | None:
    """Return the question for the page after this one; None after the last."""
    return (
        None
        if page.next_cursor is None
        else _page_request(settings, _parse_cursor(page.next_cursor))
    )


def model_request(
    settings: HubSettings,
    name: str,
    *,
    security: bool = False,
    expand: Sequence[str] | None = None,
    revision: str | None = None,
) -> HubRequest[Record]:
    """Return what the Hub says of one model; a renamed one has its new name in `id`.

    `security` adds the state of its scans (`securityRepoStatus`), `expand` names the fields instead
    of the usual ones, `revision` is a commit, branch or tag.

    Raises:
        InputError: no possible name or revision, or `security` together with `expand`.
        HubMissingError: there is no such model, or none that the token may see.
        HubError: offline, refused, or unanswered after all attempts.
    """
    if security and expand is not None:
        raise InputError("the Hub gives either the security status or expand; ask for one of them.")
    url = f"{settings.endpoint}/api/models/{_check_repo_id(name)}"
    if revision is not None:
        if not isinstance(revision, str) or not re.fullmatch(r"(?!.*\.\.)[\w./-]+", revision):
            raise InputError(f"revision must be a commit, branch or tag, got {revision!r:.80}.")
        url += f"/revision/{revision.replace('/', '%2F')}"
    params: QueryParams = (
        (("securityStatus", "true"),) if security else _expand_params(expand or ())
    )
    return HubRequest(url, params, lambda _, data: _check_record(data), repo_id=name)


def security_request(settings: HubSettings, name: str) -> HubRequest[Record]:
    """Return the state of one model's scans; empty when the Hub says nothing, which is not safe.

    Raises:
        InputError: no possible name.
        HubError: as for a model.
    """
    request = model_request(settings, name, security=True)
    return replace(
        request,
        parse=lambda _, data: _check_record(_check_record(data).get("securityRepoStatus", {})),
    )


def leaderboard_request(
    settings: HubSettings, dataset: str, *, derived: bool = False
) -> HubRequest[list[Record]]:
    """Return a benchmark's results, the best first; `derived` adds models that have a base model.

    Raises:
        InputError: no possible name.
        HubMissingError: there is no such data set, or it has no leaderboard.
        HubError: offline, refused, or unanswered after all attempts.
    """
    url = f"{settings.endpoint}/api/datasets/{_check_repo_id(dataset)}/leaderboard"
    params = (("base_model", "false"),) if derived else ()
    return HubRequest(url, params, lambda _, data: _check_records(data), repo_id=dataset)


def served_models_request(settings: HubSettings) -> HubRequest[list[Record]]:
    """Return the models that providers serve, each with prices, context and latency.

    Raises:
        HubError: offline, refused, or unanswered after all attempts.
    """
    url = f"{settings.inference}/v1/models"
    return HubRequest(url, (), lambda _, data: _check_records(_check_record(data).get("data")))


def _page_request(settings: HubSettings, params: QueryParams) -> HubRequest[Page]:
    cursor = dict(params).get("cursor")

    def read(reply: HubResponse, data: object) -> Page:
        link = _next_page_params(reply.headers.get("link", ""))
        if link is not None and dict(parse_qsl(link)).get("cursor") == cursor:
            raise HubReplyError("the next page is this page; the listing would never end")
        return Page(_check_records(data), link, reply.received_at)

    return HubRequest(f"{settings.endpoint}/api/models", params, read, is_listing=True)


def _next_page_params(header: str) -> str | None:
    """Return the next page's parameters; the rest of its address is the listing's own.

    Keeping the parameters alone means that a page's link can send nobody to another host, and that
    a stored cursor outlives a change of endpoint.
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
        raise InputError(f"cursor must be the `next` of a page, got {cursor!r:.80}.")
    return params


def _expand_params(names: Sequence[str]) -> QueryParams:
    return tuple(("expand", name) for name in _check_strings("expand", names))


def _check_strings(name: str, values: Sequence[str]) -> Sequence[str]:
    """Return them; a string by itself would silently be taken letter by letter."""
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{name} must be a sequence of strings, got {values!r:.80}.")
    return values


def _check_repo_id(name: object) -> str:
    """Return a name that can be part of an address."""
    if not isinstance(name, str) or not _REPO_ID.fullmatch(name):
        raise InputError(f"a repository is named like 'org/name', got {name!r:.80}.")
    return name


def _format_parameter_range(limits: tuple[float | None, float | None] | None) -> str | None:
    """Write a range of parameter counts: (6e9, 128e9) is min:6B,max:128B."""
    if limits is None:
        return None
    least, most = limits
    if any(n is not None and not 0 <= n < 1e18 for n in limits) or (least or 0) > (most or 1e18):
        raise InputError(f"parameters must be (least, most), counts or None, got {limits!r:.80}.")
    sides = [("min", least), ("max", most)]
    return ",".join(f"{side}:{_format_count(n)}" for side, n in sides if n is not None) or None


def _format_count(number: float) -> str:
    """Write a count in the largest unit that is exact, in thousands when none is."""
    units = {"T": 10**12, "B": 10**9, "M": 10**6, "K": 10**3}
    unit = next((u for u, size in units.items() if number >= size and number % size == 0), "K")
    return f"{round(number / units[unit])}{unit}"


def _check_record(data: object) -> Record:
    if not isinstance(data, dict):
        raise HubReplyError(f"expected a JSON object, got {type(data).__name__}")
    return data


def _check_records(data: object) -> list[Record]:
    if not isinstance(data, list):
        raise HubReplyError(f"expected a JSON list, got {type(data).__name__}")
    return [_check_record(item) for item in data]
