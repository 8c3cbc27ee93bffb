"""What it takes to record the costs of an answer: calls of ChatTryage with and without it.

    python benchmarks/savings.py --calls 3000

Both kinds of calls take turns in one process with one thread, and the models answer immediately.
Time is processor time. "Without" leaves out the expected cost, the bill, the comparison with other
models and the totals.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from typing import TYPE_CHECKING, Any

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy and the tokenizer start their pools

import numpy as np  # noqa: E402 - after the pools are set

from tryage.chat import router as chat_router  # noqa: E402 - the same
from tryage.chat.costs import CallCosts, PoolPrices  # noqa: E402 - the same
from tryage.core.expert import Expert  # noqa: E402 - the same
from tryage_langchain import ChatTryage  # noqa: E402 - the same
from tryage_langchain.testing import ScriptedChatModel  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.core.usage import TokenUsage

EXPERTS = (
    Expert("gpt-4o-mini", input_price=0.15, output_price=0.6, cached_input_price=0.075),
    Expert("gpt-4o", input_price=2.5, output_price=10.0, cached_input_price=1.25),
)


def main() -> None:
    """Print the median times of both kinds of calls, and their difference."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=3_000)
    seconds = measure(parser.parse_args().calls)
    with_costs, without = (1e6 * np.median(times) for times in seconds)
    difference = 1e6 * np.median(np.subtract(*seconds))
    print("| a call | us |\n|---|---:|")
    print(f"| with costs | {with_costs:.1f} |\n| without | {without:.1f} |")
    print(f"| median of the paired differences | {difference:.1f} |")


def measure(calls: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each call with and without costs, in pairs."""
    chat, prompts = make_chat(), distinct_prompts()
    for _ in range(50):
        chat.invoke(next(prompts))
    seconds: tuple[list[float], list[float]] = ([], [])
    for i in range(calls):
        order = (0, 1) if i % 2 else (1, 0)
        for kind in order:
            switch_costs(on=not kind)
            seconds[kind].append(time_call(chat, next(prompts)))
    switch_costs(on=True)
    return seconds


def make_chat() -> Any:  # noqa: ANN401 - ChatTryage without its type parameters
    """Return ChatTryage over models that answer immediately and report their tokens."""
    models = {expert.name: ScriptedChatModel(model=expert.name) for expert in EXPERTS}
    return ChatTryage.from_models(models, experts=EXPERTS)


def distinct_prompts() -> Iterator[str]:
    """Yield prompts of equal length."""
    i = 0
    while True:
        i += 1
        yield f"Write a Python function that removes duplicates from a list of {i:06d} numbers."


def time_call(chat: Any, prompt: str) -> float:  # noqa: ANN401 - ChatTryage
    """Return the processor time of one call."""
    start = time.process_time()
    chat.invoke(prompt)
    return time.process_time() - start


_ORIGINALS = {
    (CallCosts, "settle"): CallCosts.settle,
    (PoolPrices, "expected_cost"): PoolPrices.expected_cost,
    (chat_router.ChatRouter, "_typical_cost"): chat_router.ChatRouter._typical_cost,  # noqa: SLF001 - to leave it out
}


def switch_costs(*, on: bool) -> None:
    """Replace what records costs by functions that do nothing, or put it back."""

    def nothing(*_: object) -> TokenUsage | None:
        return None

    for (owner, name), original in _ORIGINALS.items():
        setattr(owner, name, original if on else nothing)


if __name__ == "__main__":
    main()
