"""One question from its first attempt to its value, as steps that a driver takes.

A generator yields `Ask` (send this, give me the answer) and `Wait` (let these seconds pass); the
thread and the event loop differ in how they do that, and in nothing else.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tryage.errors import HubError, HubOfflineError, HubQuotaError, HubReplyError
from tryage.hub.client.pacing import Quota
from tryage.hub.client.protocol import Again, Call, Done, Elsewhere, Fewer, Lost, Reply, judge

if TYPE_CHECKING:
    from tryage.hub.client.settings import HubSettings

T = TypeVar("T")
MOVES = 5  # a repository renamed more often than this goes in circles


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
