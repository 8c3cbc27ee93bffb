"""Sync copies of a catalogue in processes that are killed on the way, then let others finish.

    python killed_syncs.py URL CATALOGUE FOLDER STEP...

STEP counts SQL statements; the process is killed before it runs this one. For a process that is not
killed, print how many statements it ran, and which of them began a transaction. Run by
test_catalog_sync_killed.py; it forks, because starting Python anew for every kill takes minutes.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from datetime import timedelta
from pathlib import Path

from tryage.hub import endpoints
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_sync import sync
from tryage.hub.client import HubClient
from tryage.hub.settings import HubSettings


def sync_and_count(url: str, path: Path, step: int | None) -> None:
    """Sync; count the statements and be killed at this one."""
    count, begun = 0, []

    def trace(sql: str) -> None:
        nonlocal count
        count += 1
        begun.extend([count] if sql.startswith("BEGIN") else [])
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    endpoints.MAX_PAGE_SIZE = 4
    with Catalogue(path) as catalogue, HubClient(HubSettings(url, url)) as client:
        catalogue.connection().set_trace_callback(trace)
        options = {"limit": 12, "scans": 3, "leaderboards": ["data/board"]}
        sync(client, catalogue, refresh=timedelta(0), **options)
    sys.stdout.write(" ".join(map(str, [count, *begun])) + "\n")


def run_in_fork(url: str, path: Path, step: int | None) -> int:
    """Sync in a process of its own, and return its status as `os.waitpid` does."""
    child = os.fork()
    if child == 0:
        try:
            sync_and_count(url, path, step)
        finally:
            sys.stdout.flush()
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return os.waitpid(child, 0)[1]


def main(url: str, source: str, folder: str, *steps: str) -> None:
    """Kill at each step, at every third one again, and let another process finish.

    A negative step leaves the catalogue as the kill left it; 0 syncs without a kill.
    """
    for step in map(int, steps):
        path = Path(folder) / f"{step}.sqlite"
        shutil.copy(source, path)
        kills = [abs(step)] if step else []
        kills += [step // 2] if step > 0 and step % 3 == 0 else []
        for kill in kills:
            run_in_fork(url, path, kill)
        if step >= 0 and run_in_fork(url, path, None) != 0:
            sys.exit(f"the sync after the kill at {step} failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
