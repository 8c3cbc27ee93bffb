"""Requests, responses and the loopback server, which sends what a fault asks for."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

DROP_CONNECTION = -1  # for `FakeResponse.truncate_at`


@dataclass(frozen=True)
class FakeRequest:
    """One request as the server read it; `path` is still percent-encoded, `query` is decoded.

    Header names are in title case, whatever the client wrote. The headers, which may hold a token,
    and the body stay out of its repr.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The target up to its question mark, percent-encoded."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The values of each parameter; `expand[]` and `expand` are the same parameter."""
        parameters: dict[str, list[str]] = {}
        for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items():
            parameters.setdefault(name.removesuffix("[]"), []).extend(values)
        return parameters

    @property
    def parts(self) -> tuple[str, ...]:
        """The decoded parts between the slashes of the path; `%2F` does not separate parts."""
        return tuple(unquote(part) for part in self.path.strip("/").split("/"))

    @property
    def base(self) -> str:
        """The address at which the client found the server."""
        return f"http://{self.headers.get('Host', '127.0.0.1')}"

    @property
    def token(self) -> str | None:
        """The bearer token, or None for an anonymous request."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        return value or None if scheme == "Bearer" else None

    def one(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Return whether a query parameter is given and is neither "false" nor "0"."""
        return name in self.query and self.one(name).lower() not in {"false", "0"}

    def json(self) -> Any:  # noqa: ANN401 - JSON may be anything
        """Return the body as JSON."""
        return json.loads(self.body or b"null")


@dataclass(frozen=True)
class FakeResponse:
    """One response, and what goes wrong while it is sent.

    `truncate_at` closes the connection after that many bytes of the body, `DROP_CONNECTION` before
    the first header. `stall_seconds` is a pause in the middle of the body.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    truncate_at: int | None = None
    stall_seconds: float = 0.0


class HttpError(Exception):
    """Ends a handler; the client gets its response."""

    def __init__(self, response: FakeResponse) -> None:
        super().__init__(response.status)
        self.response = response


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> FakeResponse:
    """Return a response with a JSON body, encoded as compactly as by the Hub."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return FakeResponse(
        status, body, {"Content-Type": "application/json; charset=utf-8"} | dict(headers or {})
    )


def next_page_headers(request: FakeRequest, cursor: str) -> dict[str, str]:
    """Return the `Link` header with the absolute address of the next page."""
    query = parse_qsl(urlsplit(request.target).query)
    pairs = [(name, value) for name, value in query if name != "cursor"]
    address = f"{request.base}{request.path}?{urlencode([*pairs, ('cursor', cursor)])}"
    return {"Link": f'<{address}>; rel="next"'}


def error_response(status: int, message: str, code: str | None = None) -> FakeResponse:
    """Return an error of the Hub: JSON, and the headers that clients read."""
    headers = {"X-Error-Code": code} if code else {}
    if message.isascii() and message.isprintable():
        headers["X-Error-Message"] = message
    return json_response({"error": message}, status, headers)


def http_error(status: int, message: str, code: str | None = None) -> HttpError:
    """Return the exception that ends a handler with this error."""
    return HttpError(error_response(status, message, code))


def rate_limited_response(request: FakeRequest) -> FakeResponse:
    """Return the Hub's response beyond the rate limit; the RateLimit headers are not in it."""
    del request
    return error_response(429, "We had to rate limit you. Please retry later.")


def missing_repo_response(token: str | None) -> FakeResponse:
    """Return the Hub's response for a repo that does not exist or is private.

    Without a token it is 401, so that it does not reveal whether a private repo exists.
    """
    if token is None:
        return error_response(401, "Invalid username or password.")
    return error_response(404, "Repository not found", "RepoNotFound")


def gated_repo_response(name: str, token: str | None) -> FakeResponse:
    """Return the Hub's response for files of a gated repo if the client has no access."""
    if token is None:
        message = f"Access to model {name} is restricted. You must have access to it and be authenticated to access it. Please log in."  # noqa: E501 - the Hub's own sentence
        return error_response(401, message, "GatedRepo")
    message = f"Access to model {name} is restricted and you are not in the authorized list."
    return error_response(403, message, "GatedRepo")


def require_token(request: FakeRequest) -> None:
    """Refuse an anonymous request with 401."""
    if request.token is None:
        raise http_error(401, "Invalid username or password.")


class LoopbackServer(ThreadingHTTPServer):
    """Serves a function from requests to responses on 127.0.0.1, one thread per connection.

    `start` serves in a thread of its own, `close` ends that; `with` does both.
    """

    daemon_threads = True
    request_queue_size = 128
    _used_ports: ClassVar[set[int]] = set()

    def __init__(self, answer: Callable[[FakeRequest], FakeResponse], port: int = 0) -> None:
        self.answer = answer
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _LoopbackHandler)

    @property
    def url(self) -> str:
        """The address of the server, without a slash at its end."""
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> Self:
        """Start to serve in a thread."""
        # The interval in seconds is also how long `close` may wait.
        run = partial(self.serve_forever, poll_interval=0.01)
        threading.Thread(target=run, daemon=True, name="LoopbackServer").start()
        return self

    def close(self) -> None:
        """Stop serving and close all connections."""
        self.shutdown()
        self.server_close()

    def __enter__(self) -> Self:
        """Start to serve in a thread."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop serving and close all connections."""
        self.close()

    def server_bind(self) -> None:
        """Bind to the given port, or to one that no server of this process had before.

        Clients keep connections by address, and those of an event loop that has ended fail.
        """
        is_any = self.server_address[1] == 0
        super().server_bind()
        while is_any and self.server_port in self._used_ports:
            self.socket.close()
            self.socket = socket.socket(self.address_family, self.socket_type)
            self.server_address = ("127.0.0.1", 0)
            super().server_bind()
        self._used_ports.add(self.server_port)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect; print any other error, because it is a bug here."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # the base class names the types of a socket

    def server_close(self) -> None:
        """Close the listening socket and every open connection."""
        super().server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _LoopbackHandler(BaseHTTPRequestHandler):
    """One connection; like the Hub's, it stays open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two packets: send the second at once
    server: LoopbackServer

    def setup(self) -> None:
        """Register the connection, so that closing the server closes it."""
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        """Unregister the connection."""
        self.server.connections.discard(self.connection)
        with suppress(OSError):  # the client may have closed it
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing: `LocalHub.requests` is the log."""

    def answer(self) -> None:
        """Read one request and write its response."""
        headers = {name.title(): value for name, value in self.headers.items()}
        request = FakeRequest(self.command, self.path, headers, self._read_body())
        response = self.server.answer(request)
        with suppress(ConnectionError):
            self._write(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the base class's names

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _write(self, response: FakeResponse) -> None:
        if response.truncate_at == DROP_CONNECTION:
            self._disconnect()
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 304:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._write_body(response)

    def _write_body(self, response: FakeResponse) -> None:
        body = response.body[: response.truncate_at]
        middle = len(body) // 2 if response.stall_seconds else len(body)
        self.wfile.write(body[:middle])
        if response.stall_seconds:
            time.sleep(response.stall_seconds)
            self.wfile.write(body[middle:])
        if response.truncate_at is not None:
            self._disconnect()

    def _disconnect(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
