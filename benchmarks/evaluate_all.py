"""Evaluate the router on every outcome set: figures as JSON, pictures, rows for the README.

Run from the root of the repository, after installing the extra `evaluate`:

    python benchmarks/evaluate_all.py ENCODER_FOLDER --out build/evaluation [--sets mmlu_pro ...]

`--minilm FOLDER` adds nearest neighbours on all-MiniLM-L6-v2, of which the folder holds
`config.json`, `model.safetensors` and `tokenizer.json`. `--seeds 5` prints, for five seeds, how far
the router is ahead of the best single expert.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import SETS, load
from distill_teacher import Teacher

from tryage.learning.evaluation.baselines import BEST_SINGLE, ORACLE, encoder_neighbors
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
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import Float32Array
    from tryage.learning.evaluation.splits import FoldMethod
    from tryage.perception.encoder import Encoder

MINILM = "neighbours on MiniLM"

COLUMNS = (METHOD_NAME, *BASELINES)

SEEDED_BASELINES = {name: BASELINES[name] for name in (BEST_SINGLE, ORACLE)}


def evaluate_set(
    name: str,
    encoder: Encoder,
    settings: EvaluationConfig,
    baselines: Mapping[str, FoldMethod] = BASELINES,
) -> Evaluation:
    """Cross-validate the router and the baselines on one set."""
    table, reader = load(name), CachingEncoder(encoder)
    embeddings = reader.encode(table.prompts)
    methods = {METHOD_NAME: make_routing_method(reader, settings.seed)}
    return evaluate(table, embeddings, methods, name=name, baselines=baselines, config=settings)


def read_minilm(folder: Path) -> dict[str, FoldMethod]:
    """Return the baseline of nearest neighbors on the embeddings of MiniLM, which are cached."""
    teacher = Teacher.load(folder)

    class MiniLM:
        def encode(self, prompts: Sequence[str]) -> Float32Array:
            return teacher.embed(prompts)

    return {MINILM: encoder_neighbors(CachingEncoder(MiniLM()))}


def evaluate_seeds(name: str, encoder: Encoder, n_seeds: int) -> str:
    """Return a row: how far the router is ahead of the best single expert with each seed."""
    found = [
        evaluate_set(name, encoder, EvaluationConfig(seed=seed, draws=200), SEEDED_BASELINES)
        for seed in range(n_seeds)
    ]
    leads = [f[METHOD_NAME].score.value - f[BEST_SINGLE].score.value for f in found]
    closed = [f[METHOD_NAME].gap_closed for f in found]
    shares = [share.value for share in closed if share is not None]
    cells = [f"{100 * lead:+.2f}" for lead in leads]
    mean_share = f"{sum(shares) / len(shares):.0%}" if shares else "-"
    return f"| {name} | {' | '.join(cells)} | {mean_share} |"


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
    closed = found[METHOD_NAME].gap_closed
    share = f"{closed.value:.0%}" if closed else "-"
    cells = [found.name, size, *(scores.get(method, "-") for method in methods), share]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Evaluate the given sets, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="folder of a saved encoder")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--out", type=Path, default=Path("build/evaluation"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, help="only the lead over the best single expert")
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.encoder)
    if arguments.seeds:
        head = ["set", *(f"seed {seed}, points" for seed in range(arguments.seeds)), "gap closed"]
        print(*_table_head(head), sep="\n")
        for name in arguments.sets:
            print(evaluate_seeds(name, encoder, arguments.seeds), flush=True)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    more = read_minilm(arguments.minilm) if arguments.minilm else {}
    columns = (*COLUMNS, *more)
    rows = _table_head(["set", "prompts x experts", *columns, "gap closed"])
    for name in arguments.sets:
        start = time.perf_counter()
        config = EvaluationConfig(seed=arguments.seed)
        found = evaluate_set(name, encoder, config, {**BASELINES, **more})
        write(found, arguments.out)
        rows.append(markdown_row(found, columns))
        print(found.table(), f"\n({time.perf_counter() - start:.0f} s)\n", flush=True)
        (arguments.out / "README.md").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))


def _table_head(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cells) + " |", "|" + "---|" * len(cells)]


if __name__ == "__main__":
    main()
