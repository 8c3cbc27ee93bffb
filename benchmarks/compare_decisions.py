"""Compares what two checkouts decide on real prompts: choices, and numbers of the best five.

    git worktree add ../before COMMIT
    python benchmarks/compare_decisions.py ../before .

Routes 2,000 prompts of eight outcome sets with the bundled router of each checkout: without
preferences, with weights and a requirement, and with a flag. Only public names are used.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # the same order of sums in every run

import numpy as np  # noqa: E402 - after the pools are set
from checkouts import run_command  # noqa: E402 - the same

if TYPE_CHECKING:
    from checkouts import Runs

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NUMBERS = ("predicted_loss", "std", "total")
SETS = (
    *("zoonk_tasks", "textclass", "coderouter_id", "mmlu_pro"),
    *("bfcl_2024_08", "paretobandit", "routerdc7", "zeroeval"),
)


def main() -> None:
    """Print the decisions of one revision, or compare two."""
    run_command(__file__, __doc__, lambda: decide(draw_prompts()), compare, rounds=1)


def compare(runs: Runs) -> None:
    """Print how the settings differ; the exit status is 1 if any choice does."""
    before, after = (side[0] for side in runs.values())
    other_choices = 0
    for name in before:
        (names, numbers), (new_names, new_numbers) = before[name], after[name]
        changed = sum(a[0] != b[0] for a, b in zip(names, new_names, strict=True))
        gap = np.abs(np.array(numbers, float) - np.array(new_numbers, float))
        gaps = dict(zip(NUMBERS, np.nanmax(gap, axis=(0, 1)).tolist(), strict=True))
        same = names == new_names and not any(gaps.values())
        print(f"{name}: {'the same' if same else f'{changed} other choices, gaps {gaps}'}")
        other_choices += changed
    sys.exit(other_choices > 0)


def draw_prompts(per_set: int = 250, max_chars: int = 4_000) -> list[str]:
    """Draw prompts from every set by a fixed seed."""
    import pyarrow.parquet as pq

    rng, prompts = np.random.default_rng(0), []
    for name in SETS:
        column = pq.read_table(DATA / name / "prompts.parquet", columns=["prompt"])["prompt"]
        texts = [text[:max_chars] for text in column.to_pylist() if text]
        prompts += [texts[i] for i in rng.permutation(len(texts))[:per_set].tolist()]
    return prompts


def decide(prompts: list[str]) -> dict[str, tuple[list[list[str]], list[list[list[float]]]]]:
    """Return the names and the numbers of the best experts of each decision, per setting."""
    from tryage import Preferences, Router

    router = Router.from_pretrained()
    flagged = Router(router.perception, router.library, prompt_flags=True)
    weighted = Preferences({"cost": 0.3, "size": 0.2}, licenses=["apache-2.0", "mit"])
    decisions = {
        "without preferences": router.route_batch(prompts),
        "one by one": [router.route(prompt) for prompt in prompts[::5]],
        "weights and a requirement": router.route_batch(prompts, weighted),
        "a flag": flagged.route_batch([f"{text} [Flag: cheapest model]" for text in prompts]),
    }
    result = {}
    for setting, batch in decisions.items():
        best = [decision.ranking[:5] for decision in batch]
        names = [
            [decision.expert.name, *(e.name for e in row)]
            for decision, row in zip(batch, best, strict=True)
        ]
        result[setting] = (
            names,
            [[[getattr(e, field) for field in NUMBERS] for e in row] for row in best],
        )
    return result


if __name__ == "__main__":
    main()
