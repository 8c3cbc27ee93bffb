"""From a request to the function that answers it; no sockets here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tryage.testing.hub import account, commits, files
from tryage.testing.hub.info import find_commit, model_info
from tryage.testing.hub.listing import list_models
from tryage.testing.hub.wire import RefusedError, Reply, missing_repo, refusal, refuse, reply_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.testing.hub.repo import Repo
    from tryage.testing.hub.shelf import Shelf
    from tryage.testing.hub.wire import Request

    Answer = Callable[["App", Request, Repo, tuple[str, ...]], Reply]


def _info(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    return model_info(app.shelf, request, repo, *rest[:1])


def _refs(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    del rest
    return account.list_refs(app.shelf, request, repo)


def _settings(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    del rest
    return account.change_settings(app.shelf, request, repo)


def _access(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    del rest
    files.must_have_access(app.shelf, request, repo)
    return account.OK


def _commits(app: App, request: Request, repo: Repo, rest: tuple[str, ...]) -> Reply:
    files.must_have_access(app.shelf, request, repo)
    commit = find_commit(app.shelf, repo, rest[0] if rest else "main")
    return reply_json(account.list_commits(app.shelf.history(repo), commit.sha, app.user))


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
    "preupload": ("POST", lambda app, *asked: commits.preupload(app.shelf, *asked)),
    "commit": ("POST", lambda app, *asked: commits.commit(app.shelf, *asked)),
    "branch": ("POST DELETE", lambda app, *asked: account.change_branch(app.shelf, *asked)),
    "tag": ("POST DELETE", lambda app, *asked: account.change_tag(app.shelf, *asked)),
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
            answer = commits.lfs_upload
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
            ("GET", "/api/whoami-v2"): lambda: account.whoami(request, user),
            ("POST", "/api/repos/create"): lambda: account.create_repo(shelf, request, user),
            ("DELETE", "/api/repos/delete"): lambda: account.delete_repo(shelf, request, user),
            ("POST", "/api/repos/move"): lambda: account.move_repo(shelf, request),
            ("POST", "/api/validate-yaml"): lambda: reply_json({"errors": [], "warnings": []}),
            ("POST", "/lfs/verify"): lambda: commits.lfs_verify(shelf, request),
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
                request, name, lambda repo: commits.lfs_batch(self.shelf, request, repo)
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
