"""Measure what hedging does to latencies and bills: on simulated latencies and on real servers.

Run from the root of the repository, after installing the extra `dev`:

    python benchmarks/policies/hedge.py [--seeds 5] [--servers]

Simulated latencies are log-normal with a heavy tail: in one answer of 50 the model hangs, which
multiplies its latency by 10. Both models are alike and cost the same. With `--servers` two servers
on this machine answer after such latencies, a tenth as long, and LangChain's client asks them.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from tryage import Router
from tryage.core.simulated_answer import SimulatedAnswer
from tryage.policies import Hedge
from tryage.testing import FixedPerception

if TYPE_CHECKING:
    from tryage.core.arrays import Float64Array

NAMES = ("first", "second")
N_CALLS, N_SERVER_CALLS = 4_000, 400
SCALE, SPREAD, HANGS, FACTOR = 1.0, 0.4, 0.02, 10.0  # median seconds, log std, share, times


def latencies(seed: int, n: int, *, outage: bool = False) -> Float64Array:
    """Return the seconds of each model on each call, `(n, 2)`.

    In an outage the first model hangs in the whole second half.
    """
    rng = np.random.default_rng(seed)
    seconds = SCALE * np.exp(SPREAD * rng.standard_normal((n, len(NAMES))))
    hangs = rng.random((n, len(NAMES))) < HANGS
    if outage:
        hangs[n // 2 :, 0] = True
    return np.where(hangs, FACTOR * seconds, seconds)


def simulate(hedge: Hedge | None, seconds: Float64Array) -> tuple[Float64Array, float]:
    """Return the seconds of each answer, and the cost of a call; one call costs 1."""
    router = Router(FixedPerception({"first": 0.1, "second": 0.2}), policy=hedge)
    taken, cost = np.empty(len(seconds)), 0.0
    for i, row in enumerate(seconds):
        by_name = dict(zip(NAMES, row.tolist(), strict=True))

        def ask(name: str, by_name: dict[str, float] = by_name) -> SimulatedAnswer:
            return SimulatedAnswer(name, 0.0, 1.0, by_name[name], called=(name,))

        answer = ask("first")
        if hedge is not None:
            answer = hedge.serve(router.route("a prompt"), "first", ask)
        taken[i], cost = answer.latency or 0.0, cost + (answer.cost or 0.0)
    return taken, cost / len(seconds)


def ask_servers(hedge: Hedge | None, seconds: Float64Array) -> tuple[Float64Array, float]:
    """Return the seconds of each answer of real servers, and the requests to them per call."""
    from langchain_openai import ChatOpenAI

    from tryage.testing.hub.http import FakeResponse, LoopbackServer
    from tryage_langchain import ChatTryage

    asked, current = [], [0]
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    message = {"role": "assistant", "content": "hello"}
    body = {**head, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    def reply(request: object) -> FakeResponse:
        name = request.json()["model"]  # type: ignore[attr-defined]  # a request of the server
        asked.append(name)
        time.sleep(float(seconds[current[0], NAMES.index(name)]))
        return FakeResponse(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    taken = np.empty(len(seconds))
    with LoopbackServer(reply) as server:
        models = {
            name: ChatOpenAI(model=name, base_url=f"{server.url}/v1", api_key="none", timeout=60)
            for name in NAMES
        }
        router = Router(FixedPerception({"first": 0.1, "second": 0.2}), preferences="best")
        chat = ChatTryage(models=models, router=router, policy=hedge)
        for i in range(len(seconds)):
            current[0], started = i, time.perf_counter()
            chat.invoke("a prompt")
            taken[i] = time.perf_counter() - started
        while threading.active_count() > 1 and len(asked) < len(seconds):
            time.sleep(0.01)
    return taken, len(asked) / len(seconds)


def row(label: str, results: list[tuple[Float64Array, float]]) -> str:
    """Return quantiles of the seconds and the mean cost, with their standard deviations."""
    cells = []
    for share in (0.5, 0.95, 0.99, 0.999):
        values = [np.quantile(taken, share) for taken, _ in results]
        cells.append(f"{np.mean(values):.2f} ± {np.std(values):.2f}")
    costs = [cost - 1 for _, cost in results]
    return f"| {label} | " + " | ".join(cells) + f" | {np.mean(costs):+.1%} |"


def main() -> None:
    """Print a table without a hedge and with several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--servers", action="store_true", help="ask real servers, too")
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    hedges = {
        "no hedge": lambda: None,
        "Hedge()": Hedge,
        "Hedge(0.99)": lambda: Hedge(0.99),
        "Hedge(0.9, max_share=0.1)": lambda: Hedge(0.9, max_share=0.1),
    }
    print("| seconds | p50 | p95 | p99 | p99.9 | extra cost |")
    print("|---|---|---|---|---|---|")
    for outage in (False, True):
        for label, make in hedges.items():
            results = [simulate(make(), latencies(s, N_CALLS, outage=outage)) for s in seeds]
            print(row(f"{label}, {'outage' if outage else 'simulated'}", results), flush=True)
    if arguments.servers:
        seconds = 0.1 * latencies(0, N_SERVER_CALLS)
        for label, make in {"no hedge": lambda: None, "Hedge()": Hedge}.items():
            print(row(f"{label}, servers", [ask_servers(make(), seconds)]), flush=True)


if __name__ == "__main__":
    main()
