"""Fake models over HTTP on loopback: OpenAI's protocol and Ollama's, with faults by a plan.

    python benchmarks/robustness/soak_provider.py FOLDER PERIOD

It writes its port to `FOLDER/provider.port`, and what it did with each call to
`FOLDER/provider.jsonl`. It speaks HTTP itself, because no server sends half of an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from soak_faults import HUGE_SHARE, VARIED_SHARE, FaultPlan, last_marker, share_of
from soak_files import read_start, write_whole

WORDS = 12  # of an answer
HANG_SECONDS, DRIP_SECONDS = 20.0, 20  # then the connection is closed
PAUSE = 0.004  # seconds between two chunks of a stream
HUGE_WORDS = 120_000  # about 2 MB
_USAGE = (20, 12)  # tokens in, tokens out

_JSON, _EVENTS, _LINES = "application/json", "text/event-stream", "application/x-ndjson"


class CutError(Exception):
    """The connection ends here."""


@dataclass(frozen=True)
class Call:
    """One call of a model, in either protocol."""

    body: dict[str, Any]
    is_ollama: bool

    @property
    def model(self) -> str:
        """The name of the model."""
        return str(self.body["model"])

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream; Ollama's is one unless the request says otherwise."""
        return bool(self.body.get("stream", self.is_ollama))

    @property
    def marker(self) -> str:
        """The marker of the request: the last one that the user has written."""
        texts = [str(one["content"]) for one in self.body["messages"] if one["role"] == "user"]
        return last_marker(texts[-1] if texts else "") or "none"

    @property
    def tool(self) -> str | None:
        """The name of the first tool."""
        tools = self.body.get("tools") or []
        return tools[0]["function"]["name"] if tools else None

    @property
    def wants_json(self) -> bool:
        """Whether the answer has to be an object."""
        return bool(self.body.get("response_format") or self.body.get("format"))

    def arguments(self) -> dict[str, Any]:
        """Return the object of a tool call, or of structured output."""
        return {"marker": self.marker, "model": self.model}

    def words(self) -> list[str]:
        """Return the words of the answer: the marker again and again, then the model's name."""
        if self.wants_json:
            return [json.dumps(self.arguments())]
        n_words = HUGE_WORDS if share_of(self.marker, "huge") < HUGE_SHARE else WORDS
        is_varied = share_of(self.marker, "varied") < VARIED_SHARE
        end = f"by {self.model} {time.monotonic_ns() if is_varied else ''} end"
        return [*[f"{self.marker} "] * n_words, end]


# Answers in the words of a protocol ------------------------------------------------------------


def whole_answer(call: Call) -> dict[str, Any]:
    """Return a whole answer."""
    text = "" if call.tool else "".join(call.words())
    return _ollama_part(call, text, is_last=True) if call.is_ollama else _completion(call, text)


def stream_parts(call: Call) -> list[bytes]:
    """Return the parts of a stream; a long answer has few long ones."""
    words = [""] if call.tool else call.words()
    size = max(len(words) // WORDS, 1)
    texts = ["".join(words[i : i + size]) for i in range(0, len(words), size)]
    if call.is_ollama:
        parts = [_ollama_part(call, text, is_last=False) for text in texts]
        parts.append(_ollama_part(call, "", is_last=True))
        return [f"{json.dumps(part)}\n".encode() for part in parts]
    deltas = [{"index": 0, "delta": _message(call, text), "finish_reason": None} for text in texts]
    last = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if call.tool else "stop"}
    head = {**_head(call), "object": "chat.completion.chunk"}
    chunks: list[Any] = [{**head, "choices": [choice]} for choice in [*deltas, last]]
    chunks.append({**head, "choices": [], "usage": _openai_usage()})
    return [*(f"data: {json.dumps(one)}\n\n".encode() for one in chunks), b"data: [DONE]\n\n"]


def _head(call: Call) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "created": 1, "model": call.model}


