"""One sync's way through its stages: the questions it asks, and how it takes the answers."""

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
from tryage.hub.client import calls
from tryage.hub.facts.reading import read_model

if TYPE_CHECKING:
    from tryage.hub.client.calls import Page
    from tryage.hub.client.threads import HubClient
    from tryage.hub.facts.model import Model
    from tryage.hub.facts.wire import Record
    from tryage.hub.sync.run import Run

# Told after each step: the stage, how much of it is done, and how much there is, None if unknown.
Progress = Callable[[str, int, int | None], object]

FEW = 0.1  # of the models asked for: so many may stay without an answer, for reasons of their own
_GENERAL = (HubAccessError, HubOfflineError, HubQuotaError)  # they concern more than one model


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
            calls.model(self.client.settings, name)
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
