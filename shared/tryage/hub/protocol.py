"""What one answer of the Hub means: a value, another attempt, another address, or an error.

Nothing here sends, sleeps or reads a clock: `RequestFlow` says what to do, and `HubClient` does it.
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
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urljoin, urlsplit

from tryage.core.redaction import mask_known
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

MAX_REDIRECTS = 5  # more redirects than this are a circle, not a repository that was renamed

RESERVED_SHARE = (
    0.1  # of a window's requests: these are spread over time, so that the Hub refuses no request
)

MIN_REPORTED_WAIT = 5.0  # seconds; a person wants to know why a longer wait is needed

INITIAL_BACKOFF, MAX_BACKOFF = 0.5, 30.0  # seconds

_VALID_FIELDS = re.compile(r"(?:expected|must be)\b(.*)", re.IGNORECASE | re.DOTALL)

_HEADER_NUMBERS = re.compile(r"\b([rtqw])\s*=\s*(\d{1,9})\b")


# --- requests and answers -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HubResponse:
    """A complete answer: status, headers with names in lower case, bytes, and when it arrived."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class NoResponse:
    """No complete answer; `reason` says why in a few words."""

    reason: str
    headers_received: bool = False


@dataclass(frozen=True, slots=True)
class HubRequest(Generic[T]):
    """A GET request: address, parameters, and how to read the answer.

    `parse` gets the response and its JSON, and raises HubReplyError when the shape is wrong.
    `repo_id` is the repository that the request is about, if it is about a repository.
    """

    url: str
    params: QueryParams
    parse: Callable[[HubResponse, Any], T]
    repo_id: str | None = None
    is_listing: bool = False

    def without_expand(self, names: frozenset[str]) -> HubRequest[T]:
        """Return the request without these values of `expand`."""
        params = tuple(p for p in self.params if p[0] != "expand" or p[1] not in names)
        return replace(self, params=params)


@dataclass(frozen=True, slots=True)
class Send:
    """A step: send a GET to this address and give back its answer."""

    url: str
    params: QueryParams
    headers: Mapping[str, str] = field(repr=False)  # they hold the token


@dataclass(frozen=True, slots=True)
class Sleep:
    """A step: wait this many seconds; `reason` tells a person why, "" for a short wait."""

    seconds: float
    reason: str = ""


RequestSteps = Generator[Send | Sleep, HubResponse | NoResponse | None, T]


# --- one request, from its first attempt to its value ---------------------------------------


