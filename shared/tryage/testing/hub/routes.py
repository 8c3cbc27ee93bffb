"""From a request to the function that answers it; sockets are in `http`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
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
    from collections.abc import Callable

    from tryage.testing.hub.http import FakeRequest
    from tryage.testing.hub.repository import Commit, GitHistory, Repo
    from tryage.testing.hub.store import RepositoryStore

    RouteHandler: TypeAlias = Callable[["App", FakeRequest, Repo, tuple[str, ...]], FakeResponse]

_OK_RESPONSE = FakeResponse(200, b"OK", {"Content-Type": "text/plain; charset=utf-8"})


@dataclass
class App:
    """The Hub as a function of requests; the caller holds the lock of the store."""

    store: RepositoryStore
    user: str
    token: str
    served: list[dict[str, Any]] = field(default_factory=list)
    leaderboards: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def answer(self, request: FakeRequest) -> FakeResponse:
        """Answer a request to the Hub."""
        if request.token not in {None, self.token}:
            return error_response(401, "Invalid credentials in Authorization header")
        try:
            response = self._answer_global(request)
            return self._answer_repo(request) if response is None else response
        except HttpError as error:
            return error.response
        except (KeyError, TypeError, ValueError) as error:
            return error_response(400, f"This Hub does not understand the request: {error!r}")

    def answer_storage(self, request: FakeRequest) -> FakeResponse:
        """Answer a request to the LFS storage: an upload or a download."""
        if request.parts[:2] == ("lfs", "upload") and request.method == "PUT":
            answer = files.lfs_upload
        elif request.parts[:2] == ("lfs", "content"):
            answer = files.lfs_download
        else:
            return error_response(404, "No such object")
        try:
            return answer(self.store, request, request.parts[2])
        except HttpError as error:
            return error.response

    def _answer_global(self, request: FakeRequest) -> FakeResponse | None:
        """Answer a request that is not about one repo; return None if it is about one."""
        store, user = self.store, self.user
        routes: dict[tuple[str, str], Callable[[], FakeResponse]] = {
            ("GET", "/api/models"): lambda: list_models(store, request),
            ("GET", "/v1/models"): lambda: json_response({"object": "list", "data": self.served}),
            ("GET", "/api/whoami-v2"): lambda: _whoami(request, user),
            ("POST", "/api/repos/create"): lambda: _create_repo(store, request, user),
            ("DELETE", "/api/repos/delete"): lambda: _delete_repo(store, request, user),
            ("POST", "/api/repos/move"): lambda: _move_repo(store, request),
            ("POST", "/api/validate-yaml"): lambda: json_response({"errors": [], "warnings": []}),
            ("POST", "/lfs/verify"): lambda: files.lfs_verify(store, request),
            ("GET", "/api/agent-harnesses"): lambda: json_response(
                {"standardEnvVars": [], "harnesses": {}}
            ),
        }
        method = "GET" if request.method == "HEAD" else request.method
        route = routes.get((method, request.path))
        return route() if route else self._answer_leaderboard(request)

    def _answer_leaderboard(self, request: FakeRequest) -> FakeResponse | None:
        if request.parts[:2] != ("api", "datasets") or request.parts[-1] != "leaderboard":
            return None
        dataset = "/".join(request.parts[2:-1])
        if dataset not in self.leaderboards:
            return error_response(404, f"Dataset {dataset} has no leaderboard", "EntryNotFound")
        return json_response(self.leaderboards[dataset])

    def _answer_repo(self, request: FakeRequest) -> FakeResponse:
        """Answer a request about one repo: to its API, its files or its LFS objects."""
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
        name, verb, subpath = self._split_path(request.parts[2:])
        methods, answer = _MODEL_ROUTES.get(verb, ("", _get_info))
        if request.method not in methods.split():
            raise http_error(404, "Sorry, we can't find the page you are looking for.")
        return self._with_repo(request, name, lambda repo: answer(self, request, repo, subpath))

    def _split_path(self, parts: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
        """Return the repo's name, the verb and the path after it; old models have no owner."""
        owner_and_name = "/".join(parts[:2])
        has_no_owner = (
            len(parts) > 1 and parts[1] in _MODEL_ROUTES and owner_and_name not in self.store.repos
        )
        size = 1 if has_no_owner else 2
        verb = parts[size] if len(parts) > size else ""
        return "/".join(parts[:size]), verb, parts[size + 1 :]

    def _answer_file(self, request: FakeRequest, verb_index: int) -> FakeResponse:
        name, revision = "/".join(request.parts[:verb_index]), request.parts[verb_index + 1]
        path = "/".join(request.parts[verb_index + 2 :])
        return self._with_repo(
            request, name, lambda repo: files.resolve(self.store, request, repo, revision, path)
        )

    def _with_repo(
        self, request: FakeRequest, name: str, answer: Callable[[Repo], FakeResponse]
    ) -> FakeResponse:
        """Answer with a repo: redirect if it was renamed, refuse if it is missing or private."""
        repo = self.store.repos.get(name)
        if repo is None and name in self.store.redirects:
            target = request.target.replace(quote(name), quote(self.store.redirects[name]), 1)
            return FakeResponse(307, b"", {"Location": target})
        if repo is None or (repo.private and request.token is None):
            return missing_repo_response(request.token)
        return answer(repo)


