"""What one answer of the Hub means: a value, another attempt, another address, or an error.

Nothing here sends, sleeps or reads a clock; the drivers in threads.py and loop.py do.
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urljoin, urlsplit

from tryage.errors import (
    HubAccessError,
    HubError,
    HubMissingError,
    HubOfflineError,
    HubQuotaError,
    HubReplyError,
)

if TYPE_CHECKING:
    from tryage.hub.settings import HubSettings

T = TypeVar("T")

QueryParams = tuple[tuple[str, str], ...]

RETRYABLE_STATUSES = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524})

REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})

_VALID_FIELDS = re.compile(r"(?:expected|must be)\b(.*)", re.IGNORECASE | re.DOTALL)

MAX_REDIRECTS = 5  # a repository renamed more often than this goes in circles

RESERVED_SHARE = (
    0.1  # of the window's quota: from here on requests are spread, so that none is refused
)

INITIAL_BACKOFF, MAX_BACKOFF = 0.5, 30.0  # seconds

_NUMBERS = re.compile(r"\b([rtqw])\s*=\s*(\d{1,9})\b")


@dataclass(frozen=True, slots=True)
class HubResponse:
    """An answer that arrived whole: its status, its headers in lower case, its bytes, and when."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class NoResponse:
    """No answer, or half of one: `reason` in a few words, `begun` when its head had arrived."""

    reason: str
    headers_received: bool = False


@dataclass(frozen=True, slots=True)
class HubRequest(Generic[T]):
    """A question: an address, its parameters, and how to read the answer.

    `repo` is the repository it asks about, if it asks about one. `read` gets the reply and its
    JSON, and raises HubReplyError when the shape is wrong.
    """

    url: str
    params: QueryParams
    parse: Callable[[HubResponse, Any], T]
    repo_id: str | None = None
    is_listing: bool = False

    @property
    def display_url(self) -> str:
        """The question for messages: its address without parameters, which may be long."""
        return self.url

    def without_expand(self, names: frozenset[str]) -> HubRequest[T]:
        """Return the call without these values of `expand`."""
        kept = tuple(p for p in self.params if p[0] != "expand" or p[1] not in names)
        return replace(self, params=kept)


