"""Everything the Hub holds: the repos by name, where renamed ones went, and what was uploaded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import threading
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from dataclasses import dataclass
from datetime import datetime, timezone
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from tryage.errors import InputError
from tryage.testing.hub.http import http_error
from tryage.testing.hub.repository import Blob, Commit, GitHistory, Repo, make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SortKey = tuple[float | str, str]  # the sorted value, then `_id`: no two models share a place

SORTS: dict[str, Callable[[Repo], float | str]] = {
    "trendingScore": attrgetter("trending"),
    "downloads": attrgetter("downloads"),
    "likes": attrgetter("likes"),
    "createdAt": attrgetter("created"),
    "lastModified": attrgetter("modified"),
}


def format_date(moment: datetime) -> str:
    """Return a moment as the Hub writes it: UTC, milliseconds, Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")[:23] + "Z"


class RepositoryStore:
    """The state behind the server; every change keeps the sorted listings right.

    The caller holds `lock`: the server for each request, `LocalHub` for each method.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.lock = threading.RLock()
        self.repos: dict[str, Repo] = {}
        self.redirects: dict[str, str] = {}
        self.granted: set[str] = set()
        self.storage_url = ""  # where LFS content is: another origin, as on the Hub
        self.uploads: dict[str, bytes] = {}  # LFS content by sha256, also before it is committed
        self._generations: Counter[str] = (
            Counter()
        )  # who takes the name of a former model is another one
        self._indexes = SortedIndexes()
        self._clock = clock

    def now(self) -> str:
        """Return the time as the Hub writes it."""
        return format_date(self._clock())

    def page(
        self, query: ListingQuery, cursor: str | None, size: int
    ) -> tuple[list[Repo], str | None]:
        """Return one page of a listing and the cursor of the next."""
        return self._indexes.get(query, self.repos.values()).page(cursor, size)

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add or replace many models at once; listings are sorted anew when next asked for."""
        self._indexes.clear()
        count = 0
        for record in records:
            self._put(record)
            count += 1
        return count

    def _put(self, record: Mapping[str, Any]) -> Repo:
        name = record["id"]
        repo = self.repos.get(name)
        if repo is not None:
            repo.write({"_id": repo.key, **record})
        elif name in self._generations:
            repo = self.repos[name] = Repo(
                {"_id": make_key(f"{name}#{self._generations[name]}"), **record}
            )
        else:
            repo = self.repos[name] = Repo(record)
        self.redirects.pop(repo.name, None)
        return repo

    def add(self, record: Mapping[str, Any]) -> Repo:
        """Add or replace one model."""
        if record["id"] in self.repos:
            self._indexes.remove(self.repos[record["id"]])
        repo = self._put(record)
        self._indexes.insert(repo)
        return repo

    def update(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change metadata of a model; None takes a field away."""
        repo = self.get(name)
        self._indexes.remove(repo)
        record = {**repo.read(), **changes}
        repo.write({field: value for field, value in record.items() if value is not None})
        self._indexes.insert(repo)

    def remove(self, name: str) -> None:
        """Take a model away: whoever asks for it hears that it is not there."""
        self._indexes.remove(self.get(name))
        del self.repos[name]
        self._generations[name] += 1

    def rename(self, old: str, new: str) -> None:
        """Move a model; its `_id` stays and the old name redirects."""
        if new in self.repos:
            raise InputError(f"cannot rename {old!r}: there is a model {new!r} already")
        repo = self.get(old)
        self._indexes.remove(repo)
        record = {**repo.read(), "id": new, "author": new.rpartition("/")[0]}
        del self.repos[old]
        self._generations[old] += 1
        repo.write(record)
        self.repos[new], self.redirects[old] = repo, new
        self.redirects.pop(new, None)
        self._indexes.insert(repo)

    def get(self, name: str) -> Repo:
        """Return a model that must be here."""
        if name not in self.repos:
            raise InputError(f"this Hub has no model {name!r}: add it with hub.add({name!r})")
        return self.repos[name]

    def history(self, repo: Repo) -> GitHistory:
        """Return the commits of a model; one loaded from metadata has a single empty one."""
        if repo.git is None:
            sha = record_sha(repo.read())
            first = Commit(sha, "initial commit", "", repo.modified, {})
            repo.git = GitHistory({sha: first}, {"main": sha}, parents={sha: None})
        return repo.git

    def upload(self, sha256: str, data: bytes) -> None:
        """Keep LFS content until a commit names it."""
        self.uploads[sha256] = data

    def init_history(
        self, repo: Repo, files: Mapping[str, Blob], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Give a model its first commit."""
        repo.git = GitHistory()
        self.commit(repo, files, title="initial commit", metadata=metadata)

    def commit(  # noqa: PLR0913 - what a commit is made of
        self,
        repo: Repo,
        files: Mapping[str, Blob],
        *,
        branch: str = "main",
        title: str = "",
        message: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> Commit:
        """Make `files` the new state of a branch; on main, `described` changes the metadata."""
        history = self.history(repo)
        made = history.commit(branch, dict(files), self.now(), title, message)
        for blob in made.files.values():
            if blob.large:
                self.uploads[blob.sha256] = blob.data
        if branch == "main":
            known = {
                "sha": made.sha,
                "lastModified": made.date,
                "siblings": [{"rfilename": path} for path in sorted(made.files)],
                "usedStorage": sum(len(blob.data) for blob in made.files.values()),
            }
            self.update(repo.name, {**known, **(metadata or {})})
        return made


def record_sha(record: Mapping[str, Any]) -> str:
    """Return the commit of a record; one without is given a fixed one by its name."""
    made = hashlib.sha1(record["id"].encode(), usedforsecurity=False).hexdigest()
    return str(record.get("sha") or made)


@dataclass(frozen=True)
class ListingQuery:
    """What a listing asks for; equal questions share one order."""

    sort: str
    ascending: bool
    signed_in: bool
    tags: tuple[str, ...] = ()
    search: str = ""
    author: str = ""
    task: str = ""
    gated: bool | None = None
    provider: str = ""
    min_parameters: float = 0.0
    max_parameters: float = float("inf")

    def matches(self, repo: Repo) -> bool:
        """Return whether a model belongs into the listing."""
        return (
            (self.signed_in or not repo.private)
            and (not self.author or repo.author == self.author)
            and (not self.task or repo.task == self.task)
            and (self.gated is None or bool(repo.gated) is self.gated)
            and (not self.provider or self._matches_provider(repo))
            and self._matches_size(repo)
            and all(tag in repo.tags or tag == repo.task for tag in self.tags)
            and self.search in repo.name.lower()
        )

    def _matches_provider(self, repo: Repo) -> bool:
        wanted = self.provider.split(",")
        return bool(repo.providers) and (
            self.provider == "all" or any(name in repo.providers for name in wanted)
        )

    def _matches_size(self, repo: Repo) -> bool:
        if self.min_parameters <= 0 and self.max_parameters == float("inf"):
            return True
        return (
            repo.parameters is not None
            and self.min_parameters <= repo.parameters <= self.max_parameters
        )

    def sort_key(self, repo: Repo) -> SortKey:
        """Return where a model stands, ascending."""
        return SORTS[self.sort](repo), repo.key


class SortedIndex:
    """The models of one listing, ascending; a descending listing is read from its end."""

    def __init__(self, query: ListingQuery, repos: Iterable[Repo]) -> None:
        self.query = query
        self._repos = sorted(filter(query.matches, repos), key=attrgetter("key"))
        self._repos.sort(key=SORTS[query.sort])  # stable, and faster than by places

    def remove(self, repo: Repo) -> None:
        """Take a model out, before it changes."""
        at = bisect_left(self._repos, self.query.sort_key(repo), key=self.query.sort_key)
        if at < len(self._repos) and self._repos[at] is repo:
            del self._repos[at]

    def insert(self, repo: Repo) -> None:
        """Put a model in, after it changed."""
        if self.query.matches(repo):
            at = bisect_left(self._repos, self.query.sort_key(repo), key=self.query.sort_key)
            self._repos.insert(at, repo)

    def page(self, cursor: str | None, size: int) -> tuple[list[Repo], str | None]:
        """Return the models after the cursor, and the cursor of the next page if there is one.

        The cursor is a place, not a number: what changes elsewhere neither repeats nor hides a
        model that stays where it is.
        """
        cursor_key = None if cursor is None else decode_cursor(cursor, self.query.sort)
        repos, by = self._repos, self.query.sort_key
        if self.query.ascending:
            start = 0 if cursor_key is None else bisect_right(repos, cursor_key, key=by)
            found, more = repos[start : start + size], start + size < len(repos)
        else:
            end = len(repos) if cursor_key is None else bisect_left(repos, cursor_key, key=by)
            found, more = repos[max(end - size, 0) : end][::-1], end > size
        return found, encode_cursor(by(found[-1])) if more and found else None


def encode_cursor(key: SortKey) -> str:
    """Return a place as the opaque text of a cursor."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def decode_cursor(cursor: str, sort: str) -> SortKey:
    """Return the place that a cursor means; one that we did not make is refused with 400."""
    try:
        value, key = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError, TypeError):
        raise http_error(400, "Invalid cursor") from None
    if isinstance(value, str) is not (sort in {"createdAt", "lastModified"}):
        raise http_error(400, f"Invalid cursor for sort={sort}")
    return value, key


class SortedIndexes:
    """The listings that were asked for last, kept in order through every change."""

    def __init__(self, max_size: int = 16) -> None:
        self._max_size = max_size
        self._indexes: OrderedDict[ListingQuery, SortedIndex] = OrderedDict()

    def get(self, query: ListingQuery, repos: Iterable[Repo]) -> SortedIndex:
        """Return the order for a question; the first time it is sorted, later it is there."""
        if query not in self._indexes:
            self._indexes[query] = SortedIndex(query, repos)
        self._indexes.move_to_end(query)
        while len(self._indexes) > self._max_size:
            self._indexes.popitem(last=False)
        return self._indexes[query]

    def remove(self, repo: Repo) -> None:
        """Take a model out of every order, before it changes."""
        for order in self._indexes.values():
            order.remove(repo)

    def insert(self, repo: Repo) -> None:
        """Put a model into every order it belongs to, after it changed."""
        for order in self._indexes.values():
            order.insert(repo)

    def clear(self) -> None:
        """Forget all orders: many models change at once."""
        self._indexes.clear()
