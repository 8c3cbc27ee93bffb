"""One hour of load through both integrations and the server, over models that fail in all ways.

    python benchmarks/robustness/soak.py --minutes 60 --rate 20
    python benchmarks/robustness/soak.py --minutes 10 --postgres   # with a log in PostgreSQL
    python benchmarks/robustness/soak.py --minutes 3 --server-share 0.1   # an overloaded server
    python benchmarks/robustness/soak.py --report FOLDER           # of a run that has ended

The fake models (`soak_provider.py`), `tryage serve` and three loads (`soak_load.py`: ChatTryage,
TryageLLM, the server's clients) are processes of their own; all write into one log of traffic.
Models fail by themselves and in outages; the settings change every few minutes, and are wrong once
in each period. This process watches the memory, descriptors and threads of the others. The report
(`soak_report.py`) tells what came of each request, and compares it with what the models did.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import httpx
import psutil
from argument_types import fraction, positive_float
from soak_files import BROKEN, DATABASE_VARIABLE, settings_files, wait_for, write_whole
from soak_report import write_report
from tqdm import tqdm

from tryage.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
SHARES = {"langchain": 0.35, "llamaindex": 0.30, "http": 0.35}  # of the requests
SAMPLE_SECONDS = 10.0
STOP_SECONDS = 120.0  # that the loads have after the last request

# As docs/operations.md advises: what glibc keeps of free memory for each thread looks like growth.
MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072"}

THROTTLE_SECONDS, THROTTLE_START = 0.1, 20.0  # of a turn of a throttled server; before the first

# When the settings change, in shares of the period: which files are written.
CHANGES = ((0.25, "changed"), (0.45, "broken"), (0.47, "changed"), (0.75, "first"))


class Processes:
    """The processes of a soak, by name; what each prints goes to a file."""

    def __init__(self, folder: Path, database: str) -> None:
        self._folder, self._database = folder, database
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> None:
        """Start Python with a command."""
        keys = {"OPENAI_API_KEY": "none", DATABASE_VARIABLE: self._database}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
        log = (self._folder / f"{name}.log").open("wb")
        self.running[name] = subprocess.Popen(
            [sys.executable, *command],
            stdout=log,
            stderr=log,
            env={**os.environ, **MEMORY, **keys, **threads},
        )

    def check(self) -> None:
        """Raise if one has ended with an error.

        Raises:
            RuntimeError: one has.
        """
        for name, process in self.running.items():
            if process.poll():
                raise RuntimeError(f"{name} has ended: see {self._folder / name}.log.")

    def stop(self, *names: str) -> None:
        """Tell some to stop, and wait for them."""
        for name in names:
            process = self.running.pop(name, None)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)

    def __enter__(self) -> Processes:
        """Return them."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what still runs."""
        for process in self.running.values():
            if process.poll() is None:
                process.kill()


@contextmanager
def throttled(process: subprocess.Popen[bytes], share: float, start: float) -> Iterator[None]:
    """Let a process run for a share of each tenth of a second, from a time on."""

    def throttle() -> None:
        one = psutil.Process(process.pid)
        while not is_over.wait(share * THROTTLE_SECONDS):
            if time.time() >= start:
                one.suspend()
                is_over.wait((1 - share) * THROTTLE_SECONDS)
                one.resume()

    is_over, thread = threading.Event(), threading.Thread(target=throttle)
    if share < 1:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        if share < 1:
            thread.join()


def run(folder: Path, options: argparse.Namespace, database: str) -> None:
    """Run all processes for the given minutes."""
    seconds, period = options.minutes * 60, options.period * 60
    with Processes(folder, database) as processes:
        processes.start("provider", str(HERE / "soak_provider.py"), str(folder), str(period))
        port = int(wait_for(folder / "provider.port"))
        write_settings(folder, settings_files(port))
        start_server(processes, folder)
        for name, share in SHARES.items():
            script = str(HERE / "soak_load.py")
            rate = str(options.rate * share)
            processes.start(name, script, name, str(folder), str(seconds), rate)
        for name in SHARES:
            wait_for(folder / f"{name}.ready")
        start = time.time() + 1
        write_whole(folder / "start", str(start))
        changes = settings_changes(port, seconds, period)
        server = processes.running["server"]
        with throttled(server, options.server_share, start + THROTTLE_START):
            watch(processes, folder, start, seconds, changes)
        for name in SHARES:
            processes.running[name].wait(STOP_SECONDS)
        processes.check()
        processes.stop("server", "provider")


