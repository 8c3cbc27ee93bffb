"""Servers of models on this computer that quote what they are sent, redirect, or answer.

Each may know the canaries of its own client alone; every request is searched for all others.
"""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from tryage.testing.hub.http import FakeRequest, FakeResponse, LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from canary_search import Sweep

QUOTES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "escaped as JSON": lambda value: json.dumps(value)[1:-1],
    "escaped for addresses": lambda value: quote(value, safe=""),
    "as Base64": lambda value: base64.b64encode(value.encode()).decode(),
    "as bytes": lambda value: repr(value.encode()),
}
"""How a server quotes a secret in an error."""

_HEAD = {"id": "1", "created": 1, "model": "m"}
_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
_JSON = {"Content-Type": "application/json"}


class ModelServer:
    """Speaks the protocols of OpenAI, which Mistral's clients speak too, and of Anthropic.

    `quotes` is how it quotes in an error all canaries that it is sent, None to answer. With
    `redirects_to`, it sends clients on to another server.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep, self.requests = sweep, list[FakeRequest]()
        self.quotes: str | None = None
        self.status = 500
        self.redirects_to: str | None = None
        self.url = ""

    def __call__(self, request: FakeRequest) -> FakeResponse:
        """Answer one request."""
        self.requests.append(request)
        if self.redirects_to is not None:
            return FakeResponse(307, b"", {"Location": self.redirects_to + request.target})
        if self.quotes is not None:
            error = {"type": "server_error", "message": self._words_about(request), "code": None}
            return FakeResponse(self.status, json.dumps({"error": error}).encode(), _JSON)
        return _answer(request)

    def _words_about(self, request: FakeRequest) -> str:
        """Return a sentence with the canaries of a request, without the names before them."""
        parts = [*request.headers.values(), *(v for vs in request.query.values() for v in vs)]
        sent = " ".join([*parts, _decoded_basic(request), request.body.decode()])
        quoted = [
            QUOTES[self.quotes or "as it is"](one.value)
            for one in self.sweep.canaries
            if one.value in sent or json.dumps(one.value)[1:-1] in sent
        ]
        return f"We cannot serve {' or '.join(quoted)} here."


def _decoded_basic(request: FakeRequest) -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return base64.b64decode(value).decode() if scheme == "Basic" else ""


@contextmanager
def model_server(sweep: Sweep, name: str, *knows: str) -> Iterator[ModelServer]:
    """Serve models in the block; then keep every request, in which canaries of `knows` may be."""
    server = ModelServer(sweep)
    with LoopbackServer(server) as running:
        server.url = running.url
        yield server
    for request in server.requests:
        sweep.add_request(f"requests of {name}", request, frozenset(knows))


def _answer(request: FakeRequest) -> FakeResponse:
    body = json.loads(request.body or b"{}")
    if request.path.endswith("/messages"):
        return _messages(streams=bool(body.get("stream")))
    if body.get("stream"):
        return _stream()
    calls_tool = body.get("tools") and body["messages"][-1]["role"] != "tool"
    message = _tool_call(body["tools"][0]) if calls_tool else _said("Yes.")
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    reply = {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    return FakeResponse(200, json.dumps(reply).encode(), _JSON)


def _said(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": text}


def _tool_call(tool: dict[str, dict[str, str]]) -> dict[str, object]:
    function = {"name": tool["function"]["name"], "arguments": "{}"}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _stream() -> FakeResponse:
    choices = [
        {"index": 0, "delta": _said("Yes."), "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    chunks = [{**_HEAD, "object": "chat.completion.chunk", "choices": [one]} for one in choices]
    lines = [json.dumps(chunk) for chunk in chunks]
    text = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
    return FakeResponse(200, text.encode(), {"Content-Type": "text/event-stream"})


def _messages(*, streams: bool) -> FakeResponse:
    usage = {"input_tokens": 7, "output_tokens": 3}
    message = {"id": "1", "type": "message", "role": "assistant", "model": "m", "usage": usage}
    text = {"type": "text", "text": "Yes."}
    if not streams:
        whole = {**message, "content": [text], "stop_reason": "end_turn"}
        return FakeResponse(200, json.dumps(whole).encode(), _JSON)
    parts = [
        {"type": "message_start", "message": {**message, "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {**text, "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Yes."},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    lines = [f"event: {part['type']}\ndata: {json.dumps(part)}\n\n" for part in parts]
    return FakeResponse(200, "".join(lines).encode(), {"Content-Type": "text/event-stream"})
