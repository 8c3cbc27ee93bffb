"""Whether a log slows calls: their times with and without one, at 1,000 decisions a second.

One thread asks a router for a decision at a fixed rate, in blocks of three kinds in turn, so that
whatever else the machine does falls on all alike: without a log, with a log that drops its records
(what making a record takes), and with a log. The figures are ratios of 99th percentiles, one for
each repetition. On a busy machine `chrt -r 1` before the command keeps others out of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from typing import TYPE_CHECKING

import numpy as np

from tryage import Router
from tryage.traffic.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.traffic.records import DecisionRecord

SENTENCE = (
    "Prove that the sum of the first n odd numbers is a square, then write a short Python "
    "function which checks the claim for every n below one thousand and prints a counterexample."
)
BLOCK_SECONDS = 2.0
WITHOUT, DROPPED, LOGGED = "without a log", "records dropped", "with a log"
T_97_5 = {2: 12.7, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}  # Student's, by number of repetitions


class DroppingTraffic(Traffic):
    """A log that keeps no decision."""

    def record_decision(self, record: DecisionRecord) -> None:
        """Drop the record."""


def make_prompts(count: int) -> list[str]:
    """Make different prompts of 30 words."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(SENTENCE.split(), 30)) for _ in range(count)]


def offer_load(
    call: Callable[[str], object], prompts: Sequence[str], rate: float
) -> NDArray[np.float64]:
    """Call once per prompt at a rate, and return the seconds that each call took."""
    seconds = np.empty(len(prompts))
    start = time.perf_counter()
    for i, prompt in enumerate(prompts):
        while (due := start + i / rate) > time.perf_counter():
            time.sleep(max(due - time.perf_counter(), 0.0))
        began = time.perf_counter()
        call(prompt)
        seconds[i] = time.perf_counter() - began
    return seconds


def measure(
    routers: Mapping[str, Router], log: Traffic, rate: float, seconds: float
) -> dict[str, NDArray[np.float64]]:
    """Return the times of calls by kind, in milliseconds, from blocks that take turns."""
    times: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in routers}
    prompts, kinds = make_prompts(int(BLOCK_SECONDS * rate)), list(routers)
    for _ in range(max(round(seconds / BLOCK_SECONDS), 1)):
        for kind in kinds:
            times[kind].append(1e3 * offer_load(routers[kind].route, prompts, rate))
            log.flush()
        kinds.append(kinds.pop(0))
    return {kind: np.concatenate(parts) for kind, parts in times.items()}


def main() -> None:
    """Measure all repetitions and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1_000.0, help="decisions a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each kind, per repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--experts", type=int, default=5)
    parser.add_argument("--url", help="of the log; by default a new file of SQLite")
    options = parser.parse_args()
    bundled = Router.from_pretrained()
    parts = (
        bundled.perception,
        [bundled.library[name] for name in bundled.library.names[: options.experts]],
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Traffic(options.url or f"sqlite:///{folder}/tryage.db")
        dropping = DroppingTraffic(f"sqlite:///{folder}/dropped.db")
        routers = {
            WITHOUT: Router(*parts),
            DROPPED: Router(*parts, traffic=dropping),
            LOGGED: Router(*parts, traffic=log),
        }
        measure(routers, log, options.rate, BLOCK_SECONDS)  # caches and the processor become warm
        runs = []
        for number in range(1, options.repetitions + 1):
            began = time.perf_counter()
            times = measure(routers, log, options.rate, options.seconds)
            rate = sum(map(len, times.values())) / (time.perf_counter() - began)
            print(f"run {number}, {rate:,.0f} decisions a second", flush=True)
            runs.append(print_times(times))
        print_ratios(runs)
        stored = log.counts()["decisions"]
        print(f"stored {stored:,}, lost {log.lost or 'none'}")
        log.close()
        dropping.close()


def print_times(times: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Print and return the percentiles 50, 99 and 99.9 of each kind."""
    found = {kind: np.percentile(values, (50, 99, 99.9)) for kind, values in times.items()}
    for kind, (p50, p99, p999) in found.items():
        print(f"  {kind:16} p50 {p50:6.3f}  p99 {p99:6.3f}  p99.9 {p999:6.3f} ms", flush=True)
    return found


def print_ratios(runs: Sequence[Mapping[str, NDArray[np.float64]]]) -> None:
    """Print how many times longer calls take, with intervals over the repetitions."""
    for kind, base in ((LOGGED, WITHOUT), (DROPPED, WITHOUT), (LOGGED, DROPPED)):
        for column, name in enumerate(("p50", "p99")):
            logs = np.log([run[kind][column] / run[base][column] for run in runs])
            error = logs.std(ddof=1) / len(logs) ** 0.5 if len(logs) > 1 else np.nan
            half = T_97_5.get(len(logs), 1.96) * error
            low, mean, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
            print(f"{name} {kind} / {base}: {mean:.3f} (95% {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
