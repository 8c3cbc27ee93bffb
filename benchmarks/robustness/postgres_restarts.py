"""Stop a PostgreSQL server at once and start it again, again and again, under load.

    python benchmarks/robustness/postgres_restarts.py [--restarts 20] [--rate 100]

Threads ask a chat model and rate its answers, with a log in PostgreSQL. The server is stopped with
`pg_ctl -m immediate`, as by a crash, and started a second later. Nobody sends feedback again but
what the log has refused, with the same id. It prints how many answers failed, and what of the
answers and of the accepted feedback is missing or doubled in the log. It needs PostgreSQL's
programs, or the package pgserver, and starts no server where root has no other account.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from argument_types import positive_float, positive_int
from kill_operation import EXPERTS, TOPICS, make_router
from tqdm import tqdm

from tryage import Router
from tryage.errors import TrafficError
from tryage.traffic.traffic import Traffic
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

if TYPE_CHECKING:
    from tryage.traffic.records import LoggedFeedback

_THREADS = 4


class Server:
    """A PostgreSQL server on a Unix socket, with its data in a temporary folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tryage-pg-", dir="/tmp"))
        self.folder.chmod(0o755)
        names = {entry.pw_name for entry in pwd.getpwall()}
        self._account = None if os.geteuid() else "postgres" if "postgres" in names else "nobody"
        if self._account is not None:  # PostgreSQL does not run as root
            shutil.chown(self.folder, self._account)
        self._run("initdb", "-D", "data", "-U", "me", "--auth=trust", "--no-sync", "-E", "UTF8")
        self.start()
        self.url = f"postgresql://me@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-F -h '' -k {self.folder}"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop at once, without the end of any transaction."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [_find_programs() / program, *arguments]
        nowhere = subprocess.DEVNULL
        subprocess.run(
            command, cwd=self.folder, user=self._account, check=True, stdout=nowhere, timeout=60
        )


def _find_programs() -> Path:
    folders = [*Path("/usr/lib/postgresql").glob("*/bin")]
    if (spec := find_spec("pgserver")) is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "pginstall" / "bin")
    found = next((one for one in folders if (one / "initdb").exists()), None)
    if found is None:
        sys.exit("no PostgreSQL here: install postgresql, or pgserver with pip")
    return found


class Load:
    """Threads that ask and rate until they are stopped, and what they were promised."""

    def __init__(self, router: Router, rate: float) -> None:
        models = {name: ScriptedChatModel(model=name) for name in EXPERTS}
        self._router, self._chat = router, ChatTryage(router=router, models=models)
        self._pause, self._stop = _THREADS / rate, threading.Event()
        self.answered: list[str] = []
        self.accepted: list[str] = []
        self.failures: list[BaseException] = []
        self.refused = 0
        self._threads = [threading.Thread(target=self._repeat) for _ in range(_THREADS)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop the threads, and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self) -> None:
        number = 0
        while not self._stop.wait(self._pause):
            number += 1
            try:
                answer = self._chat.invoke(f"{TOPICS[number % len(TOPICS)]} paris {number}")
            except Exception as error:  # noqa: BLE001 - whatever fails is counted
                self.failures.append(error)
                continue
            decision_id = answer.response_metadata["tryage"]["id"]
            self.answered.append(decision_id)
            self._rate(decision_id)

    def _rate(self, decision_id: str) -> None:
        """Rate an answer; while the log refuses, again with the same id."""
        while not self._is_accepted(decision_id):
            self.refused += 1
            if self._stop.wait(0.2):
                return
        self.accepted.append(decision_id)

    def _is_accepted(self, decision_id: str) -> bool:
        with suppress(TrafficError):
            self._router.feedback(decision_id, 1.0, feedback_id=f"thumb-{decision_id}")
            return True
        return False


def main() -> None:
    """Restart the server under load, and print what the log holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--restarts", type=positive_int, default=20)
    parser.add_argument(
        "--rate", type=positive_float, default=100.0, help="answers a second, at most"
    )
    arguments = parser.parse_args()
    server, known = Server(), make_router()
    try:
        with Traffic(server.url, flush_interval=0.05, timeout=2.0) as log:
            load = Load(Router(known.perception, known.library, traffic=log), arguments.rate)
            load.start()
            for _ in tqdm(range(arguments.restarts), unit="restart"):
                time.sleep(2.0)
                server.stop()
                time.sleep(1.0)
                server.start()
            time.sleep(2.0)
            load.end()
            is_written = log.flush(60)
            _report(log, load, is_written=is_written)
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


def _report(log: Traffic, load: Load, *, is_written: bool) -> None:
    decisions = [record.id for record, _, _ in log.decisions()]
    rated = [one.feedback.decision_id for one in _all_feedback(log)]
    print("| answers | failed | feedback accepted | refused, sent again |")
    print("|---:|---:|---:|---:|")
    print(
        f"| {len(load.answered)} | {len(load.failures)} | {len(load.accepted)} | {load.refused} |"
    )
    print("\n| of the log | missing | doubled |")
    print("|---|---:|---:|")
    for name, promised, found in (
        ("decisions", load.answered, decisions),
        ("feedback", load.accepted, rated),
    ):
        n_doubled = len(found) - len(set(found))
        print(f"| {name} | {len(set(promised) - set(found))} | {n_doubled} |")
    print(f"\nAll was written: {is_written}; lost records: {log.lost or 'none'}.")
    for error in load.failures[:3]:
        print(f"{type(error).__name__}: {error}")


def _all_feedback(log: Traffic) -> list[LoggedFeedback]:
    found: list[LoggedFeedback] = []
    last = 0
    while page := log.feedback_after(last):
        found += [one for one in page if one.feedback.kind == "thumb"]
        last = page[-1].sequence
    return found


if __name__ == "__main__":
    main()
