"""From a request to the function that answers it; no sockets here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tryage.testing.hub import files
from tryage.testing.hub.http import (
    FakeResponse,
    HttpError,
    error_response,
    http_error,
    json_response,
    missing_repo_response,
    require_token,
)
from tryage.testing.hub.models import find_commit, list_models, model_info
from tryage.testing.hub.repository import LFS_PATTERNS, Blob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.testing.hub.http import FakeRequest
    from tryage.testing.hub.repository import GitHistory, Repo
    from tryage.testing.hub.store import RepositoryStore

    RouteHandler = Callable[["App", FakeRequest, Repo, tuple[str, ...]], FakeResponse]

OK_RESPONSE = FakeResponse(200, b"OK", {"Content-Type": "text/plain; charset=utf-8"})


def _get_info(app: App, request: FakeRequest, repo: Repo, rest: tuple[str, ...]) -> FakeResponse:
    return model_info(app.store, request, repo, *rest[:1])


def _get_refs(app: App, request: FakeRequest, repo: Repo, rest: tuple[str, ...]) -> FakeResponse:
    del rest
    return list_refs(app.store, request, repo)


def _put_settings(
    app: App, request: FakeRequest, repo: Repo, rest: tuple[str, ...]
) -> FakeResponse:
    del rest
    return change_settings(app.store, request, repo)


def _check_access(
    app: App, request: FakeRequest, repo: Repo, rest: tuple[str, ...]
) -> FakeResponse:
    del rest
    files.require_access(app.store, request, repo)
    return OK_RESPONSE


def _get_commits(app: App, request: FakeRequest, repo: Repo, rest: tuple[str, ...]) -> FakeResponse:
    files.require_access(app.store, request, repo)
    commit = find_commit(app.store, repo, rest[0] if rest else "main")
    return json_response(list_commits(app.store.history(repo), commit.sha, app.user))


def _reject_xet(app: App, request: FakeRequest, repo: Repo, rest: tuple[str, ...]) -> FakeResponse:
    del app, request, repo, rest
    said = "This Hub has no Xet storage: set HF_HUB_DISABLE_XET=1, as LocalHub.environment() does"
    return error_response(501, said)


# What can follow the name of a model, and the methods it takes.
MODEL_ROUTES: dict[str, tuple[str, RouteHandler]] = {
    "": ("GET HEAD", _get_info),
    "revision": ("GET HEAD", _get_info),
    "tree": ("GET", lambda app, *asked: files.list_tree(app.store, *asked)),
    "paths-info": ("POST", lambda app, *asked: files.paths_info(app.store, *asked)),
    "refs": ("GET", _get_refs),
    "commits": ("GET", _get_commits),
    "preupload": ("POST", lambda app, *asked: files.preupload(app.store, *asked)),
    "commit": ("POST", lambda app, *asked: files.commit(app.store, *asked)),
    "branch": ("POST DELETE", lambda app, *asked: change_branch(app.store, *asked)),
    "tag": ("POST DELETE", lambda app, *asked: change_tag(app.store, *asked)),
    "settings": ("PUT", _put_settings),
    "auth-check": ("GET HEAD", _check_access),
    "xet-read-token": ("GET", _reject_xet),
    "xet-write-token": ("GET", _reject_xet),
}


@dataclass
class App:
    """The Hub as a function of requests; the caller holds the lock of the shelf."""

    store: RepositoryStore
    user: str
    token: str
    served: list[dict[str, Any]] = field(default_factory=list)
    leaderboards: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def answer(self, request: FakeRequest) -> FakeResponse:
        """Answer a request."""
        if request.token not in {None, self.token}:
            return error_response(401, "Invalid credentials in Authorization header")
        try:
            reply = self._answer_global(request)
            return self._answer_repo(request) if reply is None else reply
        except HttpError as refused:
            return refused.response
        except (KeyError, TypeError, ValueError) as odd:
            return error_response(400, f"This Hub does not understand the request: {odd!r}")

    def answer_storage(self, request: FakeRequest) -> FakeResponse:
        """Answer for LFS content: put it, or get it."""
        if request.parts[:2] == ("lfs", "upload") and request.method == "PUT":
            answer = files.lfs_upload
        elif request.parts[:2] == ("lfs", "content"):
            answer = files.lfs_download
        else:
            return error_response(404, "No such object")
        try:
            return answer(self.store, request, request.parts[2])
        except HttpError as refused:
            return refused.response

    def _answer_global(self, request: FakeRequest) -> FakeResponse | None:
        """Answer what is not about one repo."""
        store, user = self.store, self.user
        pages: dict[tuple[str, str], Callable[[], FakeResponse]] = {
            ("GET", "/api/models"): lambda: list_models(store, request),
            ("GET", "/v1/models"): lambda: json_response({"object": "list", "data": self.served}),
            ("GET", "/api/whoami-v2"): lambda: whoami(request, user),
            ("POST", "/api/repos/create"): lambda: create_repo(store, request, user),
            ("DELETE", "/api/repos/delete"): lambda: delete_repo(store, request, user),
            ("POST", "/api/repos/move"): lambda: move_repo(store, request),
            ("POST", "/api/validate-yaml"): lambda: json_response({"errors": [], "warnings": []}),
            ("POST", "/lfs/verify"): lambda: files.lfs_verify(store, request),
            ("GET", "/api/agent-harnesses"): lambda: json_response(
                {"standardEnvVars": [], "harnesses": {}}
            ),
        }
        method = "GET" if request.method == "HEAD" else request.method
        page = pages.get((method, request.path))
        return page() if page else self._answer_leaderboard(request)

    def _answer_leaderboard(self, request: FakeRequest) -> FakeResponse | None:
        if request.parts[:2] == ("api", "datasets") and request.parts[-1] == "leaderboard":
            dataset = "/".join(request.parts[2:-1])
            if dataset not in self.leaderboards:
                return error_response(404, f"Dataset {dataset} has no leaderboard", "EntryNotFound")
            return json_response(self.leaderboards[dataset])
        return None

    def _answer_repo(self, request: FakeRequest) -> FakeResponse:
        """Answer what is about one repo: its API, its files, or its LFS objects."""
        parts = request.parts
        if parts[:2] == ("api", "models"):
            return self._answer_api(request)
        if parts[-4:] == ("info", "lfs", "objects", "batch"):
            name = "/".join(parts[:-4]).removesuffix(".git")
            return self._with_repo(
                request, name, lambda repo: files.lfs_batch(self.store, request, repo)
            )
        if "resolve" in parts[1:3] and len(parts) > parts.index("resolve", 1) + 2:
            return self._answer_file(request, parts.index("resolve", 1))
        raise http_error(404, "Sorry, we can't find the page you are looking for.")

    def _answer_api(self, request: FakeRequest) -> FakeResponse:
        name, verb, rest = self._split_path(request.parts[2:])
        methods, answer = MODEL_ROUTES.get(verb, ("", _get_info))
        if request.method not in methods.split():
            raise http_error(404, "Sorry, we can't find the page you are looking for.")
        return self._with_repo(request, name, lambda repo: answer(self, request, repo, rest))

    def _answer_file(self, request: FakeRequest, at: int) -> FakeResponse:
        name, revision = "/".join(request.parts[:at]), request.parts[at + 1]
        path = "/".join(request.parts[at + 2 :])
        return self._with_repo(
            request, name, lambda repo: files.resolve(self.store, request, repo, revision, path)
        )

    def _split_path(self, parts: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
        """Return name, verb and the rest; the oldest models have names without an owner."""
        owned = "/".join(parts[:2])
        alone = len(parts) > 1 and parts[1] in MODEL_ROUTES and owned not in self.store.repos
        size = 1 if alone else 2
        verb = parts[size] if len(parts) > size else ""
        return "/".join(parts[:size]), verb, parts[size + 1 :]

    def _with_repo(
        self, request: FakeRequest, name: str, answer: Callable[[Repo], FakeResponse]
    ) -> FakeResponse:
        """Answer with a repo; a renamed one is elsewhere, a private one is not there."""
        repo = self.store.repos.get(name)
        if repo is None and name in self.store.redirects:
            where = request.target.replace(quote(name), quote(self.store.redirects[name]), 1)
            return FakeResponse(307, b"", {"Location": where})
        if repo is None or (repo.private and request.token is None):
            return missing_repo_response(request.token)
        return answer(repo)


def whoami(request: FakeRequest, user: str) -> FakeResponse:
    """Answer with the account of the token."""
    require_token(request)
    token = {"displayName": "local", "role": "write"}
    auth = {"type": "access_token", "accessToken": token}
    return json_response({"type": "user", "name": user, "fullname": user, "orgs": [], "auth": auth})


def create_repo(store: RepositoryStore, request: FakeRequest, user: str) -> FakeResponse:
    """Create an empty model repo, with the .gitattributes that the Hub puts into it."""
    require_token(request)
    body = request.json()
    name = _repo_id(body, user)
    url = f"{request.base}/{name}"
    if name in store.repos:
        said = {"error": "You already created this model repo", "url": url}
        return json_response(said, 409)
    private = bool(body.get("private")) or body.get("visibility") == "private"
    repo = store.add({"id": name, "private": private, "createdAt": store.now()})
    lines = "".join(f"{shape} filter=lfs diff=lfs merge=lfs -text\n" for shape in LFS_PATTERNS)
    first = {".gitattributes": Blob.from_bytes(".gitattributes", lines.encode())}
    store.init_history(repo, first)
    return json_response({"url": url, "name": name, "id": repo.key})


def delete_repo(store: RepositoryStore, request: FakeRequest, user: str) -> FakeResponse:
    """Delete a repo."""
    require_token(request)
    name = _repo_id(request.json(), user)
    if name not in store.repos:
        raise HttpError(missing_repo_response(request.token))
    store.remove(name)
    return OK_RESPONSE


def move_repo(store: RepositoryStore, request: FakeRequest) -> FakeResponse:
    """Rename a repo; its old name redirects from now on."""
    require_token(request)
    body = request.json()
    if body["fromRepo"] not in store.repos:
        raise HttpError(missing_repo_response(request.token))
    if body["toRepo"] in store.repos:
        raise http_error(409, f"There is a model {body['toRepo']} already")
    store.rename(body["fromRepo"], body["toRepo"])
    return OK_RESPONSE


def _repo_id(body: dict[str, Any], user: str) -> str:
    if body.get("type") not in {None, "model"}:
        raise http_error(400, f"This Hub holds models alone, not a {body['type']}")
    return f"{body.get('organization') or user}/{body['name']}"


def change_settings(store: RepositoryStore, request: FakeRequest, repo: Repo) -> FakeResponse:
    """Make a repo private, public or gated."""
    require_token(request)
    body = request.json()
    changes = {name: body[name] for name in ("private", "gated") if name in body}
    if "visibility" in body:
        changes["private"] = body["visibility"] == "private"
    store.update(repo.name, changes)
    return json_response(changes)


def list_refs(store: RepositoryStore, request: FakeRequest, repo: Repo) -> FakeResponse:
    """Answer with branches, tags and, on demand, pull requests."""
    history = store.history(repo)
    pulls = {name: sha for name, sha in history.branches.items() if name.startswith("refs/pr/")}
    heads = {name: sha for name, sha in history.branches.items() if name not in pulls}
    found = {
        "branches": [_ref_entry(name, f"refs/heads/{name}", sha) for name, sha in heads.items()],
        "tags": [_ref_entry(name, f"refs/tags/{name}", sha) for name, sha in history.tags.items()],
        "converts": [],
    }
    if request.flag("include_prs"):
        found["pullRequests"] = [_ref_entry(name, name, sha) for name, sha in pulls.items()]
    return json_response(found)


def _ref_entry(name: str, ref: str, sha: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": sha}


def change_branch(
    store: RepositoryStore, request: FakeRequest, repo: Repo, rest: Sequence[str]
) -> FakeResponse:
    """Create or delete a branch."""
    require_token(request)
    start = "main" if request.method == "DELETE" else (request.json() or {}).get("startingPoint")
    commit = find_commit(store, repo, start or "main")
    return _change_ref(request, store.history(repo).branches, rest[0], commit.sha)


def change_tag(
    store: RepositoryStore, request: FakeRequest, repo: Repo, rest: Sequence[str]
) -> FakeResponse:
    """Tag a revision, or delete a tag."""
    require_token(request)
    if request.method == "DELETE":
        return _change_ref(request, store.history(repo).tags, rest[0], "")
    commit = find_commit(store, repo, rest[0])
    return _change_ref(request, store.history(repo).tags, request.json()["tag"], commit.sha)


def _change_ref(request: FakeRequest, names: dict[str, str], name: str, sha: str) -> FakeResponse:
    if request.method == "DELETE":
        if names.pop(name, None) is None:
            raise http_error(404, f"Invalid rev id: {name}", "RevisionNotFound")
    elif name in names:
        raise http_error(409, f"Reference {name} exists already")
    else:
        names[name] = sha
    return OK_RESPONSE


def list_commits(history: GitHistory, commit_sha: str, user: str) -> list[dict[str, Any]]:
    """Return the log of a revision as the Hub shows it, newest first."""
    return [
        {
            "id": commit.sha,
            "title": commit.title,
            "message": commit.message,
            "authors": [{"user": user, "avatar": ""}],
            "date": commit.date,
        }
        for commit in history.log(history.commits[commit_sha])
    ]


@dataclass
class FakeRateLimit:
    """Counts the requests of each bucket (`api`, `resolvers`) in windows of `window` seconds."""

    requests: int
    window: float
    clock: Callable[[], float]
    _buckets: dict[str, tuple[float, int]] = field(default_factory=dict)

    def take(self, path: str) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it is within the quota, and the headers that say so.

        Refused requests, redirects and errors count as well.
        """
        bucket = "resolvers" if "/resolve/" in path else "api"
        now = self.clock()
        start, used = self._buckets.get(bucket, (now, 0))
        if now - start >= self.window:
            start, used = now, 0
        used += 1
        self._buckets[bucket] = start, used
        left = max(self.requests - used, 0)
        return used <= self.requests, rate_limit_headers(
            bucket, left, start + self.window - now, self.requests, self.window
        )


def rate_limit_headers(
    bucket: str, remaining: int, reset: float, quota: int, window: float
) -> dict[str, str]:
    """Return the headers; `reset` and `window` are seconds, rounded up to whole ones."""
    return {
        "RateLimit": f'"{bucket}";r={remaining};t={math.ceil(reset)}',
        "RateLimit-Policy": f'"fixed window";"{bucket}";q={quota};w={math.ceil(window)}',
    }
