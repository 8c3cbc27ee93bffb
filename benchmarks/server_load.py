"""What `tryage serve` carries: many clients on loopback, and what a row of its log takes.

    python benchmarks/server_load.py                       # one process
    python benchmarks/server_load.py --workers 2 --database postgresql+psycopg://...
    python benchmarks/server_load.py --rows 100000         # size and time of the log alone

Scripted models stand behind the server, so all that is measured is the server's own. First as many
requests as it can answer, then streams of models that take seconds: how many are open at a time,
what each costs of memory, and what a client waits for beside the model. Clients are a process of
their own, and on few cores they take theirs from the server: the figures are the processor time of
the server too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"

import httpx  # noqa: E402 - after the pools are set
import numpy as np  # noqa: E402 - the same
from langchain_core.language_models import BaseChatModel  # noqa: E402 - the same
from langchain_core.messages import AIMessage, AIMessageChunk  # noqa: E402 - the same
from langchain_core.outputs import (  # noqa: E402 - the same
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
)

from tryage.core.decision import new_id  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MODELS = ("gpt-5.6", "gpt-5.6-luna")
QUESTION = "Prove that the sum of the first n odd numbers is a square, please, in a few sentences."
WORDS = ["The", "sum", "of", "the", "first", "n", "odd", "numbers", "is", "n", "squared"]


USAGE = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}


class Server:
    """The server in processes of its own; `url` is its address."""

    def __init__(self, folder: Path, seconds: float, arguments: argparse.Namespace) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        workers, database = str(arguments.workers), arguments.database or ""
        words = [str(port), str(seconds), str(arguments.words), workers, database]
        self._log = (folder / "server.log").open("w")
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *words], stderr=self._log, stdout=self._log
        )
        self._wait()

    def _wait(self) -> None:
        for _ in range(1_200):
            if self._process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise RuntimeError(f"The server has not started: see {self._log.name}.")

    def usage(self) -> tuple[float, float]:
        """Return the processor seconds of all its processes, and their memory in MB."""
        seconds = memory = 0.0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            memory += _proportional_memory(pid)
        return seconds, memory

    def _pids(self) -> Iterator[int]:
        pids = [self._process.pid]
        while pids:
            yield (pid := pids.pop())
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())

    def stop(self) -> None:
        """Tell it to stop, and wait."""
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def _proportional_memory(pid: int) -> float:
    """Return the MB of a process; what several share is divided among them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1_024