def _whoami(request: FakeRequest, user: str) -> FakeResponse:
    """Return the account of the token."""
    require_token(request)
    token = {"displayName": "local", "role": "write"}
    auth = {"type": "access_token", "accessToken": token}
    return json_response({"type": "user", "name": user, "fullname": user, "orgs": [], "auth": auth})


def _create_repo(store: RepositoryStore, request: FakeRequest, user: str) -> FakeResponse:
    """Create a model repo that holds only the Hub's .gitattributes."""
    require_token(request)
    body = request.json()
    name = _repo_id(body, user)
    url = f"{request.base}/{name}"
    if name in store.repos:
        return json_response({"error": "You already created this model repo", "url": url}, 409)
    private = bool(body.get("private")) or body.get("visibility") == "private"
    repo = store.add({"id": name, "private": private, "createdAt": store.now()})
    lines = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS)
    store.init_history(repo, {".gitattributes": Blob.from_bytes(".gitattributes", lines.encode())})
    return json_response({"url": url, "name": name, "id": repo.key})


def _delete_repo(store: RepositoryStore, request: FakeRequest, user: str) -> FakeResponse:
    """Delete a repo."""
    require_token(request)
    name = _repo_id(request.json(), user)
    if name not in store.repos:
        raise HttpError(missing_repo_response(request.token))
    store.remove(name)
    return _OK_RESPONSE


def _move_repo(store: RepositoryStore, request: FakeRequest) -> FakeResponse:
    """Rename a repo; after that its old name redirects."""
    require_token(request)
    body = request.json()
    if body["fromRepo"] not in store.repos:
        raise HttpError(missing_repo_response(request.token))
    if body["toRepo"] in store.repos:
        raise http_error(409, f"There is a model {body['toRepo']} already")
    store.rename(body["fromRepo"], body["toRepo"])
    return _OK_RESPONSE


def _repo_id(body: dict[str, Any], user: str) -> str:
    if body.get("type") not in {None, "model"}:
        raise http_error(400, f"This Hub holds only models, not a {body['type']}")
    return f"{body.get('organization') or user}/{body['name']}"


def _get_info(app: App, request: FakeRequest, repo: Repo, subpath: tuple[str, ...]) -> FakeResponse:
    return model_info(app.store, request, repo, *subpath[:1])


def _get_refs(app: App, request: FakeRequest, repo: Repo, subpath: tuple[str, ...]) -> FakeResponse:
    """Return branches, tags and, if the request includes them, pull requests."""
    del subpath
    history = app.store.history(repo)
    branches = history.branches
    pull_requests = {name: sha for name, sha in branches.items() if name.startswith("refs/pr/")}
    heads = {name: sha for name, sha in branches.items() if name not in pull_requests}
    refs = {
        "branches": [_ref_entry(name, f"refs/heads/{name}", sha) for name, sha in heads.items()],
        "tags": [_ref_entry(name, f"refs/tags/{name}", sha) for name, sha in history.tags.items()],
        "converts": [],
    }
    if request.flag("include_prs"):
        refs["pullRequests"] = [_ref_entry(name, name, sha) for name, sha in pull_requests.items()]
    return json_response(refs)


