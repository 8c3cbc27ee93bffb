"""From a request to the function that answers it; no sockets here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tryage.testing.hub import files
from tryage.testing.hub.http import (
    RefusedError,
    Reply,
    missing_repo,
    must_sign_in,
    refusal,
    refuse,
    reply_json,
)
from tryage.testing.hub.models import find_commit, list_models, model_info
from tryage.testing.hub.repository import LARGE, Blob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.testing.hub.http import Request
    from tryage.testing.hub.repository import History, Repo
    from tryage.testing.hub.store import Shelf

    Answer = Callable[["App", Request, Repo, tuple[str, ...]], Reply]

OK = Reply(200, b"OK", {"Content-Type": "text/plain; charset=utf-8"})


def _info(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    return model_info(app.shelf, request, repo, *rest[:1])


def _refs(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    del rest
    return list_refs(app.shelf, request, repo)


def _settings(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    del rest
    return change_settings(app.shelf, request, repo)


def _access(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    del rest
    files.must_have_access(app.shelf, request, repo)
    return OK


def _commits(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    files.must_have_access(app.shelf, request, repo)
    commit = find_commit(app.shelf, repo, rest[0] if rest else "main")
    return reply_json(list_commits(app.shelf.history(repo), commit.sha, app.user))


def _no_xet(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    del app, request, repo, rest
    said = "This Hub has no Xet storage: set HF_HUB_DISABLE_XET=1, as LocalHub.environment() does"
    return refusal(501, said)


# What can follow the name of a model, and the methods it takes.
VERBS: dict[str, tuple[str, Answer]] = {
    "": ("GET HEAD", _info),
    "revision": ("GET HEAD", _info),
    "tree": ("GET", lambda app, *asked: files.list_tree(app.shelf, *asked)),
    "paths-info": ("POST", lambda app, *asked: files.paths_info(app.shelf, *asked)),
    "refs": ("GET", _refs),
    "commits": ("GET", _commits),
    "preupload": ("POST", lambda app, *asked: files.preupload(app.shelf, *asked)),
    "commit": ("POST", lambda app, *asked: files.commit(app.shelf, *asked)),
    "branch": ("POST DELETE", lambda app, *asked: change_branch(app.shelf, *asked)),
    "tag": ("POST DELETE", lambda app, *asked: change_tag(app.shelf, *asked)),
    "settings": ("PUT", _settings),
    "auth-check": ("GET HEAD", _access),
    "xet-read-token": ("GET", _no_xet),
    "xet-write-token": ("GET", _no_xet),
}


@dataclass
class App:
    """The Hub as a function of requests; the caller holds the lock of the shelf."""

    shelf: Shelf
    user: str
    token: str
    served: list[dict[str, Any]] = field(default_factory=list)
    leaderboards: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def answer(self, request: Request) -> Reply:
        """Answer a request."""
        if request.token not in {None, self.token}:
            return refusal(401, "Invalid credentials in Authorization header")
        try:
            reply = self._whole(request)
            return self._repo(request) if reply is None else reply
        except RefusedError as refused:
            return refused.reply
        except (KeyError, TypeError, ValueError) as odd:
            return refusal(400, f"This Hub does not understand the request: {odd!r}")

    def store(self, request: Request) -> Reply:
        """Answer for LFS content: put it, or get it."""
        if request.parts[:2] == ("lfs", "upload") and request.method == "PUT":
            answer = files.lfs_upload
        elif request.parts[:2] == ("lfs", "content"):
            answer = files.stored
        else:
            return refusal(404, "No such object")
        try:
            return answer(self.shelf, request, request.parts[2])
        except RefusedError as refused:
            return refused.reply

    def _whole(self, request: Request) -> Reply | None:
        """Answer what is not about one repo."""
        shelf, user = self.shelf, self.user
        pages: dict[tuple[str, str], Callable[[], Reply]] = {
            ("GET", "/api/models"): lambda: list_models(shelf, request),
            ("GET", "/v1/models"): lambda: reply_json({"object": "list", "data": self.served}),
            ("GET", "/api/whoami-v2"): lambda: whoami(request, user),
            ("POST", "/api/repos/create"): lambda: create_repo(shelf, request, user),
            ("DELETE", "/api/repos/delete"): lambda: delete_repo(shelf, request, user),
            ("POST", "/api/repos/move"): lambda: move_repo(shelf, request),
            ("POST", "/api/validate-yaml"): lambda: reply_json({"errors": [], "warnings": []}),
            ("POST", "/lfs/verify"): lambda: files.lfs_verify(shelf, request),
            ("GET", "/api/agent-harnesses"): lambda: reply_json(
                {"standardEnvVars": [], "harnesses": {}}
            ),
        }
        method = "GET" if request.method == "HEAD" else request.method
        page = pages.get((method, request.path))
        return page() if page else self._leaderboard(request)

    def _leaderboard(self, request: Request) -> Reply | None:
        if request.parts[:2] == ("api", "datasets") and request.parts[-1] == "leaderboard":
            dataset = "/".join(request.parts[2:-1])
            if dataset not in self.leaderboards:
                return refusal(404, f"Dataset {dataset} has no leaderboard", "EntryNotFound")
            return reply_json(self.leaderboards[dataset])
        return None

    def _repo(self, request: Request) -> Reply:
        """Answer what is about one repo: its API, its files, or its LFS objects."""
        parts = request.parts
        if parts[:2] == ("api", "models"):
            return self._asked(request)
        if parts[-4:] == ("info", "lfs", "objects", "batch"):
            name = "/".join(parts[:-4]).removesuffix(".git")
            return self._with(
                request, name, lambda repo: files.lfs_batch(self.shelf, request, repo)
            )
        if "resolve" in parts[1:3] and len(parts) > parts.index("resolve", 1) + 2:
            return self._resolved(request, parts.index("resolve", 1))
        raise refuse(404, "Sorry, we can't find the page you are looking for.")

    def _asked(self, request: Request) -> Reply:
        name, verb, rest = self._split(request.parts[2:])
        methods, answer = VERBS.get(verb, ("", _info))
        if request.method not in methods.split():
            raise refuse(404, "Sorry, we can't find the page you are looking for.")
        return self._with(request, name, lambda repo: answer(self, request, repo, rest))

    def _resolved(self, request: Request, at: int) -> Reply:
        name, revision = "/".join(request.parts[:at]), request.parts[at + 1]
        path = "/".join(request.parts[at + 2 :])
        return self._with(
            request, name, lambda repo: files.resolve(self.shelf, request, repo, revision, path)
        )

    def _split(self, parts: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
        """Return name, verb and the rest; the oldest models have names without an owner."""
        owned = "/".join(parts[:2])
        alone = len(parts) > 1 and parts[1] in VERBS and owned not in self.shelf.repos
        size = 1 if alone else 2
        verb = parts[size] if len(parts) > size else ""
        return "/".join(parts[:size]), verb, parts[size + 1 :]

    def _with(self, request: Request, name: str, answer: Callable[[Repo], Reply]) -> Reply:
        """Answer with a repo; a renamed one is elsewhere, a private one is not there."""
        repo = self.shelf.repos.get(name)
        if repo is None and name in self.shelf.moved:
            where = request.target.replace(quote(name), quote(self.shelf.moved[name]), 1)
            return Reply(307, b"", {"Location": where})
        if repo is None or (repo.private and request.token is None):
            return missing_repo(request.token)
        return answer(repo)


def whoami(request: Request, user: str) -> Reply:
    """Answer with the account of the token."""
    must_sign_in(request)
    token = {"displayName": "local", "role": "write"}
    auth = {"type": "access_token", "accessToken": token}
    return reply_json({"type": "user", "name": user, "fullname": user, "orgs": [], "auth": auth})


def create_repo(shelf: Shelf, request: Request, user: str) -> Reply:
    """Create an empty model repo, with the .gitattributes that the Hub puts into it."""
    must_sign_in(request)
    asked = request.json()
    name = _name(asked, user)
    url = f"{request.base}/{name}"
    if name in shelf.repos:
        said = {"error": "You already created this model repo", "url": url}
        return reply_json(said, 409)
    private = bool(asked.get("private")) or asked.get("visibility") == "private"
    repo = shelf.add({"id": name, "private": private, "createdAt": shelf.now()})
    lines = "".join(f"{shape} filter=lfs diff=lfs merge=lfs -text\n" for shape in LARGE)
    first = {".gitattributes": Blob.of(".gitattributes", lines.encode())}
    shelf.begin(repo, first)
    return reply_json({"url": url, "name": name, "id": repo.key})


def delete_repo(shelf: Shelf, request: Request, user: str) -> Reply:
    """Delete a repo."""
    must_sign_in(request)
    name = _name(request.json(), user)
    if name not in shelf.repos:
        raise RefusedError(missing_repo(request.token))
    shelf.remove(name)
    return OK


def move_repo(shelf: Shelf, request: Request) -> Reply:
    """Rename a repo; its old name redirects from now on."""
    must_sign_in(request)
    asked = request.json()
    if asked["fromRepo"] not in shelf.repos:
        raise RefusedError(missing_repo(request.token))
    if asked["toRepo"] in shelf.repos:
        raise refuse(409, f"There is a model {asked['toRepo']} already")
    shelf.rename(asked["fromRepo"], asked["toRepo"])
    return OK


def _name(asked: dict[str, Any], user: str) -> str:
    if asked.get("type") not in {None, "model"}:
        raise refuse(400, f"This Hub holds models alone, not a {asked['type']}")
    return f"{asked.get('organization') or user}/{asked['name']}"


def change_settings(shelf: Shelf, request: Request, repo: Repo) -> Reply:
    """Make a repo private, public or gated."""
    must_sign_in(request)
    asked = request.json()
    changes = {name: asked[name] for name in ("private", "gated") if name in asked}
    if "visibility" in asked:
        changes["private"] = asked["visibility"] == "private"
    shelf.update(repo.name, changes)
    return reply_json(changes)


def list_refs(shelf: Shelf, request: Request, repo: Repo) -> Reply:
    """Answer with branches, tags and, on demand, pull requests."""
    history = shelf.history(repo)
    pulls = {name: sha for name, sha in history.branches.items() if name.startswith("refs/pr/")}
    heads = {name: sha for name, sha in history.branches.items() if name not in pulls}
    found = {
        "branches": [_ref(name, f"refs/heads/{name}", sha) for name, sha in heads.items()],
        "tags": [_ref(name, f"refs/tags/{name}", sha) for name, sha in history.tags.items()],
        "converts": [],
    }
    if request.flag("include_prs"):
        found["pullRequests"] = [_ref(name, name, sha) for name, sha in pulls.items()]
    return reply_json(found)


def _ref(name: str, ref: str, sha: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": sha}


def change_branch(shelf: Shelf, request: Request, repo: Repo, rest: Sequence[str]) -> Reply:
    """Create or delete a branch."""
    must_sign_in(request)
    start = "main" if request.method == "DELETE" else (request.json() or {}).get("startingPoint")
    commit = find_commit(shelf, repo, start or "main")
    return _change_name(request, shelf.history(repo).branches, rest[0], commit.sha)


def change_tag(shelf: Shelf, request: Request, repo: Repo, rest: Sequence[str]) -> Reply:
    """Tag a revision, or delete a tag."""
    must_sign_in(request)
    if request.method == "DELETE":
        return _change_name(request, shelf.history(repo).tags, rest[0], "")
    commit = find_commit(shelf, repo, rest[0])
    return _change_name(request, shelf.history(repo).tags, request.json()["tag"], commit.sha)


def _change_name(request: Request, names: dict[str, str], name: str, sha: str) -> Reply:
    if request.method == "DELETE":
        if names.pop(name, None) is None:
            raise refuse(404, f"Invalid rev id: {name}", "RevisionNotFound")
    elif name in names:
        raise refuse(409, f"Reference {name} exists already")
    else:
        names[name] = sha
    return OK


def list_commits(history: History, commit_sha: str, user: str) -> list[dict[str, Any]]:
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
class Quota:
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
        return used <= self.requests, limits(
            bucket, left, start + self.window - now, self.requests, self.window
        )


def limits(bucket: str, left: int, reset: float, quota: int, window: float) -> dict[str, str]:
    """Return the headers; `reset` and `window` are seconds, rounded up to whole ones."""
    return {
        "RateLimit": f'"{bucket}";r={left};t={math.ceil(reset)}',
        "RateLimit-Policy": f'"fixed window";"{bucket}";q={quota};w={math.ceil(window)}',
    }