class Scripted(BaseChatModel):
    """Answers with the same words, each after its share of `seconds`."""

    seconds: float = 0.0
    words: int = 10

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, *_: object, **__: object) -> ChatResult:
        time.sleep(self.seconds)
        message = AIMessage("square " * self.words, usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *_: object, **__: object) -> ChatResult:
        await asyncio.sleep(self.seconds)
        message = AIMessage("square " * self.words, usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(self, *_: object, **__: object) -> AsyncIterator[ChatGenerationChunk]:
        for _ in range(self.words):
            await asyncio.sleep(self.seconds / self.words)
            yield ChatGenerationChunk(message=AIMessageChunk("square "))


def serve(port: int, seconds: float, words: int, workers: int, database: str | None) -> None:
    """Run the server over scripted models whose answers take `seconds`."""
    from tryage_langchain import ChatTryage
    from tryage_server.run import serve as run
    from tryage_server.settings import ServerSettings

    models = {name: Scripted(seconds=seconds, words=words) for name in MODELS}
    settings = ServerSettings(max_requests=10_000)
    chat = ChatTryage.from_models(models, traffic=database)
    run(chat, settings, host="127.0.0.1", port=port, workers=workers)


# Clients ---------------------------------------------------------------------------------------


async def offer_load(
    url: str, clients: int, requests: int, *, stream: bool
) -> tuple[np.ndarray, float, int]:
    """Ask from so many clients at a time; return seconds of each, of all, and how many failed."""
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    remaining, seconds, failed = iter(range(requests)), [], 0

    async def ask_until_done(client: httpx.AsyncClient) -> None:
        nonlocal failed
        for i in remaining:
            began = time.perf_counter()
            content = f"{QUESTION} Start with {i}."
            body = {"messages": [{"role": "user", "content": content}], "stream": stream}
            answer = await client.post(f"{url}/v1/chat/completions", json=body)
            is_whole = answer.text.rstrip().endswith("[DONE]") if stream else True
            failed += answer.status_code != 200 or not is_whole
            seconds.append(time.perf_counter() - began)

    async with httpx.AsyncClient(limits=limits, timeout=120) as client:
        began = time.perf_counter()
        await asyncio.gather(*(ask_until_done(client) for _ in range(clients)))
        return np.array(seconds), time.perf_counter() - began, failed


def report(
    server: Server, clients: int, requests: int, *, stream: bool, answer_seconds: float
) -> str:
    """Return one row: what clients saw, and what the server used."""
    before, idle = server.usage()
    run = offer_load(server.url, clients, requests, stream=stream)
    seconds, total, failed = asyncio.run(run)
    used, memory = server.usage()
    added = np.percentile(seconds - answer_seconds, [50, 99]) * 1e3
    return (
        f"| {'stream' if stream else 'whole'} | {answer_seconds:g} | {clients} "
        f"| {requests / total:.0f} | {added[0]:.0f} | {added[1]:.0f} "
        f"| {(used - before) / requests * 1e3:.1f} | {idle:.0f} | {memory:.0f} | {failed} |"
    )


# The log ---------------------------------------------------------------------------------------


def measure_rows(rows: int, database: str | None) -> str:
    """Return the time that a decision and its outcome take in the log, and their bytes."""
    from tryage import Router
    from tryage.traffic.records import Outcome
    from tryage.traffic.traffic import Traffic

    with tempfile.TemporaryDirectory() as folder:
        url = database or f"sqlite:///{folder}/traffic.db"
        log = Traffic(url, queue_size=2 * rows + 1)
        router = Router.from_pretrained(traffic=log).subset(_five_names())
        decision = router.decide_batch([QUESTION])[0]
        began, used = time.perf_counter(), time.process_time()
        for _ in range(rows):
            name = new_id()
            router.record(decision, decision_id=name)
            log.record_outcome(
                Outcome(name, time.time(), served_by=decision.expert.name, latency=1.25,
                        input_tokens=812, output_tokens=431, cost=0.00123)
            )  # fmt: skip
        if not log.flush(timeout=600):
            raise RuntimeError(f"The log has lost {log.lost}.")
        total, used = time.perf_counter() - began, time.process_time() - used
        log.close()
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) if not database else None
    text = (
        f"{rows} requests: {rows / total:.0f}/s, {used / rows * 1e3:.3f} ms of processor time each"
    )
    return text if size is None else f"{text}, {size / rows:.0f} bytes each"


def _five_names() -> list[str]:
    from tryage.chat.model_names import bundled_library

    return list(bundled_library().names[:5])


def main() -> None:
    """Run the load, or measure the log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--database", help="the URL of a log; by default none is written")
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--streams", type=int, nargs="*", default=[100])
    parser.add_argument("--rows", type=int, help="only measure the log with so many requests")
    parser.add_argument("--words", type=int, default=10, help="chunks of a stream")
    parser.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        port, seconds, words, workers, database = arguments.serve
        serve(int(port), float(seconds), int(words), int(workers), database or None)
    elif arguments.rows:
        print(measure_rows(arguments.rows, arguments.database))
    else:
        _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    print("| answers | model, s | clients | requests/s | p50 added, ms | p99 added, ms "
          "| processor, ms a request | MB before | MB after | failed |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    loads = [(0.0, 16, arguments.requests, False)]
    loads += [(2.0, clients, 3 * clients, True) for clients in arguments.streams]
    for seconds, clients, requests, stream in loads:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(Path(folder), seconds, arguments)
            try:
                asyncio.run(offer_load(server.url, 4, 40, stream=stream))  # warm
                load = {"stream": stream, "answer_seconds": seconds}
                print(report(server, clients, requests, **load), flush=True)
            finally:
                server.stop()


if __name__ == "__main__":
    main()
