"""Compare the tool ranker with a local language model that selects tools, on a sample.

    python benchmarks/tools/llm_selector.py .demo/smollm2 [--sample 100]

The folder holds a small Llama model such as `make demo` writes. The queries are of one fold that
the ranker was not trained on. The model can only write names of tools, so no answer is invalid.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from evaluate import TOP, RankerChooser, judge
from folds import CONFIG, CachedEncoder, by_query
from models import ConstrainedLM
from sets import load

from tryage.perception.persistence import load_encoder
from tryage.tools.persistence import BUNDLED_FOLDER
from tryage.tools.training import fit_ranker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.tools.episodes import Episode

SETS = ("metatool", "bfcl")


def sample(part: Sequence[Episode], count: int) -> list[Episode]:
    """Draw queries with several tools, the same ones each time."""
    several = [one for one in part if one.useful and len(one.tools) > 1]
    order = np.random.default_rng(0).permutation(len(several))[:count]
    return [several[i] for i in order]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--sample", type=int, default=100)
    options = parser.parse_args()
    train, test = by_query(load(), 0)
    model, encoder = (
        ConstrainedLM(options.model),
        CachedEncoder(load_encoder(BUNDLED_FOLDER / "encoder")),
    )
    choosers = {
        "Tryage": RankerChooser(fit_ranker(train, encoder, config=CONFIG)),
        options.model.name: lambda one: model.choose(one.query, one.tools, TOP),
    }
    print("| set | queries | selector | recall@1 | @3 | @5 | per query |")
    print("|---|---|---|---|---|---|---|")
    for name in SETS:
        part = sample(test[name], options.sample)
        for label, chooser in choosers.items():
            chooser(part[0])  # reads the tools
            start = time.perf_counter()
            r1, r3, r5, _ = np.mean(judge(chooser, part), axis=0)
            ms = 1e3 * (time.perf_counter() - start) / len(part)
            figures = f"{r1:.3f} | {r3:.3f} | {r5:.3f} | {ms:,.1f} ms"
            print(f"| {name} | {len(part)} | {label} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
