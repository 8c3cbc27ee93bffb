"""Time of a whole decision among 100 experts, and of a first one in a new process."""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy and the tokenizer start their pools

import numpy as np  # noqa: E402 - after the pools are set

from tryage import Expert, Library, Preferences, Router  # noqa: E402 - the same
from tryage.perception.wrappers import AlignedPerception  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXPERTS, PROMPTS, ROUNDS, STARTS = 100, 2_000, 300, 7
WEIGHTS = Preferences(
    weights={"cost": 0.3, "size": 0.2, "latency": 0.2, "recency": 0.1, "popularity": 0.1}
)
WORDS = 66  # of docstrings; about 100 tokens


def docstrings() -> Iterator[str]:
    """Yield the docstrings of Python's standard library, in a fixed order."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield text


def fill_library(router: Router) -> Router:
    """Keep 100 experts, or fill the library up to as many with experts never measured."""
    known = list(router.library)[:EXPERTS]
    missing = EXPERTS - len(known)
    unmeasured = [Expert(f"stranger-{i}", parameters=1e9 * (i + 1)) for i in range(missing)]
    return Router(router.perception, Library([*known, *unmeasured]))


def row(what: str, work: Callable[[int], object], rounds: int) -> str:
    """Time the calls after one warm-up call, as a row of the table."""
    work(0)
    spent = []
    for number in range(rounds):
        start = time.perf_counter()
        work(number)
        spent.append(1e3 * (time.perf_counter() - start))
    p50, p95 = np.percentile(spent, [50, 95])
    return f"| {what} | {p50:.2f} ms | {p95:.2f} ms |"


def decisions(name: str, router: Router, texts: list[str]) -> Iterator[str]:
    """Measure one router: single decisions, and a batch."""
    router = fill_library(router)
    words = " ".join(texts).split()
    step = (len(words) - WORDS) // PROMPTS
    prompts = [" ".join(words[i * step : i * step + WORDS]) for i in range(PROMPTS)]
    tokens = np.median(AlignedPerception(router.perception, router.library).count_tokens(prompts))
    label = f"{name}, {len(router.library)} experts, {tokens:.0f} tokens"
    yield row(label, lambda i: router.route(prompts[i]), ROUNDS)
    yield row(f"{label}, five weights", lambda i: router.route(prompts[i], WEIGHTS), ROUNDS)
    start = time.perf_counter()
    router.route_batch(prompts)
    rate = len(prompts) / (time.perf_counter() - start)
    yield f"| {name}, `route_batch` of {len(prompts):,} such prompts | {rate:,.0f} prompts/s | |"


def start(*command: str) -> Callable[[int], object]:
    """Return a function that runs the command in a new process."""
    return lambda _: subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--router", type=Path, help="also a saved router, as with a transformer")
    options = parser.parse_args()
    texts = list(docstrings())[:PROMPTS]
    print("| one thread | p50 | p95 |\n|---|---|---|")
    for line in decisions("bundled", Router.from_pretrained(), texts):
        print(line, flush=True)
    if options.router:
        for line in decisions(options.router.name, Router.from_pretrained(options.router), texts):
            print(line, flush=True)
    shell = str(Path(sys.executable).with_name("tryage"))
    print(row("process start to first decision", start(shell, "route", "Sort it in Rust."), STARTS))
    print(
        row(
            "process start and `import tryage`",
            start(sys.executable, "-c", "import tryage"),
            STARTS,
        )
    )
    print(row("process start alone", start(sys.executable, "-c", ""), STARTS))


if __name__ == "__main__":
    main()
