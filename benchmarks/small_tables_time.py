"""Processor time of one decision of a router from scratch, and of one that starts from the bundled.

    python benchmarks/small_tables_time.py [--set llmrouter_uiuc] [--rounds 30]

Both learn from 1,000 prompts of ten experts, without categories. The third router compares prompts
by all of its features, and not by those alone that the bundled router reads. The routers decide in
turn, one prompt at a time; of each prompt and router the fastest of all rounds counts, which other
processes disturb least.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy and the tokenizer start their pools

import numpy as np  # noqa: E402 - after the pools are set

sys.path.insert(0, str(Path(__file__).resolve().parent / "bundle"))

from datasets import load  # noqa: E402 - the same

from tryage import Router  # noqa: E402 - the same
from tryage.learning.training.trainer import fit  # noqa: E402 - the same
from tryage.perception.head import l2_normalize  # noqa: E402 - the same

if TYPE_CHECKING:
    from tryage.perception.model import LearnedPerception

EXPERTS, TRAINING_PROMPTS, PROMPTS = 10, 1_000, 100


def compare_all(perception: LearnedPerception, prompts: tuple[str, ...]) -> LearnedPerception:
    """Return a perception whose prototypes, the training prompts, have all features."""
    encoder = perception.encoder
    embeddings, ids = encoder.encode(prompts), encoder.token_ids(prompts)
    x = perception.feature_extractor.extract(prompts, embeddings, ids)
    return perception.replace(head=replace(perception.head, prototypes=l2_normalize(x)))


def microseconds(router: Router, prompt: str) -> float:
    """Return the processor time of one decision."""
    start = time.process_time_ns()
    router.route(prompt)
    return (time.process_time_ns() - start) / 1e3


def measure(
    routers: dict[str, Router], prompts: tuple[str, ...], rounds: int
) -> dict[str, np.ndarray]:
    """Return the shortest time of each prompt by router, `(n_prompts,)` microseconds."""
    rng = np.random.default_rng(0)
    found = {name: np.full(len(prompts), np.inf) for name in routers}
    for _ in range(rounds):
        for name in rng.permutation(list(routers)).tolist():
            routers[name].route(prompts[0])  # its arrays are in the cache again
            spent = np.array([microseconds(routers[name], prompt) for prompt in prompts])
            found[name] = np.minimum(found[name], spent)
    return found


def main() -> None:
    """Train the routers, and print the median time of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="llmrouter_uiuc")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    table = load(options.set)
    table = table.take(np.random.default_rng(0).permutation(len(table)))
    table = replace(table.select(list(table.experts[:EXPERTS])), categories=None)
    train = table.take(np.arange(TRAINING_PROMPTS))
    prompts = table.prompts[TRAINING_PROMPTS : TRAINING_PROMPTS + PROMPTS]
    bundled = Router.from_pretrained()
    encoder = bundled.perception.encoder
    started = fit(train, encoder, pretrained=bundled, progress=False)
    routers = {
        "from scratch": Router(fit(train, encoder, progress=False)),
        "from the bundled router": Router(started),
        "the same, all features compared": Router(compare_all(started, train.prompts)),
    }
    found = measure(routers, prompts, options.rounds)
    print("| router | median, us | more than from scratch, us |\n|---|---:|---:|")
    for name, spent in found.items():
        more = np.median(spent - found["from scratch"])
        print(f"| {name} | {np.median(spent):.0f} | {more:+.0f} |")


if __name__ == "__main__":
    main()
