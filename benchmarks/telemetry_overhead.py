"""What telemetry costs: off against an earlier checkout, and on against off, in pairs.

    git worktree add --detach ../before 34ef7c0
    python benchmarks/telemetry_overhead.py --before ../before

Three processes take turns, in another order each time: the earlier checkout, this one with
telemetry off, and on. Each turn decides about some prompts, and calls a chat model that answers at
once. Times are of the processor, so that other programs of the machine count little. The ratio and
the difference are those of turns beside each other; the interval is from bootstrap samples of them.
What the code adds while telemetry is off is measured alone, too: it is less than the noise of that.
Spans go to a processor that drops them, metrics to a reader in memory, as an exporter works in a
thread of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.chat.call_observer import observe_call, token_counts, with_traces
from tryage.chat.hooks import FallbackHooks
from tryage.core.usage import TokenUsage
from tryage.telemetry.observer import IGNORED_CALL, TELEMETRY, measured, tracing_failures

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
TURN = 32  # calls

WORKER = """
import gc, json, sys, time
from langchain_core.messages import HumanMessage
from tryage import Router
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

if sys.argv[1] == "on":
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from tryage.telemetry import instrument
    tracers = TracerProvider()
    tracers.add_span_processor(SpanProcessor())
    instrument(tracers, MeterProvider([InMemoryMetricReader()]))

names = ["gpt-5.4", "gpt-5.4-mini", "claude-opus-4-8", "claude-haiku-4-5"]
chat = ChatTryage.from_models({name: ScriptedChatModel(model=name) for name in names})
router, turn, n = chat._chat_router.router, 0, int(sys.argv[2])

def timed(call, prompts):
    started = time.process_time()
    for prompt in prompts:
        call(prompt)
    return (time.process_time() - started) / len(prompts)

for line in sys.stdin:
    turn += 1
    prompts = [f"Question {turn}.{i}: what is the capital of country number {i}?" for i in range(n)]
    gc.collect()
    decided = timed(router.route, prompts)
    called = timed(lambda prompt: chat.invoke([HumanMessage(prompt)]), prompts)
    print(json.dumps([decided, called]), flush=True)
"""


def start(kind: str, checkout: Path) -> subprocess.Popen[str]:
    """Start a process that decides and calls when it is told to."""
    paths = os.pathsep.join([str(checkout / "shared"), str(checkout / "src")])
    variables = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", WORKER, kind, str(TURN)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=variables,
    )


def take_turn(process: subprocess.Popen[str]) -> list[float]:
    """Return the seconds of a decision and of a call."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes")
    process.stdin.write("go\n")
    process.stdin.flush()
    seconds: list[float] = json.loads(process.stdout.readline())
    return seconds


def measure(before: Path, n_turns: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the seconds of each turn, `(n_turns, 2)` of decisions and calls, by kind."""
    rng = np.random.default_rng(seed)
    processes = {
        "before": start("before", before),
        "off": start("off", ROOT),
        "on": start("on", ROOT),
    }
    seconds: dict[str, list[list[float]]] = {kind: [] for kind in processes}
    for turn in range(n_turns + 3):
        for kind in rng.permutation(list(processes)).tolist():
            measured = take_turn(processes[kind])
            if turn >= 3:  # the first ones load and warm
                seconds[kind].append(measured)
    for process in processes.values():
        process.communicate()
    return {kind: np.array(turns) for kind, turns in seconds.items()}


def microseconds(call: Callable[[], object], n: int = 20_000, repeats: int = 9) -> float:
    """Return the processor time of a call: the shortest of some repeats, less an empty call."""

    def shortest(function: Callable[[], object]) -> float:
        times = []
        for _ in range(repeats):
            started = time.process_time()
            for _ in range(n):
                function()
            times.append(time.process_time() - started)
        return min(times) / n * 1e6

    return shortest(call) - shortest(lambda: None)


def added_when_off() -> dict[str, float]:
    """Return the microseconds of what telemetry adds while it is off, by where it is added."""

    def nothing(*_: object) -> None:
        return None

    def in_call() -> None:
        with tracing_failures():
            measured(partial(nothing, 1, 2))  # type: ignore[arg-type]  # it decides nothing
        with_traces(hooks, observe_call(plan, {}))
        IGNORED_CALL.settle({}, token_counts(usage))

    plan: Any = None  # nobody looks at it
    hooks, usage = FallbackHooks(nothing, nothing, nothing), TokenUsage(10, 5)
    decision = microseconds(lambda: TELEMETRY.observer is None)
    return {"a decision": decision, "a call of ChatTryage": microseconds(in_call)}


def interval(values: np.ndarray, seed: int = 0) -> str:
    """Return the median of values, and its 95% interval from bootstrap samples."""
    rng = np.random.default_rng(seed)
    medians = np.median(rng.choice(values, (2_000, len(values))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return f"{np.median(values):.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="an earlier checkout")
    parser.add_argument("--turns", type=int, default=100)
    options = parser.parse_args()
    for name, added in added_when_off().items():
        print(f"Off, the code in {name} adds {added:.2f} µs.")
    seconds = measure(options.before, options.turns)
    print("| | before, µs of a processor | off, µs | off / before | on - off, µs |")
    print("|---|---|---|---|---|")
    for column, name in enumerate(("a decision", "a call of ChatTryage")):
        before, off, on = (seconds[kind][:, column] * 1e6 for kind in ("before", "off", "on"))
        ratio, added = interval(off / before), interval(on - off)
        print(f"| {name} | {np.median(before):.0f} | {np.median(off):.0f} | {ratio} | {added} |")


if __name__ == "__main__":
    main()
