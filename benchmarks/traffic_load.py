"""Whether a log slows calls: their times with and without one, at 1,000 decisions a second.

One thread asks a router for a decision at a fixed rate, in blocks that in turn write into a log and
do not, so that whatever else the machine does falls on both alike. The figure is the ratio of the
99th percentiles, one for each repetition.
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
    from collections.abc import Callable, Sequence

    from tryage.core.arrays import FloatArray

SENTENCE = (
    "Prove that the sum of the first n odd numbers is a square, then write a short Python "
    "function which checks the claim for every n below one thousand and prints a counterexample."
)
BLOCK_SECONDS = 2.0
T_97_5 = {3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}  # Student's quantiles by the number of repetitions


def make_prompts(count: int) -> list[str]:
    """Make different prompts of 30 words."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(SENTENCE.split(), 30)) for _ in range(count)]


def offer_load(call: Callable[[str], object], prompts: Sequence[str], rate: float) -> FloatArray:
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
    plain: Callable[[str], object],
    logged: Callable[[str], object],
    log: Traffic,
    rate: float,
    seconds: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the times of calls without and with a log, from blocks that alternate."""
    without, with_log = [], []
    prompts = make_prompts(int(BLOCK_SECONDS * rate))
    for block in range(round(seconds / BLOCK_SECONDS)):
        for is_logged in (False, True) if block % 2 else (True, False):
            times = offer_load(logged if is_logged else plain, prompts, rate)
            (with_log if is_logged else without).append(times)
            log.flush()
    return np.concatenate(without), np.concatenate(with_log)


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
    experts = [bundled.library[name] for name in bundled.library.names[: options.experts]]
    plain = Router(bundled.perception, experts)
    with tempfile.TemporaryDirectory() as folder:
        log = Traffic(options.url or f"sqlite:///{folder}/tryage.db")
        logged = Router(bundled.perception, experts, traffic=log)
        for prompt in make_prompts(300):  # caches and the processor become warm
            plain.route(prompt), logged.route(prompt)
        log.flush()
        print("run  p50, p99, p99.9 without and with a log (ms)        ratio of p99   a second")
        ratios = []
        for run in range(1, options.repetitions + 1):
            began = time.perf_counter()
            pair = measure(plain.route, logged.route, log, options.rate, options.seconds)
            per_second = sum(map(len, pair)) / (time.perf_counter() - began)
            without, with_log = (1e3 * np.percentile(times, (50, 99, 99.9)) for times in pair)
            ratios.append(with_log[1] / without[1])
            columns = "  ".join(f"{one:6.3f}" for one in (*without, *with_log))
            print(f"{run:3}  {columns}   {ratios[-1]:10.3f}   {per_second:10,.0f}", flush=True)
        print_summary(ratios, log)
        log.close()


def print_summary(ratios: Sequence[float], log: Traffic) -> None:
    """Print the mean of the ratios with an interval, and what the log holds and lost."""
    logs = np.log(ratios)
    error = logs.std(ddof=1) / len(logs) ** 0.5 if len(logs) > 1 else np.nan
    half = T_97_5.get(len(logs), 1.96) * error
    low, mean, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    stored = sum(1 for _ in log.decisions())
    print(f"ratio of p99: {mean:.3f} (95% interval {low:.3f} to {high:.3f})")
    print(f"stored {stored:,}, lost {log.lost or 'none'}")


if __name__ == "__main__":
    main()
