"""How long a prompt halts the event loop, and what 1,000 calls at once take, in two revisions.

    git worktree add ../before COMMIT
    python benchmarks/event_loop.py ../before .

Both run in turn in processes of their own. Times are processor time of the thread that runs the
event loop, which does not depend on the load of the machine: the longest that it computes without a
pause while ChatTryage answers, with a model that answers immediately.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from checkouts import run_command

if TYPE_CHECKING:
    from checkouts import Runs

CONCURRENT = 1_000  # calls
LENGTHS = {"50 words": 50, "100 kB": 16_000, "1 MB": 160_000}  # words of six characters


async def longest_computation(chat: object, prompt: str) -> float:
    """Return the milliseconds that the loop's thread computes without a pause, at most."""
    longest, is_running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        last = time.thread_time()
        while is_running:
            await asyncio.sleep(0)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()

    watcher = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    await chat.ainvoke(prompt)
    is_running = False
    await watcher
    return 1e3 * longest


async def seconds_at_once(model: object, prompts: list[str]) -> float:
    """Return the processor time of calls that begin together."""
    start = time.process_time()
    await asyncio.gather(*(model.ainvoke(prompt) for prompt in prompts))
    return time.process_time() - start


async def measure() -> dict[str, float]:
    """Measure the revision that is on the path."""
    from langchain_core.language_models import SimpleChatModel

    from tryage import Expert, Router
    from tryage_langchain import ChatTryage

    class InstantModel(SimpleChatModel):
        @property
        def _llm_type(self) -> str:
            return "instant"

        def _call(self, *_: object, **__: object) -> str:
            return "fine"

        async def _agenerate(self, *args: object, **kwargs: object) -> object:
            return self._generate(*args, **kwargs)

    router = Router.from_pretrained()
    models = {name: InstantModel() for name in router.library.names[:2]}
    wide = [Expert(name, context_length=10**7) for name in models]  # any prompt fits
    chat = ChatTryage(models=models, router=router, experts=wide)
    found: dict[str, float] = {}
    for label, n_words in LENGTHS.items():
        times = []
        for number in range(9):
            for warm_up in range(3):
                await chat.ainvoke(f"A short prompt, number {number}.{warm_up}")
            words = (f"word{(number * i) % 97:02}" for i in range(n_words))
            times.append(await longest_computation(chat, " ".join(words)))
        found[label] = statistics.median(times)
    prompts = [f"{i}: {' '.join(f'w{(i * j) % 89}' for j in range(30))}" for i in range(CONCURRENT)]
    alone = min([await seconds_at_once(next(iter(models.values())), prompts) for _ in range(5)])
    found["1,000 at once"] = min([await seconds_at_once(chat, prompts) for _ in range(5)]) / alone
    return found


def main() -> None:
    """Measure one revision, or compare two."""
    run_command(__file__, __doc__, lambda: asyncio.run(measure()), compare, rounds=3)


def compare(runs: Runs) -> None:
    """Print the medians of both checkouts."""
    before, after = runs.values()
    print("| | before | after |\n|---|---|---|")
    for label in before[0]:
        cells = [statistics.median(run[label] for run in side) for side in (before, after)]
        unit = "{:.2f} times the model alone" if "at once" in label else "{:.1f} ms"
        print(f"| {label} |", " | ".join(unit.format(cell) for cell in cells), "|")


if __name__ == "__main__":
    main()
