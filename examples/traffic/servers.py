"""Servers on this machine that replay recorded models in OpenAI's format; one can be broken."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

from recordings import WRONG

from tryage.core.token_estimate import estimate_tokens

if TYPE_CHECKING:
    from recordings import Recording


class ReplayServer:
    """Answers as one recorded model did; while `is_broken`, every answer is wrong.

    Nothing else changes while it is broken: no error, the same speed and the same price.
    """

    def __init__(self, name: str, recordings: list[Recording]) -> None:
        self.name, self.is_broken = name, False
        self._recordings = {one.question: one for one in recordings}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address for a client of OpenAI."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the recorded answer to the last message."""
        text = request["messages"][-1]["content"]
        recording = self._recordings.get(text)
        right = recording is not None and recording.is_right[self.name] and not self.is_broken
        tokens = 20 if recording is None else recording.tokens[self.name]
        return {
            "id": "replay",
            "object": "chat.completion",
            "created": 0,
            "model": self.name,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {
                        "role": "assistant",
                        "content": recording.answer if right and recording else WRONG,
                    },
                }
            ],
            "usage": {
                "prompt_tokens": round(estimate_tokens(text)),
                "completion_tokens": tokens,
                "total_tokens": round(estimate_tokens(text)) + tokens,
            },
        }

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        reply = self.reply

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # the connection stays open
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(reply(request)).encode()
                head = (
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n"
                )
                self.wfile.write(head.encode() + body)  # at once: two writes wait for each other

            def log_message(self, *_: object) -> None:
                """Keep the terminal quiet."""

        return Handler
