"""What stands before every request: keys of clients, size, load of the server, slow clients."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from tryage_server.errors import error_response
from tryage_server.response_delay import ResponseDelay
from tryage_server.telemetry import METRICS_PATH

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tryage_server.settings import ServerSettings

_log = logging.getLogger(__name__)

_GUARDED = "/v1/"


class SlowClientError(Exception):
    """The client does not read its answer."""


class LimitMiddleware:
    """Refuses requests without a key, that are too large, or for which the server has no time.

    A client that does not send the rest of its request, or does not read its answer, is given up,
    so that it does not keep the place of others. Health and readiness need no key, so that what
    watches the server needs none.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app, self._settings = app, settings
        self._keys = [key.encode() for key in settings.keys]
        self._n_requests = 0
        self._delay = ResponseDelay(lambda: self._n_requests > 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path.startswith(_GUARDED) or path == METRICS_PATH):
            await self._app(scope, receive, send)
            return
        if path == METRICS_PATH and self._has_key(_authorization(scope)):
            await self._app(scope, receive, send)  # also while too many requests are answered
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        self._n_requests += 1
        self._delay.watch()
        try:
            body = _LimitedBody(receive, self._settings)
            await self._app(scope, body, _TimedSend(send, self._settings.client_seconds))
        except SlowClientError:
            _log.warning("A client has not read its answer; its connection is closed.")
        finally:
            self._n_requests -= 1

    def _refusal(self, scope: Scope) -> Response | None:
        """Return why a request is refused, None if it is not."""
        headers = dict(scope["headers"])
        if not self._has_key(_authorization(scope)):
            advice = "Send a key: Authorization: Bearer <key>."
            return error_response(401, advice, "invalid_api_key")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._settings.max_body:
            return error_response(413, too_large(self._settings.max_body))
        return self._overload()

    def _overload(self) -> Response | None:
        """Return the refusal of a server with too much to do.

        What it has taken is answered in time, because it takes no more.
        """
        if self._n_requests >= self._settings.max_requests:
            message = f"{self._n_requests} requests are being answered; ask again in a second."
        elif (seconds := self._delay.seconds) > self._settings.max_delay:
            message = f"The server is {seconds:.2g} seconds late; ask again in a second."
        else:
            return None
        return error_response(503, message, headers={"Retry-After": "1"})

    def _has_key(self, authorization: bytes) -> bool:
        if not self._keys:
            return True
        scheme, _, rest = authorization.strip().partition(b" ")
        given = rest.strip() if scheme.lower() == b"bearer" else authorization.strip()
        # All keys are compared, in constant time, so that the time tells nothing.
        return sum([hmac.compare_digest(given, key) for key in self._keys]) > 0


def _authorization(scope: Scope) -> bytes:
    value: bytes = dict(scope["headers"]).get(b"authorization", b"")
    return value


class _LimitedBody:
    """Receives a body, and raises when it becomes too large or its next part does not come."""

    def __init__(self, receive: Receive, settings: ServerSettings) -> None:
        self._receive, self._left, self._max_body = receive, settings.max_body, settings.max_body
        self._seconds, self._is_whole = settings.client_seconds, False

    async def __call__(self) -> Message:
        message = await self._next()
        self._is_whole = not message.get("more_body", False)
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, too_large(self._max_body))
        return message

    async def _next(self) -> Message:
        if self._is_whole:  # what comes next is that the client is gone, whenever that is
            return await self._receive()
        try:
            return await asyncio.wait_for(self._receive(), self._seconds)
        except asyncio.TimeoutError:
            raise HTTPException(408, "The rest of the request has not come.") from None


class _TimedSend:
    """Sends an answer, and raises when its client does not read it."""

    def __init__(self, send: Send, seconds: float) -> None:
        self._send, self._seconds = send, seconds

    async def __call__(self, message: Message) -> None:
        try:
            await asyncio.wait_for(self._send(message), self._seconds)
        except asyncio.TimeoutError:
            raise SlowClientError from None


def too_large(max_body: int) -> str:
    """Return what is said of a body that is too large."""
    return f"The body is larger than {max_body:,} bytes."
