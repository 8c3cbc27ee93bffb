"""The loopback server: reads requests, lets faults strike, and writes replies as they are meant."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tryage.testing.hub.wire import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable


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
