"""Measure how many tokens of a prompt the transformer encoder has to read.

Run from the root of the repository:

    python benchmarks/transformer_length.py [--sets ...] [--lengths 192 64] [--seeds 3]

Of a longer prompt it reads the two ends. Prints, for each set, length and seed, the mean score that
is routed to, the share of the gap between the best single expert and the oracle that this closes,
and the processor time of one prompt (one thread, one prompt at a time).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from datasets import SETS, load
from hidden_states import draw_prompts, on_encoder

from tryage.learning.evaluation.baselines import BEST_SINGLE, ORACLE
from tryage.learning.evaluation.evaluator import BASELINES, evaluate
from tryage.learning.evaluation.splits import EvaluationConfig
from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.perception.tokenizer_file import read_tokenizer
from tryage.perception.transformer import TOKENIZER_FILE, TransformerEncoder

FOLDER = Path(__file__).parents[1] / "shared/tryage/perception/bundled_transformer"

N_TIMED = 200  # prompts


def read_encoder(length: int) -> TransformerEncoder:
    """Return the bundled transformer, which reads at most `length` tokens."""
    dim = TransformerEncoder.load(FOLDER).dim
    return TransformerEncoder(FOLDER, read_tokenizer(FOLDER / TOKENIZER_FILE), dim, length)


def milliseconds(encoder: TransformerEncoder, prompts: tuple[str, ...]) -> float:
    """Return the median processor time of one prompt."""
    times = []
    for prompt in prompts[:N_TIMED]:
        start = time.process_time()
        encoder.encode([prompt])
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def compare(name: str, lengths: list[int], limit: int, seeds: int) -> None:
    """Print a row for each length and seed."""
    table = draw_prompts(load(name), limit)
    encoders = {f"{length} tokens": read_encoder(length) for length in lengths}
    times = {label: milliseconds(encoder, table.prompts) for label, encoder in encoders.items()}
    caches = {label: CachingEncoder(encoder) for label, encoder in encoders.items()}
    for seed in range(seeds):
        found = evaluate(
            table,
            next(iter(caches.values())).encode(table.prompts),
            {label: on_encoder(cache, seed) for label, cache in caches.items()},
            name=name,
            baselines={label: BASELINES[label] for label in (BEST_SINGLE, ORACLE)},
            config=EvaluationConfig(seed=seed, draws=500),
        )
        for label in caches:
            share = found[label].gap_closed
            closed = f"{share.value:.1%}" if share else "-"
            cells = [name, label, str(seed), f"{found[label].score.value:.4f}", closed]
            print("| " + " | ".join([*cells, f"{times[label]:.2f}"]) + " |", flush=True)


def main() -> None:
    """Compare on the given sets, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--lengths", nargs="+", type=int, default=[192, 64])
    parser.add_argument("--prompts", type=int, default=2_048)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("| set | read | seed | score | gap closed | ms |", "|---|---|---|---|---|---|", sep="\n")
    for name in arguments.sets:
        compare(name, arguments.lengths, arguments.prompts, arguments.seeds)


if __name__ == "__main__":
    main()