@dataclass(frozen=True, slots=True)
class Success(Generic[T]):
    """The value that was asked for."""

    value: T


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask again after this many seconds; when no attempt is left, raise `error`."""

    wait_seconds: float
    error: HubError


@dataclass(frozen=True, slots=True)
class Redirect:
    """The same question at the address where the repository is now."""

    url: str


@dataclass(frozen=True, slots=True)
class DropFields:
    """The same question without what this Hub does not know."""

    fields: frozenset[str]


def classify_response(
    request: HubRequest[T],
    response: HubResponse | NoResponse,
    *,
    attempt: int,
    jitter: float,
    token_sent: bool,
) -> Success[T] | Retry | Redirect | DropFields:
    """Say what to do with an answer to the attempt of this number, counted from 0.

    `luck` in [0, 1) shifts the pause before a further attempt; `token` says whether one was sent.

    Raises:
        HubError: an answer that asking again would not change.
    """
    wait = backoff_seconds(attempt, jitter)
    if isinstance(response, NoResponse):
        kind = HubReplyError if response.headers_received else HubError
        return Retry(
            wait, kind(f"{request.display_url}: {response.reason}{_attempt_suffix(attempt)}")
        )
    if response.status == 200:
        try:
            return Success(request.parse(response, _parse_json(response)))
        except HubReplyError as error:
            return Retry(
                wait, HubReplyError(f"{request.display_url}: {error}{_attempt_suffix(attempt)}")
            )
    if response.status in REDIRECT_STATUSES:
        return Redirect(_redirect_url(request, response))
    if response.status == 429 or response.status in RETRYABLE_STATUSES:
        return _retry_or_fail(request, response, wait, attempt)
    unknown = _unknown_fields(request, response) if response.status == 400 else frozenset()
    if unknown:
        return DropFields(unknown)
    raise _error_for_status(request, response, token_sent=token_sent)


def _retry_or_fail(
    request: HubRequest[Any], response: HubResponse, wait: float, attempt: int
) -> Retry:
    """Ask again when the Hub says so, and never sooner than the growing pause."""
    requested_wait = (
        retry_after(response.headers, response.received_at) if _mentions_retry(response) else None
    )
    message = f"{_describe_error(request, response)}{_attempt_suffix(attempt)}"
    error = HubQuotaError(message, requested_wait) if response.status == 429 else HubError(message)
    return Retry(max(wait, requested_wait or 0.0), error)


def _mentions_retry(response: HubResponse) -> bool:
    """Whether the headers ask to wait; the reset of a quota that is not used up does not."""
    return response.status == 429 or "retry-after" in response.headers


def _attempt_suffix(attempt: int) -> str:
    return f", at attempt {attempt + 1}" if attempt else ""


def _parse_json(response: HubResponse) -> Any:  # noqa: ANN401 - JSON is anything
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):  # ValueError covers bad JSON and bad UTF-8
        start = response.body[:40].decode("utf-8", "replace")
        raise HubReplyError(f"expected JSON, got {len(response.body)} bytes {start!r}") from None


def _redirect_url(request: HubRequest[Any], response: HubResponse) -> str:
    """Return where a repository is now: on the same host, because the token goes to no other."""
    location = response.headers.get("location", "")
    try:
        url = urljoin(request.url, location)
        here, there = urlsplit(request.url), urlsplit(url)
        same = (here.scheme, here.netloc.lower()) == (there.scheme, there.netloc.lower())
    except ValueError:  # an address that is none, such as http://[
        same = False
    if not location or not same:
        raise HubReplyError(
            f"{request.display_url}: sent on to {location!r:.120}, which is another host and was not asked. "
            "Set the endpoint to the address that answers."
        )
    return there._replace(query="", fragment="").geturl()


def _unknown_fields(request: HubRequest[Any], response: HubResponse) -> frozenset[str]:
    """Return the values of `expand` that a 400 does not list as valid ones."""
    listed = _VALID_FIELDS.search(_error_message(response))
    valid = set(re.findall(r"[\w-]+", listed[1])) if listed else set()
    wanted = {value for name, value in request.params if name == "expand"}
    return frozenset(wanted - valid) if len(valid) > 2 else frozenset()


def _error_for_status(
    request: HubRequest[Any], response: HubResponse, *, token_sent: bool
) -> HubError:
    """Return the error for a status that asking again would not change."""
    code = response.headers.get("x-error-code", "")
    message = _describe_error(request, response)
    if code == "GatedRepo":
        return HubAccessError(f"{message}. Accept its terms on the Hub, then ask with your token.")
    vanished = request.repo_id is not None and not token_sent and not code
    if response.status == 404 or code == "RepoNotFound" or (response.status == 401 and vanished):
        return HubMissingError(f"{message}. It is gone, private, or the name is wrong.")
    if response.status in {401, 403}:
        hint = "Check the token" if token_sent else "Give a token"
        return HubAccessError(f"{message}. {hint} (HF_TOKEN, or `hf auth login`).")
    error = HubError(message)
    error.status = response.status
    return error


def _describe_error(request: HubRequest[Any], response: HubResponse) -> str:
    return (
        f"{request.display_url}: the Hub answered {response.status}{_short_error_message(response)}"
    )


def _short_error_message(response: HubResponse) -> str:
    """Return the Hub's own words in one short line, or nothing."""
    words = " ".join(_error_message(response).split()).rstrip(".")
    return f" ({words[:200]})" if words else ""


def _error_message(response: HubResponse) -> str:
    """Return an error's whole message: the header's, else the JSON's; of a web page nothing."""
    header_message = response.headers.get("x-error-message", "")
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return header_message
    error = body.get("error") if isinstance(body, dict) else None
    return header_message or (
        error if isinstance(error, str) else json.dumps(error) if error else ""
    )


