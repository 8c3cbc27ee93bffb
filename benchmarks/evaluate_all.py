"""Evaluate the router on every outcome set: figures as JSON, pictures, rows for the README.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/evaluate_all.py ENCODER_FOLDER --out build/evaluation [--sets mmlu_pro ...]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import SETS, load

from tryage.learning.evaluation.evaluator import BASELINES, evaluate
from tryage.learning.evaluation.report import Evaluation, plot_calibration, plot_front, plot_shares
from tryage.learning.evaluation.splits import EvaluationConfig
from tryage.learning.evaluation.trained_router import (
    METHOD_NAME,
    CachingEncoder,
    make_routing_method,
)
from tryage.perception.persistence import load_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.perception.encoder import Encoder

COLUMNS = (METHOD_NAME, *BASELINES)


def evaluate_set(name: str, encoder: Encoder, settings: EvaluationConfig) -> Evaluation:
    """Cross-validate the router and all baselines on one set."""
    table, reader = load(name), CachingEncoder(encoder)
    embeddings = reader.encode(table.prompts)
    methods = {METHOD_NAME: make_routing_method(reader, settings.seed)}
    return evaluate(table, embeddings, methods, name=name, config=settings)


def write(found: Evaluation, folder: Path) -> None:
    """Write the figures as JSON and text, and the pictures that the set has data for."""
    (folder / f"{found.name}.json").write_text(json.dumps(found.to_dict(), indent=1) + "\n")
    (folder / f"{found.name}.txt").write_text(found.table() + "\n")
    plot_calibration(found, folder / f"{found.name}_calibration.png")
    plot_shares(found, folder / f"{found.name}_shares.png")
    if found[METHOD_NAME].cost:
        plot_front(found, folder / f"{found.name}_front.png")


def markdown_row(found: Evaluation, methods: Sequence[str]) -> str:
    """Write the scores of some methods as one row of a Markdown table; a dash if not run."""
    scores = {result.name: f"{result.score.value:.3f}" for result in found.results}
    size = f"{found.n_prompts:,} x {found.n_experts:,}"
    return "| " + " | ".join([found.name, size, *(scores.get(m, "-") for m in methods)]) + " |"


def main() -> None:
    """Evaluate the given sets, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="folder of a saved encoder")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--out", type=Path, default=Path("build/evaluation"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(arguments.encoder)
    head = ["set", "prompts x experts", *COLUMNS]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in arguments.sets:
        start = time.perf_counter()
        found = evaluate_set(name, encoder, EvaluationConfig(seed=arguments.seed))
        write(found, arguments.out)
        rows.append(markdown_row(found, COLUMNS))
        print(found.table(), f"\n({time.perf_counter() - start:.0f} s)\n", flush=True)
        (arguments.out / "README.md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
