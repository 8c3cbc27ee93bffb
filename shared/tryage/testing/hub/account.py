"""Who is asking, and what an account does to whole repos: create, move, delete, settings, names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tryage.testing.hub.history import LARGE, Blob
from tryage.testing.hub.info import find_commit
from tryage.testing.hub.wire import RefusedError, Reply, missing_repo, refuse, reply_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.testing.hub.history import History
    from tryage.testing.hub.repo import Repo
    from tryage.testing.hub.shelf import Shelf
    from tryage.testing.hub.wire import Request

OK = Reply(200, b"OK", {"Content-Type": "text/plain; charset=utf-8"})


def must_sign_in(request: Request) -> None:
    """Refuse strangers."""
    if request.token is None:
        raise refuse(401, "Invalid username or password.")


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
