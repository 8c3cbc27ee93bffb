"""How much longer a decision takes while a shadow decides beside.

    python benchmarks/shadow_time.py [--rate 100] [--seconds 20]

Two routers write to a log of their own: the bundled one, and the same with a shadow. Both get the
same prompts at the same offered rate, in turns of one second, so that whatever else the machine
does hits both. Prints the median and the 99th percentile of `Router.route`, and their ratios.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from tryage import Router
from tryage.policies import Shadow

STARTS = ("Explain", "Summarize", "Prove a theorem about", "Write a function that computes")
SUBJECTS = ("prime numbers", "the tax law of Peru", "binary search", "the French Revolution")
PROMPTS = [
    f"{start} {subject}, step by step, for a reader who knows nothing about it."
    for start in STARTS
    for subject in SUBJECTS
]
EXPERTS = ["gpt-5-mini", "claude-opus-4-5", "gpt-4o-mini"]


def measure(router: Router, rate: float, seconds: float) -> list[float]:
    """Return the seconds of each decision at an offered rate."""
    times, start = [], time.perf_counter()
    for i in range(int(rate * seconds)):
        wait = start + i / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        before = time.perf_counter()
        router.route(f"{PROMPTS[i % len(PROMPTS)]} ({i})")
        times.append(time.perf_counter() - before)
    return times


def main() -> None:
    """Print medians, 99th percentiles and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="decisions a second")
    parser.add_argument("--seconds", type=int, default=20, help="of each of the two")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain, beside = (
            Router.from_pretrained(traffic=f"sqlite:///{Path(folder) / name}.db").subset(EXPERTS)
            for name in ("plain", "shadow")
        )
        shadow = Shadow(beside.with_preferences("thrifty"), beside=beside)
        routers = {"plain": plain, "shadow": shadow}
        times: dict[str, list[float]] = {name: [] for name in routers}
        for router in routers.values():
            measure(router, arguments.rate, 1)
        for turn in range(arguments.seconds):
            for name in [*routers] if turn % 2 else [*reversed(routers)]:
                times[name] += measure(routers[name], arguments.rate, 1)
        shadow.flush(60)
        figures = {name: np.percentile(values, [50, 99]) * 1e3 for name, values in times.items()}
        for name, (median, slow) in figures.items():
            print(f"{name}: median {median:.3f} ms, p99 {slow:.3f} ms")
        ratios = figures["shadow"] / figures["plain"]
        print(f"ratio: median {ratios[0]:.3f}, p99 {ratios[1]:.3f}; missed: {shadow.missed}")
        for router in (plain, beside):
            if router.traffic is not None:
                router.traffic.close()


if __name__ == "__main__":
    main()
