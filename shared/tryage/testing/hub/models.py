"""`GET /api/models`: filters, sorting, `expand` and pages, as the Hub does them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tryage.testing.hub.http import refuse, reply_json
from tryage.testing.hub.store import SORTS, Wanted, read_sha

if TYPE_CHECKING:
    from tryage.testing.hub.http import Reply, Request
    from tryage.testing.hub.repository import Commit, Record, Repo
    from tryage.testing.hub.store import Shelf

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

# What the Hub tells only to those who ask with `expand` or `securityStatus`.
ON_DEMAND = {
    "downloadsAllTime", "trendingScore", "childrenModelCount", "baseModels", "evalResults",
    "inferenceProviderMapping", "securityRepoStatus",
}  # fmt: skip


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


def model_info(shelf: Shelf, request: Request, repo: Repo, revision: str = "main") -> Reply:
    """Answer with one model; its weak ETag gives 304 to those who have it already."""
    expand = read_expand(request)
    commit = find_commit(shelf, repo, revision)
    record = {**repo.read(), "sha": commit.sha}
    if expand:
        picked = {field: record[field] for field in expand if field in record}
        return _tagged(request, reply_json({"_id": repo.key, "id": repo.name, **picked}))
    shown: Record = {k: v for k, v in record.items() if k not in ON_DEMAND}
    shown |= {"modelId": repo.name, "siblings": _siblings(record, commit)}
    if request.flag("blobs") and commit.files:
        shown["siblings"] = [_sized(path, commit) for path in sorted(commit.files)]
    if request.flag("securityStatus"):
        shown["securityRepoStatus"] = _security(repo, record)
    return _tagged(request, reply_json(shown))


def find_commit(shelf: Shelf, repo: Repo, revision: str) -> Commit:
    """Return the commit a revision names, or refuse as the Hub does."""
    commit = shelf.history(repo).find(revision)
    if commit is None:
        raise refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def _siblings(record: Record, commit: Commit) -> list[dict[str, Any]]:
    if commit.files or read_sha(record) != commit.sha:
        return [{"rfilename": path} for path in sorted(commit.files)]
    return list(record.get("siblings") or [])


def _sized(path: str, commit: Commit) -> dict[str, Any]:
    blob = commit.files[path]
    found = {"rfilename": path, "size": len(blob.data), "blobId": blob.oid}
    if blob.large:
        size, pointer_size = blob.lfs["size"], blob.lfs["pointerSize"]
        found["lfs"] = {"sha256": blob.sha256, "size": size, "pointerSize": pointer_size}
    return found


def _security(repo: Repo, record: Record) -> object:
    # A model known by its metadata alone has no files that anybody could have scanned.
    scanned = repo.git is not None and any(state.files for state in repo.git.commits.values())
    usual = {"scansDone": scanned, "filesWithIssues": []}
    return record.get("securityRepoStatus") or usual


def _tagged(request: Request, reply: Reply) -> Reply:
    tag = f'W/"{len(reply.body):x}-{hashlib.md5(reply.body, usedforsecurity=False).hexdigest()}"'
    headers = {**reply.headers, "ETag": tag}
    if request.headers.get("If-None-Match") == tag:
        return replace(reply, status=304, body=b"", headers={"ETag": tag})
    return replace(reply, headers=headers)
