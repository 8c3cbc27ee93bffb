"""Sorted, filtered listings that stay sorted while models change: a page costs O(page)."""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from tryage.testing.hub.wire import refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tryage.testing.hub.repo import Repo

Place = tuple[float | str, str]  # the sorted value, then `_id`: no two models share a place

SORTS: dict[str, Callable[[Repo], float | str]] = {
    "trendingScore": attrgetter("trending"),
    "downloads": attrgetter("downloads"),
    "likes": attrgetter("likes"),
    "createdAt": attrgetter("created"),
    "lastModified": attrgetter("modified"),
}


@dataclass(frozen=True)
class Wanted:
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
    at_least: float = 0.0
    at_most: float = float("inf")

    def fits(self, repo: Repo) -> bool:
        """Return whether a model belongs into the listing."""
        return (
            (self.signed_in or not repo.private)
            and (not self.author or repo.author == self.author)
            and (not self.task or repo.task == self.task)
            and (self.gated is None or bool(repo.gated) is self.gated)
            and (not self.provider or self._served(repo))
            and self._sized(repo)
            and all(tag in repo.tags or tag == repo.task for tag in self.tags)
            and self.search in repo.name.lower()
        )

    def _served(self, repo: Repo) -> bool:
        wanted = self.provider.split(",")
        return bool(repo.providers) and (
            self.provider == "all" or any(name in repo.providers for name in wanted)
        )

    def _sized(self, repo: Repo) -> bool:
        if self.at_least <= 0 and self.at_most == float("inf"):
            return True
        return repo.parameters is not None and self.at_least <= repo.parameters <= self.at_most

    def place(self, repo: Repo) -> Place:
        """Return where a model stands, ascending."""
        return SORTS[self.sort](repo), repo.key


class Order:
    """The models of one listing, ascending; a descending listing is read from its end."""

    def __init__(self, wanted: Wanted, repos: Iterable[Repo]) -> None:
        self.wanted = wanted
        self._repos = sorted(filter(wanted.fits, repos), key=attrgetter("key"))
        self._repos.sort(key=SORTS[wanted.sort])  # stable, and faster than by places

    def forget(self, repo: Repo) -> None:
        """Take a model out, before it changes."""
        at = bisect_left(self._repos, self.wanted.place(repo), key=self.wanted.place)
        if at < len(self._repos) and self._repos[at] is repo:
            del self._repos[at]

    def learn(self, repo: Repo) -> None:
        """Put a model in, after it changed."""
        if self.wanted.fits(repo):
            at = bisect_left(self._repos, self.wanted.place(repo), key=self.wanted.place)
            self._repos.insert(at, repo)

    def page(self, cursor: str | None, size: int) -> tuple[list[Repo], str | None]:
        """Return the models after the cursor, and the cursor of the next page if there is one.

        The cursor is a place, not a number: what changes elsewhere neither repeats nor hides a
        model that stays where it is.
        """
        place = None if cursor is None else read_cursor(cursor, self.wanted.sort)
        repos, by = self._repos, self.wanted.place
        if self.wanted.ascending:
            start = 0 if place is None else bisect_right(repos, place, key=by)
            found, more = repos[start : start + size], start + size < len(repos)
        else:
            end = len(repos) if place is None else bisect_left(repos, place, key=by)
            found, more = repos[max(end - size, 0) : end][::-1], end > size
        return found, write_cursor(by(found[-1])) if more and found else None


def write_cursor(place: Place) -> str:
    """Return a place as the opaque text of a cursor."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def read_cursor(cursor: str, sort: str) -> Place:
    """Return the place that a cursor means; one that we did not make is refused with 400."""
    try:
        value, key = json.loads(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, ValueError, TypeError):
        raise refuse(400, "Invalid cursor") from None
    if isinstance(value, str) is not (sort in {"createdAt", "lastModified"}):
        raise refuse(400, f"Invalid cursor for sort={sort}")
    return value, key


class Orders:
    """The listings that were asked for last, kept in order through every change."""

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._orders: OrderedDict[Wanted, Order] = OrderedDict()

    def get(self, wanted: Wanted, repos: Iterable[Repo]) -> Order:
        """Return the order for a question; the first time it is sorted, later it is there."""
        if wanted not in self._orders:
            self._orders[wanted] = Order(wanted, repos)
        self._orders.move_to_end(wanted)
        while len(self._orders) > self._most:
            self._orders.popitem(last=False)
        return self._orders[wanted]

    def forget(self, repo: Repo) -> None:
        """Take a model out of every order, before it changes."""
        for order in self._orders.values():
            order.forget(repo)

    def learn(self, repo: Repo) -> None:
        """Put a model into every order it belongs to, after it changed."""
        for order in self._orders.values():
            order.learn(repo)

    def clear(self) -> None:
        """Forget all orders: many models change at once."""
        self._orders.clear()
