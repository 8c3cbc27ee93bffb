"""Make children in all ways while threads use a router with a log, and count faults.

    python benchmarks/robustness/concurrent_forks.py --forks 200
    python benchmarks/robustness/concurrent_forks.py --traffic postgresql+psycopg://user@host/database

Threads of the parent route, observe, record and give feedback, so that a fork happens while locks
are held and queues are full. Each child does the same once and writes what it has; then the parent
waits for it. Half of the children end at once, the others run what is to be run at the end of a
process. At the end the log must hold what parent and children recorded, each once. Then a server
with a preloaded application is imitated: its workers write while their parent closes the log, and
end as a program does.
"""

from __future__ import annotations

import argparse
import atexit
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from argument_types import positive_int
from concurrent_findings import Findings
from tqdm import tqdm

from tryage import Router
from tryage.traffic.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_THREADS = 4
PATIENCE = 20  # seconds after which a child counts as one that hangs
PAUSE = 0.002  # seconds between two calls of a thread: others use the machine, too


SERVER = """
import os, sys
from concurrent_forks import use
from tryage import Router
url, n_workers, n_calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
router, plain = Router.from_pretrained(traffic=url), Router.from_pretrained()
use(router, plain, "parent")
(is_closed, close), (is_half, half) = os.pipe(), os.pipe()
children = []
for worker in range(n_workers):
    children.append(os.fork())
    if not children[-1]:
        os.close(close)
        for i in range(n_calls):
            if i == n_calls // 2:
                os.write(half, b"x")
                os.read(is_closed, 1)  # returns when the parent closes its end
            use(router, plain, f"{worker} {i}")
        break
else:
    for _ in children:
        os.read(is_half, 1)
    router.traffic.close()
    os.close(close)
    sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def main() -> None:
    """Run all ways to make children, and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--forks", type=positive_int, default=200)
    parser.add_argument("--others", type=int, default=4, help="children of spawn and fork server")
    parser.add_argument("--traffic", help="URL of an empty log; by default a new file of SQLite")
    given = parser.parse_args()
    findings, started = Findings(), time.monotonic()
    folder = tempfile.mkdtemp()  # a TemporaryDirectory is deleted when a child ends
    try:
        url = given.traffic or f"sqlite:///{folder}/log.db"
        run(url, findings, given.forks, given.others)
        prefork(f"sqlite:///{folder}/prefork.db", findings)
    finally:
        shutil.rmtree(folder)
    print(findings.table())
    print(f"\n{time.monotonic() - started:.0f} s")
    sys.exit(bool(findings.broken))


def run(url: str, findings: Findings, n_forks: int, n_others: int) -> None:
    """Make children while threads use a router, and compare the log with what was recorded."""
    router = Router.from_pretrained(traffic=Traffic(url, flush_interval=0.05))
    plain = Router.from_pretrained()  # it learns without a log
    sent: list[str] = []
    sent += use(router, plain, "first")  # imports what is needed: a child cannot finish an import
    seconds = []
    with repeated(lambda name: sent.extend(use(router, plain, name)), findings):
        for i in tqdm(range(n_forks), desc="forks", mininterval=5):
            name, started = f"child {i}", time.monotonic()
            child = fork(partial(use, router, plain, name), ends_at_once=i % 2 == 0)
            seconds.append(time.monotonic() - started)
            if wait(child, findings, "a forked child ends well"):
                sent += ids_of(name)
    for way in ("spawn", "forkserver"):
        for i in range(n_others):
            name = f"{way} {i}"
            child = multiprocessing.get_context(way).Process(target=use, args=(router, plain, name))
            child.start()
            child.join(10 * PATIENCE)
            fact = f"a child of {way} ends well"
            findings.check(fact, child.exitcode == 0, child.exitcode)
            sent += ids_of(name)
    check_log(router, findings, sent)
    seconds.sort()
    print(
        f"a fork takes {1e3 * seconds[len(seconds) // 2]:.0f} ms at the median, "
        f"{1e3 * seconds[-1]:.0f} ms at most"
    )


