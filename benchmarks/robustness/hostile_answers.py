"""What comes of models that answer with a gigabyte, a million tool calls or deep JSON.

    python benchmarks/robustness/hostile_answers.py                     # all cases
    python benchmarks/robustness/hostile_answers.py --megabytes 100 --only stream

A server on the loopback device answers so, over HTTP, in a process of its own. Each case runs in
another process, which asks it through ChatTryage, TryageLLM or the server of Tryage, with a healthy
second model. "alone" is the client of the provider without Tryage. The table has what came of the
call, its seconds and the highest memory of the process, less that before the call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MEGABYTE = 1_000_000
CHUNK = 100_000  # bytes of an event of a stream

HEAD = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
OLLAMA_HEAD = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}

STREAMS = ("stream", "blank")
CASES = ("whole", "stream", "calls", "deep", "blank")
CALLERS = ("alone", "invoke", "stream", "llamaindex", "llamaindex-stream", "server")


# The model --------------------------------------------------------------------------------------


class HostileModel(BaseHTTPRequestHandler):
    """Answers in OpenAI's and Ollama's protocol as the name of the model says."""

    n_bytes = 1_000 * MEGABYTE

    def do_POST(self) -> None:
        """Answer one request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        try:
            for part in self._parts(body["model"], body.get("stream", False)):
                self.wfile.write(part)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client has enough
        finally:
            self.close_connection = True

    def _parts(self, case: str, is_stream: bool) -> Iterator[bytes]:
        is_ollama = self.path.startswith("/api/")
        if case == "healthy":
            yield from _parts_of("healthy", is_stream, is_ollama)
        elif case == "deep":
            deep = "[" * 100_000 + "]" * 100_000
            yield from _whole(None, '[{"id": "1", "type": "function", "function": {"name": "f", '
                              f'"arguments": {json.dumps(deep)}}}}}]')  # fmt: skip
        elif case == "calls":
            call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            one = json.dumps(call)
            yield from _whole(None, "[" + ",".join([one] * (self.n_bytes // 1_000)) + "]")
        elif case == "blank":
            for _ in range(self.n_bytes // 100):
                yield from _parts_of("", is_stream, is_ollama, is_end=False)
        elif is_stream:
            for _ in range(self.n_bytes // CHUNK):
                yield from _parts_of("x" * CHUNK, is_stream, is_ollama, is_end=False)
            yield from _parts_of("", is_stream, is_ollama)
        else:
            before, after = _around_text(is_ollama)
            yield before
            for _ in range(self.n_bytes // CHUNK):
                yield b"x" * CHUNK
            yield after

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name in http.server
        """Say nothing."""


def _parts_of(
    text: str, is_stream: bool, is_ollama: bool, *, is_end: bool = True
) -> Iterator[bytes]:
    if is_ollama:
        message = {"role": "assistant", "content": text}
        line = {**OLLAMA_HEAD, "message": message, "done": is_end}
        yield json.dumps(line).encode() + b"\n"
    elif is_stream:
        delta = {"index": 0, "delta": {"role": "assistant", "content": text}}
        yield b"data: " + json.dumps({**HEAD, "choices": [delta]}).encode() + b"\n\n"
        if is_end:
            yield b"data: [DONE]\n\n"
    else:
        yield from _whole(json.dumps(text), "null")


def _whole(text: str | None, tool_calls: str) -> Iterator[bytes]:
    message = f'{{"role": "assistant", "content": {text or "null"}, "tool_calls": {tool_calls}}}'
    choice = f'{{"index": 0, "finish_reason": "stop", "message": {message}}}'
    yield (json.dumps(HEAD)[:-1] + f', "choices": [{choice}]}}').encode()


def _around_text(is_ollama: bool) -> tuple[bytes, bytes]:
    mark = "\0"
    whole = b"".join(_parts_of(mark, False, is_ollama))
    before, after = whole.split(json.dumps(mark)[1:-1].encode())
    return before, after


def serve_model(port: int, n_bytes: int) -> None:
    """Answer until the process is ended."""
    HostileModel.n_bytes = n_bytes
    ThreadingHTTPServer(("127.0.0.1", port), HostileModel).serve_forever()


# Those who ask it -------------------------------------------------------------------------------


def chat_models(port: int, case: str) -> dict[str, Any]:
    """Return the hostile model and a healthy one, by name."""
    from langchain_openai import ChatOpenAI

    url = f"http://127.0.0.1:{port}/v1"
    given: dict[str, Any] = {"base_url": url, "api_key": "none", "max_retries": 0, "timeout": 600}
    return {name: ChatOpenAI(model=name, **given) for name in (case, "healthy")}


def make_chat(port: int, case: str) -> Any:  # noqa: ANN401 - imported in the function alone
    """Return ChatTryage, which asks the hostile model first."""
    from tryage import Router
    from tryage.testing import FunctionPerception
    from tryage_langchain import ChatTryage

    models = chat_models(port, case)
    router = Router(FunctionPerception(list(models), lambda _: [0.0, 1.0][: len(models)]))
    return ChatTryage.from_models(models, router=router)


def make_llm(port: int, case: str) -> Any:  # noqa: ANN401 - imported in the function alone
    """Return TryageLLM, which asks the hostile model first."""
    from llama_index.llms.ollama import Ollama

    from tryage import Router
    from tryage.testing import FunctionPerception
    from tryage_llamaindex import TryageLLM

    url = f"http://127.0.0.1:{port}"
    llms = {
        name: Ollama(model=name, base_url=url, context_window=8_000, request_timeout=600)
        for name in (case, "healthy")
    }
    router = Router(FunctionPerception(list(llms), lambda _: [0.0, 1.0][: len(llms)]))
    return TryageLLM.from_llms(llms, router=router)


def ask(caller: str, port: int, case: str) -> int:
    """Ask once, as a caller, and return the length of the answer."""
    if caller == "server":
        return asyncio.run(_ask_server(port, case))
    if caller.startswith("llamaindex"):
        llm = make_llm(port, case)
        if caller == "llamaindex":
            return len(llm.complete("question").text)
        return sum(len(chunk.delta or "") for chunk in llm.stream_complete("question"))
    model = chat_models(port, case)[case] if caller == "alone" else make_chat(port, case)
    if caller == "stream" or (caller == "alone" and case in STREAMS):
        return sum(len(chunk.content) for chunk in model.stream("question"))
    return len(str(model.invoke("question").content))


async def _ask_server(port: int, case: str) -> int:
    """Ask the server's application in this process, and read its answer as it comes."""
    import httpx

    from tryage_server import create_app

    app = create_app(make_chat(port, case))
    body: dict[str, Any] = {
        "model": "tryage",
        "messages": [{"role": "user", "content": "question"}],
    }
    body["stream"] = case in STREAMS
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://tryage") as client:
        reply = await client.post("/v1/chat/completions", json=body, timeout=600)
    print(f"status {reply.status_code}", file=sys.stderr)
    return len(reply.content)


def run_case(caller: str, port: int, case: str) -> None:
    """Ask in this process, and print what came of it as JSON."""
    ask(caller, port, "healthy")  # so that imports count before
    before, started = peak_megabytes(), time.perf_counter()
    try:
        outcome = f"{ask(caller, port, case):,} characters"
    except Exception as error:  # noqa: BLE001 - what is raised is a result
        outcome = f"{type(error).__name__}: {str(error)[:60]}"
    seconds, memory = time.perf_counter() - started, peak_megabytes() - before
    print(json.dumps({"outcome": outcome, "seconds": seconds, "megabytes": memory}))


def peak_megabytes() -> float:
    """Return the highest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / MEGABYTE


# All cases --------------------------------------------------------------------------------------


def main() -> None:
    """Run the cases, each in a process, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--caller", choices=CALLERS)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)  # caller, port, case
    options = parser.parse_args()
    if options.run:
        run_case(options.run[0], int(options.run[1]), options.run[2])
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = multiprocessing.Process(
        target=serve_model, args=(port, options.megabytes * MEGABYTE), daemon=True
    )
    model.start()
    print("| answer | asked through | what comes of it | seconds | MB |")
    print("|---|---|---|---:|---:|")
    for case in CASES if options.only is None else (options.only,):
        for caller in CALLERS if options.caller is None else (options.caller,):
            print(row(caller, port, case), flush=True)
    model.terminate()


def row(caller: str, port: int, case: str) -> str:
    """Run one case, and return its row of the table."""
    command = [sys.executable, __file__, "--run", caller, str(port), case]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        found = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        return f"| {case} | {caller} | {type(error).__name__} | | |"
    numbers = f"{found['seconds']:.1f} | {found['megabytes']:,.0f}"
    return f"| {case} | {caller} | {found['outcome']} | {numbers} |"


if __name__ == "__main__":
    main()
