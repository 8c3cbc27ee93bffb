"""The client of the Hub for an event loop; it asks the same questions as the one for threads.

async with AsyncHubClient() as hub:
    async for page in hub.pages(task="text-generation"):
        print(len(page.records), page.next)
"""

from __future__ import annotations

import asyncio
import random
import time
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, cast

from tryage.errors import HubError
from tryage.hub import endpoints
from tryage.hub.client import (
    LimitedBodyReader,
    asks,
    check_concurrency,
    httpx_options,
    raise_if_closed,
)
from tryage.hub.protocol import RequestFlow, Send
from tryage.hub.settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    import httpx
    from typing_extensions import Self

    from tryage.hub.endpoints import Page
    from tryage.hub.protocol import HubRequest, HubResponse, NoResponse
    from tryage.hub.record import Record

T = TypeVar("T")


class AsyncHubClient:
    """Asks the Hub from one event loop; the same as HubClient with `await` and `async for`.

    A cancelled question gives its connection back. `sleep` is awaited.

    Raises:
        InputError: the environment holds what is no address or no token.
    """

    def __init__(
        self,
        settings: HubSettings | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings or HubSettings.from_environment()
        self._exchange = RequestFlow(self.settings, clock, luck)
        self._sleep = sleep
        self._http: httpx.AsyncClient | None = None
        self._closed = False

    async def ask(self, call: HubRequest[T]) -> T:
        """Ask one question and return its answer; see HubClient."""
        steps = self._exchange.steps(call)
        answer: HubResponse | NoResponse | None = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                return cast("T", done.value)
            if isinstance(step, Send):
                answer = await self._send(step)
            else:
                answer = None
                await self._sleep(step.seconds)

    async def walk(self, first: HubRequest[Page]) -> AsyncIterator[Page]:
        """Yield a page and those after it; each is fetched when it is asked for."""
        call: HubRequest[Page] | None = first
        while call is not None:
            page = await self.ask(call)
            yield page
            call = endpoints.next_page_request(self.settings, page)

    pages = asks(endpoints.list_models_request, walk)
    model = asks(endpoints.model_request, ask)
    security = asks(endpoints.security_request, ask)
    leaderboard = asks(endpoints.leaderboard_request, ask)
    served = asks(endpoints.served_models_request, ask)

    async def models(
        self,
        names: Iterable[str],
        *,
        security: bool = False,
        expand: Sequence[str] | None = None,
        concurrency: int = 8,
    ) -> AsyncIterator[tuple[str, Record | HubError]]:
        """Yield each name with what the Hub says of it, or why not; see HubClient.

        Leaving the loop early cancels what is under way: wrap it in `contextlib.aclosing`.
        """
        check_concurrency(concurrency)
        waiting = iter(names)
        going: set[asyncio.Task[tuple[str, Record | HubError]]] = set()

        async def look(name: str) -> tuple[str, Record | HubError]:
            try:
                return name, await self.model(name, security=security, expand=expand)
            except HubError as error:
                return name, error

        try:
            while True:
                room = concurrency - len(going)
                going |= {asyncio.create_task(look(name)) for name in islice(waiting, room)}
                if not going:
                    return
                done, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)

    async def _send(self, ask: Send) -> HubResponse | NoResponse:
        intake = LimitedBodyReader(self.settings.timeout)
        try:
            async with self._open().stream(
                "GET", ask.url, params=ask.params, headers=ask.headers
            ) as head:
                intake.headers_received = True
                async for chunk in head.aiter_bytes():
                    intake.add(chunk)
                return intake.to_response(head)
        except Exception as error:  # noqa: BLE001 - all but the network's faults are raised again
            return intake.to_no_response(error)

    def _open(self) -> httpx.AsyncClient:
        raise_if_closed(closed=self._closed)
        if self._http is None:
            import httpx

            self._http = httpx.AsyncClient(**httpx_options(self.settings))
        return self._http

    async def aclose(self) -> None:
        """Close all connections; closing twice does no harm."""
        self._closed = True
        if self._http is not None:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client; leaving the block closes it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.aclose()
