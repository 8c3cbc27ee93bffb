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

Params = tuple[tuple[str, str], ...]

BUSY = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524})

MOVED = frozenset({301, 302, 303, 307, 308})

_VALID = re.compile(r"(?:expected|must be)\b(.*)", re.IGNORECASE | re.DOTALL)

MOVES = 5  # a repository renamed more often than this goes in circles

RESERVE = 0.1  # of the window's quota: from here on requests are spread, so that none is refused

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds

_NUMBERS = re.compile(r"\b([rtqw])\s*=\s*(\d{1,9})\b")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that arrived whole: its status, its headers in lower case, its bytes, and when."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received: datetime


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer, or half of one: `reason` in a few words, `begun` when its head had arrived."""

    reason: str
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A question: an address, its parameters, and how to read the answer.

    `repo` is the repository it asks about, if it asks about one. `read` gets the reply and its
    JSON, and raises HubReplyError when the shape is wrong.
    """

    url: str
    params: Params
    read: Callable[[Reply, Any], T]
    repo: str | None = None
    listing: bool = False

    @property
    def asked(self) -> str:
        """The question for messages: its address without parameters, which may be long."""
        return self.url

    def without(self, names: frozenset[str]) -> Call[T]:
        """Return the call without these values of `expand`."""
        kept = tuple(p for p in self.params if p[0] != "expand" or p[1] not in names)
        return replace(self, params=kept)


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The value that was asked for."""

    value: T


@dataclass(frozen=True, slots=True)
class Again:
    """Ask again after this many seconds; when no attempt is left, raise `error`."""

    after: float
    error: HubError


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The same question at the address where the repository is now."""

    url: str


@dataclass(frozen=True, slots=True)
class Fewer:
    """The same question without what this Hub does not know."""

    unknown: frozenset[str]


def judge(
    call: Call[T], answer: Reply | Lost, *, attempt: int, luck: float, token: bool
) -> Done[T] | Again | Elsewhere | Fewer:
    """Say what to do with an answer to the attempt of this number, counted from 0.

    `luck` in [0, 1) shifts the pause before a further attempt; `token` says whether one was sent.

    Raises:
        HubError: an answer that asking again would not change.
    """
    wait = pause(attempt, luck)
    if isinstance(answer, Lost):
        kind = HubReplyError if answer.begun else HubError
        return Again(wait, kind(f"{call.asked}: {answer.reason}{_nth(attempt)}"))
    if answer.status == 200:
        try:
            return Done(call.read(answer, _json(answer)))
        except HubReplyError as error:
            return Again(wait, HubReplyError(f"{call.asked}: {error}{_nth(attempt)}"))
    if answer.status in MOVED:
        return Elsewhere(_moved(call, answer))
    if answer.status == 429 or answer.status in BUSY:
        return _busy(call, answer, wait, attempt)
    unknown = _unknown(call, answer) if answer.status == 400 else frozenset()
    if unknown:
        return Fewer(unknown)
    raise _refusal(call, answer, token=token)


def _busy(call: Call[Any], reply: Reply, wait: float, attempt: int) -> Again:
    """Ask again when the Hub says so, and never sooner than the growing pause."""
    asked = retry_after(reply.headers, reply.received) if _speaks_of_waiting(reply) else None
    message = f"{_said(call, reply)}{_nth(attempt)}"
    error = HubQuotaError(message, asked) if reply.status == 429 else HubError(message)
    return Again(max(wait, asked or 0.0), error)


def _speaks_of_waiting(reply: Reply) -> bool:
    """Whether the headers ask to wait; the reset of a quota that is not used up does not."""
    return reply.status == 429 or "retry-after" in reply.headers


def _nth(attempt: int) -> str:
    return f", at attempt {attempt + 1}" if attempt else ""


def _json(reply: Reply) -> Any:  # noqa: ANN401 - JSON is anything
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):  # ValueError covers bad JSON and bad UTF-8
        start = reply.body[:40].decode("utf-8", "replace")
        raise HubReplyError(f"expected JSON, got {len(reply.body)} bytes {start!r}") from None


def _moved(call: Call[Any], reply: Reply) -> str:
    """Return where a repository is now: on the same host, because the token goes to no other."""
    place = reply.headers.get("location", "")
    try:
        url = urljoin(call.url, place)
        here, there = urlsplit(call.url), urlsplit(url)
        same = (here.scheme, here.netloc.lower()) == (there.scheme, there.netloc.lower())
    except ValueError:  # an address that is none, such as http://[
        same = False
    if not place or not same:
        raise HubReplyError(
            f"{call.asked}: sent on to {place!r:.120}, which is another host and was not asked. "
            "Set the endpoint to the address that answers."
        )
    return there._replace(query="", fragment="").geturl()


def _unknown(call: Call[Any], reply: Reply) -> frozenset[str]:
    """Return the values of `expand` that a 400 does not list as valid ones."""
    listed = _VALID.search(_message(reply))
    valid = set(re.findall(r"[\w-]+", listed[1])) if listed else set()
    wanted = {value for name, value in call.params if name == "expand"}
    return frozenset(wanted - valid) if len(valid) > 2 else frozenset()


