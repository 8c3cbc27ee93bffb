"""`GET /api/models/{name}`: one model in full, its scan and file sizes on demand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.testing.hub.listing import read_expand
from tryage.testing.hub.shelf import read_sha
from tryage.testing.hub.wire import refuse, reply_json

if TYPE_CHECKING:
    from tryage.testing.hub.history import Commit
    from tryage.testing.hub.repo import Record, Repo
    from tryage.testing.hub.shelf import Shelf
    from tryage.testing.hub.wire import Reply, Request

# What the Hub tells only to those who ask with `expand` or `securityStatus`.
ON_DEMAND = {
    "downloadsAllTime", "trendingScore", "childrenModelCount", "baseModels", "evalResults",
    "inferenceProviderMapping", "securityRepoStatus",
}  # fmt: skip


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
