"""Listings and metadata of models: filters, sorting, `expand`, pages and ETags as on the Hub."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.testing.hub.http import http_error, json_response, next_page_headers
from tryage.testing.hub.store import SORTS, ListingQuery, record_sha

if TYPE_CHECKING:
    from tryage.testing.hub.http import FakeRequest, FakeResponse
    from tryage.testing.hub.repository import Commit, HubRecord, Repo
    from tryage.testing.hub.store import RepositoryStore

MAX_PAGE_SIZE = 1000  # models

EXPANDABLE_FIELDS = (
    "author", "baseModels", "cardData", "childrenModelCount", "config", "createdAt", "disabled",
    "downloads", "downloadsAllTime", "evalResults", "gated", "gguf", "inference",
    "inferenceProviderMapping", "lastModified", "library_name", "likes", "mask_token",
    "model-index", "pipeline_tag", "private", "resourceGroup", "safetensors", "sha", "siblings",
    "spaces", "tags", "transformersInfo", "trendingScore", "usedStorage", "widgetData",
    "xetEnabled",
)  # fmt: skip

DEFAULT_FIELDS = (
    "likes", "trendingScore", "private", "downloads", "tags", "pipeline_tag", "library_name",
    "createdAt",
)  # fmt: skip

FULL_FIELDS = (*DEFAULT_FIELDS, "author", "gated", "lastModified", "sha", "siblings", "disabled")

# The Hub sends these only on request, with `expand` or `securityStatus`.
ON_DEMAND_FIELDS = {
    "downloadsAllTime", "trendingScore", "childrenModelCount", "baseModels", "evalResults",
    "inferenceProviderMapping", "securityRepoStatus",
}  # fmt: skip

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMBT]?)")

_UNIT = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def list_models(store: RepositoryStore, request: FakeRequest) -> FakeResponse:
    """Return one page of a listing; `Link` holds the address of the next page."""
    expand = _read_expand(request)
    size = min(_parse_limit(request.one("limit", str(MAX_PAGE_SIZE))), MAX_PAGE_SIZE)
    cursor = request.one("cursor") or None
    repos, next_cursor = store.page(_read_listing_query(request), cursor, size)
    fields = expand or _default_fields(request)
    items = [_listing_item(repo, fields, with_model_id=not expand) for repo in repos]
    headers = {} if next_cursor is None else next_page_headers(request, next_cursor)
    return json_response(items, headers=headers)


def _read_expand(request: FakeRequest) -> tuple[str, ...]:
    """Return the requested fields; an unknown one is refused with a list of the known ones."""
    fields = tuple(request.query.get("expand", ()))
    for i, field in enumerate(fields):
        if field not in EXPANDABLE_FIELDS:
            options = "|".join(f'"{name}"' for name in EXPANDABLE_FIELDS)
            raise http_error(
                400, f"✖ Invalid option: expected one of {options}\n  → at expand[{i}]"
            )
    other_flags = [name for name in ("full", "cardData", "config") if request.flag(name)]
    if fields and other_flags:
        raise http_error(400, f"expand cannot be combined with {', '.join(other_flags)}")
    return fields


def _read_listing_query(request: FakeRequest) -> ListingQuery:
    """Return the filters and the order of a listing, from its parameters."""
    sort = request.one("sort", "trendingScore")
    if sort not in SORTS:
        raise http_error(400, f"Invalid sort {sort!r}: expected one of {', '.join(SORTS)}")
    min_parameters, max_parameters = _parse_size_range(request.one("num_parameters"))
    provider = ",".join(request.query.get("inference_provider", ()))
    return ListingQuery(
        sort=sort,
        ascending=request.one("direction", "-1") == "1",
        signed_in=request.token is not None,
        tags=tuple(sorted(filter(None, ",".join(request.query.get("filter", ())).split(",")))),
        search=request.one("search").lower(),
        author=request.one("author"),
        task=request.one("pipeline_tag"),
        gated=request.flag("gated") if "gated" in request.query else None,
        provider=provider or ("all" if request.one("inference") == "warm" else ""),
        min_parameters=min_parameters,
        max_parameters=max_parameters,
    )


def _parse_size_range(text: str) -> tuple[float, float]:
    """Return the bounds of `min:6B,max:128B`, in parameters."""
    bounds = {"min": 0.0, "max": float("inf")}
    for part in filter(None, text.split(",")):
        name, _, size = part.partition(":")
        match = _SIZE.fullmatch(size.upper())
        if name not in bounds or match is None:
            raise http_error(400, f"Invalid num_parameters {text!r}: expected min:6B,max:128B")
        bounds[name] = float(match[1]) * _UNIT[match[2]]
    return bounds["min"], bounds["max"]


def _parse_limit(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise http_error(400, f"Invalid limit {text!r}: expected a number from 1")
    return int(text)


def _default_fields(request: FakeRequest) -> tuple[str, ...]:
    extra_fields = [name for name in ("cardData", "config") if request.flag(name)]
    return (*(FULL_FIELDS if request.flag("full") else DEFAULT_FIELDS), *extra_fields)


def _listing_item(repo: Repo, fields: tuple[str, ...], *, with_model_id: bool) -> HubRecord:
    record = repo.read()
    item: HubRecord = {"_id": record["_id"], "id": record["id"]}
    item.update({field: record[field] for field in fields if field in record})
    if "sha" in fields:
        item["sha"] = record_sha(record)
    if "inferenceProviderMapping" in item:  # a list here, an object in `model_info`
        mapping = item["inferenceProviderMapping"]
        item["inferenceProviderMapping"] = [{"provider": name, **mapping[name]} for name in mapping]
    if with_model_id:
        item["modelId"] = record["id"]
    return item


def model_info(
    store: RepositoryStore, request: FakeRequest, repo: Repo, revision: str = "main"
) -> FakeResponse:
    """Return the metadata of one model; 304 if the client's `If-None-Match` has its weak ETag."""
    expand = _read_expand(request)
    commit = find_commit(store, repo, revision)
    record = {**repo.read(), "sha": commit.sha}
    if expand:
        requested_fields = {field: record[field] for field in expand if field in record}
        return _with_etag(
            request, json_response({"_id": repo.key, "id": repo.name, **requested_fields})
        )
    info: HubRecord = {k: v for k, v in record.items() if k not in ON_DEMAND_FIELDS}
    info |= {"modelId": repo.name, "siblings": _siblings(record, commit)}
    if request.flag("blobs") and commit.files:
        info["siblings"] = [_sibling_with_size(path, commit) for path in sorted(commit.files)]
    if request.flag("securityStatus"):
        info["securityRepoStatus"] = _security_status(repo, record)
    return _with_etag(request, json_response(info))