def _refusal(call: Call[Any], reply: Reply, *, token: bool) -> HubError:
    """Return the error for a status that asking again would not change."""
    code = reply.headers.get("x-error-code", "")
    said = _said(call, reply)
    if code == "GatedRepo":
        return HubAccessError(f"{said}. Accept its terms on the Hub, then ask with your token.")
    vanished = call.repo is not None and not token and not code
    if reply.status == 404 or code == "RepoNotFound" or (reply.status == 401 and vanished):
        return HubMissingError(f"{said}. It is gone, private, or the name is wrong.")
    if reply.status in {401, 403}:
        hint = "Check the token" if token else "Give a token"
        return HubAccessError(f"{said}. {hint} (HF_TOKEN, or `hf auth login`).")
    error = HubError(said)
    error.status = reply.status
    return error


def _said(call: Call[Any], reply: Reply) -> str:
    return f"{call.asked}: the Hub answered {reply.status}{_reason(reply)}"


def _reason(reply: Reply) -> str:
    """Return the Hub's own words in one short line, or nothing."""
    words = " ".join(_message(reply).split()).rstrip(".")
    return f" ({words[:200]})" if words else ""


def _message(reply: Reply) -> str:
    """Return an error's whole message: the header's, else the JSON's; of a web page nothing."""
    head = reply.headers.get("x-error-message", "")
    try:
        said = json.loads(reply.body)
    except (ValueError, RecursionError):
        return head
    error = said.get("error") if isinstance(said, dict) else None
    return head or (error if isinstance(error, str) else json.dumps(error) if error else "")


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a GET to this address and give its answer."""

    url: str
    params: tuple[tuple[str, str], ...]
    headers: Mapping[str, str] = field(repr=False)  # they hold the token


@dataclass(frozen=True, slots=True)
class Wait:
    """Let this many seconds pass."""

    seconds: float


Steps = Generator[Ask | Wait, Reply | Lost | None, T]


class Exchange:
    """What a client keeps between questions: the quota of each host, and what a Hub does not know.

    Safe to use from many threads. `clock` counts seconds from anywhere, `luck` gives numbers in
    [0, 1).
    """

    def __init__(
        self, settings: HubSettings, clock: Callable[[], float], luck: Callable[[], float]
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._luck = luck
        self._quotas: dict[str, Quota] = {}
        self._unknown: dict[bool, frozenset[str]] = {}  # a listing knows less than a single model
        self._lock = threading.Lock()

    def steps(self, call: Call[T]) -> Steps[T]:
        """Yield what to do for one question, and return its value.

        Raises:
            HubError: offline, refused, or unanswered after all attempts.
        """
        try:
            return (yield from self._steps(call))
        except HubError as error:  # some servers say what they were sent
            secret = self.settings.token or "\0"
            error.args = tuple(str(arg).replace(secret, "***") for arg in error.args)
            raise

    def _steps(self, call: Call[T]) -> Steps[T]:
        self._refuse_offline(call)
        call = call.without(self._unknown.get(call.listing, frozenset()))
        token = self._sends_token(call)
        attempt = moves = 0
        while True:
            answer = yield from self._ask(call)
            verdict = judge(call, answer, attempt=attempt, luck=self._luck(), token=token)
            if isinstance(verdict, Done):
                return verdict.value
            if isinstance(verdict, Again):
                yield self._pause(verdict, attempt)
                attempt += 1
            elif isinstance(verdict, Elsewhere):
                call, moves = replace(call, url=verdict.url), moves + 1
                if moves > MOVES:
                    raise HubReplyError(f"{call.asked}: sent on {moves} times, in circles")
            else:
                call = self._with_fewer(call, verdict)

    def _refuse_offline(self, call: Call[Any]) -> None:
        if self.settings.offline:
            raise HubOfflineError(
                f"{call.asked} was not asked: this is offline. Unset HF_HUB_OFFLINE, or make the "
                "client with HubSettings(offline=False)."
            )

    def _ask(self, call: Call[Any]) -> Generator[Ask | Wait, Reply | Lost | None, Reply | Lost]:
        """Wait for quota, ask, and note what the answer says of it."""
        host = urlsplit(call.url).netloc
        seconds = self._take(host)
        if seconds > self.settings.patience:
            raise HubQuotaError(f"{call.asked} was not asked: {_used_up(seconds)}", seconds)
        if seconds > 0:
            yield Wait(seconds)
        answer = yield Ask(call.url, call.params, self._headers(call))
        if answer is None:
            raise RuntimeError("a driver gives an answer to every Ask")
        if isinstance(answer, Reply):
            self._note(host, answer)
        return answer

    def _take(self, host: str) -> float:
        with self._lock:
            quota = self._quotas.get(host)
            if quota is None:
                return 0.0
            seconds, self._quotas[host] = quota.take(self._clock())
            return seconds

    def _note(self, host: str, reply: Reply) -> None:
        stated = Quota.from_headers(reply.headers, self._clock())
        if stated is not None:
            with self._lock:
                known = self._quotas.get(host)
                self._quotas[host] = stated if known is None else known.seen(stated)

    def _pause(self, again: Again, attempt: int) -> Wait:
        """Return the wait before a further attempt, or raise when there is none."""
        if attempt >= self.settings.retries or again.after > self.settings.patience:
            raise again.error
        return Wait(again.after)

    def _with_fewer(self, call: Call[T], fewer: Fewer) -> Call[T]:
        """Drop what this Hub does not know, for good, and say so once."""
        with self._lock:
            known = self._unknown.get(call.listing, frozenset())
            self._unknown[call.listing] = known | fewer.unknown
        if not fewer.unknown <= known:
            warnings.warn(
                f"The Hub at {self.settings.endpoint} does not know "
                f"{', '.join(sorted(fewer.unknown))}; going on without.",
                RuntimeWarning,
                stacklevel=1,
            )
        return call.without(fewer.unknown)

    def _sends_token(self, call: Call[Any]) -> bool:
        """Whether the token goes along: only to the endpoint's own host."""
        here, there = urlsplit(call.url), urlsplit(self.settings.endpoint)
        same = (here.scheme, here.netloc) == (there.scheme, there.netloc)
        return same and self.settings.token is not None

    def _headers(self, call: Call[Any]) -> dict[str, str]:
        from tryage import __version__

        headers = {"User-Agent": f"tryage/{__version__}", "Accept": "application/json"}
        if self._sends_token(call):
            headers["Authorization"] = f"Bearer {self.settings.token}"
        return headers


