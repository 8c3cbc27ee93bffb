"""Files of a repo: trees, contents with ranges, LFS, and the commits that change them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tryage.testing.hub.http import (
    FakeResponse,
    HttpError,
    error_response,
    gated_repo_response,
    http_error,
    json_response,
    next_page_headers,
    require_token,
)
from tryage.testing.hub.models import find_commit
from tryage.testing.hub.repository import Blob, describe_files, is_large

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.testing.hub.http import FakeRequest
    from tryage.testing.hub.repository import Commit, Repo
    from tryage.testing.hub.store import RepositoryStore

PAGE_SIZE, EXPANDED_PAGE_SIZE = 1000, 50  # entries of a tree

SAFE_STATUS = {
    "status": "safe",
    "protectAiScan": {"status": "safe"},
    "avScan": {"status": "safe"},
    "pickleImportScan": {"status": "safe", "pickleImports": []},
    "virusTotalScan": {"status": "safe"},
    "jFrogScan": {"status": "safe"},
}

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def require_access(store: RepositoryStore, request: FakeRequest, repo: Repo) -> None:
    """Refuse the files of a gated repo, unless the account has access."""
    if repo.gated and (request.token is None or repo.key not in store.granted_keys):
        raise HttpError(gated_repo_response(repo.name, request.token))


def list_tree(
    store: RepositoryStore, request: FakeRequest, repo: Repo, subpath: Sequence[str]
) -> FakeResponse:
    """Return the files and folders of a revision, in pages."""
    require_access(store, request, repo)
    commit = find_commit(store, repo, subpath[0] if subpath else "main")
    folder, expand = "/".join(subpath[1:]), request.flag("expand")
    entries = _tree_entries(repo, commit, folder, expand)
    if folder and not entries:
        raise http_error(404, f"{folder} does not exist on {subpath[0]}", "EntryNotFound")
    if not request.flag("recursive"):
        entries = [entry for entry in entries if _parent(entry["path"]) == folder]
    limit = EXPANDED_PAGE_SIZE if expand else PAGE_SIZE
    size = min(int(request.one("limit", str(PAGE_SIZE))), limit)
    start = next((i + 1 for i, e in enumerate(entries) if e["path"] == request.one("cursor")), 0)
    page, later_entries = entries[start : start + size], entries[start + size :]
    headers = next_page_headers(request, page[-1]["path"]) if later_entries else {}
    return json_response(page, headers=headers)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _tree_entries(repo: Repo, commit: Commit, folder: str, expand: bool) -> list[dict[str, Any]]:
    """Return all files and folders below a folder, sorted by path."""
    prefix = f"{folder}/" if folder else ""
    files = {path: blob for path, blob in commit.files.items() if path.startswith(prefix)}
    parents = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    folders = {path for path in parents - {".", folder} if path.startswith(prefix)}
    entries = [_folder_entry(path, commit, expand) for path in folders]
    entries += [_file_entry(repo, commit, path, blob, expand) for path, blob in files.items()]
    return sorted(entries, key=lambda entry: str(entry["path"]))


def _folder_entry(path: str, commit: Commit, expand: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "directory", "oid": commit.sha, "size": 0, "path": path}
    return {**entry, "lastCommit": _last_commit(commit)} if expand else entry


def _file_entry(repo: Repo, commit: Commit, path: str, blob: Blob, expand: bool) -> dict[str, Any]:
    found = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
    if blob.large:
        found["lfs"] = blob.lfs
    if expand:
        issues = (repo.read().get("securityRepoStatus") or {}).get("filesWithIssues") or []
        level = next((issue["level"] for issue in issues if issue["path"] == path), "safe")
        found |= {
            "lastCommit": _last_commit(commit),
            "securityFileStatus": {**SAFE_STATUS, "status": level},
        }
    return found


def _last_commit(commit: Commit) -> dict[str, str]:
    return {"id": commit.sha, "title": commit.title, "date": commit.date}


def paths_info(
    store: RepositoryStore, request: FakeRequest, repo: Repo, subpath: Sequence[str]
) -> FakeResponse:
    """Return the entries of the paths in the body, which is a form or JSON; skip unknown paths."""
    require_access(store, request, repo)
    paths, expand = _requested_paths(request)
    commit = find_commit(store, repo, subpath[0] if subpath else "main")
    entries = {entry["path"]: entry for entry in _tree_entries(repo, commit, "", expand)}
    return json_response([entries[path] for path in paths if path in entries])


def _requested_paths(request: FakeRequest) -> tuple[list[str], bool]:
    if "json" in request.headers.get("Content-Type", ""):
        body = request.json()
        paths = body.get("paths", [])
        return [paths] if isinstance(paths, str) else paths, bool(body.get("expand"))
    form = parse_qs(request.body.decode())
    return form.get("paths", []), form.get("expand", ["false"])[0].lower() == "true"


def resolve(
    store: RepositoryStore, request: FakeRequest, repo: Repo, revision: str, path: str
) -> FakeResponse:
    """Return a small file itself, and for an LFS file a redirect to the storage."""
    require_access(store, request, repo)
    commit = find_commit(store, repo, revision)
    headers = {"X-Repo-Commit": commit.sha}
    blob = commit.files.get(path)
    if blob is None:
        not_found = error_response(404, "Entry not found", "EntryNotFound")
        return FakeResponse(404, not_found.body, {**not_found.headers, **headers})
    headers |= {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
    if not blob.large:
        return _content_response(request, blob.data, headers)
    headers |= {
        "X-Linked-Etag": f'"{blob.sha256}"',
        "X-Linked-Size": str(len(blob.data)),
        "Location": f"{store.storage_url}/lfs/content/{blob.sha256}",
    }
    return FakeResponse(302, b"", headers)


def _content_response(request: FakeRequest, data: bytes, headers: dict[str, str]) -> FakeResponse:
    """Return content: 304 if the client has it, 206 for a range, 416 for a range past the end.

    `headers` hold its ETag. Ranges are those of RFC 9110.
    """
    headers = {**headers, "Content-Type": "application/octet-stream"}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return FakeResponse(304, b"", headers)
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or match[0] == "bytes=-":
        return FakeResponse(200, data, headers)
    start, end = _parse_range(match[1], match[2], len(data))
    if start >= len(data):
        return FakeResponse(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    span = f"bytes {start}-{end}/{len(data)}"
    return FakeResponse(206, data[start : end + 1], {**headers, "Content-Range": span})


def _parse_range(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:  # the last `last` bytes
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


def lfs_download(store: RepositoryStore, request: FakeRequest, sha256: str) -> FakeResponse:
    """Return LFS content from its storage."""
    if sha256 not in store.uploads:
        raise http_error(404, "No such object")
    headers = {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
    return _content_response(request, store.uploads[sha256], headers)


def preupload(
    store: RepositoryStore, request: FakeRequest, repo: Repo, subpath: Sequence[str]
) -> FakeResponse:
    """Return for each file whether it goes to LFS, and the ETag of its current version."""
    require_token(request)
    require_access(store, request, repo)
    current_files = find_commit(store, repo, subpath[0]).files
    files = request.json()["files"]
    modes = [_upload_mode(file, current_files.get(file["path"])) for file in files]
    return json_response({"files": modes})


def _upload_mode(file: dict[str, Any], current_blob: Blob | None) -> dict[str, Any]:
    mode = "lfs" if is_large(file["path"], file["size"]) else "regular"
    oid = {} if current_blob is None else {"oid": current_blob.etag}
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **oid}


def lfs_batch(store: RepositoryStore, request: FakeRequest, repo: Repo) -> FakeResponse:
    """Return where to upload each LFS object; an object in the storage needs no action."""
    require_token(request)
    require_access(store, request, repo)
    objects = [
        _lfs_object(store, request.base, lfs_object) for lfs_object in request.json()["objects"]
    ]
    content_type = {"Content-Type": "application/vnd.git-lfs+json; charset=utf-8"}
    return json_response({"transfer": "basic", "objects": objects}, headers=content_type)


def _lfs_object(store: RepositoryStore, base: str, lfs_object: dict[str, Any]) -> dict[str, Any]:
    entry = {"oid": lfs_object["oid"], "size": lfs_object["size"]}
    if lfs_object["oid"] in store.uploads:
        return entry
    upload = {"href": f"{store.storage_url}/lfs/upload/{lfs_object['oid']}"}
    verify = {"href": f"{base}/lfs/verify"}
    return {**entry, "actions": {"upload": upload, "verify": verify}}


def lfs_upload(store: RepositoryStore, request: FakeRequest, sha256: str) -> FakeResponse:
    """Store an LFS object if its content has the sha256 of its name."""
    if hashlib.sha256(request.body).hexdigest() != sha256:
        raise http_error(400, f"The content does not have the sha256 {sha256}")
    store.uploads[sha256] = request.body
    return FakeResponse(200, b"", {"ETag": f'"{sha256}"'})


def lfs_verify(store: RepositoryStore, request: FakeRequest) -> FakeResponse:
    """Confirm that an LFS object was uploaded completely."""
    body = request.json()
    data = store.uploads.get(body["oid"])
    if data is None or len(data) != body["size"]:
        raise http_error(404, f"Object {body['oid']} was not uploaded")
    return json_response({"message": "verified"})


def commit(
    store: RepositoryStore, request: FakeRequest, repo: Repo, subpath: Sequence[str]
) -> FakeResponse:
    """Apply the operations of an NDJSON body to a branch, or to a new pull request."""
    require_token(request)
    require_access(store, request, repo)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    (header,) = [line["value"] for line in lines if line["key"] == "header"]
    branch = subpath[0] if subpath else "main"
    base_commit = find_commit(store, repo, branch)
    if header.get("parentCommit") not in {None, base_commit.sha}:
        raise http_error(412, "A commit has happened since. Please refresh and try again.")
    files = dict(base_commit.files)
    for line in lines:
        _apply_operation(store, files, line["key"], line["value"])
    pull_request: dict[str, str] = {}
    if request.flag("create_pr"):
        branch, pull_request = _open_pull_request(store, request, repo, base_commit)
    title, message = header.get("summary", ""), header.get("description", "")
    new_commit = store.commit(
        repo, files, branch=branch, title=title, message=message, metadata=describe_files(files)
    )
    url = f"{request.base}/{repo.name}/commit/{new_commit.sha}"
    result = {"success": True, "commitOid": new_commit.sha, "commitUrl": url, "hookOutput": ""}
    return json_response({**result, **pull_request})


def _open_pull_request(
    store: RepositoryStore, request: FakeRequest, repo: Repo, base_commit: Commit
) -> tuple[str, dict[str, str]]:
    """Open a pull request; return its branch and its fields of the response."""
    branches = store.history(repo).branches
    number = 1 + sum(name.startswith("refs/pr/") for name in branches)
    branches[f"refs/pr/{number}"] = base_commit.sha
    url = f"{request.base}/{repo.name}/discussions/{number}"
    return f"refs/pr/{number}", {"pullRequestUrl": url}


def _apply_operation(
    store: RepositoryStore, files: dict[str, Blob], key: str, value: dict[str, Any]
) -> None:
    """Apply one operation; git keeps no empty folders, so deleting all files deletes a folder."""
    if key == "file":
        data = base64.b64decode(value["content"])
        files[value["path"]] = Blob.from_bytes(value["path"], data, large=False)
    elif key == "lfsFile":
        if value["oid"] not in store.uploads:
            raise http_error(400, f"LFS pointer {value['oid']} of {value['path']} was not uploaded")
        files[value["path"]] = Blob.from_bytes(
            value["path"], store.uploads[value["oid"]], large=True
        )
    elif key == "deletedFile":
        if files.pop(value["path"], None) is None:
            raise http_error(404, f"{value['path']} does not exist", "EntryNotFound")
    elif key == "deletedFolder":
        folder = value["path"].rstrip("/") + "/"
        for path in [path for path in files if path.startswith(folder)]:
            del files[path]