def start_server(processes: Processes, folder: Path) -> None:
    """Start `tryage serve`, and wait until it answers.

    Raises:
        TimeoutError: it does not.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = str(folder / "server.toml")
    processes.start("server", "-m", "tryage", "serve", "--config", file, "--port", str(port))
    for _ in range(1_200):
        processes.check()
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                write_whole(folder / "server.port", str(port))
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise TimeoutError("The server does not answer.")


def write_settings(folder: Path, files: Mapping[str, str]) -> None:
    """Write the settings as an editor does: in place."""
    for name, text in files.items():
        (folder / name).write_text(text)


def settings_changes(
    port: int, seconds: float, period: float
) -> Iterator[tuple[float, str, Mapping[str, str]]]:
    """Yield the second, the word and the files of each change of the settings, in order."""
    files = {
        "first": settings_files(port),
        "changed": settings_files(port, is_changed=True),
    }
    files["broken"] = dict.fromkeys(files["first"], BROKEN)
    for i in range(int(seconds / period) + 1):
        for share, word in CHANGES:
            yield (i + share) * period, word, files[word]


def watch(
    processes: Processes,
    folder: Path,
    start: float,
    seconds: float,
    changes: Iterator[tuple[float, str, Mapping[str, str]]],
) -> None:
    """Sample the processes until all requests are sent, and change the settings when it is due."""
    change = next(changes, None)
    observed = {name: psutil.Process(one.pid) for name, one in processes.running.items()}
    with (
        (folder / "samples.jsonl").open("a", buffering=1) as samples,
        (folder / "changes.jsonl").open("a", buffering=1) as log,
        tqdm(total=round(seconds), unit="s", disable=None) as progress,
    ):
        due = start
        while (now := time.time()) < start + seconds:
            processes.check()
            if change is not None and now >= start + change[0]:
                write_settings(folder, change[2])
                log.write(json.dumps({"t": now - start, "settings": change[1]}) + "\n")
                change = next(changes, None)
            if now >= due:
                sample(observed, samples, now - start)
                due += SAMPLE_SECONDS
            progress.update(max(round(now - start) - progress.n, 0))
            time.sleep(0.25)


def sample(observed: Mapping[str, psutil.Process], file: IO[str], seconds: float) -> None:
    """Write down the memory, descriptors, threads and processor seconds of all processes."""
    for name, process in observed.items():
        with process.oneshot():
            memory, times = process.memory_full_info(), process.cpu_times()
            line = {
                "t": round(seconds, 1),
                "process": name,
                "rss": memory.rss,
                "uss": memory.uss,
                "descriptors": process.num_fds(),
                "threads": process.num_threads(),
                "cpu": times.user + times.system,
            }
        file.write(json.dumps(line) + "\n")


@contextmanager
def log_url(folder: Path, *, postgres: bool) -> Iterator[str]:
    """Yield the URL of the log: a file of SQLite, or a database of PostgreSQL made for it."""
    if not postgres:
        yield f"sqlite:///{folder}/traffic.db"
        return
    import pgserver

    with ExitStack() as stack:
        server = pgserver.get_server(folder / "postgres")
        stack.callback(server.cleanup)
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)


def log_counts(database: str) -> dict[str, object]:
    """Return how much the log holds."""
    with Traffic(database, create=False) as log:
        return dict(log.counts())


def main() -> None:
    """Run a soak, and report it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=positive_float, default=60.0)
    parser.add_argument("--rate", type=positive_float, default=20.0, help="requests a second")
    parser.add_argument(
        "--period", type=positive_float, default=10.0, help="minutes until outages repeat"
    )
    parser.add_argument(
        "--server-share",
        type=fraction,
        default=1.0,
        help="of its time for which the server may run",
    )
    parser.add_argument("--postgres", action="store_true", help="keep the log in PostgreSQL")
    parser.add_argument("--folder", type=Path, help="for what is written; a new one by default")
    parser.add_argument("--picture", type=Path, help="draw the run to this file")
    parser.add_argument("--report", type=Path, help="only report the run in this folder")
    options = parser.parse_args()
    if options.folder and options.folder.is_dir() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty: a soak starts in a new folder")
    if options.report is not None:
        if not (options.report / "counts.json").is_file():
            parser.error(f"{options.report} holds no soak that has ended")
        print(write_report(options.report, options.picture))
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="tryage-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    with log_url(folder, postgres=options.postgres) as database:
        said = {**vars(options), "url": database}
        write_whole(folder / "options.json", json.dumps(said, default=str))
        run(folder, options, database)
        write_whole(folder / "counts.json", json.dumps(log_counts(database), default=str))
        print(write_report(folder, options.picture))


if __name__ == "__main__":
    main()
