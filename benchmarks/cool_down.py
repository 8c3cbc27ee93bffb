"""Latency of ChatTryage while the favourite of two models is dead, before and after a change.

    git worktree add ../before COMMIT
    python benchmarks/cool_down.py ../before .

Two servers of OpenAI's protocol run on this machine, and langchain-openai asks them. The second
answers after 50 ms. The first, which every prompt prefers, is dead: it answers 500, refuses
connections, or hangs longer than the client's time limit of 3 s. The same process also asks a
ChatTryage over the second model alone, at a quarter of the rate, so that the load of the machine is
the same for both. Requests come at a fixed rate, whether earlier ones have been answered or not,
and no prompt comes twice. Each revision runs in processes of its own; they take turns.
"""

# ruff: noqa: ANN401 - the library is imported in the measured process only.

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from checkouts import measure_checkout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCENARIOS = ("500", "refused", "hangs")
ANSWER_SECONDS, HANG_SECONDS, CLIENT_TIMEOUT = 0.05, 30.0, 3.0
ALONE_SHARE = 4  # the requests to the second model alone are one for so many others
SETTLED_SECONDS = 5.0  # after them the first time-outs are known


def main() -> None:
    """Measure one revision in one scenario, or compare revisions in all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path, help="before and after")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(asyncio.run(measure(options.rate, *json.loads(options.measure)))))
    else:
        compare(options.checkouts, options)


def compare(checkouts: Sequence[Path], options: argparse.Namespace) -> None:
    """Measure the checkouts in turn, and print a table."""
    runs: dict[tuple[str, Path], list[dict[str, float]]] = defaultdict(list)
    for i in range(options.rounds):
        for scenario in SCENARIOS:
            for checkout in checkouts if i % 2 == 0 else reversed(checkouts):
                runs[scenario, checkout].append(run_scenario(checkout, scenario, options))
    print(
        "| first model | revision | p50 alone, ms | p50, ms | ratio (range) | p95, ms | after 5 s |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    for (scenario, checkout), figures in runs.items():
        medians = {name: float(np.median([run[name] for run in figures])) for name in figures[0]}
        ratios = np.array([run["p50"] / run["p50 alone"] for run in figures])
        print(
            f"| {scenario} | {checkout.absolute().name} | {medians['p50 alone']:.1f} | "
            f"{medians['p50']:.1f} | {np.median(ratios):.3f} ({ratios.min():.3f} to "
            f"{ratios.max():.3f}) | {medians['p95']:.0f} | {medians['settled p95']:.0f} |"
        )


def run_scenario(checkout: Path, scenario: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure one scenario in a process that imports the library of a checkout."""
    servers = ServerPair(scenario)
    arguments = json.dumps([scenario, servers.urls, options.seconds])
    figures = measure_checkout(
        checkout, __file__, "--rate", str(options.rate), "--measure", arguments
    )
    servers.close()
    return figures


# The servers -----------------------------------------------------------------------------------


class ServerPair:
    """The servers of both models, at `urls`."""

    def __init__(self, scenario: str) -> None:
        self._servers = [self._start("second", ANSWER_SECONDS, 200)]
        ports = [unused_port(), self._servers[0].server_port]
        if scenario in ("500", "hangs"):
            seconds, status = (HANG_SECONDS, 200) if scenario == "hangs" else (0.0, 500)
            self._servers.append(self._start("first", seconds, status))
            ports[0] = self._servers[1].server_port
        self.urls = [f"http://127.0.0.1:{port}/v1" for port in ports]

    def _start(self, name: str, seconds: float, status: int) -> ThreadingHTTPServer:
        reply = json.dumps(completion(name)).encode()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(seconds)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 256

            def handle_error(self, *_: object) -> None:
                pass  # a client that does not wait

        server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def close(self) -> None:
        """Stop both servers."""
        for server in self._servers:
            server.shutdown()


def completion(text: str) -> dict[str, Any]:
    """Return an answer in OpenAI's protocol."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return {"id": "1", "object": "chat.completion", "created": 1, "model": text, "choices": choices}


def unused_port() -> int:
    """Return a port that refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


# The client ------------------------------------------------------------------------------------


async def measure(
    rate: float, scenario: str, urls: Sequence[str], seconds: float
) -> dict[str, float]:
    """Return the percentiles of the latency, in milliseconds, of requests at a fixed rate."""
    chats = {kind: make_chat(kind, urls) for kind in ("alone", scenario)}
    config = {"configurable": {"tryage_model": "second"}}  # nothing is known of the first yet
    for chat in chats.values():
        await asyncio.gather(*(chat.ainvoke(f"warm-up {i}", config) for i in range(3)))
    start = time.perf_counter()
    runs = [
        timed_calls(chats["alone"], start, rate / ALONE_SHARE, seconds),
        timed_calls(chats[scenario], start, rate, seconds),
    ]
    alone, latencies = [1e3 * np.array(run) for run in await asyncio.gather(*runs)]
    settled = latencies[int(rate * SETTLED_SECONDS) :]
    return {
        "p50 alone": float(np.median(alone)),
        "p50": float(np.median(latencies)),
        "p95": float(np.percentile(latencies, 95)),
        "settled p95": float(np.percentile(settled, 95)) if len(settled) else float("nan"),
    }


def make_chat(scenario: str, urls: Sequence[str]) -> Any:
    """Return ChatTryage over both models, of which every prompt prefers the first."""
    from langchain_openai import ChatOpenAI

    from tryage import Router
    from tryage.testing import FunctionPerception
    from tryage_langchain import ChatTryage

    limits = {"timeout": CLIENT_TIMEOUT, "max_retries": 0} if scenario == "hangs" else {}
    names = ["second"] if scenario == "alone" else ["first", "second"]
    models = {
        name: ChatOpenAI(model=name, base_url=url, api_key="none", **limits)
        for name, url in zip(("first", "second"), urls, strict=True)
        if name in names
    }
    losses = list(losses_of(names))
    router = Router(FunctionPerception(names, lambda _: losses))
    return ChatTryage.from_models(models, router=router)


def losses_of(names: Sequence[str]) -> Iterator[float]:
    """Yield the predicted loss of each model: the first has the lowest."""
    for i, _ in enumerate(names):
        yield float(i)


async def timed_calls(chat: Any, start: float, rate: float, seconds: float) -> list[float]:
    """Send requests at a fixed rate, and return the seconds that each one takes."""
    tasks = []
    for i in range(int(rate * seconds)):
        due = start + i / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(timed_call(chat, f"question {i}", due)))
    return await asyncio.gather(*tasks)


async def timed_call(chat: Any, prompt: str, due: float) -> float:
    """Ask, check who answers, and return the seconds since the request was due."""
    answer = await chat.ainvoke(prompt)
    if answer.text != "second":
        raise RuntimeError(f"Expected the second model's answer, got {answer!r}.")
    return time.perf_counter() - due


if __name__ == "__main__":
    main()
