"""How long a change of a slider takes on the server of the playground, beside one decision.

    python benchmarks/playground_speed.py

One prompt and all experts of the bundled router. `decision` is what `Router.route` needs; `numbers`
adds all that the page shows; `results` adds the HTML. The best of several rounds, so that other
programs on the machine count little.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tryage import Router
from tryage_playground.app import Playground
from tryage_playground.files import FileStore
from tryage_playground.page import make_results
from tryage_playground.pool import RouterPool
from tryage_playground.settings import PlaygroundSettings
from tryage_playground.state import PageState, Side

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 30
LIMIT = 0.1  # seconds: what a person still takes for at once


def best_time(act: Callable[[int], object]) -> float:
    """Return the seconds of the fastest of several rounds, each of another slider's place."""
    times = []
    for i in range(ROUNDS):
        start = time.perf_counter()
        act(i)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the times of each step, with 12 and with all rows, and of two sides."""
    playground = Playground(
        RouterPool(Router.from_pretrained(prompt_flags=True)), FileStore(), PlaygroundSettings()
    )
    state = PageState(prompt="Prove that 2 is prime.", uses_all_models=True)

    def moved(i: int) -> Side:
        return Side(0.01 * 1.2**i, weights={"recency": 0.1, "size": 0.1})

    router, pool, files = playground.pool.base, playground.pool, playground.files
    decision = best_time(lambda i: router.route(state.prompt, moved(i).preferences()))
    print(f"{len(router.library)} experts; milliseconds, and multiples of the decision")
    print(f"{'decision':<28}{1e3 * decision:8.1f}{1:8.1f}")
    for title, changed in (
        ("12 rows", state),
        ("all rows", replace(state, shows_all_rows=True)),
        ("12 rows, two sides", replace(state, second=Side())),
    ):
        for step, act in (
            ("numbers", lambda i, s=changed: make_results(replace(s, first=moved(i)), pool, files)),
            (
                "results",
                lambda i, s=changed: playground.render(
                    "results.html.jinja", replace(s, first=moved(i)), ()
                ),
            ),
        ):
            seconds = best_time(act)
            note = "" if seconds < LIMIT else f"   above {LIMIT:g} s"
            text = f"{step}, {title}"
            print(f"{text:<28}{1e3 * seconds:8.1f}{seconds / decision:8.1f}{note}")


if __name__ == "__main__":
    main()
