"""What the Hub stores: repos by name, redirects of renamed repos, uploads, and sorted listings."""

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
from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.errors import InputError
from tryage.testing.hub.http import http_error
from tryage.testing.hub.repository import Blob, Commit, GitHistory, Repo, make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SortKey: TypeAlias = tuple[float | str, str]
"""The value that a listing sorts by, then `_id`, so that no two models have the same key."""

SORTS: dict[str, Callable[[Repo], float | str]] = {
    "trendingScore": attrgetter("trending"),
    "downloads": attrgetter("downloads"),
    "likes": attrgetter("likes"),
    "createdAt": attrgetter("created"),
    "lastModified": attrgetter("modified"),
}


class RepositoryStore:
    """The state of the server; every change also updates the sorted listings.

    The caller holds `lock`: the server during each request, `LocalHub` during each method.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.lock = threading.RLock()
        self.repos: dict[str, Repo] = {}
        self.redirects: dict[str, str] = {}
        self.granted_keys: set[str] = set()
        self.storage_url = ""  # of LFS content: another origin, as on the Hub
        self.uploads: dict[str, bytes] = {}  # LFS content by sha256, before its commit as well
        self._former_counts: Counter[str] = Counter()  # number of former models per name
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
        """Add or replace many models at once; the next request sorts each listing again."""
        self._indexes.clear()
        count = 0
        for record in records:
            self._put(record)
            count += 1
        return count

    def add(self, record: Mapping[str, Any]) -> Repo:
        """Add or replace one model."""
        if record["id"] in self.repos:
            self._indexes.remove(self.repos[record["id"]])
        repo = self._put(record)
        self._indexes.insert(repo)
        return repo

    def _put(self, record: Mapping[str, Any]) -> Repo:
        name = record["id"]
        repo = self.repos.get(name)
        if repo is not None:
            repo.write({"_id": repo.key, **record})
        elif name in self._former_counts:  # a new model with this name has another `_id`
            key = make_key(f"{name}#{self._former_counts[name]}")
            repo = self.repos[name] = Repo({"_id": key, **record})
        else:
            repo = self.repos[name] = Repo(record)
        self.redirects.pop(repo.name, None)
        return repo

    def update(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change metadata of a model; None removes a field."""
        repo = self.get(name)
        self._indexes.remove(repo)
        record = {**repo.read(), **changes}
        repo.write({field: value for field, value in record.items() if value is not None})
        self._indexes.insert(repo)

    def remove(self, name: str) -> None:
        """Delete a model; its name can be given to a new one."""
        self._indexes.remove(self.get(name))
        del self.repos[name]
        self._former_counts[name] += 1

    def rename(self, old: str, new: str) -> None:
        """Rename a model; its `_id` stays and the old name redirects."""
        if new in self.repos:
            raise InputError(f"cannot rename {old!r}: there is a model {new!r} already")
        repo = self.get(old)
        self._indexes.remove(repo)
        record = {**repo.read(), "id": new, "author": new.rpartition("/")[0]}
        del self.repos[old]
        self._former_counts[old] += 1
        repo.write(record)
        self.repos[new], self.redirects[old] = repo, new
        self.redirects.pop(new, None)
        self._indexes.insert(repo)

    def get(self, name: str) -> Repo:
        """Return a model.

        Raises:
            InputError: there is no model of this name.
        """
        if name not in self.repos:
            raise InputError(f"this Hub has no model {name!r}: add it with hub.add({name!r})")
        return self.repos[name]

    def history(self, repo: Repo) -> GitHistory:
        """Return the commits of a model; one loaded from metadata has a single empty commit."""
        if repo.git is None:
            sha = record_sha(repo.read())
            first_commit = Commit(sha, "initial commit", "", repo.modified, {})
            repo.git = GitHistory({sha: first_commit}, {"main": sha}, parents={sha: None})
        return repo.git

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
        """Make `files` the new state of a branch; on main, `metadata` changes as well."""
        new_commit = self.history(repo).commit(branch, dict(files), self.now(), title, message)
        for blob in new_commit.files.values():
            if blob.large:
                self.uploads[blob.sha256] = blob.data
        if branch == "main":
            commit_metadata = {
                "sha": new_commit.sha,
                "lastModified": new_commit.date,
                "siblings": [{"rfilename": path} for path in sorted(new_commit.files)],
                "usedStorage": sum(len(blob.data) for blob in new_commit.files.values()),
            }
            self.update(repo.name, {**commit_metadata, **(metadata or {})})
        return new_commit


