"""How well a router learns from a small table: learning curves, with and without a pretrained one.

    python benchmarks/small_tables.py --out build/small_tables [--sets coderouter_id ...]
        [--sizes 100 300 1000 0] [--seeds 5] [--stack]

The bundled router has seen the prompts of the sets that it may learn from. So each set starts from
a router that was trained as the bundled one is, but without this set, and without any prompt of the
same text in other sets; it is kept under `--out`. A seed draws the split (a fifth of the prompts is
tested) and the training prompts; size 0 takes all of them. Cells are kept as JSON lines: the same
command continues after an interruption, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "bundle"))

from datasets import load

from tryage.learning.evaluation.baselines import best_single, nearest_neighbors, oracle
from tryage.learning.evaluation.metrics import choice_probabilities, expected_value
from tryage.learning.evaluation.splits import Fold, folds
from tryage.learning.evaluation.stacking import stack
from tryage.learning.evaluation.trained_router import CachingEncoder
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage.core.arrays import Float32Array
    from tryage.perception.encoder import Encoder
    from tryage.scoring.qtable import QTable

SETS = (
    *("coderouter_id", "llmrouter_uiuc", "mmlu_pro", "routellm_pair"),
    *("routerbench_subset", "zeroeval", "bfcl_2024_08"),
)

# Sets that start from the same router, which has seen none of them.
LEFT_OUT_TOGETHER = (
    *("llmrouter_uiuc", "zeroeval", "routellm_pair", "routerbench_subset", "bfcl_2024_08"),
)

SIZES = (100, 300, 1_000, 0)

MAX_TEST = 2_000  # prompts of a fold; more change little

METHODS = {
    "before": "no categories",  # one category: what training was before
    "clusters": "no categories, clusters",
    "pretrained": "pretrained, no categories",
    "categories": "categories, not pretrained",
    "both": "pretrained, categories",
    "neighbors": "neighbours",
    "stack": "stack, no categories",
}


def left_out(name: str) -> tuple[str, ...]:
    """Return the sets that the router from which `name` starts has not seen."""
    return LEFT_OUT_TOGETHER if name in LEFT_OUT_TOGETHER else (name,)


def pretrained_without(names: Sequence[str], folder: Path) -> Router:
    """Train as the bundled router is trained, without some sets; read it if it is there."""
    from train import ADEQUATE, joint_table, known_library, train_perception

    if not (folder / "router.json").exists():
        table = joint_table([name for name in ADEQUATE if name not in names])
        texts = {text.strip() for name in names for text in load(name).prompts}
        table = table.take([text.strip() not in texts for text in table.prompts])
        measured = table.measured.any(axis=0)
        table = table.select([e for e, known in zip(table.experts, measured, strict=True) if known])
        perception = train_perception(table, load_encoder(BUNDLED_FOLDER / "encoder"))
        Router(perception, known_library(perception.experts)).save_pretrained(folder)
    return Router.from_pretrained(folder)


def draw(table: QTable, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the training prompts and of the tested prompts."""
    train, test = folds(table.groups, 5, seed)[0]
    rng = np.random.default_rng(1_000 + seed)
    if size:
        train = np.sort(rng.permutation(train)[:size])
    return train, np.sort(rng.permutation(test)[:MAX_TEST])


def score(losses: Float32Array, test: QTable) -> float:
    """Return the mean score of the experts with the lowest predicted losses."""
    shares = choice_probabilities(losses, test.measured)
    return 1 - float(expected_value(shares, test.losses).mean())


def measure(  # noqa: PLR0913 - what a cell depends on
    table: QTable, encoder: Encoder, pretrained: Router, size: int, seed: int, *, with_stack: bool
) -> dict[str, float]:
    """Return the score of every method on one draw."""
    train_rows, test_rows = draw(table, size, seed)
    train, test = table.take(train_rows), table.take(test_rows)
    known = train.measured.any(axis=0)
    names = [name for name, kept in zip(table.experts, known, strict=True) if kept]
    train, test = train.select(names), test.select(names)
    fold = Fold(train, encoder.encode(train.prompts), test, encoder.encode(test.prompts))
    blind = replace(fold, train=replace(train, categories=None))
    found = {
        "single": score(best_single(fold).losses, test),
        "oracle": score(oracle(fold).losses, test),
        "neighbors": score(nearest_neighbors(fold).losses, test),
    }
    if with_stack:
        found["stack"] = score(stack(blind).losses, test)
    for name, part, start, n_clusters in (
        ("before", blind, None, 1),
        ("clusters", blind, None, FitConfig().n_clusters),
        ("pretrained", blind, pretrained, FitConfig().n_clusters),
        ("categories", fold, None, 1),
        ("both", fold, pretrained, 1),
    ):
        config = FitConfig(seed=seed, n_clusters=n_clusters)
        perception = fit(
            part.train,
            encoder,
            config=config,
            pretrained=start,
            embeddings=fold.train_embeddings,
            progress=False,
        )
        found[name] = score(perception.predict(test.prompts).losses, test)
    return found


def cells(path: Path) -> Iterator[dict[str, Any]]:
    """Read the measured cells."""
    if path.exists():
        yield from map(json.loads, path.read_text("utf-8").splitlines())


def show_lead(rows: Sequence[dict[str, Any]], method: str) -> str:
    """Write the mean lead of a method over the best single expert, and that of its worst seed."""
    leads = [100 * (cell[method] - cell["single"]) for cell in rows if method in cell]
    return f"{np.mean(leads):+.2f} ({min(leads):+.2f})" if leads else "-"


def table_rows(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Write the mean lead over the best single expert of each method, and the worst seed."""
    yield "| set | prompts | best single | " + " | ".join(METHODS.values()) + " | oracle |"
    yield "|---|---|---|" + "---|" * (len(METHODS) + 1)
    groups = dict.fromkeys((cell["set"], cell["size"]) for cell in found)
    for name, size in groups:
        rows = [cell for cell in found if (cell["set"], cell["size"]) == (name, size)]
        single = np.array([cell["single"] for cell in rows])
        shown = [show_lead(rows, method) for method in METHODS]
        top = 100 * (np.mean([cell["oracle"] for cell in rows]) - single.mean())
        words = [name, str(size or "all"), f"{single.mean():.4f}", *shown, f"{top:+.1f}"]
        yield "| " + " | ".join(words) + " |"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/small_tables"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--stack", action="store_true", help="also the stack, which takes longest")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "cells.jsonl"
    done = list(cells(path))
    for seed in range(options.seeds):
        for name in options.sets:
            keys = [{"set": name, "size": size, "seed": seed} for size in options.sizes]
            keys = [key for key in keys if not any(key.items() <= cell.items() for cell in done)]
            if not keys:
                continue
            table, others = load(name), left_out(name)
            encoder = CachingEncoder(load_encoder(BUNDLED_FOLDER / "encoder"))
            pretrained = pretrained_without(others, options.out / "-".join(others))
            for key in keys:
                size = key["size"]
                found = measure(table, encoder, pretrained, size, seed, with_stack=options.stack)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(key | found) + "\n")
    print("\n".join(table_rows(list(cells(path)))))


if __name__ == "__main__":
    main()