@dataclass(frozen=True, slots=True)
class Send:
    """Send a GET to this address and give its answer."""

    url: str
    params: tuple[tuple[str, str], ...]
    headers: Mapping[str, str] = field(repr=False)  # they hold the token


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let this many seconds pass."""

    seconds: float


Steps = Generator[Send | Sleep, HubResponse | NoResponse | None, T]


class RequestFlow:
    """What a client keeps between questions: the quota of each host, and what a Hub does not know.

    Safe to use from many threads. `clock` counts seconds from anywhere, `luck` gives numbers in
    [0, 1).
    """

    def __init__(
        self, settings: HubSettings, clock: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._jitter = jitter
        self._rate_limits: dict[str, RateLimit] = {}
        self._unknown_fields: dict[
            bool, frozenset[str]
        ] = {}  # a listing knows less than a single model
        self._lock = threading.Lock()

    def steps(self, request: HubRequest[T]) -> Steps[T]:
        """Yield what to do for one question, and return its value.

        Raises:
            HubError: offline, refused, or unanswered after all attempts.
        """
        try:
            return (yield from self._steps(request))
        except HubError as error:  # some servers say what they were sent
            secret = self.settings.token or "\0"
            error.args = tuple(str(arg).replace(secret, "***") for arg in error.args)
            raise

    def _steps(self, request: HubRequest[T]) -> Steps[T]:
        self._raise_if_offline(request)
        request = request.without_expand(self._unknown_fields.get(request.is_listing, frozenset()))
        token = self._sends_token(request)
        attempt = redirects = 0
        while True:
            response = yield from self._send_within_limit(request)
            outcome = classify_response(
                request, response, attempt=attempt, jitter=self._jitter(), token_sent=token
            )
            if isinstance(outcome, Success):
                return outcome.value
            if isinstance(outcome, Retry):
                yield self._backoff(outcome, attempt)
                attempt += 1
            elif isinstance(outcome, Redirect):
                request, redirects = replace(request, url=outcome.url), redirects + 1
                if redirects > MAX_REDIRECTS:
                    raise HubReplyError(
                        f"{request.display_url}: sent on {redirects} times, in circles"
                    )
            else:
                request = self._drop_fields(request, outcome)

    def _raise_if_offline(self, request: HubRequest[Any]) -> None:
        if self.settings.offline:
            raise HubOfflineError(
                f"{request.display_url} was not asked: this is offline. Unset HF_HUB_OFFLINE, or make the "
                "client with HubSettings(offline=False)."
            )

    def _send_within_limit(
        self, request: HubRequest[Any]
    ) -> Generator[Send | Sleep, HubResponse | NoResponse | None, HubResponse | NoResponse]:
        """Wait for quota, ask, and note what the answer says of it."""
        host = urlsplit(request.url).netloc
        seconds = self._acquire(host)
        if seconds > self.settings.max_wait:
            raise HubQuotaError(
                f"{request.display_url} was not asked: {_quota_message(seconds)}", seconds
            )
        if seconds > 0:
            yield Sleep(seconds)
        response = yield Send(request.url, request.params, self._headers(request))
        if response is None:
            raise RuntimeError("a driver gives an answer to every Ask")
        if isinstance(response, HubResponse):
            self._update_rate_limit(host, response)
        return response

    def _acquire(self, host: str) -> float:
        with self._lock:
            rate_limit = self._rate_limits.get(host)
            if rate_limit is None:
                return 0.0
            seconds, self._rate_limits[host] = rate_limit.acquire(self._clock())
            return seconds

    def _update_rate_limit(self, host: str, response: HubResponse) -> None:
        stated = RateLimit.from_headers(response.headers, self._clock())
        if stated is not None:
            with self._lock:
                known = self._rate_limits.get(host)
                self._rate_limits[host] = stated if known is None else known.merge(stated)

    def _backoff(self, retry: Retry, attempt: int) -> Sleep:
        """Return the wait before a further attempt, or raise when there is none."""
        if attempt >= self.settings.retries or retry.wait_seconds > self.settings.max_wait:
            raise retry.error
        return Sleep(retry.wait_seconds)

    def _drop_fields(self, request: HubRequest[T], drop: DropFields) -> HubRequest[T]:
        """Drop what this Hub does not know, for good, and say so once."""
        with self._lock:
            known = self._unknown_fields.get(request.is_listing, frozenset())
            self._unknown_fields[request.is_listing] = known | drop.fields
        if not drop.fields <= known:
            warnings.warn(
                f"The Hub at {self.settings.endpoint} does not know "
                f"{', '.join(sorted(drop.fields))}; going on without.",
                RuntimeWarning,
                stacklevel=1,
            )
        return request.without_expand(drop.fields)

    def _sends_token(self, request: HubRequest[Any]) -> bool:
        """Whether the token goes along: only to the endpoint's own host."""
        here, there = urlsplit(request.url), urlsplit(self.settings.endpoint)
        same = (here.scheme, here.netloc) == (there.scheme, there.netloc)
        return same and self.settings.token is not None

    def _headers(self, request: HubRequest[Any]) -> dict[str, str]:
        from tryage import __version__

        headers = {"User-Agent": f"tryage/{__version__}", "Accept": "application/json"}
        if self._sends_token(request):
            headers["Authorization"] = f"Bearer {self.settings.token}"
        return headers