def format_date(moment: datetime) -> str:
    """Return a time as the Hub writes it: in UTC, with milliseconds and Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")[:23] + "Z"


def record_sha(record: Mapping[str, Any]) -> str:
    """Return the commit of a record; without one it follows from the name."""
    name_sha = hashlib.sha1(record["id"].encode(), usedforsecurity=False).hexdigest()
    return str(record.get("sha") or name_sha)


@dataclass(frozen=True)
class ListingQuery:
    """The filters and the order of a listing; equal queries share one `SortedIndex`."""

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
        """Return whether a model belongs to the listing."""
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
        if self.provider == "all":
            return bool(repo.providers)
        return any(name in repo.providers for name in self.provider.split(","))

    def _matches_size(self, repo: Repo) -> bool:
        if self.min_parameters <= 0 and self.max_parameters == float("inf"):
            return True
        return (
            repo.parameters is not None
            and self.min_parameters <= repo.parameters <= self.max_parameters
        )

    def sort_key(self, repo: Repo) -> SortKey:
        """Return the key that sorts a model, ascending."""
        return SORTS[self.sort](repo), repo.key


class SortedIndexes:
    """The most recently used listings, which stay sorted through every change."""

    def __init__(self, max_size: int = 16) -> None:
        self._max_size = max_size
        self._indexes: OrderedDict[ListingQuery, SortedIndex] = OrderedDict()

    def get(self, query: ListingQuery, repos: Iterable[Repo]) -> SortedIndex:
        """Return the index of a query; the first request sorts it."""
        if query not in self._indexes:
            self._indexes[query] = SortedIndex(query, repos)
        self._indexes.move_to_end(query)
        while len(self._indexes) > self._max_size:
            self._indexes.popitem(last=False)
        return self._indexes[query]

    def remove(self, repo: Repo) -> None:
        """Remove a model from every index, before it changes."""
        for index in self._indexes.values():
            index.remove(repo)

    def insert(self, repo: Repo) -> None:
        """Insert a model into every index that it matches, after it changed."""
        for index in self._indexes.values():
            index.insert(repo)

    def clear(self) -> None:
        """Drop all indexes, because many models change at once."""
        self._indexes.clear()


class SortedIndex:
    """The models of one listing, sorted ascending; a descending listing reads it from the end."""

    def __init__(self, query: ListingQuery, repos: Iterable[Repo]) -> None:
        self.query = query
        self._repos = sorted(filter(query.matches, repos), key=attrgetter("key"))
        self._repos.sort(key=SORTS[query.sort])  # stable, and faster than by `sort_key`

    def remove(self, repo: Repo) -> None:
        """Remove a model, before it changes."""
        i = self._position(repo)
        if i < len(self._repos) and self._repos[i] is repo:
            del self._repos[i]

    def insert(self, repo: Repo) -> None:
        """Insert a model if it matches, after it changed."""
        if self.query.matches(repo):
            self._repos.insert(self._position(repo), repo)

    def _position(self, repo: Repo) -> int:
        return bisect_left(self._repos, self.query.sort_key(repo), key=self.query.sort_key)

    def page(self, cursor: str | None, size: int) -> tuple[list[Repo], str | None]:
        """Return the models after the cursor, and the cursor of the next page if there is one.

        The cursor is the sort key of the last model and not its position. So a change of other
        models neither repeats nor hides a model that did not change.
        """
        after_key = None if cursor is None else _decode_cursor(cursor, self.query.sort)
        repos, sort_key = self._repos, self.query.sort_key
        if self.query.ascending:
            start = 0 if after_key is None else bisect_right(repos, after_key, key=sort_key)
            page, has_more = repos[start : start + size], start + size < len(repos)
        else:
            end = len(repos) if after_key is None else bisect_left(repos, after_key, key=sort_key)
            page, has_more = repos[max(end - size, 0) : end][::-1], end > size
        return page, _encode_cursor(sort_key(page[-1])) if has_more and page else None


def _encode_cursor(key: SortKey) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decode_cursor(cursor: str, sort: str) -> SortKey:
    """Return the sort key of a cursor; refuse an invalid cursor with 400."""
    try:
        value, key = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError, TypeError):
        raise http_error(400, "Invalid cursor") from None
    if isinstance(value, str) is not (sort in {"createdAt", "lastModified"}):
        raise http_error(400, f"Invalid cursor for sort={sort}")
    return value, key
