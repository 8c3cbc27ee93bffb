"""Speed of the Hub client against a LocalHub of real models, and the files that it leaves open.

    python benchmarks/hub_client.py

The server is a separate process. Wall time is that of both, CPU time that of the client. It reads
pages of a thousand models with DEFAULT_EXPAND, then single models.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hub_meta import real_records

from tryage.hub.client import HubClient
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

MODELS = 2000  # single models to fetch


def serve(pipe: Connection) -> None:
    """Serve all real models until the other end closes."""
    with LocalHub(quota=10**9) as hub:
        hub.load(real_records())
        pipe.send(hub.url)
        pipe.poll(None)


def measure(what: str, run: Callable[[], tuple[int, str]]) -> None:
    """Run, and print items per second and CPU milliseconds of the client per item."""
    wall, cpu = time.perf_counter(), time.process_time()
    count, unit = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:<28}{count:>6} {unit:<7}{count / wall:>8.1f}/s{1000 * cpu / count:>8.1f} ms CPU")


def pages(settings: HubSettings) -> tuple[int, str]:
    """Read the whole listing."""
    with HubClient(settings) as hub:
        return sum(1 for _ in hub.pages()), "pages"


def models(settings: HubSettings, names: list[str]) -> tuple[int, str]:
    """Fetch single models in eight threads."""
    with HubClient(settings) as hub:
        return sum(1 for _ in hub.iter_models(names)), "models"


def main() -> None:
    """Measure, then count open files and threads."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    settings = HubSettings(endpoint=here.recv())
    with HubClient(settings) as hub:
        names = [str(record["id"]) for record in next(iter(hub.pages())).records]
    names *= MODELS // len(names)
    before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    measure("listing", lambda: pages(settings))
    measure("single models", lambda: models(settings, names))
    gc.collect()
    time.sleep(0.5)  # threads need a moment to end
    after = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"open files and threads: {before} before, {after} after; peak {peak:.0f} MB")
    here.close()
    server.terminate()


if __name__ == "__main__":
    main()
