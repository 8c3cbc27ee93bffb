"""Memory and time of several ChatTryage in one process, of remembered prompts, and per call.

    git worktree add ../before COMMIT
    python benchmarks/chat_costs.py ../before . --rounds 5

The checkouts take turns, each in processes of its own, with one thread. The models answer
immediately. Memory is the resident set, so it needs Linux; time is processor time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy and the tokenizer start their pools

import numpy as np  # noqa: E402 - after the pools are set
from checkouts import run_command  # noqa: E402 - the same
from decision import WORDS, docstrings  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from checkouts import Runs

NAMES = ("gpt-4o-mini", "gpt-4o")
CHATS = 6
REMEMBERED, PROMPT_BYTES = 1_024, 200_000
CALLS, CONCURRENT = 300, 1_000


def main() -> None:
    """Measure one revision, or compare two."""
    warnings.simplefilter("ignore")
    run_command(__file__, __doc__, measure, compare)


def compare(runs: Runs) -> None:
    """Print the medians of both checkouts, and the range of the second."""
    before, after = runs.values()
    print("| | before | after | range after |\n|---|---:|---:|---:|")
    for name in before[0]:
        old, new = ([run[name] for run in side] for side in (before, after))
        print(
            f"| {name} | {np.median(old):.3g} | {np.median(new):.3g} | "
            f"{min(new):.3g} to {max(new):.3g} |"
        )


def measure() -> dict[str, float]:
    """Return all figures of the library that is imported here."""
    return {**measure_chats(), **measure_memory(), **measure_calls()}


def make_chat() -> Any:  # noqa: ANN401 - ChatTryage of the revision that is measured
    """Return a new ChatTryage over models that answer immediately."""
    from langchain_core.language_models import FakeListChatModel

    from tryage_langchain import ChatTryage

    return ChatTryage.from_models({name: FakeListChatModel(responses=["hello"]) for name in NAMES})


def measure_chats() -> dict[str, float]:
    """Measure the first ChatTryage and each further one, with its first call."""
    make_chat()  # imports
    sizes, seconds, chats = [resident_megabytes()], [], []
    for i in range(CHATS):
        start = time.process_time()
        chats.append(make_chat())
        chats[-1].invoke(f"Is {i} a prime?")
        seconds.append(time.process_time() - start)
        sizes.append(resident_megabytes())
    grown, times = np.diff(sizes), np.array(seconds)
    return {
        "first ChatTryage, MB": grown[0],
        "first ChatTryage, s": times[0],
        "each further one, MB": grown[1:].mean(),
        "each further one, s": times[1:].mean(),
        f"all {CHATS}, MB": grown.sum(),
    }


def measure_memory() -> dict[str, float]:
    """Measure what remains of many long prompts."""
    from tryage import Router
    from tryage.chat import ChatRouter, Conversation, Turn
    from tryage.testing import FunctionPerception

    chat = ChatRouter(Router(FunctionPerception(NAMES, lambda _: [0.1, 0.2])))

    def ask(i: int) -> None:
        plan = chat.plan(Conversation([Turn("user", f"{i} ".ljust(PROMPT_BYTES, "x"))]))
        chat.mark_served(plan, plan.first)

    ask(-1)
    before = resident_megabytes()
    for i in range(REMEMBERED):
        ask(i)
    name = f"{REMEMBERED:,} prompts of {PROMPT_BYTES // 1_000} kB keep, MB"
    return {name: resident_megabytes() - before}


def measure_calls() -> dict[str, float]:
    """Measure what a call takes above the model alone, and many calls at once."""
    from tryage import Router

    chat, prompts = make_chat(), distinct_prompts()
    alone, router = chat.models[NAMES[0]], Router.from_pretrained().subset(NAMES)
    for _ in range(30):
        chat.invoke(next(prompts))
    calls: dict[str, Callable[[str], object]] = {
        "alone": alone.invoke,
        "route": router.route,
        "chat": chat.invoke,
    }
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(CALLS):
        for name, call in calls.items():
            prompt, start = next(prompts), time.process_time()
            call(prompt)
            spent[name].append(1e3 * (time.process_time() - start))
    median = {name: float(np.median(times)) for name, times in spent.items()}
    fastest = {name: float(np.quantile(times, 0.1)) for name, times in spent.items()}
    at_once = {name: run_at_once(model, prompts) for name, model in (("a", alone), ("c", chat))}
    return {
        "`invoke` adds, ms": median["chat"] - median["alone"],
        "the same, of the fastest tenth, ms": fastest["chat"] - fastest["alone"],
        "of it `Router.route`, of the fastest tenth, ms": fastest["route"],
        f"{CONCURRENT:,} `ainvoke` at once, times the model alone": at_once["c"] / at_once["a"],
    }


def run_at_once(model: Any, prompts: Iterator[str]) -> float:  # noqa: ANN401 - a chat model
    """Return the least processor time of several runs of concurrent calls."""

    async def run() -> float:
        start = time.process_time()
        await asyncio.gather(*(model.ainvoke(next(prompts)) for _ in range(CONCURRENT)))
        return time.process_time() - start

    return min(asyncio.run(run()) for _ in range(3))


def distinct_prompts() -> Iterator[str]:
    """Yield prompts of which no two are equal."""
    words = " ".join(docstrings()).split()
    for start in range(len(words) - WORDS):
        yield " ".join(words[start : start + WORDS])


def resident_megabytes() -> float:
    """Return the memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
