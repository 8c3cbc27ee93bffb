"""Compares what two checkouts decide on real prompts, bit for bit.

    git worktree add ../before COMMIT
    python benchmarks/compare_decisions.py ../before .

Routes 2,000 prompts of eight outcome sets with the bundled router of each checkout: without
preferences, with weights and a requirement, and with a flag. Only public names are used.
"""

from __future__ import annotations

import hashlib
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
SETS = (
    *("zoonk_tasks", "textclass", "coderouter_id", "mmlu_pro"),
    *("bfcl_2024_08", "paretobandit", "routerdc7", "zeroeval"),
)


def main() -> None:
    """Print the digests of one revision, or compare two."""
    run_command(__file__, __doc__, lambda: digests(draw_prompts()), compare, rounds=1)


def compare(runs: Runs) -> None:
    """Print which settings differ; the exit status is 1 if any does."""
    before, after = (side[0] for side in runs.values())
    for name in before:
        print(f"{name}: {'the same' if before[name] == after[name] else 'DIFFERENT'}")
    sys.exit(before != after)


def draw_prompts(per_set: int = 250, max_chars: int = 4_000) -> list[str]:
    """Draw prompts from every set by a fixed seed."""
    import pyarrow.parquet as pq

    rng, prompts = np.random.default_rng(0), []
    for name in SETS:
        column = pq.read_table(DATA / name / "prompts.parquet", columns=["prompt"])["prompt"]
        texts = [text[:max_chars] for text in column.to_pylist() if text]
        prompts += [texts[i] for i in rng.permutation(len(texts))[:per_set].tolist()]
    return prompts


def digests(prompts: list[str]) -> dict[str, str]:
    """Return a digest of names, predicted losses, std and totals of all experts per setting."""
    from tryage import Preferences, Router

    router = Router.from_pretrained()
    flagged = Router(router.perception, router.library, prompt_flags=True)
    weighted = Preferences({"cost": 0.3, "size": 0.2}, licenses=["apache-2.0", "mit"])
    decisions = {
        "without preferences": router.route_batch(prompts),
        "weights and a requirement": router.route_batch(prompts, weighted),
        "a flag": flagged.route_batch([f"{text} [Flag: cheapest model]" for text in prompts]),
    }
    result = {}
    for setting, batch in decisions.items():
        digest = hashlib.sha256()
        for decision in batch:
            for expert in decision.ranking:
                row = (expert.name, expert.predicted_loss, expert.std, expert.total)
                digest.update(repr(row).encode())
        result[setting] = digest.hexdigest()
    return result


if __name__ == "__main__":
    main()