def find_commit(store: RepositoryStore, repo: Repo, revision: str) -> Commit:
    """Return the commit that a revision names; without one, refuse as the Hub does."""
    commit = store.history(repo).find(revision)
    if commit is None:
        raise http_error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def _siblings(record: HubRecord, commit: Commit) -> list[dict[str, Any]]:
    if commit.files or record_sha(record) != commit.sha:
        return [{"rfilename": path} for path in sorted(commit.files)]
    return list(record.get("siblings") or [])


def _sibling_with_size(path: str, commit: Commit) -> dict[str, Any]:
    blob = commit.files[path]
    sibling = {"rfilename": path, "size": len(blob.data), "blobId": blob.oid}
    if blob.large:
        size, pointer_size = blob.lfs["size"], blob.lfs["pointerSize"]
        sibling["lfs"] = {"sha256": blob.sha256, "size": size, "pointerSize": pointer_size}
    return sibling


def _security_status(repo: Repo, record: HubRecord) -> object:
    # A model loaded from metadata alone has no files, so there was nothing to scan.
    is_scanned = repo.git is not None and any(commit.files for commit in repo.git.commits.values())
    default_status = {"scansDone": is_scanned, "filesWithIssues": []}
    return record.get("securityRepoStatus") or default_status


def _with_etag(request: FakeRequest, response: FakeResponse) -> FakeResponse:
    digest = hashlib.md5(response.body, usedforsecurity=False).hexdigest()
    etag = f'W/"{len(response.body):x}-{digest}"'
    if request.headers.get("If-None-Match") == etag:
        return replace(response, status=304, body=b"", headers={"ETag": etag})
    return replace(response, headers={**response.headers, "ETag": etag})
