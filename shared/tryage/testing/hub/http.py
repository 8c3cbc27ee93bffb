"""The loopback server: reads requests, lets faults strike, and writes replies as they are meant."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Handler(BaseHTTPRequestHandler):
    """One connection; it stays open between requests, as the Hub's does."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two packets; do not wait in between
    server: LoopbackServer

    def setup(self) -> None:
        """Remember the connection: closing the Hub closes it."""
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.server.open.discard(self.connection)
        with suppress(OSError):  # the client may be gone
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing: `LocalHub.requests` is the log."""

    def answer(self) -> None:
        """Read one request and write its reply."""
        headers = {name.title(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self._read())
        reply = self.server.answer(request)
        with suppress(ConnectionError):
            self._write(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the base's names

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _write(self, reply: Reply) -> None:
        if reply.cut == -1:
            self._hang_up()
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 304:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        body = reply.body if reply.cut is None else reply.body[: reply.cut]
        half = len(body) // 2 if reply.stall else len(body)
        self.wfile.write(body[:half])
        if reply.stall:
            time.sleep(reply.stall)
            self.wfile.write(body[half:])
        if reply.cut is not None:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class LoopbackServer(ThreadingHTTPServer):
    """Serves a function from requests to replies, on 127.0.0.1, one thread per connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: Callable[[Request], Reply], port: int = 0) -> None:
        self.answer = answer
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up; anything else is a bug of ours and is shown."""
        import sys

        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as given

    def server_close(self) -> None:
        """Close the door and every connection that is still open."""
        super().server_close()
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Request:
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
        """The values of each parameter; `expand[]` and `expand` are one."""
        found: dict[str, list[str]] = {}
        for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items():
            found.setdefault(name.removesuffix("[]"), []).extend(values)
        return found

    @property
    def parts(self) -> tuple[str, ...]:
        """The decoded pieces between the slashes of the path; `%2F` does not divide."""
        return tuple(unquote(part) for part in self.path.strip("/").split("/"))

    @property
    def base(self) -> str:
        """The address at which the client found the server."""
        return f"http://{self.headers.get('Host', '127.0.0.1')}"

    @property
    def token(self) -> str | None:
        """The bearer token, or None for an anonymous request."""
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        return value or None if kind == "Bearer" else None

    def one(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Return whether a query parameter is there and says yes."""
        return name in self.query and self.one(name).lower() not in {"false", "0"}

    def json(self) -> Any:  # noqa: ANN401 - JSON may be anything
        """Return the body as JSON."""
        return json.loads(self.body or b"null")


@dataclass(frozen=True)
class Reply:
    """One answer; a fault may `cut` it after so many bytes of its body, or `stall` it half way.

    `cut` = -1 closes the connection before a single header; `stall` is in seconds. `length` is
    what Content-Length claims, for a reply to HEAD.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: float = 0.0
    length: int | None = None


class RefusedError(Exception):
    """A handler stops here: the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def reply_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with a JSON body, encoded as compactly as the Hub does."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(
        status, body, {"Content-Type": "application/json; charset=utf-8"} | dict(headers or {})
    )


def refusal(status: int, message: str, code: str | None = None) -> Reply:
    """Return the Hub's error: JSON and, where they have one, the headers that clients read."""
    headers = {"X-Error-Code": code} if code else {}
    if message.isascii() and message.isprintable():
        headers["X-Error-Message"] = message
    return reply_json({"error": message}, status, headers)


def refuse(status: int, message: str, code: str | None = None) -> RefusedError:
    """Return the exception that answers with this refusal."""
    return RefusedError(refusal(status, message, code))


def too_many(request: Request) -> Reply:
    """Return what the Hub says beyond the quota; the RateLimit headers tell until when."""
    del request
    return refusal(429, "We had to rate limit you. Please retry later.")


def missing_repo(token: str | None) -> Reply:
    """Return what the Hub says of a repo that is gone or private: to strangers, only "who?"."""
    if token is None:
        return refusal(401, "Invalid username or password.")
    return refusal(404, "Repository not found", "RepoNotFound")


def gated_repo(name: str, token: str | None) -> Reply:
    """Return what the Hub says when files of a gated repo are asked for without access."""
    if token is None:
        message = f"Access to model {name} is restricted. You must have access to it and be authenticated to access it. Please log in."  # noqa: E501 - the Hub's own sentence
        return refusal(401, message, "GatedRepo")
    message = f"Access to model {name} is restricted and you are not in the authorized list."
    return refusal(403, message, "GatedRepo")


def must_sign_in(request: Request) -> None:
    """Refuse strangers."""
    if request.token is None:
        raise refuse(401, "Invalid username or password.")