def _ref_entry(name: str, ref: str, sha: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": sha}


def _get_commits(
    app: App, request: FakeRequest, repo: Repo, subpath: tuple[str, ...]
) -> FakeResponse:
    """Return the log of a revision, the newest commit first."""
    files.require_access(app.store, request, repo)
    commit = find_commit(app.store, repo, subpath[0] if subpath else "main")
    return json_response(_commit_entries(app.store.history(repo), commit, app.user))


def _commit_entries(history: GitHistory, commit: Commit, user: str) -> list[dict[str, Any]]:
    return [
        {
            "id": entry.sha,
            "title": entry.title,
            "message": entry.message,
            "authors": [{"user": user, "avatar": ""}],
            "date": entry.date,
        }
        for entry in history.log(commit)
    ]


def _put_settings(
    app: App, request: FakeRequest, repo: Repo, subpath: tuple[str, ...]
) -> FakeResponse:
    """Make a repo private, public or gated."""
    del subpath
    require_token(request)
    body = request.json()
    changes = {name: body[name] for name in ("private", "gated") if name in body}
    if "visibility" in body:
        changes["private"] = body["visibility"] == "private"
    app.store.update(repo.name, changes)
    return json_response(changes)


def _check_access(
    app: App, request: FakeRequest, repo: Repo, subpath: tuple[str, ...]
) -> FakeResponse:
    del subpath
    files.require_access(app.store, request, repo)
    return _OK_RESPONSE


def _change_branch(
    app: App, request: FakeRequest, repo: Repo, subpath: tuple[str, ...]
) -> FakeResponse:
    """Create or delete a branch."""
    require_token(request)
    start = "main" if request.method == "DELETE" else (request.json() or {}).get("startingPoint")
    commit = find_commit(app.store, repo, start or "main")
    return _change_ref(request, app.store.history(repo).branches, subpath[0], commit.sha)


def _change_tag(
    app: App, request: FakeRequest, repo: Repo, subpath: tuple[str, ...]
) -> FakeResponse:
    """Tag a revision, or delete a tag."""
    require_token(request)
    tags = app.store.history(repo).tags
    if request.method == "DELETE":
        return _change_ref(request, tags, subpath[0], "")
    commit = find_commit(app.store, repo, subpath[0])
    return _change_ref(request, tags, request.json()["tag"], commit.sha)


def _change_ref(request: FakeRequest, refs: dict[str, str], name: str, sha: str) -> FakeResponse:
    if request.method == "DELETE":
        if refs.pop(name, None) is None:
            raise http_error(404, f"Invalid rev id: {name}", "RevisionNotFound")
    elif name in refs:
        raise http_error(409, f"Reference {name} exists already")
    else:
        refs[name] = sha
    return _OK_RESPONSE


def _reject_xet(
    app: App, request: FakeRequest, repo: Repo, subpath: tuple[str, ...]
) -> FakeResponse:
    del app, request, repo, subpath
    hint = "This Hub has no Xet storage: set HF_HUB_DISABLE_XET=1, as LocalHub.environment() does"
    return error_response(501, hint)


# The verb after the name of a model -> its methods and its handler.
_MODEL_ROUTES: dict[str, tuple[str, RouteHandler]] = {
    "": ("GET HEAD", _get_info),
    "revision": ("GET HEAD", _get_info),
    "tree": ("GET", lambda app, *args: files.list_tree(app.store, *args)),
    "paths-info": ("POST", lambda app, *args: files.paths_info(app.store, *args)),
    "refs": ("GET", _get_refs),
    "commits": ("GET", _get_commits),
    "preupload": ("POST", lambda app, *args: files.preupload(app.store, *args)),
    "commit": ("POST", lambda app, *args: files.commit(app.store, *args)),
    "branch": ("POST DELETE", _change_branch),
    "tag": ("POST DELETE", _change_tag),
    "settings": ("PUT", _put_settings),
    "auth-check": ("GET HEAD", _check_access),
    "xet-read-token": ("GET", _reject_xet),
    "xet-write-token": ("GET", _reject_xet),
}


@dataclass
class FakeRateLimit:
    """Counts the requests of each bucket in windows of `window` seconds."""

    requests: int
    window: float
    clock: Callable[[], float]
    _buckets: dict[str, tuple[float, int]] = field(default_factory=dict)

    def take(self, path: str) -> tuple[bool, dict[str, str]]:
        """Count a request; return whether it is within the limit, and the RateLimit headers.

        Refused requests, redirects and errors count as well.
        """
        bucket = rate_limit_bucket(path)
        now = self.clock()
        start, n_used = self._buckets.get(bucket, (now, 0))
        if now - start >= self.window:
            start, n_used = now, 0
        n_used += 1
        self._buckets[bucket] = start, n_used
        remaining = max(self.requests - n_used, 0)
        return n_used <= self.requests, rate_limit_headers(
            bucket, remaining, start + self.window - now, self.requests, self.window
        )


def rate_limit_bucket(path: str) -> str:
    """Return the bucket of a request: files and the API have separate limits."""
    return "resolvers" if "/resolve/" in path else "api"


def rate_limit_headers(
    bucket: str, remaining: int, reset: float, quota: int, window: float
) -> dict[str, str]:
    """Return the RateLimit headers; `reset` and `window` are seconds, rounded up to integers."""
    return {
        "RateLimit": f'"{bucket}";r={remaining};t={math.ceil(reset)}',
        "RateLimit-Policy": f'"fixed window";"{bucket}";q={quota};w={math.ceil(window)}',
    }
