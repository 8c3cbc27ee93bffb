"""`GET /api/models`: filters, sorting, `expand` and pages, as the Hub does them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from tryage.testing.hub.order import SORTS, Wanted
from tryage.testing.hub.shelf import read_sha
from tryage.testing.hub.wire import refuse, reply_json

if TYPE_CHECKING:
    from tryage.testing.hub.repo import Record, Repo
    from tryage.testing.hub.shelf import Shelf
    from tryage.testing.hub.wire import Reply, Request

MOST = 1000  # models on a page

EXPAND = (
    "author", "baseModels", "cardData", "childrenModelCount", "config", "createdAt", "disabled",
    "downloads", "downloadsAllTime", "evalResults", "gated", "gguf", "inference",
    "inferenceProviderMapping", "lastModified", "library_name", "likes", "mask_token",
    "model-index", "pipeline_tag", "private", "resourceGroup", "safetensors", "sha", "siblings",
    "spaces", "tags", "transformersInfo", "trendingScore", "usedStorage", "widgetData",
    "xetEnabled",
)  # fmt: skip
USUAL = (
    "likes", "trendingScore", "private", "downloads", "tags", "pipeline_tag", "library_name",
    "createdAt",
)  # fmt: skip
FULL = (*USUAL, "author", "gated", "lastModified", "sha", "siblings", "disabled")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?)")
_UNIT = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def list_models(shelf: Shelf, request: Request) -> Reply:
    """Answer a listing; `Link` holds the absolute address of the next page."""
    expand = read_expand(request)
    size = min(_count(request.one("limit", str(MOST))), MOST)
    cursor = request.one("cursor") or None
    repos, following = shelf.page(read_wanted(request), cursor, size)
    fields = expand or _usual(request)
    items = [_item(repo, fields, named=not expand) for repo in repos]
    if following is None:
        return reply_json(items)
    pairs = [pair for pair in parse_qsl(urlsplit(request.target).query) if pair[0] != "cursor"]
    link = f"{request.base}/api/models?{urlencode([*pairs, ('cursor', following)])}"
    return reply_json(items, headers={"Link": f'<{link}>; rel="next"'})


def read_expand(request: Request) -> tuple[str, ...]:
    """Return the fields asked for; an unknown one is refused with the list of all there are."""
    asked = tuple(request.query.get("expand", ()))
    for at, field in enumerate(asked):
        if field not in EXPAND:
            known = "|".join(f'"{name}"' for name in EXPAND)
            raise refuse(400, f"✖ Invalid option: expected one of {known}\n  → at expand[{at}]")
    exclusive = [name for name in ("full", "cardData", "config") if request.flag(name)]
    if asked and exclusive:
        raise refuse(400, f"expand cannot be combined with {', '.join(exclusive)}")
    return asked


def read_wanted(request: Request) -> Wanted:
    """Return the question of a listing, from its parameters."""
    sort = request.one("sort", "trendingScore")
    if sort not in SORTS:
        raise refuse(400, f"Invalid sort {sort!r}: expected one of {', '.join(SORTS)}")
    least, most = read_sizes(request.one("num_parameters"))
    provider = ",".join(request.query.get("inference_provider", ()))
    return Wanted(
        sort=sort,
        ascending=request.one("direction", "-1") == "1",
        signed_in=request.token is not None,
        tags=tuple(
            sorted(tag for value in request.query.get("filter", ()) for tag in _tags(value))
        ),
        search=request.one("search").lower(),
        author=request.one("author"),
        task=request.one("pipeline_tag"),
        gated=request.flag("gated") if "gated" in request.query else None,
        provider=provider or ("all" if request.one("inference") == "warm" else ""),
        at_least=least,
        at_most=most,
    )


def _tags(value: str) -> list[str]:
    return [tag for tag in value.split(",") if tag]


def read_sizes(text: str) -> tuple[float, float]:
    """Return the bounds of `min:6B,max:128B`, in parameters."""
    bounds = {"min": 0.0, "max": float("inf")}
    for part in filter(None, text.split(",")):
        name, _, size = part.partition(":")
        match = _SIZE.fullmatch(size.upper())
        if name not in bounds or match is None:
            raise refuse(400, f"Invalid num_parameters {text!r}: expected min:6B,max:128B")
        bounds[name] = float(match[1]) * _UNIT[match[2]]
    return bounds["min"], bounds["max"]


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise refuse(400, f"Invalid limit {text!r}: expected a number from 1")
    return int(text)


def _usual(request: Request) -> tuple[str, ...]:
    extra = [name for name in ("cardData", "config") if request.flag(name)]
    return (*(FULL if request.flag("full") else USUAL), *extra)


def _item(repo: Repo, fields: tuple[str, ...], *, named: bool) -> Record:
    record = repo.read()
    found: Record = {"_id": record["_id"], "id": record["id"]}
    found.update({field: record[field] for field in fields if field in record})
    if "sha" in fields:
        found["sha"] = read_sha(record)
    if "inferenceProviderMapping" in found:  # a list here, an object in the info of one model
        mapping = found["inferenceProviderMapping"]
        found["inferenceProviderMapping"] = [
            {"provider": name, **mapping[name]} for name in mapping
        ]
    if named:
        found["modelId"] = record["id"]
    return found
