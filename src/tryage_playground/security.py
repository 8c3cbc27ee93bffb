"""What stands before every request: its name for this page, its sender and its size."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from tryage_playground.settings import PlaygroundSettings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, and no code or style within the page."""

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # an address may hold a prompt
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_FORBIDDEN_SITES = ("cross-site", "same-site")  # of the header Sec-Fetch-Site


class SecurityMiddleware:
    """Refuses requests of other pages and under other names, and limits what a page may load."""

    def __init__(self, app: ASGIApp, settings: PlaygroundSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        body = _LimitedBody(receive, self._settings.max_body)
        await self._app(scope, body, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return why a request is refused, None if it is not."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not is_own_host(host, self._settings.allowed_hosts):
            return PlainTextResponse(
                f"The page is not served under the name {host!r:.80}. Open it by its address, or "
                "start it with --allowed-host NAME.\n",
                421,
            )
        if scope["method"] not in ("GET", "HEAD") and not _is_same_origin(headers, host):
            return PlainTextResponse("Another page may not send anything to this one.\n", 403)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._settings.max_body:
            return PlainTextResponse(too_large(self._settings.max_body), 413)
        return None


def is_own_host(host: str, allowed_hosts: tuple[str, ...]) -> bool:
    """Return whether a Host header names an address, this computer, or an allowed name.

    A page elsewhere can point a name of its own at this computer (DNS rebinding), but no address.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name in {one.casefold() for one in allowed_hosts}:
            return True
        ipaddress.ip_address(name)
    except ValueError:  # no host, or another name
        return False
    return True


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Return whether the page itself sends a request, or a program that is no browser."""
    if headers.get("sec-fetch-site", "none") in _FORBIDDEN_SITES:
        return False
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == host
    except ValueError:  # no address, such as http://[
        return False


class _LimitedBody:
    """Receives a body, and raises when it becomes too large."""

    def __init__(self, receive: Receive, max_body: int) -> None:
        self._receive, self._left, self._max_body = receive, max_body, max_body

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, too_large(self._max_body))
        return message


def too_large(max_body: int) -> str:
    """Return what is said of a body that is too large."""
    return f"What was sent is larger than {max_body:,} bytes, the limit of --max-upload."
