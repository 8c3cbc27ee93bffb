"""Everything the Hub holds: the repos by name, where renamed ones went, and what was uploaded."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from tryage.errors import InputError
from tryage.testing.hub.history import Blob, Commit, History
from tryage.testing.hub.order import Orders
from tryage.testing.hub.repo import Repo, make_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tryage.testing.hub.order import Wanted


def write_date(moment: datetime) -> str:
    """Return a moment as the Hub writes it: UTC, milliseconds, Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")[:23] + "Z"


class Shelf:
    """The state behind the server; every change keeps the sorted listings right.

    The caller holds `lock`: the server for each request, `LocalHub` for each method.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.lock = threading.RLock()
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, str] = {}
        self.granted: set[str] = set()
        self.storage = ""  # where LFS content is: another origin, as on the Hub
        self.uploads: dict[str, bytes] = {}  # LFS content by sha256, also before it is committed
        self._lives: Counter[str] = Counter()  # who takes the name of a former model is another one
        self._orders = Orders()
        self._clock = clock

    def now(self) -> str:
        """Return the time as the Hub writes it."""
        return write_date(self._clock())

    def page(self, wanted: Wanted, cursor: str | None, size: int) -> tuple[list[Repo], str | None]:
        """Return one page of a listing and the cursor of the next."""
        return self._orders.get(wanted, self.repos.values()).page(cursor, size)

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add or replace many models at once; listings are sorted anew when next asked for."""
        self._orders.clear()
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
        elif name in self._lives:
            repo = self.repos[name] = Repo(
                {"_id": make_key(f"{name}#{self._lives[name]}"), **record}
            )
        else:
            repo = self.repos[name] = Repo(record)
        self.moved.pop(repo.name, None)
        return repo

    def add(self, record: Mapping[str, Any]) -> Repo:
        """Add or replace one model."""
        if record["id"] in self.repos:
            self._orders.forget(self.repos[record["id"]])
        repo = self._put(record)
        self._orders.learn(repo)
        return repo

    def update(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change metadata of a model; None takes a field away."""
        repo = self.get(name)
        self._orders.forget(repo)
        record = {**repo.read(), **changes}
        repo.write({field: value for field, value in record.items() if value is not None})
        self._orders.learn(repo)

    def remove(self, name: str) -> None:
        """Take a model away: whoever asks for it hears that it is not there."""
        self._orders.forget(self.get(name))
        del self.repos[name]
        self._lives[name] += 1

    def rename(self, old: str, new: str) -> None:
        """Move a model; its `_id` stays and the old name redirects."""
        if new in self.repos:
            raise InputError(f"cannot rename {old!r}: there is a model {new!r} already")
        repo = self.get(old)
        self._orders.forget(repo)
        record = {**repo.read(), "id": new, "author": new.rpartition("/")[0]}
        del self.repos[old]
        self._lives[old] += 1
        repo.write(record)
        self.repos[new], self.moved[old] = repo, new
        self.moved.pop(new, None)
        self._orders.learn(repo)

    def get(self, name: str) -> Repo:
        """Return a model that must be here."""
        if name not in self.repos:
            raise InputError(f"this Hub has no model {name!r}: add it with hub.add({name!r})")
        return self.repos[name]

    def history(self, repo: Repo) -> History:
        """Return the commits of a model; one loaded from metadata has a single empty one."""
        if repo.git is None:
            sha = read_sha(repo.read())
            first = Commit(sha, "initial commit", "", repo.modified, {})
            repo.git = History({sha: first}, {"main": sha}, parents={sha: None})
        return repo.git

    def upload(self, sha256: str, data: bytes) -> None:
        """Keep LFS content until a commit names it."""
        self.uploads[sha256] = data

    def begin(
        self, repo: Repo, files: Mapping[str, Blob], described: Mapping[str, Any] | None = None
    ) -> None:
        """Give a model its first commit."""
        repo.git = History()
        self.commit(repo, files, title="initial commit", described=described)

    def commit(  # noqa: PLR0913 - what a commit is made of
        self,
        repo: Repo,
        files: Mapping[str, Blob],
        *,
        branch: str = "main",
        title: str = "",
        message: str = "",
        described: Mapping[str, Any] | None = None,
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
            self.update(repo.name, {**known, **(described or {})})
        return made


def read_sha(record: Mapping[str, Any]) -> str:
    """Return the commit of a record; one without is given a fixed one by its name."""
    made = hashlib.sha1(record["id"].encode(), usedforsecurity=False).hexdigest()
    return str(record.get("sha") or made)
