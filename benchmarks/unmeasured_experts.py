"""Time of the bundled perception for a million models that it has never seen, on one core.

    python benchmarks/unmeasured_experts.py [--models 1000000]

Processor time for synthetic models with the fields of the Hub; the encoder is included.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

from tryage import Library, Router
from tryage.perception.metadata import metadata_features

if TYPE_CHECKING:
    from collections.abc import Callable

SERIES = ("llama-3", "qwen2.5", "mistral", "gemma-2", "falcon", "some", "merge", "novel")
VARIANTS = ("instruct", "base", "dpo", "gguf", "merge", "coder")
ROUNDS = 50


def make_library(count: int) -> Library:
    """Make a library of `count` models with many unknown facts."""
    rng = np.random.default_rng(0)
    known = {
        "parameters": 10 ** rng.uniform(7, 12, count),
        "downloads": 10 ** rng.uniform(0, 6, count),
        "released": rng.integers(738_000, 739_900, count).astype(float),
        "context_length": 2.0 ** rng.integers(9, 18, count),
    }
    for column in known.values():
        column[rng.random(count) < 0.3] = np.nan
    words = zip(rng.choice(SERIES, count), rng.choice(VARIANTS, count), strict=True)
    names = [f"owner{i % 9_999}/{a}-{b}-{i}" for i, (a, b) in enumerate(words)]
    return Library.from_columns(names, **known)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1_000_000)
    library = make_library(parser.parse_args().models)
    perception = Router.from_pretrained().perception
    features = seconds(lambda: metadata_features(library))
    prior = seconds(lambda: perception.for_library(library))
    known = perception.for_library(library)
    spent = [
        1e3 * seconds(lambda i=i: known.predict([f"Prove that the root of {i} is irrational."]))
        for i in range(ROUNDS)
    ]
    print(
        "| models | traits, once | relatives, once | one prompt, p50 | p95 |\n|---|---|---|---|---|"
    )
    p50, p95 = np.percentile(spent, [50, 95])
    print(f"| {len(library):,} | {features:.1f} s | {prior:.2f} s | {p50:.1f} ms | {p95:.1f} ms |")


if __name__ == "__main__":
    main()
