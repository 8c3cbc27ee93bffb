"""`HubClient`: read-only requests to the Hub, from any number of threads.

with HubClient() as hub:
    for page in hub.pages(task="text-generation", filters=["license:mit"]):
        print(len(page.records), page.next_cursor)
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, cast

from tryage.core.redaction import redact
from tryage.core.validation import check_integer
from tryage.errors import HubError
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
    from tryage.hub.record import HubRecord

T = TypeVar("T")

_logger = logging.getLogger("tryage.hub")

MAX_BODY_BYTES = (
    256 * 2**20
)  # bytes after decompression; a page of a thousand models has a few million

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class HubClient:
    """Reads from the Hub; one client serves any number of threads.

    Nothing is opened before the first request. Use the client in a `with` block, or call `close`.

    Args:
        settings: Where the Hub is and which token to send; read from the environment by default.
        sleep: Waits for a number of seconds; by default `close` ends the wait early.
        clock: Counts seconds, for the rate limit.
        jitter: Gives numbers in [0, 1) that scatter the pauses before further attempts.

    Raises:
        InputError: a variable of the environment holds an invalid address or token.
        HubAccessError: huggingface_hub found a token and could not renew it.
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

    # --- requests ---------------------------------------------------------------------------

    def pages(  # noqa: PLR0913 - one argument for each filter of the Hub
        self,
        *,
        filters: Sequence[str] = (),
        search: str | None = None,
        author: str | None = None,
        task: str | None = None,
        sort: str = "downloads",
        ascending: bool = False,
        gated: bool | None = None,
        expand: Sequence[str] = endpoints.DEFAULT_EXPAND,
        page_size: int = endpoints.MAX_PAGE_SIZE,
        cursor: str | None = None,
    ) -> Iterator[Page]:
        """Yield the pages of a listing of models; each is fetched when it is asked for.

        Args:
            filters: Tags that a model must have, such as "pytorch", "en" or "license:mit".
            search: A part of the name.
            author: The owner.
            task: The Hub's pipeline tag.
            sort: One of `endpoints.HUB_SORTS`, the highest first.
            ascending: The lowest first instead.
            gated: Only models that ask for an agreement, or only those that do not.
            expand: The fields of each record.
            page_size: Records of a page.
            cursor: The `next_cursor` of an earlier page: the listing continues from there, and
                the other arguments are ignored.

        Raises:
            InputError: an unknown sort, a page size out of range, or a cursor of no page.
            HubError: offline, refused, or without an answer after all attempts.
        """
        request = endpoints.list_models_request(
            self.settings,
            filters=filters,
            search=search,
            author=author,
            task=task,
            sort=sort,
            ascending=ascending,
            gated=gated,
            expand=expand,
            page_size=page_size,
            cursor=cursor,
        )
        return self._iter_pages(request)

    def _iter_pages(self, request: HubRequest[Page] | None) -> Iterator[Page]:
        while request is not None:
            page = self.send(request)
            yield page
            request = endpoints.next_page_request(self.settings, page)

    def model(
        self, name: str, *, security: bool = False, expand: Sequence[str] | None = None
    ) -> HubRecord:
        """Return the Hub's record of one model; a renamed one has its new name in `id`.

        `security` adds the state of its scans (`securityRepoStatus`); `expand` names the fields
        instead of the usual ones.

        Raises:
            InputError: an invalid name, or `security` together with `expand`.
            HubMissingError: the model does not exist, or the token may not see it.
            HubError: offline, refused, or without an answer after all attempts.
        """
        return self.send(
            endpoints.model_request(self.settings, name, security=security, expand=expand)
        )

    def leaderboard(self, dataset: str) -> list[HubRecord]:
        """Return a benchmark's results, the best first, without models that have a base model.

        Raises:
            InputError: an invalid name.
            HubMissingError: there is no such data set, or it has no leaderboard.
            HubError: offline, refused, or without an answer after all attempts.
        """
        return self.send(endpoints.leaderboard_request(self.settings, dataset))

    def served_models(self) -> list[HubRecord]:
        """Return the models that inference providers serve, with prices, context and latency.

        Raises:
            HubError: offline, refused, or without an answer after all attempts.
        """
        return self.send(endpoints.served_models_request(self.settings))

    def iter_models(
        self,
        names: Iterable[str],
        *,
        security: bool = False,
        expand: Sequence[str] | None = None,
        concurrency: int = 8,
    ) -> Iterator[tuple[str, HubRecord | HubError]]:
        """Yield each name with its record, or with the error, in the order of the answers.

        At most `concurrency` models are fetched at the same time; the next name is then read.

        Raises:
            InputError: an invalid name, or a concurrency below 1.
        """
        pool = ThreadPoolExecutor(check_integer("concurrency", concurrency, 1), "tryage-hub")
        name_iterator = iter(names)
        pending: set[Future[tuple[str, HubRecord | HubError]]] = set()

        def fetch(name: str) -> tuple[str, HubRecord | HubError]:
            try:
                return name, self.model(name, security=security, expand=expand)
            except HubError as error:
                return name, error

        try:
            while True:
                free_slots = concurrency - len(pending)
                pending |= {pool.submit(fetch, name) for name in islice(name_iterator, free_slots)}
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def send(self, request: HubRequest[T]) -> T:
        """Send one request, with retries and pauses, and return its parsed answer.

        Raises:
            HubError: offline, refused, or without an answer after all attempts.
        """
        steps = self._flow.steps(request)
        response: HubResponse | NoResponse | None = None
        while True:
            try:
                step = steps.send(response)
            except StopIteration as stop:
                return cast("T", stop.value)
            if isinstance(step, Send):
                response = self._get(step)
            else:
                response = None
                if step.reason:
                    _logger.warning(
                        "%s; the next attempt is in %.1f s.", step.reason.rstrip("."), step.seconds
                    )
                self._sleep(step.seconds)

    # --- the connection ---------------------------------------------------------------------

    def _get(self, step: Send) -> HubResponse | NoResponse:
        reader = _LimitedBodyReader(self.settings.timeout)
        try:
            with (
                self._http_client() as http,
                http.stream("GET", step.url, params=step.params, headers=step.headers) as response,
            ):
                reader.headers_received = True
                for chunk in response.iter_bytes():
                    reader.add(chunk)
                return reader.to_response(response)
        except Exception as error:  # noqa: BLE001 - raised again unless the network is at fault
            return reader.to_no_response(error, self.settings.token)

    @contextmanager
    def _http_client(self) -> Iterator[httpx.Client]:
        """Count the active requests: closing a connection during a read would block the reader.

        Raises:
            HubError: the client is closed.
        """
        with self._lock:
            if self._closed.is_set():
                raise HubError("this client is closed; make a new one.")
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
        """Wake the threads that wait, refuse new requests, and close all connections.

        Requests that are active in other threads end by themselves, and the last one closes the
        connections. Closing twice does no harm.
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
    """Return a client that follows no redirect and connects to the local machine without a proxy.

    `protocol.py` follows redirects, and never sends the token to another host.
    """
    import httpx

    return httpx.Client(
        timeout=settings.timeout,
        verify=_ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        follow_redirects=False,
        mounts=dict.fromkeys((f"all://{host}" for host in LOOPBACK_HOSTS), None),
    )


@cache
def _ssl_context(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Read the certificates once for each file and folder: reading takes longer than a request.

    httpx reads the two variables by itself; as arguments they are the key of the cache.
    """
    del file, folder
    import httpx

    return httpx.create_ssl_context()


@dataclass(slots=True)
class _LimitedBodyReader:
    """Collects one answer, up to `MAX_BODY_BYTES` and for at most `timeout` seconds."""

    timeout: float
    headers_received: bool = False
    body: bytearray = field(default_factory=bytearray)
    started_at: float = field(default_factory=time.monotonic)

    def add(self, chunk: bytes) -> None:
        """Append some bytes.

        Raises:
            OverflowError: the answer is too long.
            TimeoutError: the answer takes too long.
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

    def to_no_response(self, error: Exception, token: str | None) -> NoResponse:
        """Return a short reason why there is no answer, in which the token is masked.

        Raises:
            Exception: the same error again, when neither the network nor the Hub is at fault.
        """
        import httpx

        if isinstance(error, (TimeoutError, httpx.TimeoutException)):
            return NoResponse(f"no answer within {self.timeout:g} s")
        if isinstance(error, (OverflowError, httpx.HTTPError)):
            reason = " ".join(redact(str(error), token).split()) or type(error).__name__
            return NoResponse(
                f"no whole answer ({reason:.200})", headers_received=self.headers_received
            )
        raise error
