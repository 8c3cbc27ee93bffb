"""Times a decision by the length of the prompt, before and after, in turn.

    git worktree add ../before COMMIT
    python benchmarks/long_prompts.py ../before . --rounds 5

Every call gets a prompt of its own: slices of exam questions (`../shared/data`), of the sources of
Python's standard library, of JSON, of Chinese and of base64. The bundled router, without
preferences. Processor time, p50 of the calls of all rounds.
"""

from __future__ import annotations

import base64
import json
import os
import random
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy and the tokenizer start their pools

import numpy as np  # noqa: E402 - after the pools are set
from checkouts import run_command  # noqa: E402 - the same

if TYPE_CHECKING:
    from checkouts import Runs

    from tryage import Router

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LENGTHS = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # characters
CALLS = 15  # of each length and kind in one round


def main() -> None:
    """Measure one revision, or compare two."""
    run_command(__file__, __doc__, measure, compare)


def compare(runs: Runs) -> None:
    """Print one row for each kind and length."""
    sides = list(runs.values())
    print("| prompt | before, ms | after, ms | before / after |\n|---|---:|---:|---:|")
    for name in sides[0][0]:
        before, after = (float(np.median([run[name] for run in side])) for side in sides)
        print(f"| {name} | {before:.2f} | {after:.2f} | {before / after:.1f} |")


def measure() -> dict[str, float]:
    """Return the p50 of the processor time of a decision, in ms, by kind and length."""
    from tryage import Router

    router, figures = Router.from_pretrained(), {}
    for kind, text in make_texts().items():
        for length in LENGTHS:
            figures[f"{kind}, {length:,} characters"] = median_time(router, text, length)
    return figures


def make_texts() -> dict[str, str]:
    """Return a text of each kind, longer than the longest prompt."""
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    records = [
        {"id": i, "name": f"item {i * 7919 % 10_007}", "price": i * 31 % 997, "tags": ["new", "eu"]}
        for i in range(20_000)
    ]
    texts = {
        "English": read_prompts("mmlu_pro"),
        "code": "\n".join(path.read_text("utf-8") for path in sources),
        "JSON": json.dumps(records),
        "Chinese": "".join(char for char in read_prompts("routerdc7") if char > "\u2fff"),
        "base64": base64.encodebytes(random.Random(0).randbytes(3_000_000)).decode(),  # noqa: S311 - a text, not a secret
    }
    return {kind: text * (max(LENGTHS) // len(text) + 2) for kind, text in texts.items() if text}


def read_prompts(name: str) -> str:
    """Return the prompts of an outcome set as one text; an empty one where the data is absent."""
    import pyarrow.parquet as pq

    path = DATA / name / "prompts.parquet"
    if not path.exists():
        return ""
    return "\n\n".join(pq.read_table(path, columns=["prompt"])["prompt"].to_pylist())


def median_time(router: Router, text: str, length: int) -> float:
    """Return the median processor time of decisions, in ms; the first two calls do not count."""
    times = []
    for i in range(CALLS + 2):
        prompt = text[i * 97 : i * 97 + length]
        start = time.process_time()
        router.route(prompt)
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times[2:]))


if __name__ == "__main__":
    main()