def _openai_usage() -> dict[str, int]:
    return {
        "prompt_tokens": _USAGE[0],
        "completion_tokens": _USAGE[1],
        "total_tokens": sum(_USAGE),
    }


def _message(call: Call, text: str) -> dict[str, Any]:
    if call.tool is None:
        return {"role": "assistant", "content": text}
    function = {"name": call.tool, "arguments": json.dumps(call.arguments())}
    one = {"index": 0, "id": f"call_{call.marker}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [one]}


def _completion(call: Call, text: str) -> dict[str, Any]:
    reason = "tool_calls" if call.tool else "stop"
    choice = {"index": 0, "message": _message(call, text), "finish_reason": reason}
    head = {**_head(call), "object": "chat.completion"}
    return {**head, "choices": [choice], "usage": _openai_usage()}


def _ollama_part(call: Call, text: str, *, is_last: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if call.tool and is_last:
        function = {"name": call.tool, "arguments": call.arguments()}
        message["tool_calls"] = [{"function": function}]
    part = {"model": call.model, "created_at": "2026-01-01T00:00:00Z", "message": message}
    if not is_last:
        return {**part, "done": False}
    counts = dict(zip(("prompt_eval_count", "eval_count"), _USAGE, strict=True))
    return {**part, "done": True, "done_reason": "stop", **counts}


def _empty_answer(call: Call) -> bytes:
    """Return an answer without a word; a stream without a part."""
    if call.is_stream:
        return b"" if call.is_ollama else b"data: [DONE]\n\n"
    plain = Call({**call.body, "tools": None}, call.is_ollama)
    value = _ollama_part(plain, "", is_last=True) if call.is_ollama else _completion(plain, "")
    return json.dumps(value).encode()


# The server ------------------------------------------------------------------------------------


class Provider:
    """Answers calls by a plan; `log` gets a line for each of them."""

    def __init__(self, plan: FaultPlan, folder: Path, log: IO[str]) -> None:
        self._plan, self._folder, self._log = plan, folder, log
        self._start: float | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(CutError, ConnectionError, asyncio.IncompleteReadError):
            while await _Exchange(self, reader, writer).run():
                pass
        writer.close()
        with suppress(Exception):
            await writer.wait_closed()

    def draw(self, call: Call) -> tuple[str | None, int]:
        """Return what goes wrong with a call, and the seconds for `Retry-After`."""
        if self._start is None:
            self._start = read_start(self._folder)
        seconds = time.time() - self._start
        fault = self._plan.fault(call.marker, call.model, seconds)
        line = {"t": round(seconds, 3), "marker": call.marker, "model": call.model, "did": fault}
        self._log.write(json.dumps(line) + "\n")
        return fault, self._plan.retry_after(call.model, seconds)


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, provider: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._provider, self._reader, self._writer = provider, reader, writer

    async def run(self) -> bool:
        """Read a request and answer it; return whether the connection goes on."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return False
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        call = Call(json.loads(body), is_ollama="/api/chat" in lines[0])
        fault, retry_after = self._provider.draw(call)
        if fault is None:
            await self._answer(call)
        else:
            await self._fail(call, fault, retry_after)
        return True

    async def _answer(self, call: Call) -> None:
        await asyncio.sleep(0.03 + 0.05 * share_of(call.marker, call.model, "latency"))
        if not call.is_stream:
            await self._send(200, _JSON, json.dumps(whole_answer(call)).encode())
            return
        await self._begin_stream(call)
        for part in stream_parts(call):
            await self._send_chunk(part)
            await asyncio.sleep(PAUSE)
        await self._send_chunk(b"")

    async def _fail(self, call: Call, fault: str, retry_after: int) -> None:
        """Do what goes wrong."""
        error = {"error": {"message": "The fake model is down.", "type": "server_error"}}
        if fault == "status 500":
            await self._send(500, _JSON, json.dumps(error).encode())
        elif fault == "status 429":
            await self._send(429, _JSON, json.dumps(error).encode(), f"Retry-After: {retry_after}")
        elif fault == "hang":
            await self._wait_for_end()
        elif fault == "drip":
            await self._drip()
        elif fault == "reset":
            self._reset()
        elif fault in ("cut", "silence"):
            await self._break_off(call, fault)
        else:
            await self._send_garbage(call, fault)

    async def _send_garbage(self, call: Call, fault: str) -> None:
        """Answer with the status 200, and with what is no answer."""
        if fault == "HTML":
            await self._send(200, "text/html", b"<html><body>Sign in</body></html>")
            return
        if fault == "empty":
            texts = dict.fromkeys((True, False), _empty_answer(call))
        else:
            value: Any = None if fault == "null" else {"choices": call.marker, "message": 7}
            texts = {True: _event(call, json.dumps(value).encode())}
            texts[False] = json.dumps(value).encode()
        if fault == "undecodable":
            texts = {True: _event(call, b"\xff\xfe\xfd"), False: b'{"id": "\xff\xfe'}
        await self._send(200, _content_type(call), texts[call.is_stream])

    async def _drip(self) -> None:
        """Send a byte a second: white space, which is no answer yet."""
        self._writer.write(_head_bytes(200, _JSON, f"Content-Length: {DRIP_SECONDS + 1}"))
        for _ in range(DRIP_SECONDS):
            self._writer.write(b" ")
            await self._writer.drain()
            await asyncio.sleep(1)
        raise CutError

    async def _wait_for_end(self) -> None:
        """Say nothing until the client goes, or for a while."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._reader.read(1), HANG_SECONDS)
        raise CutError

    def _reset(self) -> None:
        """End the connection as a server that has crashed does."""
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._writer.transport.abort()
        raise CutError

    async def _break_off(self, call: Call, fault: str) -> None:
        """Begin to answer, then end the connection or say nothing more."""
        if call.is_stream:
            await self._begin_stream(call)
            for part in stream_parts(call)[:3]:
                await self._send_chunk(part)
                await asyncio.sleep(PAUSE)
        else:
            body = json.dumps(whole_answer(call)).encode()
            self._writer.write(_head_bytes(200, _JSON, f"Content-Length: {len(body)}"))
            self._writer.write(body[: len(body) // 2])
            await self._writer.drain()
        if fault == "silence":
            await self._wait_for_end()
        raise CutError

    async def _begin_stream(self, call: Call) -> None:
        self._writer.write(_head_bytes(200, _content_type(call), "Transfer-Encoding: chunked"))
        await self._writer.drain()

    async def _send_chunk(self, part: bytes) -> None:
        self._writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        await self._writer.drain()

    async def _send(self, status: int, kind: str, body: bytes, header: str = "X-Fake: 1") -> None:
        length = f"Content-Length: {len(body)}\r\n{header}"
        self._writer.write(_head_bytes(status, kind, length) + body)
        await self._writer.drain()


def _content_type(call: Call) -> str:
    if not call.is_stream:
        return _JSON
    return _LINES if call.is_ollama else _EVENTS


def _event(call: Call, value: bytes) -> bytes:
    return value + b"\n" if call.is_ollama else b"data: " + value + b"\n\n"


def _head_bytes(status: int, kind: str, header: str) -> bytes:
    return f"HTTP/1.1 {status} Fake\r\nContent-Type: {kind}\r\n{header}\r\n\r\n".encode()


async def run(folder: Path, period: float) -> None:
    """Serve until the process is told to stop."""
    with (folder / "provider.jsonl").open("a", buffering=1) as log:
        provider = Provider(FaultPlan(period), folder, log)
        server = await asyncio.start_server(provider.serve, "127.0.0.1", 0, limit=2**24)
        write_whole(folder / "provider.port", str(server.sockets[0].getsockname()[1]))
        async with server:
            await server.serve_forever()


def main() -> None:
    """Read the arguments, and serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for the port, and what every call was answered")
    parser.add_argument("period", type=float, help="seconds until outages repeat")
    options = parser.parse_args()
    asyncio.run(run(options.folder, options.period))


if __name__ == "__main__":
    main()
