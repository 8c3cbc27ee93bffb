"""Kill what writes, at random moments, and count what is lost, doubled or mixed.

    python benchmarks/robustness/kills.py [OPERATION ...] [--kills 200] [--seed 0]

Each operation runs in a forked child, which is killed with SIGKILL: half of the times at a moment
that is drawn from its duration, as it is now, and else before a step that is drawn from those in
which it opens a file to write, moves or removes one, or at the end. Then another child opens what
is left and checks it, and a third one goes on to the end and checks that nothing is lost or
doubled. Without an operation, all are killed. It prints a Markdown table, and the first faults; the
exit status is 1 if there is one. Ctrl-C ends the operation that is being killed, and its counts are
printed.
"""

from __future__ import annotations

import argparse
import importlib
import random
import shutil
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import forks
import kill_files
import kill_measurements
import kill_traffic
from argument_types import positive_int
from kill_operation import InvariantError, Operation, expect
from tqdm import tqdm

OPERATIONS: dict[str, type[Operation]] = {
    **kill_files.OPERATIONS,
    **kill_measurements.OPERATIONS,
    **kill_traffic.OPERATIONS,
}
_MAX_FAULTS = 3  # that are printed of an operation
_KILLS_PER_MEASUREMENT = 10  # after which the duration is measured again: others use the machine
_SHARE_OF_STEPS = 0.5  # of the kills
_LONGER = 1.2  # times the duration, so that kills also come at its end


@dataclass
class Result:
    """What kills of one operation have left.

    `seconds` and `steps` are those of the last run without a kill. `finished` counts runs that
    ended before their kill; `outcomes` what was found afterwards.
    """

    name: str
    seconds: float = 0.0
    steps: int = 0
    kills: int = 0
    finished: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def row(self) -> str:
        """Return a row of the table."""
        found = ", ".join(f"{label} {count}" for label, count in sorted(self.outcomes.items()))
        columns = (self.name, f"{self.seconds:.2f}", self.steps, self.kills, self.finished, found)
        return f"| {' | '.join(map(str, columns))} | {len(self.faults)} |"


def measure(operation: Operation, n_kills: int, seed: int, *, progress: bool = True) -> Result:
    """Kill an operation so often while it runs."""
    rng = random.Random(seed)  # noqa: S311 - the same moments in each run
    tqdm.set_lock(threading.RLock())  # its own is shared by forks: a killed one would keep it
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch:
        start, work = Path(scratch, "start"), Path(scratch, "work")
        start.mkdir()
        with operation.prepared(start):
            _import_what_is_needed(operation, start, work)
            result = Result(operation.name)
            bar = tqdm(total=n_kills, desc=operation.name, disable=not progress)
            with bar, suppress(KeyboardInterrupt):  # what was counted until then is shown
                while result.kills < n_kills and result.finished < 10 * n_kills:
                    if (result.kills + result.finished) % _KILLS_PER_MEASUREMENT == 0:
                        result.seconds, result.steps = _undisturbed(operation, start, work)
                    _kill_once(operation, start, work, rng, result)
                    bar.update(result.kills - bar.n)
    return result


def _import_what_is_needed(operation: Operation, start: Path, work: Path) -> None:
    """Import what the operation imports, so that no fork spends its time with that."""
    _copy(operation, start, work)

    def run(report: forks.Report) -> None:
        operation.run(work, lambda _: None)
        for name in list(sys.modules):
            report(name)

    for name in forks.run(run):
        with suppress(Exception):  # some modules can only be imported by others
            importlib.import_module(name)


def _undisturbed(operation: Operation, start: Path, work: Path) -> tuple[float, int]:
    """Return how many seconds and steps the operation takes."""
    _copy(operation, start, work)
    child = forks.Child(partial(forks.count_steps, partial(operation.run, work)))
    lines, status, seconds = child.wait()
    if status != 0:
        raise forks.ChildError(f"{operation.name} fails without a kill:\n" + "\n".join(lines))
    return seconds, forks.n_steps(lines)


def _kill_once(
    operation: Operation, start: Path, work: Path, rng: random.Random, result: Result
) -> None:
    _copy(operation, start, work)
    run = partial(operation.run, work)
    if result.steps and rng.random() < _SHARE_OF_STEPS:
        step = rng.randint(1, result.steps + 1)
        child = forks.Child(lambda report: forks.count_steps(run, report, step))
        moment = f"before step {step} of {result.steps}, or at the end"
    else:
        seconds = rng.uniform(0.0, _LONGER * result.seconds)
        child = forks.Child(run)
        child.kill(seconds)
        moment = f"after {seconds:.3f} s"
    lines, status, _ = child.wait()
    if status == 0:
        result.finished += 1
        return
    result.kills += 1
    operation.lines = lines
    try:
        expect(status < 0, "it failed before the kill:\n" + "\n".join(lines))
        (label,) = forks.run(lambda report: report(operation.check(work)))
        forks.run(lambda _: operation.finish(work))
    except (InvariantError, forks.ChildError) as error:
        label = "fault"
        result.faults.append(f"killed {moment}: {error}")
    result.outcomes[label] += 1


def _copy(operation: Operation, start: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(start, work)
    operation.reset()


def main() -> None:
    """Kill the operations, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("operation", nargs="*", help=f"of {', '.join(OPERATIONS)}")
    parser.add_argument("--kills", type=positive_int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.operation or list(OPERATIONS)
    if unknown := set(names) - set(OPERATIONS):
        parser.error(f"unknown: {', '.join(unknown)}; expected {', '.join(OPERATIONS)}")
    results = [measure(OPERATIONS[name](), arguments.kills, arguments.seed) for name in names]
    print("| operation | seconds | steps | kills | finished before | found afterwards | faults |")
    print("|---|---:|---:|---:|---:|---|---:|")
    for result in results:
        print(result.row())
    for result in results:
        for fault in result.faults[:_MAX_FAULTS]:
            print(f"\n{result.name}: {fault}")
    sys.exit(any(result.faults for result in results))


if __name__ == "__main__":
    main()
