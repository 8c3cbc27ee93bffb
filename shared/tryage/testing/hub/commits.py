"""Writing files: what goes to LFS, the upload itself, and the commit that makes it visible."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from tryage.testing.hub.account import must_sign_in
from tryage.testing.hub.card import describe
from tryage.testing.hub.files import must_have_access
from tryage.testing.hub.history import Blob, is_large
from tryage.testing.hub.info import find_commit
from tryage.testing.hub.wire import Reply, refuse, reply_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.testing.hub.history import Commit
    from tryage.testing.hub.repo import Repo
    from tryage.testing.hub.shelf import Shelf
    from tryage.testing.hub.wire import Request


def preupload(shelf: Shelf, request: Request, repo: Repo, rest: Sequence[str]) -> Reply:
    """Say for each file whether it goes to LFS, and what is there already."""
    must_sign_in(request)
    must_have_access(shelf, request, repo)
    files = find_commit(shelf, repo, rest[0]).files
    asked = request.json()["files"]
    return reply_json({"files": [_mode(file, files.get(file["path"])) for file in asked]})


def _mode(file: dict[str, Any], known: Blob | None) -> dict[str, Any]:
    large = is_large(file["path"], file["size"])
    found = {"path": file["path"], "uploadMode": "lfs" if large else "regular"}
    oid = {} if known is None else {"oid": known.etag}
    return {**found, "shouldIgnore": False, **oid}


def lfs_batch(shelf: Shelf, request: Request, repo: Repo) -> Reply:
    """Say where to upload each LFS object; one that is here already needs no action."""
    must_sign_in(request)
    must_have_access(shelf, request, repo)
    objects = [_object(shelf, request.base, one) for one in request.json()["objects"]]
    reply = reply_json({"transfer": "basic", "objects": objects})
    kind = {"Content-Type": "application/vnd.git-lfs+json; charset=utf-8"}
    return Reply(200, reply.body, kind)


def _object(shelf: Shelf, base: str, asked: dict[str, Any]) -> dict[str, Any]:
    found = {"oid": asked["oid"], "size": asked["size"]}
    if asked["oid"] in shelf.uploads:
        return found
    upload = {"href": f"{shelf.storage}/lfs/upload/{asked['oid']}"}
    verify = {"href": f"{base}/lfs/verify"}
    return {**found, "actions": {"upload": upload, "verify": verify}}


def lfs_upload(shelf: Shelf, request: Request, sha256: str) -> Reply:
    """Take an LFS object, if it is what its name says."""
    if hashlib.sha256(request.body).hexdigest() != sha256:
        raise refuse(400, f"The content does not have the sha256 {sha256}")
    shelf.upload(sha256, request.body)
    return Reply(200, b"", {"ETag": f'"{sha256}"'})


def lfs_verify(shelf: Shelf, request: Request) -> Reply:
    """Confirm that an LFS object arrived whole."""
    asked = request.json()
    data = shelf.uploads.get(asked["oid"])
    if data is None or len(data) != asked["size"]:
        raise refuse(404, f"Object {asked['oid']} was not uploaded")
    return reply_json({"message": "verified"})


def commit(shelf: Shelf, request: Request, repo: Repo, rest: Sequence[str]) -> Reply:
    """Apply the operations of an NDJSON body to a branch, or to a new pull request."""
    must_sign_in(request)
    must_have_access(shelf, request, repo)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    (header,) = [line["value"] for line in lines if line["key"] == "header"]
    branch = rest[0] if rest else "main"
    start = find_commit(shelf, repo, branch)
    if header.get("parentCommit") not in {None, start.sha}:
        raise refuse(412, "A commit has happened since. Please refresh and try again.")
    files = dict(start.files)
    for line in lines:
        _apply(shelf, files, line["key"], line["value"])
    proposal: dict[str, str] = {}
    if request.flag("create_pr"):
        branch, proposal = _propose(shelf, request, repo, start)
    title, message = header.get("summary", ""), header.get("description", "")
    made = shelf.commit(
        repo, files, branch=branch, title=title, message=message, described=describe(files)
    )
    url = f"{request.base}/{repo.name}/commit/{made.sha}"
    said = {"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""}
    return reply_json({**said, **proposal})


def _propose(
    shelf: Shelf, request: Request, repo: Repo, start: Commit
) -> tuple[str, dict[str, str]]:
    """Open a pull request; return its branch and what the answer says of it."""
    branches = shelf.history(repo).branches
    number = 1 + sum(name.startswith("refs/pr/") for name in branches)
    branches[f"refs/pr/{number}"] = start.sha
    url = f"{request.base}/{repo.name}/discussions/{number}"
    return f"refs/pr/{number}", {"pullRequestUrl": url}


def _apply(shelf: Shelf, files: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
    """Apply one operation; git knows no empty folders, so deleting all files deletes a folder."""
    if key == "file":
        data = base64.b64decode(value["content"])
        files[value["path"]] = Blob.of(value["path"], data, large=False)
    elif key == "lfsFile":
        if value["oid"] not in shelf.uploads:
            raise refuse(400, f"LFS pointer {value['oid']} of {value['path']} was not uploaded")
        files[value["path"]] = Blob.of(value["path"], shelf.uploads[value["oid"]], large=True)
    elif key == "deletedFile":
        if files.pop(value["path"], None) is None:
            raise refuse(404, f"{value['path']} does not exist", "EntryNotFound")
    elif key == "deletedFolder":
        folder = value["path"].rstrip("/") + "/"
        for path in [path for path in files if path.startswith(folder)]:
            del files[path]
