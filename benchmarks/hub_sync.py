"""Time and memory that the catalogue takes to fill, to search and to keep up to date.

    python benchmarks/hub_sync.py                      # the real models: sync, queries, curve
    python benchmarks/hub_sync.py --synthetic 1000000  # the same queries on a made-up million

The real models are those of benchmarks/hub_meta.py. A LocalHub in a separate process serves them.
Every sync runs in a new process, so its peak memory is that of a user's `tryage hub sync`. For the
curve, a number of models get a new licence tag and a new `lastModified` before each sync.
Prints the tables of benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_meta import real_records

from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_resolve import RECORD_COLUMNS, RESOLVED_COLUMNS
from tryage.hub.catalog_sync import sync
from tryage.hub.client import HubClient
from tryage.hub.parse import parse_model
from tryage.hub.settings import HubSettings
from tryage.testing import LocalHub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CURVE = (0, 10, 100, 1_000, 10_000)
LICENSES = ("apache-2.0", "mit")
FILTERED = {
    "task": "text-generation",
    "license": LICENSES,
    "min_parameters": 1e9,
    "max_parameters": 9e9,
    "since": datetime.date(2023, 1, 1),
    "limit": 50,
}
QUERIES = {
    "task, licence, size, since": FILTERED,
    "the same by release": {**FILTERED, "sort": "released"},
    "the same by size": {**FILTERED, "sort": "parameters"},
    "task": {"task": "text-generation", "limit": 50},
    "licence": {"license": LICENSES, "limit": 50},
    "a common tag": {"tags": ["pytorch"], "limit": 50},
    "a rare tag": {"tags": ["is"], "limit": 50},
    "part of the name": {"search": "llama", "limit": 50},
    "nothing fits": {**FILTERED, "min_parameters": 5e15, "max_parameters": 6e15},
}


def serve() -> None:
    """Serve the real models; each line of stdin is a number of models to change."""
    with LocalHub() as hub:
        hub.load(real_records())
        names, rng = sorted(hub), random.Random(0)  # noqa: S311 - a sample, not a secret
        print(hub.url, len(hub), flush=True)
        for line in sys.stdin:
            for name in rng.sample(names, int(line)):
                tags = [t for t in hub.record(name)["tags"] if not t.startswith("license:")]
                license_ = f"license:{rng.choice(LICENSES)}"
                now = datetime.datetime.now(datetime.timezone.utc)
                hub.update(name, tags=[*tags, license_, f"changed-{now:%H%M%S}"], lastModified=now)
            print("changed", flush=True)


def sync_once(url: str, path: str, options: str) -> None:
    """Sync in this process and print counts, seconds and peak memory as JSON."""
    settings = HubSettings(endpoint=url, inference=url)
    with HubClient(settings) as client, Catalogue(path) as catalogue:
        report = sync(client, catalogue, **json.loads(options))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([report.new, report.changed, report.requests, report.seconds, peak]))


def _sync(url: str, path: Path, **options: object) -> list[float]:
    command = [sys.executable, __file__, "--sync", url, str(path), json.dumps(options)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return list(json.loads(found.stdout))


@contextmanager
def _hub() -> Iterator[tuple[str, int, Callable[[int], None]]]:
    """Start the server; yield its address, its number of models, and a function to change some."""
    command = [sys.executable, __file__, "--serve"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as server:
        url, count = server.stdout.readline().split()

        def change(models: int) -> None:
            server.stdin.write(f"{models}\n")
            server.stdin.flush()
            server.stdout.readline()

        try:
            yield url, int(count), change
        finally:
            server.stdin.close()


def real(folder: Path) -> None:
    """Sync the real models in full, search them, and sync after changes."""
    path = folder / "real.sqlite"
    with _hub() as (url, count, change):
        _conditions()
        new, _, requests, seconds, peak = _sync(url, path, full=True)
        size = path.stat().st_size / 2**20
        print("| models | requests | time | peak memory | file |\n|---|---|---|---|---|")
        print(f"| {new:,} of {count:,} | {requests:,} | {seconds:.1f} s | {peak:.0f} MB ", end="")
        print(f"| {size:.0f} MB |\n")
        _queries(path)
        print("| changed of all | found | requests | time | peak memory |\n|---|---|---|---|---|")
        for models in CURVE:
            change(models)
            _, changed, requests, seconds, peak = _sync(url, path)
            print(f"| {models:,} | {changed:,} | {requests:,} | {seconds:.2f} s | {peak:.0f} MB |")


def synthetic(folder: Path, count: int) -> None:
    """Fill a catalogue with `count` models and search it.

    They are copies of the real ones under other names, with scaled downloads. SQLite copies them
    with their tags and without their records, which a search does not read.
    """
    path, now = folder / "synthetic.sqlite", datetime.datetime.now(datetime.timezone.utc)
    with Catalogue(path) as catalogue:
        catalogue.put(parse_model(record, now) for record in real_records())
        database, real_count = catalogue.connection(), catalogue.count()
        for copy in range(1, -(-count // real_count)):
            rows = min(real_count, count - copy * real_count)
            values = {"shift": copy * real_count, "copy": copy, "rows": rows}
            database.execute(_COPY_MODELS, values)
            database.execute(_COPY_TAGS, values)
            database.execute(_COPY_BASES, values)
        _conditions()
        size = path.stat().st_size / 2**20
        print(f"{len(catalogue):,} models, {size:,.0f} MB without records\n")
        start = time.perf_counter()
        library = catalogue.library()
        seconds = time.perf_counter() - start
        n_with_bases = sum(facts is not None for facts in library.metadata)
        print(f"`Catalogue.library()` of {len(library):,}, ", end="")
        print(f"{n_with_bases:,} with bases: {seconds:.1f} s\n")
    _queries(path)


_COPIED_COLUMNS = ", ".join(
    name
    for name in (*RECORD_COLUMNS, *RESOLVED_COLUMNS, "own")
    if name not in ("name", "downloads")
)
_COPY_MODELS = f"""
INSERT INTO models (id, key, name, downloads, {_COPIED_COLUMNS})
SELECT id + :shift, key || :copy, name || '-' || :copy,
       CAST(downloads * (0.5 + abs(random() % 1000) / 1000.0) AS INTEGER), {_COPIED_COLUMNS}
