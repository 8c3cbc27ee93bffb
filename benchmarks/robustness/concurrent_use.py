"""Ask shared objects from many threads and tasks while all that can change changes; count faults.

    python benchmarks/robustness/concurrent_use.py --threads 64 --calls 50 --tasks 10000
    python benchmarks/robustness/concurrent_use.py --traffic postgresql+psycopg://user@host/database

Threads, then tasks of one event loop, ask one ChatTryage of a file of settings, one TryageLLM, one
server and one router of the Hub, and give feedback. Meanwhile the file is rewritten and read, the
router is saved and onboards an expert, the router of the Hub is refreshed and the log is pruned. At
the end the log, the budget, the savings and what was learned must be what was sent. Then threads
teach a router without a log. Python switches between threads 5,000 times as often as usual.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from argument_types import positive_int
from concurrent_findings import Findings
from concurrent_load import TOPICS, Load
from tqdm import tqdm
from tqdm.asyncio import tqdm_asyncio

from tryage import Preferences, Router
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SWITCH_INTERVAL = 1e-6  # seconds; 5e-3 is usual
PAUSE = 0.5  # seconds between changes
WORKERS = 64  # threads of the event loop


def main() -> None:
    """Run all parts, and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=positive_int, default=64)
    parser.add_argument("--calls", type=positive_int, default=50, help="of each thread")
    parser.add_argument("--tasks", type=positive_int, default=10_000)
    parser.add_argument("--traffic", help="URL of an empty log; by default a new file of SQLite")
    given = parser.parse_args()
    findings, started = Findings(), time.monotonic()
    with tempfile.TemporaryDirectory() as name, often_switching():
        url = given.traffic or f"sqlite:///{name}/log.db"
        run(Path(name), url, findings, given.threads, given.calls, given.tasks)
        learn_without_log(findings, given.threads, max(given.calls // 5, 2))
    print(findings.table())
    print(f"\n{time.monotonic() - started:.0f} s")
    sys.exit(bool(findings.broken))


def run(  # noqa: PLR0913 - where, and how much of what
    folder: Path, url: str, findings: Findings, n_threads: int, n_calls: int, n_tasks: int
) -> Load:
    """Ask from threads and from tasks while everything changes, and check what is left."""
    with LocalHub() as hub:
        hub.load([hub_record(i) for i in range(6)])
        load = Load(folder, url, hub_settings(hub), findings)
        with repeated(load.change_all):
            ask_from_threads(load, n_threads, n_calls)
        with repeated(load.change_all):
            asyncio.run(ask_from_tasks(load, n_tasks))
        load.check_log()
        load.check_learning()
        load.close()
    for change, count in load.n_changes.items():
        print(f"{change}: {count} times")
    return load


def ask_from_threads(load: Load, n_threads: int, n_calls: int) -> None:
    """Make calls from threads."""
    n = n_threads * n_calls
    with ThreadPoolExecutor(n_threads) as pool:
        list(tqdm(pool.map(load.call, range(n)), total=n, desc="threads", mininterval=5))


async def ask_from_tasks(load: Load, n_tasks: int) -> None:
    """Make calls from tasks that all exist at once."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(WORKERS))
    calls = [load.acall(n) for n in range(n_tasks)]
    await tqdm_asyncio.gather(*calls, desc="tasks", mininterval=5)


def learn_without_log(findings: Findings, n_threads: int, n_each: int) -> None:
    """Let threads teach one router, and compare it with one that learns alone, in that order."""
    together, alone = Router.from_pretrained(), Router.from_pretrained()
    names, prompts = together.library.names[:8], [one.format(7) for one in TOPICS]
    decisions = [
        together.route(prompt, Preferences(only=[name])) for name in names for prompt in prompts
    ]
    order = record_order(together)
    # Each loss is of one observation, so that the order tells which was learned when.
    losses = np.linspace(0.2, 0.8, n_threads * n_each)
    with ThreadPoolExecutor(n_threads) as pool:
        list(
            pool.map(
                lambda i: together.observe(decisions[i % len(decisions)], float(losses[i])),
                range(len(losses)),
            )
        )
    findings.check("each observation is learned once", sorted(order) == sorted(losses.tolist()))
    which = {float(loss): i for i, loss in enumerate(losses)}
    for loss in order:
        alone.observe(decisions[which[loss] % len(decisions)], loss)
    one, other = together.perception.abilities, alone.perception.abilities  # type: ignore[attr-defined]  # of the bundled router
    for i in range(len(names)):
        index = together.perception.experts.index(names[i])
        pairs = ((one.means, other.means), (one.covariances, other.covariances))
        distance = max(float(np.abs(a[index] - b[index]).max()) for a, b in pairs)
        fact = "beliefs without a log are those of one thread in that order, within 1e-6"
        findings.check(fact, distance <= 1e-6, distance)


def record_order(router: Router) -> list[float]:
    """Return a list that gets the losses in the order in which they are learned."""
    perception, order = router.perception, list[float]()
    update = perception._update_ability  # type: ignore[attr-defined]  # noqa: SLF001 - of this project

    def record(ability: object, positions: object, losses: list[float], *more: object) -> object:
        order.append(losses[0])  # the perception is locked now
        return update(ability, positions, losses, *more)

    perception._update_ability = record  # type: ignore[attr-defined]  # noqa: SLF001 - the same
    return order


@contextmanager
def repeated(change: Callable[[], object]) -> Iterator[None]:
    """Repeat something in a thread until the block ends."""
    is_over = threading.Event()

    def repeat() -> None:
        while True:
            change()
            if is_over.wait(PAUSE):
                return

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def often_switching() -> Iterator[None]:
    """Let Python switch between threads more often until the block ends."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def hub_settings(hub: LocalHub) -> HubSettings:
    """Return the settings for a Hub on this computer."""
    return HubSettings(endpoint=hub.url, inference=hub.url, retries=0)


def hub_record(number: int) -> dict[str, object]:
    """Return the record of a model of the Hub."""
    size = (number + 1) * 10**9
    return {
        "id": f"org/model-{number}",
        "pipeline_tag": "text-generation",
        "downloads": 1_000 - number,
        "createdAt": f"2025-01-{number + 1:02d}T00:00:00.000Z",
        "tags": ["license:mit", "en"],
        "cardData": {"license": "mit"},
        "safetensors": {"total": size, "parameters": {"BF16": size}},
    }


if __name__ == "__main__":
    main()
