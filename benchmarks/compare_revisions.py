"""Times two checkouts in turn, each in its own processes, and prints the ratio of every pair.

    git worktree add ../before COMMIT
    python benchmarks/compare_revisions.py ../before . --rounds 7

Only public names are used, so the checkouts may be of any two revisions. One thread each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy and the tokenizer start their pools

import numpy as np  # noqa: E402 - after the pools are set
from checkouts import run_command  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from checkouts import Runs

    from tryage import Router

TEXT = (
    "Prove that the sum of the first n odd numbers is a square then write a short Python function "
    "which checks the claim for every n below one thousand and prints a counterexample if any"
)
IMPORT = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
VERBS = ("get", "send", "find", "delete", "list")
NOUNS = ("mail", "file", "price", "city", "song", "photo", "note", "order")


def main() -> None:
    """Measure one revision, or compare two."""
    run_command(__file__, __doc__, measure, compare)


def compare(runs: Runs) -> None:
    """Print the medians of both checkouts, and the ratios of the pairs."""
    before, after = runs.values()
    print("| | before | after | after / before, median (range) |\n|---|---:|---:|---:|")
    for name in before[0]:
        old, new = (np.array([run[name] for run in side]) for side in (before, after))
        ratio = new / old
        print(
            f"| {name} | {np.median(old):.4g} | {np.median(new):.4g} | "
            f"{np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f}) |"
        )


def measure() -> dict[str, float]:
    """Return the figures of the library that this process imports, times in milliseconds."""
    warnings.simplefilter("ignore")
    from tryage import Router

    figures = {
        "`import tryage`, ms": import_time("import tryage"),
        "`from tryage import Router`, ms": import_time("from tryage import Router"),
    }
    start = time.perf_counter()
    router = Router.from_pretrained()
    figures["`Router.from_pretrained()`, ms"] = 1e3 * (time.perf_counter() - start)
    prompts = make_prompts(2_100)
    return figures | measure_router(router, prompts) | measure_chat(router, prompts[:1_050])


def import_time(statement: str) -> float:
    """Return the median time of an import in eleven new processes; a first one does not count."""
    code = [sys.executable, "-c", IMPORT.format(statement)]
    runs = [subprocess.run(code, capture_output=True, text=True, check=True) for _ in range(12)]
    return 1e3 * float(np.median([float(run.stdout) for run in runs[1:]]))


def make_prompts(count: int, words: int = 90) -> list[str]:
    """Return different prompts of about 100 tokens."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(TEXT.split(), words).tolist()) for _ in range(count)]


def measure_router(router: Router, prompts: Sequence[str]) -> dict[str, float]:
    """Time decisions: plain, with preferences and a flag, in a batch, and among tools."""
    from tryage import Library, Preferences, Router
    from tryage.tools import Tool, ToolRanker

    preferences = Preferences({"cost": 0.3, "size": 0.2}, licenses=["apache-2.0", "mit"])
    flagged = Router(router.perception, router.library, prompt_flags=True)
    ranker = ToolRanker.from_pretrained()
    tools = [Tool(f"{verb}_{noun}", f"{verb} a {noun}") for verb in VERBS for noun in NOUNS]
    queries = [" ".join(prompt.split()[:15]) for prompt in prompts]
    hundred = Router(router.perception, Library(list(router.library)[:100]))
    start = time.process_time()
    hundred.route_batch(prompts[:1_000])
    batch = time.process_time() - start
    return {
        "`route(prompt)` among 100 experts, median of minima, ms": median_minimum(
            hundred.route, prompts[:150]
        ),
        "`route(prompt)` among all bundled experts, the same": median_minimum(
            router.route, prompts[:150]
        ),
        "`route(prompt)`, p50, ms": median_time(router.route, prompts),
        "`route` with weights, licences and a flag, p50, ms": median_time(
            lambda prompt: flagged.route(f"{prompt} [Flag: cheapest model]", preferences), prompts
        ),
        "`route_batch` of 1,000 among 100 experts, ms of processor time": 1e3 * batch,
        "`ToolRanker.select` among 40 tools, p50, ms": median_time(
            lambda query: ranker.select(tools, query), queries[:1_100]
        ),
    }


def measure_chat(router: Router, prompts: Sequence[str]) -> dict[str, float]:
    """Return what `ChatTryage.invoke` adds to a model that answers at once."""
    from langchain_core.language_models import FakeListChatModel

    from tryage_langchain import ChatTryage

    models = {name: FakeListChatModel(responses=[name]) for name in router.library.names[:2]}
    chat = ChatTryage(models=models, router=router)
    alone = next(iter(models.values()))
    added = median_time(chat.invoke, prompts) - median_time(alone.invoke, prompts)
    return {"`ChatTryage.invoke` adds, p50, ms": added}


def median_minimum(function: Callable[[str], Any], texts: Sequence[str], rounds: int = 9) -> float:
    """Return the median over texts of the least time of a call in milliseconds.

    Other work on the machine makes a call longer, never shorter.
    """
    times = np.empty((rounds, len(texts)))
    for row in times:
        for i, text in enumerate(texts):
            start = time.perf_counter()
            function(text)
            row[i] = time.perf_counter() - start
    return 1e3 * float(np.median(times.min(axis=0)))


def median_time(function: Callable[[str], Any], texts: Sequence[str]) -> float:
    """Return the median time of a call in milliseconds; the first 50 calls do not count."""
    times = []
    for text in texts:
        start = time.perf_counter()
        function(text)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times[50:]))


if __name__ == "__main__":
    main()