class RequestFlow:
    """The steps of every request, and what is remembered between requests.

    It remembers the rate limit of each host and the fields that this Hub does not know. Threads may
    share it.

    Args:
        settings: Where the Hub is, and which token to send.
        clock: Counts seconds from any start.
        jitter: Gives numbers in [0, 1).
    """

    def __init__(
        self, settings: HubSettings, clock: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._jitter = jitter
        self._rate_limits: dict[str, RateLimit] = {}
        # By `is_listing`: a listing knows fewer fields than the page of a single model.
        self._unknown_fields: dict[bool, frozenset[str]] = {}
        self._lock = threading.Lock()

    def steps(self, request: HubRequest[T]) -> RequestSteps[T]:
        """Yield the steps of one request, and return its value.

        Raises:
            HubError: offline, refused, or without an answer after all attempts.
        """
        try:
            return (yield from self._steps(request))
        except HubError as error:  # some servers repeat what was sent to them
            error.args = tuple(mask_known(str(arg), self.settings.token) for arg in error.args)
            raise

    def _steps(self, request: HubRequest[T]) -> RequestSteps[T]:
        self._raise_if_offline(request)
        request = request.without_expand(self._unknown_fields.get(request.is_listing, frozenset()))
        token_sent = self._sends_token(request)
        attempt = redirects = 0
        while True:
            response = yield from self._send_within_limit(request)
            outcome = classify_response(
                request, response, attempt=attempt, jitter=self._jitter(), token_sent=token_sent
            )
            if isinstance(outcome, Success):
                return outcome.value
            if isinstance(outcome, Retry):
                yield self._backoff(outcome, attempt)
                attempt += 1
            elif isinstance(outcome, Redirect):
                redirects += 1
                request = _follow(request, outcome, redirects)
            else:
                request = self._drop_fields(request, outcome)

    def _raise_if_offline(self, request: HubRequest[Any]) -> None:
        if self.settings.offline:
            raise HubOfflineError(
                f"{request.url} was not asked: this is offline. Unset HF_HUB_OFFLINE, or make the "
                "client with HubSettings(offline=False)."
            )

    def _send_within_limit(
        self, request: HubRequest[Any]
    ) -> Generator[Send | Sleep, HubResponse | NoResponse | None, HubResponse | NoResponse]:
        """Wait for the rate limit, send, and update the rate limit from the answer."""
        host = urlsplit(request.url).netloc
        seconds = self._acquire(host)
        if seconds > self.settings.max_wait:
            raise HubQuotaError(f"{request.url} was not asked: {_quota_message(seconds)}", seconds)
        if seconds > 0:
            is_long = seconds >= MIN_REPORTED_WAIT
            yield Sleep(seconds, f"The quota of {host} is used up" if is_long else "")
        response = yield Send(request.url, request.params, self._headers(request))
        if response is None:
            raise RuntimeError("every Send needs an answer")
        if isinstance(response, HubResponse):
            self._update_rate_limit(host, response)
            return self._with_masked_error(response)
        return response

    def _with_masked_error(self, response: HubResponse) -> HubResponse:
        """Return an answer whose error does not repeat the token, before it is cut to a length."""
        token = self.settings.token
        if response.status < 400 or token is None:
            return response
        headers = {name: mask_known(value, token) for name, value in response.headers.items()}
        body = mask_known(response.body.decode("utf-8", "replace"), token).encode()
        return replace(response, headers=headers, body=body)

    def _acquire(self, host: str) -> float:
        """Count one more request to this host, and return the seconds to wait before it."""
        with self._lock:
            rate_limit = self._rate_limits.get(host)
            if rate_limit is None:
                return 0.0
            seconds, self._rate_limits[host] = rate_limit.acquire(self._clock())
            return seconds

    def _update_rate_limit(self, host: str, response: HubResponse) -> None:
        new_limit = RateLimit.from_headers(response.headers, self._clock())
        if new_limit is not None:
            with self._lock:
                old_limit = self._rate_limits.get(host)
                self._rate_limits[host] = (
                    new_limit if old_limit is None else old_limit.merge(new_limit)
                )

    def _backoff(self, retry: Retry, attempt: int) -> Sleep:
        """Return the pause before the next attempt, or raise when no attempt is left."""
        if attempt >= self.settings.retries or retry.wait_seconds > self.settings.max_wait:
            raise retry.error
        # One failed attempt is usual; after a second one a person wants to know.
        reason = mask_known(str(retry.error), self.settings.token) if attempt else ""
        return Sleep(retry.wait_seconds, reason)

    def _drop_fields(self, request: HubRequest[T], outcome: DropFields) -> HubRequest[T]:
        """Remember the fields that this Hub does not know, warn once, and leave them out."""
        with self._lock:
            old_fields = self._unknown_fields.get(request.is_listing, frozenset())
            self._unknown_fields[request.is_listing] = old_fields | outcome.fields
        if not outcome.fields <= old_fields:
            warnings.warn(
                f"The Hub at {self.settings.endpoint} does not know "
                f"{', '.join(sorted(outcome.fields))}; continuing without.",
                RuntimeWarning,
                stacklevel=1,
            )
        return request.without_expand(outcome.fields)

    def _sends_token(self, request: HubRequest[Any]) -> bool:
        """Return whether the token is sent: only to the endpoint's own host."""
        request_parts, endpoint_parts = urlsplit(request.url), urlsplit(self.settings.endpoint)
        is_same_host = (request_parts.scheme, request_parts.netloc) == (
            endpoint_parts.scheme,
            endpoint_parts.netloc,
        )
        return is_same_host and self.settings.token is not None

    def _headers(self, request: HubRequest[Any]) -> dict[str, str]:
        headers = {"User-Agent": _user_agent(), "Accept": "application/json"}
        if self._sends_token(request):
            headers["Authorization"] = f"Bearer {self.settings.token}"
        return headers


@cache
def _user_agent() -> str:
    try:
        return f"tryage/{version('tryage')}"
    except PackageNotFoundError:  # imported from a folder, without being installed
        return "tryage"


def _quota_message(seconds: float) -> str:
    return (
        f"the quota is used up for another {seconds:.0f} s, longer than `max_wait`. Wait, give a "
        "token for a larger quota, or raise HubSettings(max_wait=...)."
    )


def _follow(request: HubRequest[T], redirect: Redirect, count: int) -> HubRequest[T]:
    if count > MAX_REDIRECTS:
        raise HubReplyError(f"{redirect.url}: redirected {count} times, in a circle")
    return replace(request, url=redirect.url)


# --- what one answer means ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Success(Generic[T]):
    """The value that was asked for."""

    value: T


@dataclass(frozen=True, slots=True)
class Retry:
    """Send again after `wait_seconds`; when no attempt is left, raise `error`."""

    wait_seconds: float
    error: HubError


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the same request to the address where the repository is now."""

    url: str


@dataclass(frozen=True, slots=True)
class DropFields:
    """Send the same request without the fields that this Hub does not know."""

    fields: frozenset[str]


def classify_response(
    request: HubRequest[T],
    response: HubResponse | NoResponse,
    *,
    attempt: int,
    jitter: float,
    token_sent: bool,
) -> Success[T] | Retry | Redirect | DropFields:
    """Return what to do after the answer to one attempt, counted from 0.

    `jitter` in [0, 1) scatters the pause before a further attempt.

    Raises:
        HubError: an answer that another attempt would not change.
    """
    wait = backoff_seconds(attempt, jitter)
    if isinstance(response, NoResponse):
        error_class = HubReplyError if response.headers_received else HubError
        return Retry(
            wait, error_class(f"{request.url}: {response.reason}{_attempt_suffix(attempt)}")
        )
    if response.status == 200:
        try:
            return Success(request.parse(response, _parse_body(response)))
        except HubReplyError as error:
            return Retry(wait, HubReplyError(f"{request.url}: {error}{_attempt_suffix(attempt)}"))
    if response.status in REDIRECT_STATUSES:
        return Redirect(_redirect_url(request, response))
    if response.status == 429 or response.status in RETRYABLE_STATUSES:
        return _retry_with_pause(request, response, wait, attempt)
    unknown_fields = _unknown_fields(request, response) if response.status == 400 else frozenset()
    if unknown_fields:
        return DropFields(unknown_fields)
    raise _error_for_status(request, response, token_sent=token_sent)


def _attempt_suffix(attempt: int) -> str:
    return f", at attempt {attempt + 1}" if attempt else ""


def _parse_body(response: HubResponse) -> Any:  # noqa: ANN401 - JSON holds any type
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError):  # ValueError covers bad JSON and bad UTF-8
        prefix = response.body[:40].decode("utf-8", "replace")
        raise HubReplyError(f"expected JSON, got {len(response.body)} bytes {prefix!r}") from None


def _redirect_url(request: HubRequest[Any], response: HubResponse) -> str:
    """Return where a repository is now; another host is refused, so that it gets no token."""
    location = response.headers.get("location", "")
    try:
        url = urljoin(request.url, location)
        request_parts, target_parts = urlsplit(request.url), urlsplit(url)
        is_same_host = (request_parts.scheme, request_parts.netloc.lower()) == (
            target_parts.scheme,
            target_parts.netloc.lower(),
        )
    except ValueError:  # not an address, such as http://[
        is_same_host = False
    if not location or not is_same_host:
        raise HubReplyError(
            f"{request.url}: redirected to {location!r:.120}, which is another host and was not "
            "asked. Set the endpoint to the address that answers."
        )
    return target_parts._replace(query="", fragment="").geturl()


def _retry_with_pause(
    request: HubRequest[Any], response: HubResponse, wait: float, attempt: int
) -> Retry:
    """Send again when the Hub says so, and never sooner than the growing pause."""
    requested_wait = (
        retry_after(response.headers, response.received_at) if _asks_to_wait(response) else None
    )
    message = f"{_describe_error(request, response)}{_attempt_suffix(attempt)}"
    error = HubQuotaError(message, requested_wait) if response.status == 429 else HubError(message)
    return Retry(max(wait, requested_wait or 0.0), error)


def _asks_to_wait(response: HubResponse) -> bool:
    """Return whether the headers ask to wait; a quota that is not used up does not."""
    return response.status == 429 or "retry-after" in response.headers


def _unknown_fields(request: HubRequest[Any], response: HubResponse) -> frozenset[str]:
    """Return the values of `expand` that a 400 does not list as valid ones."""
    match = _VALID_FIELDS.search(_error_message(response))
    valid_names = set(re.findall(r"[\w-]+", match[1])) if match else set()
    sent_names = {value for name, value in request.params if name == "expand"}
    return frozenset(sent_names - valid_names) if len(valid_names) > 2 else frozenset()


def _error_for_status(
    request: HubRequest[Any], response: HubResponse, *, token_sent: bool
) -> HubError:
    """Return the error for a status that another attempt would not change."""
    code = response.headers.get("x-error-code", "")
    message = _describe_error(request, response)
    if code == "GatedRepo":
        return HubAccessError(f"{message}. Accept its terms on the Hub, then ask with your token.")
    # To a request without a token the Hub answers 401 for a missing repository, too.
    maybe_missing = request.repo_id is not None and not token_sent and not code
    if (
        response.status == 404
        or code == "RepoNotFound"
        or (response.status == 401 and maybe_missing)
    ):
        return HubMissingError(f"{message}. It is deleted or private, or the name is wrong.")
    if response.status in {401, 403}:
        hint = "Check the token" if token_sent else "Give a token"
        return HubAccessError(f"{message}. {hint} (HF_TOKEN, or `hf auth login`).")
    error = HubError(message)
    error.status = response.status
    return error


def _describe_error(request: HubRequest[Any], response: HubResponse) -> str:
    return f"{request.url}: the Hub answered {response.status}{_short_error_message(response)}"


def _short_error_message(response: HubResponse) -> str:
    """Return the Hub's own message in one short line, or nothing."""
    words = " ".join(_error_message(response).split()).rstrip(".")
    return f" ({words[:200]})" if words else ""


def _error_message(response: HubResponse) -> str:
    """Return the message of the header, else of the JSON; nothing for a web page."""
    header_message = response.headers.get("x-error-message", "")
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return header_message
    error = body.get("error") if isinstance(body, dict) else None
    return header_message or (
        error if isinstance(error, str) else json.dumps(error) if error else ""
    )


# --- how long to wait -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What is left of a window: `remaining` requests until `resets_at`.

    The next request may be sent at `next_allowed_at`. Times are seconds on the caller's clock.
    `limit` requests per `window` seconds are known when the Hub stated its policy.
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

    def acquire(self, now: float) -> tuple[float, RateLimit]:
        """Return the seconds to wait before one more request, and the rate limit after it.

        Requests are sent at once while more than a tenth of the quota is left. The last tenth is
        spread over the rest of the window. With nothing left, the next request is sent when the
        window resets.
        """
        start = max(now, self.next_allowed_at)
        rate_limit = (
            self if start < self.resets_at and self.remaining > 0 else self._next_window(start)
        )
        start = max(start, rate_limit.next_allowed_at)
        remaining = rate_limit.remaining - 1
        is_reserved = remaining < RESERVED_SHARE * (rate_limit.limit or 0)
        spacing = (rate_limit.resets_at - start) / rate_limit.remaining if is_reserved else 0.0
        return start - now, replace(
            rate_limit, remaining=remaining, next_allowed_at=start + spacing
        )

    def _next_window(self, now: float) -> RateLimit:
        """Return the next window; without a stated policy, one of a single request."""
        start = max(now, self.resets_at)
        return replace(
            self,
            remaining=self.limit or 1,
            resets_at=start + (self.window or 0),
            next_allowed_at=start,
        )

    def merge(self, other: RateLimit) -> RateLimit:
        """Return what two answers say together, in any order of arrival.

        In one window the count only falls.
        """
        # Whole seconds, rounded: the reset of one window differs by up to one.
        if other.resets_at > self.resets_at + 2:
            return other
        return replace(
            other,
            remaining=min(self.remaining, other.remaining),
            next_allowed_at=max(self.next_allowed_at, other.next_allowed_at),
        )


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that a refusal asks to wait (`Retry-After`, else `RateLimit`'s t)."""
    header = headers.get("retry-after", "").strip()
    if header.isdecimal() and len(header) < 10:
        return float(header)
    try:
        retry_time = parsedate_to_datetime(header)
    except (TypeError, ValueError):
        seconds = _parse_numbers(headers.get("ratelimit", "")).get("t")
        return None if seconds is None else float(seconds)
    if retry_time.tzinfo is None:
        retry_time = retry_time.replace(tzinfo=timezone.utc)
    return max(0.0, (retry_time - now).total_seconds())


def backoff_seconds(attempt: int, jitter: float) -> float:
    """Return the seconds before a further attempt: doubling, capped, half of it random.

    `attempt` counts from 0, `jitter` is in [0, 1). Source: "equal jitter", Brooker, Exponential
    Backoff And Jitter (AWS Architecture Blog, 2015).
    """
    return min(MAX_BACKOFF, INITIAL_BACKOFF * 2.0 ** min(attempt, 10)) * (0.5 + jitter / 2)


def _parse_numbers(header: str) -> dict[str, int]:
    """Return the numbers by letter of the first item in a header of either kind."""
    return {name: int(value) for name, value in _HEADER_NUMBERS.findall(header.partition(",")[0])}
