"""Reading files: the tree of a revision, what is known of paths, and the content with ranges."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from tryage.testing.hub.http import (
    RefusedError,
    Reply,
    gated_repo,
    must_sign_in,
    refusal,
    refuse,
    reply_json,
)
from tryage.testing.hub.models import find_commit
from tryage.testing.hub.repository import Blob, describe, is_large

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.testing.hub.http import Request
    from tryage.testing.hub.repository import Commit, Repo
    from tryage.testing.hub.store import Shelf

PAGE, PAGE_EXPANDED = 1000, 50

SAFE = {
    "status": "safe",
    "protectAiScan": {"status": "safe"},
    "avScan": {"status": "safe"},
    "pickleImportScan": {"status": "safe", "pickleImports": []},
    "virusTotalScan": {"status": "safe"},
    "jFrogScan": {"status": "safe"},
}

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def must_have_access(shelf: Shelf, request: Request, repo: Repo) -> None:
    """Refuse the files of a gated repo to those who were not granted access."""
    if repo.gated and (request.token is None or repo.key not in shelf.granted):
        raise RefusedError(gated_repo(repo.name, request.token))


def list_tree(shelf: Shelf, request: Request, repo: Repo, rest: Sequence[str]) -> Reply:
    """Answer with the files (and folders) of a revision, in pages."""
    must_have_access(shelf, request, repo)
    commit = find_commit(shelf, repo, rest[0] if rest else "main")
    folder = "/".join(rest[1:])
    entries = _entries(repo, commit, folder, request.flag("expand"))
    if folder and not entries:
        raise refuse(404, f"{folder} does not exist on {rest[0]}", "EntryNotFound")
    if not request.flag("recursive"):
        entries = [entry for entry in entries if _parent(entry["path"]) == folder]
    size = min(int(request.one("limit", "1000")), PAGE)
    size = min(size, PAGE_EXPANDED) if request.flag("expand") else size
    start = next((i + 1 for i, e in enumerate(entries) if e["path"] == request.one("cursor")), 0)
    page = entries[start : start + size]
    return reply_json(page, headers=_next(request, page, more=start + size < len(entries)))


def _next(request: Request, page: list[dict[str, Any]], *, more: bool) -> dict[str, str]:
    if not more:
        return {}
    pairs = [pair for pair in parse_qsl(urlsplit(request.target).query) if pair[0] != "cursor"]
    query = urlencode([*pairs, ("cursor", page[-1]["path"])])
    return {"Link": f'<{request.base}{request.path}?{query}>; rel="next"'}


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _entries(
    repo: Repo,
    commit: Commit,
    folder: str,
    expand: bool,
) -> list[dict[str, Any]]:
    """Return everything below a folder, sorted by path."""
    inside = {p: b for p, b in commit.files.items() if not folder or p.startswith(f"{folder}/")}
    folders = {str(up) for path in inside for up in PurePosixPath(path).parents} - {".", folder}
    folders = {name for name in folders if not folder or name.startswith(f"{folder}/")}
    found = [_folder(name, commit, expand) for name in folders]
    found += [_file(repo, commit, path, blob, expand) for path, blob in inside.items()]
    return sorted(found, key=lambda entry: str(entry["path"]))


def _folder(path: str, commit: Commit, expand: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "directory", "oid": commit.sha, "size": 0, "path": path}
    return {**found, "lastCommit": _last(commit)} if expand else found


def _file(
    repo: Repo,
    commit: Commit,
    path: str,
    blob: Blob,
    expand: bool,
) -> dict[str, Any]:
    found = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
    if blob.large:
        found["lfs"] = blob.lfs
    if expand:
        issues = (repo.read().get("securityRepoStatus") or {}).get("filesWithIssues") or []
        level = next((issue["level"] for issue in issues if issue["path"] == path), "safe")
        found |= {"lastCommit": _last(commit), "securityFileStatus": {**SAFE, "status": level}}
    return found


def _last(commit: Commit) -> dict[str, str]:
    return {"id": commit.sha, "title": commit.title, "date": commit.date}


def paths_info(shelf: Shelf, request: Request, repo: Repo, rest: Sequence[str]) -> Reply:
    """Answer with what is known of the paths in the body (a form or JSON), of those there are."""
    must_have_access(shelf, request, repo)
    if "json" in request.headers.get("Content-Type", ""):
        asked = request.json()
        wanted, expand = asked.get("paths", []), bool(asked.get("expand"))
    else:
        form = parse_qs(request.body.decode())
        wanted = form.get("paths", [])
        expand = form.get("expand", ["false"])[0].lower() == "true"
    commit = find_commit(shelf, repo, rest[0] if rest else "main")
    known = {entry["path"]: entry for entry in _entries(repo, commit, "", expand)}
    names = [wanted] if isinstance(wanted, str) else wanted
    return reply_json([known[name] for name in names if name in known])


def resolve(shelf: Shelf, request: Request, repo: Repo, revision: str, path: str) -> Reply:
    """Answer with a file: itself if it is small, a redirect to the storage if it is in LFS."""
    must_have_access(shelf, request, repo)
    commit = find_commit(shelf, repo, revision)
    about = {"X-Repo-Commit": commit.sha}
    blob = commit.files.get(path)
    if blob is None:
        reply = refusal(404, "Entry not found", "EntryNotFound")
        return Reply(404, reply.body, {**reply.headers, **about})
    about |= {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
    if not blob.large:
        return send(request, blob.data, about)
    linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
    where = {"Location": f"{shelf.storage}/lfs/content/{blob.sha256}"}
    return Reply(302, b"", {**about, **linked, **where})


def stored(shelf: Shelf, request: Request, sha256: str) -> Reply:
    """Answer with LFS content from its storage."""
    if sha256 not in shelf.uploads:
        raise refuse(404, "No such object")
    return send(request, shelf.uploads[sha256], {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"})


def send(request: Request, data: bytes, headers: dict[str, str]) -> Reply:
    """Return content: 304 if the client has it, 206 for a range, 416 for one beyond the end."""
    headers = {**headers, "Content-Type": "application/octet-stream"}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Reply(304, b"", headers)
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or match[0] == "bytes=-":
        return Reply(200, data, headers)
    start, end = _bounds(match[1], match[2], len(data))
    if start >= len(data):
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    span = f"bytes {start}-{end}/{len(data)}"
    return Reply(206, data[start : end + 1], {**headers, "Content-Range": span})


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:  # the last so many bytes
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


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
