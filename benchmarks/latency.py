"""Time of an encoder on one core: for one prompt of 100 tokens, and for a batch of 1,000."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.perception.encoder import Encoder

SENTENCE = (
    "Prove that the sum of the first n odd numbers is a square, then write a short Python "
    "function which checks the claim for every n below one thousand and prints a counterexample. "
)
ROUNDS = 300


def prompts(encoder: Encoder, tokens: int, count: int) -> list[str]:
    """Make different prompts of about `tokens` tokens."""
    words = SENTENCE.split()
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        text = " ".join(rng.choice(words, tokens))
        found.append(" ".join(text.split()[: tokens * tokens // encoder.count_tokens([text])[0]]))
    return found


def milliseconds(work: Callable[[int], object], rounds: int) -> tuple[float, float]:
    """Return the median wall time and the median processor time of one call."""
    wall, processor = [], []
    for number in range(rounds):
        start, processor_start = time.perf_counter(), time.process_time()
        work(number)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - processor_start)
    return 1e3 * float(np.median(wall)), 1e3 * float(np.median(processor))


def report(folder: Path, texts: Sequence[str] = ()) -> None:
    """Print the figures of one saved encoder."""
    start = time.perf_counter()
    encoder = load_encoder(folder)
    load = time.perf_counter() - start
    texts = texts or prompts(encoder, tokens=100, count=1_000)
    tokens = float(np.mean(encoder.count_tokens(texts)))
    size = sum(p.stat().st_size for p in folder.iterdir()) / 1e6
    one = milliseconds(lambda i: encoder.encode([texts[i]]), ROUNDS)
    reading = milliseconds(lambda i: encoder.token_ids([texts[-i]]), ROUNDS)
    batch = milliseconds(lambda i: encoder.encode(texts[i:]), 3)
    print(
        f"{folder.name}: {size:.1f} MB, loaded in {load:.2f} s; prompts of {tokens:.0f} tokens: "
        f"p50 {one[0]:.2f} ms (processor {one[1]:.2f}, of which tokens {reading[1]:.2f}); "
        f"batch {1e3 * len(texts) / batch[0]:,.0f} prompts/s"
        f" (of processor time {1e3 * len(texts) / batch[1]:,.0f})"
    )


def main() -> None:
    """Measure every given folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "1"  # the tokenizer's pool; numpy and ONNX use one thread
    for folder in options.folders:
        report(folder)


if __name__ == "__main__":
    main()
