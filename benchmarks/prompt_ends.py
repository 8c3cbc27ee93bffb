"""Measure what it is worth to read the beginning and the end of a prompt by themselves, too.

Run from the root of the repository:

    python benchmarks/prompt_ends.py [--sets coderouter_id ...] [--seeds 5]

The static encoder embeds a prompt as the mean of its words. Here it also embeds the first and the
last characters, each as a block with a regression of its own.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
from datasets import SETS, load
from hidden_states import BUNDLED, draw_prompts, on_encoder

from tryage.learning.evaluation.baselines import BEST_SINGLE, ORACLE
from tryage.learning.evaluation.evaluator import BASELINES, evaluate
from tryage.learning.evaluation.splits import EvaluationConfig
from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float32Array

HEAD, TAIL = 80, 40  # characters

ENDS, STATIC = "with both ends", "static"


class EndsEncoder(CachingEncoder):
    """The static embeddings of a prompt, of its beginning and of its end, as three blocks."""

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """The widths of the three blocks."""
        return (self._encoder.dim,) * 3

    def encode(self, prompts: Sequence[str]) -> Float32Array:
        """Embed prompts `(batch, 3 * dim)` into unit rows."""
        parts = (prompts, [text[:HEAD] for text in prompts], [text[-TAIL:] for text in prompts])
        blocks = [super(EndsEncoder, self).encode(part) for part in parts]
        return np.concatenate(blocks, axis=1) / np.float32(np.sqrt(len(blocks)))


def compare(name: str, limit: int, seed: int) -> str:
    """Return one row: the scores, and the shares of the gap that both close."""
    table, encoder = draw_prompts(load(name), limit), load_encoder(BUNDLED)
    static, ends = CachingEncoder(encoder), EndsEncoder(encoder)
    found = evaluate(
        table,
        static.encode(table.prompts),
        {ENDS: on_encoder(ends, seed), STATIC: on_encoder(static, seed)},
        name=name,
        baselines={label: BASELINES[label] for label in (BEST_SINGLE, ORACLE)},
        config=EvaluationConfig(seed=seed, draws=500),
    )
    scores = [f"{result.score.value:.4f}" for result in found.results]
    closed = [found[label].gap_closed for label in (ENDS, STATIC)]
    shares = [f"{share.value:.1%}" if share else "-" for share in closed]
    lead = found[STATIC].lead
    cells = [name, str(len(table)), str(seed), *scores, *shares, str(lead)]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Compare on the given sets, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--prompts", type=int, default=2_048)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    scores = (ENDS, STATIC, BEST_SINGLE, ORACLE)
    head = ["set", "prompts", "seed", *scores, "ends close", "static closes", "lead"]
    print("| " + " | ".join(head) + " |", "|" + "---|" * len(head), sep="\n")
    for name in arguments.sets:
        for seed in range(arguments.seeds):
            print(compare(name, arguments.prompts, seed), flush=True)


if __name__ == "__main__":
    main()
