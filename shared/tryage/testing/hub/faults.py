"""Faults that a test can cause: each is a small callable.

A fault gets the request and `answer`, which makes the Hub's own response, and returns the response
to send. Any function with these parameters can be passed to `LocalHub.fail`.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tryage.testing.hub.http import (
    DROP_CONNECTION,
    FakeRequest,
    FakeResponse,
    error_response,
    gated_repo_response,
    missing_repo_response,
    rate_limited_response,
)
from tryage.testing.hub.routes import rate_limit_bucket, rate_limit_headers

Fault: TypeAlias = Callable[[FakeRequest, Callable[[], FakeResponse]], FakeResponse]

Predicate: TypeAlias = Callable[[FakeRequest], bool]


@dataclass(frozen=True)
class TooManyRequests:
    """429 as the Hub sends it: no requests are left for the next `after` seconds.

    With `retry_after` it also has the `Retry-After` header.
    """

    after: int = 1
    retry_after: bool = True

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Refuse the request and do not process it."""
        del answer
        headers = rate_limit_headers(rate_limit_bucket(request.path), 0, self.after, 500, 300)
        if self.retry_after:
            headers["Retry-After"] = str(self.after)
        response = rate_limited_response(request)
        return replace(response, headers={**response.headers, **headers})


@dataclass(frozen=True)
class ServerError:
    """500, 502, 503 or 504, with the page of a proxy as its body."""

    status: int = 500

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Fail and do not process the request."""
        del request, answer
        body = f"<html><head><title>{self.status}</title></head></html>".encode()
        return FakeResponse(self.status, body, {"Content-Type": "text/html; charset=utf-8"})


@dataclass(frozen=True)
class Slow:
    """The right response, `seconds` late: before its first byte, or inside its body."""

    seconds: float
    inside: bool = False

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Respond late."""
        del request
        if self.inside:
            return replace(answer(), stall_seconds=self.seconds)
        time.sleep(self.seconds)
        return answer()


@dataclass(frozen=True)
class Truncated:
    """The right headers and a `share` of the body; then the connection closes."""

    share: float = 0.5

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Truncate the body."""
        del request
        response = answer()
        return replace(response, truncate_at=int(len(response.body) * self.share))


@dataclass(frozen=True)
class WrongJson:
    """200 and a body that is not JSON, although its length is right."""

    body: bytes = b'[{"id": "broken/json", '

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Respond with invalid JSON."""
        del request, answer
        return FakeResponse(200, self.body, {"Content-Type": "application/json; charset=utf-8"})


@dataclass(frozen=True)
class WrongShape:
    """200 and JSON of an unexpected shape."""

    value: object = field(default_factory=lambda: {"unexpected": [None, 1, "two"]})

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Respond with the value."""
        del request, answer
        body = json.dumps(self.value).encode()
        return FakeResponse(200, body, {"Content-Type": "application/json; charset=utf-8"})


@dataclass(frozen=True)
class ConnectionDropped:
    """The connection closes before the first header."""

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Process the request, then close the connection."""
        del request
        return replace(answer(), truncate_at=DROP_CONNECTION)


@dataclass(frozen=True)
class Unauthorized:
    """401, as for an unknown token."""

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Refuse the token."""
        del request, answer
        return error_response(401, "Invalid credentials in Authorization header")


class RepositoryFault(ABC):
    """A fault of one repo, or of every repo if `name` is None."""

    name: str | None

    @abstractmethod
    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Return the response to send."""

    def applies_to(self, request: FakeRequest) -> bool:
        """Return whether the request is about this repo: its metadata, its files or its LFS."""
        if self.name is None:
            return True
        path = "/".join(request.parts).removeprefix("api/models/")
        return path == self.name or path.startswith((f"{self.name}/", f"{self.name}.git/"))


@dataclass(frozen=True)
class Gated(RepositoryFault):
    """The refusal of a gated repo: 401 without a token, 403 for an account without access."""

    name: str | None = None

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Refuse the files."""
        del answer
        return gated_repo_response(self.name or "/".join(request.parts), request.token)


@dataclass(frozen=True)
class RepositoryDeleted(RepositoryFault):
    """A repo that listings still show but that was deleted or made private a moment ago."""

    name: str

    def __call__(self, request: FakeRequest, answer: Callable[[], FakeResponse]) -> FakeResponse:
        """Respond that there is no such repo."""
        del answer
        return missing_repo_response(request.token)


@dataclass
class Scheduled:
    """A planned fault: of the requests for which `when` holds, `skip` pass, then `times` are hit.

    With `times` None it hits all of them. `hits` counts the requests that it has hit.
    """

    fault: Fault
    when: Predicate
    times: int | None = 1
    skip: int = 0
    hits: int = 0

    @property
    def left(self) -> int | None:
        """The number of requests that it will still hit; None means all."""
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
    """Plan a fault; without `when` it applies to its own repo, or else to every request."""
    if when is None:
        when = fault.applies_to if isinstance(fault, RepositoryFault) else _any_request
    return Scheduled(fault, when, times, skip)


def _any_request(request: FakeRequest) -> bool:
    del request
    return True
