"""The client of the Hub for threads.

with HubClient() as hub:
    for page in hub.pages(task="text-generation", filters=["license:mit"]):
        print(len(page.records), page.next)
"""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, cast

from tryage.errors import HubError
from tryage.hub.client import calls
from tryage.hub.client.exchange import Ask, Exchange
from tryage.hub.client.methods import asks, at_once, refuse
from tryage.hub.client.settings import HubSettings
from tryage.hub.client.transport import Intake, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import httpx
    from typing_extensions import Self

    from tryage.hub.client.calls import Page
    from tryage.hub.client.protocol import Call, Lost, Reply
    from tryage.hub.facts.wire import Record

T = TypeVar("T")


class HubClient:
    """Asks the Hub from one thread or from many at once.

    Nothing is opened before the first question; use it in a `with`, or call `close`. Without
    settings those of the environment count, as they are now. `sleep` lets seconds pass (by itself
    until then, or until `close`), `clock` counts them, `luck` in [0, 1) scatters further attempts.

    Raises:
        InputError: the environment holds what is no address or no token.
    """

    def __init__(
        self,
        settings: HubSettings | None = None,
        *,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings or HubSettings.from_environment()
        self._exchange = Exchange(self.settings, clock, luck)
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._door = threading.Lock()
        self._under_way = 0
        self._http: httpx.Client | None = None

    def ask(self, call: Call[T]) -> T:
        """Ask one question and return its answer.

        Raises:
            HubError: offline, refused, or unanswered after all attempts.
        """
        steps = self._exchange.steps(call)
        answer: Reply | Lost | None = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                return cast("T", done.value)
            if isinstance(step, Ask):
                answer = self._send(step)
            else:
                answer = None
                self._sleep(step.seconds)

    def walk(self, first: Call[Page]) -> Iterator[Page]:
        """Yield a page and those after it; each is fetched when it is asked for."""
        call: Call[Page] | None = first
        while call is not None:
            page = self.ask(call)
            yield page
            call = calls.following(self.settings, page)

    pages = asks(calls.listing, walk)
    model = asks(calls.model, ask)
    security = asks(calls.security, ask)
    leaderboard = asks(calls.leaderboard, ask)
    served = asks(calls.served, ask)

    def models(
        self,
        names: Iterable[str],
        *,
        security: bool = False,
        expand: Sequence[str] | None = None,
        concurrency: int = 8,
    ) -> Iterator[tuple[str, Record | HubError]]:
        """Yield each name with what the Hub says of it, or why not, in the order of the answers.

        Names are taken as answers leave room for them, at most `concurrency` at a time.

        Raises:
            InputError: no possible name, or a concurrency below 1.
        """
        pool = ThreadPoolExecutor(at_once(concurrency), "tryage-hub")
        waiting = iter(names)
        going: set[Future[tuple[str, Record | HubError]]] = set()

        def look(name: str) -> tuple[str, Record | HubError]:
            try:
                return name, self.model(name, security=security, expand=expand)
            except HubError as error:
                return name, error

        try:
            while True:
                room = concurrency - len(going)
                going |= {pool.submit(look, name) for name in islice(waiting, room)}
                if not going:
                    return
                done, going = wait(going, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, ask: Ask) -> Reply | Lost:
        intake = Intake(self.settings.timeout)
        try:
            with (
                self._opened() as http,
                http.stream("GET", ask.url, params=ask.params, headers=ask.headers) as head,
            ):
                intake.begun = True
                for chunk in head.iter_bytes():
                    intake.add(chunk)
                return intake.reply(head)
        except Exception as error:  # noqa: BLE001 - all but the network's faults are raised again
            return intake.lost(error)

    @contextmanager
    def _opened(self) -> Iterator[httpx.Client]:
        """Count who is under way: a connection closed under a reader would leave it waiting."""
        with self._door:
            refuse(closed=self._closed.is_set())
            self._http = http = self._http or _open(self.settings)
            self._under_way += 1
        try:
            yield http
        finally:
            with self._door:
                self._under_way -= 1
                self._close_when_alone()

    def _close_when_alone(self) -> None:
        if self._closed.is_set() and self._http is not None and not self._under_way:
            self._http.close()

    def close(self) -> None:
        """Wake whoever waits for quota, refuse new questions, and close all connections.

        What is under way in other threads ends by itself; the last one closes. Twice does no harm.
        """
        with self._door:
            self._closed.set()
            self._close_when_alone()

    def __enter__(self) -> Self:
        """Return the client; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self.close()


def _open(settings: HubSettings) -> httpx.Client:
    import httpx

    return httpx.Client(**options(settings))
