"""The client of the Hub for threads.

with HubClient() as hub:
    for page in hub.pages(task="text-generation", filters=["license:mit"]):
        print(len(page.records), page.next)
"""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache, wraps
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from tryage.errors import HubError, InputError
from tryage.hub import endpoints
from tryage.hub.protocol import HubResponse, NoResponse, RequestFlow, Send
from tryage.hub.settings import HubSettings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import httpx
    from typing_extensions import Self

    from tryage.hub.endpoints import Page
    from tryage.hub.protocol import HubRequest
    from tryage.hub.record import Record

T = TypeVar("T")

MAX_BODY_BYTES = 256 * 2**20  # bytes once unpacked; a page of a thousand models has a few million

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def asks(
    question: Callable[Concatenate[HubSettings, P], HubRequest[T]],
    by: Callable[[C, HubRequest[T]], R],
) -> Callable[Concatenate[C, P], R]:
    """Make a question of calls.py, with its arguments and its words, a method that asks it."""

    @wraps(question)
    def method(self: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return by(self, question(self.settings, *args, **kwargs))

    return method


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
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings or HubSettings.from_environment()
        self._flow = RequestFlow(self.settings, clock, jitter)
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._lock = threading.Lock()
        self._active_requests = 0
        self._http: httpx.Client | None = None

    def send(self, request: HubRequest[T]) -> T:
        """Ask one question and return its answer.

        Raises:
            HubError: offline, refused, or unanswered after all attempts.
        """
        steps = self._flow.steps(request)
        response: HubResponse | NoResponse | None = None
        while True:
            try:
                step = steps.send(response)
            except StopIteration as done:
                return cast("T", done.value)
            if isinstance(step, Send):
                response = self._get(step)
            else:
                response = None
                self._sleep(step.seconds)

    def iter_pages(self, first: HubRequest[Page]) -> Iterator[Page]:
        """Yield a page and those after it; each is fetched when it is asked for."""
        request: HubRequest[Page] | None = first
        while request is not None:
            page = self.send(request)
            yield page
            request = endpoints.next_page_request(self.settings, page)

    pages = asks(endpoints.list_models_request, iter_pages)
    model = asks(endpoints.model_request, send)
    security = asks(endpoints.security_request, send)
    leaderboard = asks(endpoints.leaderboard_request, send)
    served_models = asks(endpoints.served_models_request, send)

    def iter_models(
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
        pool = ThreadPoolExecutor(check_concurrency(concurrency), "tryage-hub")
        remaining = iter(names)
        pending: set[Future[tuple[str, Record | HubError]]] = set()

        def fetch(name: str) -> tuple[str, Record | HubError]:
            try:
                return name, self.model(name, security=security, expand=expand)
            except HubError as error:
                return name, error

        try:
            while True:
                room = concurrency - len(pending)
                pending |= {pool.submit(fetch, name) for name in islice(remaining, room)}
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _get(self, step: Send) -> HubResponse | NoResponse:
        reader = LimitedBodyReader(self.settings.timeout)
        try:
            with (
                self._http_client() as http,
                http.stream("GET", step.url, params=step.params, headers=step.headers) as response,
            ):
                reader.headers_received = True
                for chunk in response.iter_bytes():
                    reader.add(chunk)
                return reader.to_response(response)
        except Exception as error:  # noqa: BLE001 - all but the network's faults are raised again
            return reader.to_no_response(error)

    @contextmanager
    def _http_client(self) -> Iterator[httpx.Client]:
        """Count who is under way: a connection closed under a reader would leave it waiting."""
        with self._lock:
            raise_if_closed(closed=self._closed.is_set())
            self._http = http = self._http or _open_http_client(self.settings)
            self._active_requests += 1
        try:
            yield http
        finally:
            with self._lock:
                self._active_requests -= 1
                self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed.is_set() and self._http is not None and not self._active_requests:
            self._http.close()

    def close(self) -> None:
        """Wake whoever waits for quota, refuse new questions, and close all connections.

        What is under way in other threads ends by itself; the last one closes. Twice does no harm.
        """
        with self._lock:
            self._closed.set()
            self._close_if_unused()

    def __enter__(self) -> Self:
        """Return the client; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self.close()


def _open_http_client(settings: HubSettings) -> httpx.Client:
    import httpx

    return httpx.Client(**httpx_options(settings))


class Client(Protocol):
    """Whatever has settings."""

    @property
    def settings(self) -> HubSettings:
        """Where the Hub is, and who asks."""


P = ParamSpec("P")

R = TypeVar("R")

C = TypeVar("C", bound=Client)


def check_concurrency(concurrency: int) -> int:
    """Return how many questions may be under way, or say that nothing could be."""
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise InputError(f"concurrency must be a whole number from 1, got {concurrency!r:.80}.")
    return concurrency


def raise_if_closed(*, closed: bool) -> None:
    """Raise when the client was closed."""
    if closed:
        raise HubError("this client is closed; make a new one.")


def httpx_options(settings: HubSettings) -> dict[str, Any]:
    """Return the arguments for httpx.Client or httpx.AsyncClient.

    Redirects are followed by protocol.py, which keeps the token at home; a proxy of the
    environment is no way to one's own machine.
    """
    return {
        "timeout": settings.timeout,
        "verify": _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        "follow_redirects": False,
        "mounts": dict.fromkeys((f"all://{host}" for host in LOOPBACK_HOSTS), None),
    }


@cache
def _ssl_context(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Read the certificates once: it takes longer than a question, and clients are many in tests.

    httpx finds the two variables by itself; as arguments they say for which values this counts.
    """
    del file, folder
    import httpx

    return httpx.create_ssl_context()


@dataclass(slots=True)
class LimitedBodyReader:
    """Takes in one answer: no more bytes than fit, and none after the deadline."""

    timeout: float
    headers_received: bool = False
    body: bytearray = field(default_factory=bytearray)
    started_at: float = field(default_factory=time.monotonic)

    def add(self, chunk: bytes) -> None:
        """Take in some bytes.

        Raises:
            OverflowError: there are too many.
            TimeoutError: they took longer than an answer may.
        """
        self.body += chunk
        if len(self.body) > MAX_BODY_BYTES:
            raise OverflowError(f"more than {MAX_BODY_BYTES} bytes")
        if time.monotonic() - self.started_at > self.timeout:
            raise TimeoutError

    def to_response(self, response: httpx.Response) -> HubResponse:
        """Return the whole answer."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        return HubResponse(
            response.status_code, headers, bytes(self.body), datetime.now(timezone.utc)
        )

    def to_no_response(self, error: Exception) -> NoResponse:
        """Say in a few words why there is no answer; the error itself holds the token.

        Raises:
            Exception: the same again, when it is no fault of the network or of the Hub.
        """
        import httpx

        if isinstance(error, (TimeoutError, httpx.TimeoutException)):
            return NoResponse(f"no answer within {self.timeout:g} s")
        if isinstance(error, (OverflowError, httpx.HTTPError)):
            said = " ".join(str(error).split()) or type(error).__name__
            return NoResponse(
                f"no whole answer ({said:.200})", headers_received=self.headers_received
            )
        raise error