FROM models WHERE id <= :rows"""  # noqa: S608 - names of columns
_COPY_TAGS = """
INSERT INTO tagged SELECT tag, model + :shift FROM tagged WHERE model <= :rows"""

_COPY_BASES = """
INSERT INTO lineage SELECT child + :shift, place, name, key, NULL, relation
FROM lineage WHERE child <= :rows"""


def _queries(path: Path) -> None:
    print("| the 50 best by downloads | found | p50 | p95 |\n|---|---|---|---|")
    with Catalogue(path) as catalogue:
        for name, conditions in QUERIES.items():
            query, times = Query(**conditions), []
            for _ in range(100):
                start = time.perf_counter()
                found = catalogue.search(query)
                times.append(1e3 * (time.perf_counter() - start))
            times.sort()
            print(f"| {name} | {len(found)} | {times[50]:.2f} ms | {times[95]:.2f} ms |")
    print()


def _conditions() -> None:
    """Print the machine and its load, because a busy machine is slower."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load {load}, Python {platform.python_version()}\n")


def main() -> None:
    """Run the part that the options name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--synthetic", type=int, metavar="N", help="N made-up models instead")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--sync", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    elif options.sync:
        sync_once(*options.sync)
    else:
        with tempfile.TemporaryDirectory() as folder:
            if options.synthetic:
                synthetic(Path(folder), options.synthetic)
            else:
                real(Path(folder))


if __name__ == "__main__":
    main()
