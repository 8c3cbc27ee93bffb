"""What can go wrong on the way, on demand: each fault is a small callable.

A fault is given the request and `answer`, which makes the Hub's own reply, and returns the reply to
send. Any function of that shape can be passed to `LocalHub.fail`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tryage.testing.hub.http import (
    FakeRequest,
    FakeResponse,
    error_response,
    gated_repo_response,
    missing_repo_response,
    rate_limited_response,
)
from tryage.testing.hub.routes import rate_limit_headers

Fault = Callable[[FakeRequest, Callable[[], FakeResponse]], FakeResponse]

Predicate = Callable[[FakeRequest], bool]


@dataclass(frozen=True)
class TooManyRequests:
    """429 as the Hub says it: nothing left, and `after` seconds until there is.

    `retry_after` sends the header of that name as well.
    """

    after: int = 1
    retry_after: bool = True

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Refuse without looking."""
        del answer
        bucket = "resolvers" if "/resolve/" in request.path else "api"
        told = rate_limit_headers(bucket, 0, self.after, 500, 300)
        if self.retry_after:
            told["Retry-After"] = str(self.after)
        reply = rate_limited_response(request)
        return replace(reply, headers={**reply.headers, **told})


@dataclass(frozen=True)
class ServerError:
    """500, 502, 503 or 504, with the page of a proxy as its body."""

    status: int = 500

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Fail without looking."""
        del request, answer
        body = f"<html><head><title>{self.status}</title></head></html>".encode()
        return FakeResponse(self.status, body, {"Content-Type": "text/html; charset=utf-8"})


@dataclass(frozen=True)
class Slow:
    """The right answer, `seconds` late: before its first byte, or in the middle of the body."""

    seconds: float
    inside: bool = False

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Answer late."""
        del request
        if self.inside:
            return replace(answer(), stall_seconds=self.seconds)
        time.sleep(self.seconds)
        return answer()


@dataclass(frozen=True)
class Truncated:
    """The right headers, then only a `share` of the body before the connection closes."""

    share: float = 0.5

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Cut the body."""
        del request
        reply = answer()
        return replace(reply, truncate_at=int(len(reply.body) * self.share))


@dataclass(frozen=True)
class WrongJson:
    """200 and a body that is not JSON, complete by its length."""

    body: bytes = b'[{"id": "broken/json", '

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Answer nonsense."""
        del request, answer
        return FakeResponse(200, self.body, {"Content-Type": "application/json; charset=utf-8"})


@dataclass(frozen=True)
class WrongShape:
    """200 and JSON of a shape that nobody expects."""

    value: object = field(default_factory=lambda: {"unexpected": [None, 1, "two"]})

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Answer something else."""
        del request, answer
        body = json.dumps(self.value).encode()
        return FakeResponse(200, body, {"Content-Type": "application/json; charset=utf-8"})


@dataclass(frozen=True)
class ConnectionDropped:
    """The connection closes before the first header."""

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Hang up; what was asked for has been done all the same."""
        del request
        return replace(answer(), truncate_at=-1)


@dataclass(frozen=True)
class Unauthorized:
    """401 for a token that the Hub does not know."""

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Refuse the caller."""
        del request, answer
        return error_response(401, "Invalid credentials in Authorization header")


@dataclass(frozen=True)
class Gated:
    """The refusal of a gated repo: 401 to strangers, 403 to those who were not granted access."""

    name: str | None = None

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Refuse the files."""
        del answer
        return gated_repo_response(self.name or "/".join(request.parts), request.token)

    def concerns(self, request: FakeRequest) -> bool:
        """Return whether the request is for this repo; without a name, any is."""
        return self.name is None or _is_about_repo(self.name, request)


@dataclass(frozen=True)
class RepositoryDeleted:
    """A repo that listings still show and nobody finds: it was deleted or made private just now."""

    name: str

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Say that there is no such repo."""
        del answer
        return missing_repo_response(request.token)

    def concerns(self, request: FakeRequest) -> bool:
        """Return whether the request is for this repo."""
        return _is_about_repo(self.name, request)


def _is_about_repo(name: str, request: FakeRequest) -> bool:
    path = "/".join(request.parts).removeprefix("api/models/")
    return path == name or path.startswith((f"{name}/", f"{name}.git/"))


@dataclass
class Scheduled:
    """A fault that waits for its requests: `skip` of them pass first, then `times` are hit."""

    fault: Fault
    when: Predicate
    times: int | None = 1
    skip: int = 0
    hits: int = 0

    @property
    def left(self) -> int | None:
        """How many requests it will still hit; None is all."""
        return None if self.times is None else self.times - self.hits

    def try_hit(self, request: FakeRequest) -> bool:
        """Return whether it hits this request, and count."""
        if self.left == 0 or not self.when(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True


def schedule(
    fault: Fault, when: Predicate | None = None, times: int | None = 1, skip: int = 0
) -> Scheduled:
    """Return a fault with its aim: the one given, else its own, else every request."""
    aim = when or getattr(fault, "concerns", None) or (lambda _: True)
    return Scheduled(fault, aim, times, skip)
