"""The stages of a sync: each asks the Hub for one kind of news and keeps what arrives.

A stage can be stopped at any moment, also by force, and goes on where its last transaction ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from tryage.errors import (
    HubAccessError,
    HubError,
    HubMissingError,
    HubOfflineError,
    HubQuotaError,
    HubReplyError,
    InputError,
)
from tryage.hub import endpoints
from tryage.hub.evaluations import read_leaderboard
from tryage.hub.parse import read_model
from tryage.hub.providers import read_served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.hub.client import HubClient
    from tryage.hub.endpoints import Page
    from tryage.hub.model import Model
    from tryage.hub.record import Record
    from tryage.hub.sync_staging import Run

OVERLAP = 3_600.0  # seconds: what was indexed late is asked for twice rather than never

_SCANNED = ("scan", "security", "formats", "custom_code")

# Told after each step: the stage, how much of it is done, and how much there is, None if unknown.
Progress = Callable[[str, int, int | None], object]

FEW = 0.1  # of the models asked for: so many may stay without an answer, for reasons of their own

_GENERAL = (HubAccessError, HubOfflineError, HubQuotaError)  # they concern more than one model


def leaderboards(trip: Trip, datasets: Sequence[str]) -> None:
    """Fetch the results that the Hub gathers for these data sets.

    Raises:
        HubReplyError: of a leaderboard's rows, none says which model has which score.
    """
    had = set(trip.run.keys("leaderboard"))
    for done, dataset in enumerate(datasets, 1):
        if dataset not in had:
            trip.requests += 1
            records, now = trip.client.leaderboard(dataset), trip.now()
            found = read_leaderboard(dataset, records, now)
            if records and not found:
                raise HubReplyError(
                    f"No row of the leaderboard {dataset} has a model and a score; the first of "
                    f"{len(records)} is {records[0]!r:.200}. Leave it out until that is mended."
                )
            trip.run.leaderboard(dataset, found, now)
        trip.progress("leaderboards", done, len(datasets))


def changes(trip: Trip, since: float | None, known: bool) -> None:
    """Fetch what was modified `since`, newest first; with `known`, only what the catalogue has.

    Notes the newest modification as `mark`, from which the next sync goes on. None fetches nothing
    but that.
    """
    if trip.run.place("changes").get("done"):
        return
    size = endpoints.LARGEST_PAGE if since is not None else 1
    for page, models in trip.walk("changes", sort="lastModified", page_size=size):
        place = trip.run.place("changes")
        newest = [min(_modified(model), page.fetched.timestamp()) for model in models]
        mark = place.get("mark") or max(newest, default=None)  # never a date to come
        fresh = [] if since is None else [m for m in models if _modified(m) >= since - OVERLAP]
        done = page.next is None or len(fresh) < len(models)
        kept = [model for model in fresh if not known or trip.run.knows(model.key)]
        count = place.get("count", 0) + len(kept)
        place = {"cursor": page.next, "mark": mark, "count": count, "done": done}
        trip.run.models(kept, "changes", place)
        trip.progress("changes", count, None)
        if done:
            return


def _modified(model: Model) -> float:
    """Return when a model was modified, in seconds since 1970; long ago where unknown."""
    return 0.0 if model.modified is None else model.modified.timestamp()


def listed(trip: Trip, most: int | None) -> None:
    """Fetch the most downloaded models, or with None all there are, the oldest first.

    Notes the downloads of the last one as `floor`: what had more and did not come has vanished.
    """
    if trip.run.place("listed").get("done"):
        return
    size = endpoints.LARGEST_PAGE if most is None else min(most, endpoints.LARGEST_PAGE)
    order = {"sort": "createdAt", "ascending": True} if most is None else {"sort": "downloads"}
    for page, models in trip.walk("listed", page_size=size, **order):
        count = trip.run.place("listed").get("count", 0)
        kept = models if most is None else models[: most - count]
        count += len(kept)
        place = {
            "cursor": page.next,
            "count": count,
            "floor": kept[-1].downloads if kept else None,
            "ended": page.next is None and len(kept) == len(models),
            "done": page.next is None or count == most,
        }
        trip.run.models(kept, "listed", place)
        trip.progress("listed", count, most)
        if place["done"]:
            return


def served(trip: Trip) -> None:
    """Fetch what providers serve, with prices."""
    if trip.run.place("served").get("done"):
        return
    trip.requests += 1
    records, now = trip.client.served(), trip.now()
    found = read_served(records, now)
    trip.progress("served", len(found), len(found))
    trip.run.served(found, now.timestamp(), {"done": True})


def wanted(trip: Trip, names: Sequence[str]) -> list[str]:
    """Fetch the models of these names that are not known yet; return those that nobody finds."""
    asked = trip.run.unknown(names)
    missing = []
    for name, found in trip.look(asked, "wanted", expand=endpoints.DEFAULT_EXPAND):
        if isinstance(found, HubMissingError):
            missing.append(name)
        else:
            trip.run.models([found], "wanted", {})
    return missing


def scans(trip: Trip, most: int) -> None:
    """Fetch what scanners say of the most downloaded models; they say it one model at a time."""
    scanned = set(trip.run.keys("scan"))
    names = [name for key, name in trip.run.popular(most) if key not in scanned]
    for _, found in trip.look(names, "scans", there=True, security=True):
        if not isinstance(found, HubMissingError):
            facts = {name: found.facts[name] for name in _SCANNED if name in found.facts}
            trip.run.scan(found, facts)


def vanished(trip: Trip, most: int) -> None:
    """Ask for models that were not listed where they should have been; who is gone is noted."""
    place = trip.run.place("listed")
    suspects = trip.run.suspects(place.get("floor"), most, every=place["ended"])
    keys = {name: key for key, name in suspects}

    def keep(name: str, found: Model) -> None:
        trip.run.models([found], "vanished", {})
        if name in keys and found.key != keys[name]:  # the name means another model now
            trip.run.gone(keys[name], name, trip.now().timestamp())

    for name in _absent(trip, keys, "vanished", keep):
        trip.run.gone(keys[name], name, trip.now().timestamp())


def bases(trip: Trip, most: int, absent: Collection[str], *, listing: bool) -> None:
    """Fetch bases that nobody here is, the most wanted first, then their own; at most so many.

    After a listing, those that others wait for as well. Whom the Hub does not have is noted as
    `absent`; those known to be are not asked for.
    """
    asked = {*absent, *trip.run.place("bases").get("absent", ())}

    def keep(name: str, found: Model) -> None:
        place = trip.run.place("bases")
        if found.name.casefold() != name.casefold():
            trip.run.alias(name, found)
        place["count"] = place.get("count", 0) + (name in names)
        trip.run.models([found], "bases", place)

    while True:
        left = most - trip.run.place("bases").get("count", 0)
        names = [name for name in trip.run.baseless(listing) if name not in asked][:left]
        if not names:
            return
        asked.update(names)
        none = _absent(trip, names, "bases", keep)
        place = trip.run.place("bases")
        place["count"] = place.get("count", 0) + len(none)
        place["absent"] = sorted(none.union(place.get("absent", ())))
        trip.run.models([], "bases", place)


def _absent(
    trip: Trip, names: Collection[str], stage: str, keep: Callable[[str, Model], None]
) -> set[str]:
    """Ask for models, keep what is found, and return whom the Hub does not have.

    To strangers the Hub says of a missing model what it says of a bad login. So whoever seems gone
    is asked for twice, the second time together with a model that was listed just now.
    """
    missing = list(_seek(trip, names, stage, keep))
    if not missing:
        return set()
    there = [name for _, name in trip.run.popular(1)]
    gone = set(_seek(trip, [*missing, *there], stage, keep))
    if not gone.isdisjoint(there):
        raise HubAccessError(
            f"The Hub says that it has no model {there[0]}, which it has listed just now, so "
            "it is believed of no other. Check the token and the endpoint, and try again."
        )
    return gone


def _seek(
    trip: Trip, names: Collection[str], stage: str, keep: Callable[[str, Model], None]
) -> Iterator[str]:
    """Ask for models and yield those that nobody finds; what is found is kept."""
    for name, found in trip.look(names, stage, expand=endpoints.DEFAULT_EXPAND):
        if isinstance(found, HubMissingError):
            yield name
        else:
            keep(name, found)


@dataclass
class Trip:
    """What the stages of one sync share; `requests` are questions to the Hub, without retries."""

    client: HubClient
    run: Run
    now: Callable[[], datetime]
    progress: Progress
    requests: int = 0
    unreadable: int = 0
    unanswered: list[str] = field(default_factory=list)

    def walk(self, stage: str, **question: Any) -> Iterator[tuple[Page, list[Model]]]:  # noqa: ANN401 - as `HubClient.pages` takes it
        """Yield the pages of a listing from where the stage is, each with its models.

        A place that the Hub knows no more is given up for the beginning.
        """
        cursor = self.run.place(stage).get("cursor")
        pages = self.client.pages(**question, cursor=cursor)
        while True:
            self.requests += 1
            try:
                page = next(pages, None)
            except HubError as error:
                if cursor is None or error.status != 400:
                    raise
                pages, cursor = self.client.pages(**question), None
                self.run.models([], stage, {})
                continue
            if page is None:
                return
            cursor = None
            yield page, self._read(page)

    def _read(self, page: Page) -> list[Model]:
        """Return the models of a page; a record without a name or `_id` is counted and left out."""
        found = [_readable(record, page.fetched) for record in page.records]
        models = [model for model in found if model is not None]
        self.unreadable += len(found) - len(models)
        if found and not models:
            read_model(page.records[0], page.fetched)  # says what is wrong
        return models

    def look(
        self,
        names: Collection[str],
        stage: str,
        *,
        there: bool = False,
        **question: Any,  # noqa: ANN401 - as `HubClient.models` takes it
    ) -> Iterator[tuple[str, Model | HubMissingError]]:
        """Yield what the Hub says of each model, in the order of the answers.

        A model for which there is no answer is left as it is, and named in `unanswered`; for one
        that is known to be `there`, "there is none" is no answer.

        Raises:
            HubError: more than a tenth had no answer, or the error concerns more than one.
        """
        names = [name for name in names if self._is_name(name)]
        failed: list[str] = []
        error: HubError | None = None
        for done, (name, answer) in enumerate(self.client.models(names, **question), 1):
            self.requests += 1
            self.progress(stage, done, len(names))
            try:
                missing = isinstance(answer, HubMissingError) and not there
                found = cast("HubMissingError", answer) if missing else self._one(answer)
            except _GENERAL:
                raise
            except HubError as odd:
                error = odd
                failed.append(name)
            else:
                yield name, found
        if error is not None and len(failed) > FEW * len(names):
            raise error
        self.unanswered += failed

    def _is_name(self, name: str) -> bool:
        """Return whether a name can be asked for; providers and odd Hubs have others as well."""
        try:
            endpoints.model(self.client.settings, name)
        except InputError:
            return False
        return True

    def _one(self, answer: Record | HubError) -> Model:
        if isinstance(answer, HubError):
            raise answer
        return read_model(answer, self.now())


def _readable(record: Record, seen: datetime) -> Model | None:
    try:
        return read_model(record, seen)
    except HubReplyError:
        return None


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)