def ids_of(name: str) -> list[str]:
    """Return the ids of what one use records."""
    return [f"{name} decision", f"{name} feedback"]


def use(router: Router, plain: Router, name: str) -> list[str]:
    """Route, observe, record and give feedback; return the ids of what is recorded."""
    decision_id, feedback_id = ids_of(name)
    prompt = f"Prove that {len(name)} is prime."
    decision = router.decide_batch([prompt])[0]
    router.record(decision, decision_id=decision_id)
    router.feedback(decision_id, 0.5, kind="test", feedback_id=feedback_id)
    if router.log is not None:
        router.log.flush(60)  # what is queued is lost with a process that ends at once
    plain.observe(plain.route(prompt), 0.5)
    return [decision_id, feedback_id]


def fork(function: Callable[[], object], *, ends_at_once: bool) -> int:
    """Run a function in a forked child, which is ended if it hangs; return its process."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    signal.alarm(PATIENCE)
    status = 1
    try:
        function()
        if not ends_at_once:
            atexit._run_exitfuncs()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public name
        status = 0
    finally:
        os._exit(status)


def wait(child: int, findings: Findings, fact: str) -> bool:
    """Wait for a child, and tell whether it ended well."""
    status = os.waitpid(child, 0)[1]
    findings.check(fact, status == 0, status)
    return status == 0


def check_log(router: Router, findings: Findings, sent: list[str]) -> None:
    """Compare the log with what was recorded, and what was learned with the feedback."""
    log = router.traffic
    assert log is not None and router.log is not None  # noqa: S101, PT018 - made with one
    findings.check("the queue of the parent is written", router.log.flush(60))
    rows = list(log.decisions())
    found = Counter([decision.id for decision, _, _ in rows])
    found.update(one.id for _, _, feedback in rows for one in feedback)
    for name in sent:
        findings.check(
            "what was recorded is in the log once", found[name] == 1, (name, found[name])
        )
    surplus = set(found) - set(sent)
    findings.check("nothing else is in the log", not surplus, sorted(surplus)[:3])
    router.log.sync()
    state = router.log._sync.learner.state  # type: ignore[union-attr]  # noqa: SLF001 - of this project
    counted = sum(belief.count for belief in state.beliefs.values())
    n_feedback = sum(name.endswith("feedback") for name in sent)
    fact = "what was learned counts each feedback once"
    findings.check(fact, counted == n_feedback, (counted, n_feedback))
    log.close()


def prefork(url: str, findings: Findings, n_workers: int = 4, n_calls: int = 10) -> None:
    """Run a server with workers, and look for what they recorded."""
    folder = str(Path(__file__).parent)
    paths = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SERVER, url, str(n_workers), str(n_calls)],
        env=os.environ | {"PYTHONPATH": paths},
        check=False,
    )
    findings.check("the server and its workers end well", done.returncode == 0, done.returncode)
    with Traffic(url) as log:
        rows = list(log.decisions())
    found = Counter([decision.id for decision, _, _ in rows])
    found.update(one.id for _, _, feedback in rows for one in feedback)
    names = ["parent", *(f"{worker} {i}" for worker in range(n_workers) for i in range(n_calls))]
    for name in chain.from_iterable(map(ids_of, names)):
        fact = "what workers recorded before and after the parent closed the log is there once"
        findings.check(fact, found[name] == 1, (name, found[name]))


@contextmanager
def repeated(function: Callable[[str], object], findings: Findings) -> Iterator[None]:
    """Repeat something in threads until the block ends."""
    is_over = threading.Event()

    def repeat(thread: int) -> None:
        for i in range(sys.maxsize):
            if is_over.wait(PAUSE):
                return
            with findings.no_error("a call of a thread of the parent returns"):
                function(f"thread {thread} {i}")

    threads = [threading.Thread(target=repeat, args=(i,)) for i in range(N_THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
