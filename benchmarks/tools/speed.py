"""Time one choice among many tools in one thread, and separately the encoding of the query.

OMP_NUM_THREADS=1 python benchmarks/tools/speed.py [--tools 10000]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np
from sets import load

from tryage.tools import ToolRanker
from tryage.tools.matching import split_clauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tryage.tools import Tool

QUERIES, TIMES = 300, 5


def repeat(tools: Sequence[Tool]) -> Iterator[Tool]:
    """Yield the tools again and again under new names."""
    for number in count():
        for tool in tools:
            yield replace(tool, name=f"{tool.name}_{number}")


def measure_ms(work: Callable[[str], object], queries: Sequence[str]) -> tuple[float, float]:
    """Return the median and the 95th percentile in milliseconds."""
    times = np.empty((TIMES, len(queries)))
    for row in times:
        for i, query in enumerate(queries):
            start = time.process_time()
            work(query)
            row[i] = 1e3 * (time.process_time() - start)
    fastest = times.min(axis=0)
    return float(np.median(fastest)), float(np.percentile(fastest, 95))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=int, default=10_000)
    options = parser.parse_args()
    sets = load()
    pool = {tool.name.casefold(): tool for part in sets.values() for tool in part[0].tools}
    ranker = ToolRanker.from_pretrained()
    start = time.perf_counter()
    box = ranker.toolbox(islice(repeat(list(pool.values())), options.tools))
    print(f"{len(box):,} tools, read in {time.perf_counter() - start:.1f} s; {QUERIES} queries\n")
    order = np.random.default_rng(0).permutation(len(sets["metatool"]))[:QUERIES]
    queries = [sets["metatool"][i].query for i in order]
    works: dict[str, Callable[[str], object]] = {
        "select 5": lambda query: ranker.select(box, query),
        "select those likely of use": lambda query: ranker.select(box, query, None),
        "encoding alone": lambda query: ranker.encoder.encode([query, *split_clauses(query)]),
    }
    print("| what | p50 | p95 |\n|---|---|---|")
    for label, work in works.items():
        measure_ms(work, queries[:20])
        p50, p95 = measure_ms(work, queries)
        print(f"| {label} | {p50:.2f} ms | {p95:.2f} ms |", flush=True)


if __name__ == "__main__":
    main()
