"""What one answer of the Hub means: a value, another attempt, another address, or an error.

Nothing here sends, sleeps or reads a clock; the drivers in threads.py and loop.py do.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urljoin, urlsplit

from tryage.errors import (
    HubAccessError,
    HubError,
    HubMissingError,
    HubQuotaError,
    HubReplyError,
)
from tryage.hub.client.pacing import pause, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

T = TypeVar("T")
Params = tuple[tuple[str, str], ...]

BUSY = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524})
MOVED = frozenset({301, 302, 303, 307, 308})
_VALID = re.compile(r"(?:expected|must be)\b(.*)", re.IGNORECASE | re.DOTALL)


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