def _quota_message(seconds: float) -> str:
    return (
        f"the quota is used up for another {seconds:.0f} s, longer than `patience`. Wait, give a "
        "token for a larger quota, or raise HubSettings(patience=...)."
    )


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What is left of a window: `remaining` requests until `reset`, the next not before `opens`.

    Times are seconds on the caller's clock. `limit` requests per `window` seconds are known when
    the Hub stated its policy.
    """

    remaining: int
    resets_at: float
    next_allowed_at: float
    limit: int | None = None
    window: float | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], now: float) -> RateLimit | None:
        """Read `RateLimit: "api";r=499;t=295` and `RateLimit-Policy`; None without the first.

        Header names are lower case. Source: the Hub's documentation of its rate limits, after
        draft-ietf-httpapi-ratelimit-headers.
        """
        state = _parse_numbers(headers.get("ratelimit", ""))
        policy = _parse_numbers(headers.get("ratelimit-policy", ""))
        if not state.keys() >= {"r", "t"}:
            return None
        return cls(state["r"], now + state["t"], now, policy.get("q"), policy.get("w"))

    def wait_seconds(self, now: float) -> float:
        """Return the seconds until one more request may be sent."""
        return self.acquire(now)[0]

    def acquire(self, now: float) -> tuple[float, RateLimit]:
        """Return the seconds to wait for one more request, and the quota after it.

        Requests go at once while more than a tenth of the quota is left; the last tenth is spread
        over the rest of the window; with nothing left the next goes when the window resets.
        """
        start = max(now, self.next_allowed_at)
        rate_limit = (
            self if start < self.resets_at and self.remaining > 0 else self._next_window(start)
        )
        start = max(start, rate_limit.next_allowed_at)
        left = rate_limit.remaining - 1
        spread = left < RESERVED_SHARE * (rate_limit.limit or 0)
        spacing = (rate_limit.resets_at - start) / rate_limit.remaining if spread else 0.0
        return start - now, replace(rate_limit, remaining=left, next_allowed_at=start + spacing)

    def _next_window(self, now: float) -> RateLimit:
        """Return the next window; without a stated policy, one that lets a single request see."""
        begin = max(now, self.resets_at)
        return replace(
            self,
            remaining=self.limit or 1,
            resets_at=begin + (self.window or 0),
            next_allowed_at=begin,
        )

    def merge(self, later: RateLimit) -> RateLimit:
        """Return what both say: in one window the count only falls, whatever order replies take."""
        if (
            later.resets_at > self.resets_at + 2
        ):  # whole seconds, rounded: one window differs by up to one
            return later
        return replace(
            later,
            remaining=min(self.remaining, later.remaining),
            next_allowed_at=max(self.next_allowed_at, later.next_allowed_at),
        )


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that a refusal asks to wait (`Retry-After`, else `RateLimit`'s t)."""
    header = headers.get("retry-after", "").strip()
    if header.isdecimal() and len(header) < 10:
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        left = _parse_numbers(headers.get("ratelimit", "")).get("t")
        return None if left is None else float(left)
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - now).total_seconds())


def backoff_seconds(attempt: int, jitter: float) -> float:
    """Return the seconds before a further attempt: doubling, capped, half of it left to `luck`.

    `attempt` counts from 0, `luck` is in [0, 1). Source: "equal jitter", Brooker, Exponential
    Backoff And Jitter (AWS Architecture Blog, 2015).
    """
    return min(MAX_BACKOFF, INITIAL_BACKOFF * 2.0 ** min(attempt, 10)) * (0.5 + jitter / 2)


def _parse_numbers(text: str) -> dict[str, int]:
    """Return the numbers of the first item in a header of either kind."""
    return {name: int(value) for name, value in _NUMBERS.findall(text.partition(",")[0])}