def _used_up(seconds: float) -> str:
    return (
        f"the quota is used up for another {seconds:.0f} s, longer than `patience`. Wait, give a "
        "token for a larger quota, or raise HubSettings(patience=...)."
    )


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a window: `remaining` requests until `reset`, the next not before `opens`.

    Times are seconds on the caller's clock. `limit` requests per `window` seconds are known when
    the Hub stated its policy.
    """

    remaining: int
    reset: float
    opens: float
    limit: int | None = None
    window: float | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], now: float) -> Quota | None:
        """Read `RateLimit: "api";r=499;t=295` and `RateLimit-Policy`; None without the first.

        Header names are lower case. Source: the Hub's documentation of its rate limits, after
        draft-ietf-httpapi-ratelimit-headers.
        """
        state = _numbers(headers.get("ratelimit", ""))
        policy = _numbers(headers.get("ratelimit-policy", ""))
        if not state.keys() >= {"r", "t"}:
            return None
        return cls(state["r"], now + state["t"], now, policy.get("q"), policy.get("w"))

    def wait(self, now: float) -> float:
        """Return the seconds until one more request may be sent."""
        return self.take(now)[0]

    def take(self, now: float) -> tuple[float, Quota]:
        """Return the seconds to wait for one more request, and the quota after it.

        Requests go at once while more than a tenth of the quota is left; the last tenth is spread
        over the rest of the window; with nothing left the next goes when the window resets.
        """
        start = max(now, self.opens)
        quota = self if start < self.reset and self.remaining > 0 else self._renewed(start)
        start = max(start, quota.opens)
        left = quota.remaining - 1
        spread = left < RESERVE * (quota.limit or 0)
        gap = (quota.reset - start) / quota.remaining if spread else 0.0
        return start - now, replace(quota, remaining=left, opens=start + gap)

    def _renewed(self, now: float) -> Quota:
        """Return the next window; without a stated policy, one that lets a single request see."""
        begin = max(now, self.reset)
        return replace(
            self, remaining=self.limit or 1, reset=begin + (self.window or 0), opens=begin
        )

    def seen(self, later: Quota) -> Quota:
        """Return what both say: in one window the count only falls, whatever order replies take."""
        if later.reset > self.reset + 2:  # whole seconds, rounded: one window differs by up to one
            return later
        return replace(
            later,
            remaining=min(self.remaining, later.remaining),
            opens=max(self.opens, later.opens),
        )


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that a refusal asks to wait (`Retry-After`, else `RateLimit`'s t)."""
    asked = headers.get("retry-after", "").strip()
    if asked.isdecimal() and len(asked) < 10:
        return float(asked)
    try:
        when = parsedate_to_datetime(asked)
    except (TypeError, ValueError):
        left = _numbers(headers.get("ratelimit", "")).get("t")
        return None if left is None else float(left)
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - now).total_seconds())


def pause(attempt: int, luck: float) -> float:
    """Return the seconds before a further attempt: doubling, capped, half of it left to `luck`.

    `attempt` counts from 0, `luck` is in [0, 1). Source: "equal jitter", Brooker, Exponential
    Backoff And Jitter (AWS Architecture Blog, 2015).
    """
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 10)) * (0.5 + luck / 2)


def _numbers(text: str) -> dict[str, int]:
    """Return the numbers of the first item in a header of either kind."""
    return {name: int(value) for name, value in _NUMBERS.findall(text.partition(",")[0])}
