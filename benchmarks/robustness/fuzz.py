"""Fuzz the parsers of Tryage with libFuzzer: what strangers write must be read or refused.

    pip install atheris==3.0.0     # into an environment of its own, with Python 3.11 to 3.13
    python benchmarks/robustness/fuzz.py flags names --executions 1_000_000

Each target of `fuzz_targets.py` is run until libFuzzer has counted the executions. A crash is any
exception outside the errors of Tryage, an assertion that does not hold, an execution of more than a
second, or a process of more than a gigabyte; the input of each is kept. A stopped run goes on where
it was: corpus, counts and findings are in the folder of `--work`. Without a target it fuzzes all.

`--keep` copies some of the inputs that have reached something new to `tests/fixtures/fuzz`, which
`tests/benchmarks/robustness` reads again on every run, without atheris.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argument_types import positive_int
from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
CORPORA = ROOT / "tests" / "fixtures" / "fuzz"

TARGETS = ("flags", "names", "hub", "config", "csv", "jsonl", "parquet", "checkpoint")

_MAX_SECONDS = 1  # of one execution
_MAX_MEGABYTES = 1_024  # of the process
_CHUNK = 100_000  # executions of a process, after which the counts are written
_MAX_FINDINGS = 20  # of a target, after which its run ends
_MAX_KEPT, _MAX_KEPT_BYTES = 60, 30_000  # inputs of a target in the fixtures

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it

_COUNTED = re.compile(r"^#(\d+)")
_FINAL = re.compile(r"^stat::(\w+):\s+(\d+)")


@dataclass
class Progress:
    """What a target has been through so far.

    `seconds` is the CPU time of its slowest execution, `megabytes` the most memory of a process.
    """

    executions: int = 0
    seconds: float = 0.0
    megabytes: int = 0
    findings: list[str] = field(default_factory=list)

    @staticmethod
    def read(path: Path) -> Progress:
        """Return what a file holds; nothing without a file."""
        return Progress(**json.loads(path.read_text("utf-8"))) if path.exists() else Progress()

    def write(self, path: Path) -> None:
        """Write it to a file."""
        path.write_text(json.dumps(asdict(self)), "utf-8")


def main() -> None:
    """Fuzz the targets one after the other, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--executions", type=positive_int, default=1_000_000)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options, for_libfuzzer = parser.parse_known_args()
    names = options.targets or TARGETS
    if unknown := set(names) - set(TARGETS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(TARGETS)}")
    if options.child:
        fuzz(names[0], options.work, for_libfuzzer)
        return
    for name in names:
        run(name, options.work / name, options.executions)
        if options.keep:
            keep(name, options.work / name)
    print_table(names, options.work)


# The process that watches ----------------------------------------------------------------------


def run(name: str, work: Path, executions: int) -> Progress:
    """Fuzz a target until it has been executed so often."""
    (work / "corpus").mkdir(parents=True, exist_ok=True)
    (work / "findings").mkdir(exist_ok=True)
    state = work / "progress.json"
    progress = Progress.read(state)
    with tqdm(total=executions, initial=progress.executions, desc=name, unit="run") as bar:
        while progress.executions < executions and len(progress.findings) < _MAX_FINDINGS:
            before = progress.executions
            chunk = min(_CHUNK, executions - before)
            for n_executions in _executions(name, work, chunk, progress):
                progress.executions = before + n_executions
                bar.update(progress.executions - bar.n)
            progress.findings = sorted(path.name for path in (work / "findings").iterdir())
            progress.write(state)
            if progress.executions == before:
                raise SystemExit(f"{name} did not start: see {work / 'log.txt'}")
    return progress


def _executions(name: str, work: Path, chunk: int, progress: Progress) -> Iterator[int]:
    """Start a process of libFuzzer, and yield the executions that it counts."""
    arguments = [
        f"-runs={chunk}",
        f"-timeout={_MAX_SECONDS}",
        f"-rss_limit_mb={_MAX_MEGABYTES}",
        f"-artifact_prefix={work / 'findings'}{os.sep}",
        "-print_final_stats=1",
        f"-seed={progress.executions + 1}",
    ]
    command = [sys.executable, __file__, name, "--child", "--work", str(work), *arguments]
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with (
        (work / "log.txt").open("a", encoding="utf-8") as log,
        tempfile.TemporaryDirectory(prefix="tryage-fuzz-", dir=memory) as scratch,
        subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": scratch},
        ) as process,
    ):
        for line in process.stderr or ():
            log.write(line)
            if counted := _COUNTED.match(line):
                yield int(counted[1])
            elif final := _FINAL.match(line):
                if final[1] == "number_of_executed_units":
                    yield int(final[2])
                elif final[1] == "peak_rss_mb":
                    progress.megabytes = max(progress.megabytes, int(final[2]))
    slowest = work / "slowest.json"
    if slowest.exists():
        progress.seconds = json.loads(slowest.read_text("utf-8"))["seconds"]


def keep(name: str, work: Path) -> None:
    """Copy inputs, from the smallest to the largest that fit, to the fixtures of the tests.

    libFuzzer has put into the corpus only what has reached something new.
    """
    paths = sorted((work / "corpus").iterdir(), key=lambda path: path.stat().st_size)
    folder = CORPORA / name
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for path in paths[:: -(-len(paths) // _MAX_KEPT)]:
        total += path.stat().st_size
        if total > _MAX_KEPT_BYTES:
            return
        (folder / path.name[:12]).write_bytes(path.read_bytes())


def print_table(names: list[str], work: Path) -> None:
    """Print the counts of all targets in Markdown."""
    print("| target | executions | findings | slowest, seconds of CPU | memory, MB | inputs kept |")
    print("|---|---|---|---|---|---|")
    for name in names:
        progress = Progress.read(work / name / "progress.json")
        corpus = work / name / "corpus"
        n_inputs = len(list(corpus.iterdir())) if corpus.exists() else 0
        print(
            f"| {name} | {progress.executions:,} | {len(progress.findings)} | "
            f"{progress.seconds:.3f} | {progress.megabytes} | {n_inputs} |"
        )


# The process of libFuzzer ----------------------------------------------------------------------


def fuzz(name: str, work: Path, arguments: list[str]) -> None:
    """Hand a target to libFuzzer, which ends the process."""
    try:
        import atheris
    except ImportError as error:
        raise SystemExit(
            f"{sys.executable} has no atheris: install atheris==3.0.0 into an environment with "
            "Python 3.11 to 3.13, and run this command there."
        ) from error
    with atheris.instrument_imports(include=["tryage"]):
        from fuzz_targets import TARGETS as MAKERS
    if name in ("csv", "jsonl", "parquet"):
        import pyarrow as pa

        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
    logging.disable()
    target = MAKERS[name]()
    arguments = [*arguments, *_start_corpus(name, work, target)]
    words = work / "words.txt"
    words.write_text("".join(f"{_quoted(word)}\n" for word in target.words if word), "utf-8")
    options = [f"-dict={words}", f"-max_len={target.max_length}", "-use_value_profile=0"]

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)  # noqa: S311 - mutations need no secret
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, max_size))
        return target.mutation(data, target.words, rng)[:max_size]

    for seed in target.seeds():  # what is made once for all inputs takes its time here
        target.check(seed)
    watched = _Watch(target.check, work)
    atheris.Setup([sys.argv[0], *options, *arguments], watched, custom_mutator=mutate)
    atheris.Fuzz()


def _start_corpus(name: str, work: Path, target: Any) -> list[str]:  # noqa: ANN401 - a Target, imported late
    """Write the seeds to the corpus, and return the folders that libFuzzer reads."""
    for i, seed in enumerate(target.seeds()):
        path = work / "corpus" / f"seed-{i}"
        if not path.exists():
            path.write_bytes(seed)
    kept = CORPORA / name
    return [str(work / "corpus"), *([str(kept)] if kept.exists() else [])]


def _quoted(word: str) -> str:
    """Return a word as a line of libFuzzer's dictionaries."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode("utf-8", "surrogatepass")) + '"'


class _Watch:
    """Calls a target, notes its slowest input, and raises where one takes too much."""

    def __init__(self, check: Callable[[bytes], None], work: Path) -> None:
        self._check, self._work = check, work
        path = work / "slowest.json"
        self._slowest = json.loads(path.read_text("utf-8"))["seconds"] if path.exists() else 0.0

    def __call__(self, data: bytes) -> None:
        start = time.process_time()
        self._check(data)
        seconds = time.process_time() - start
        if seconds > 1.1 * self._slowest:
            self._slowest = seconds
            (self._work / "slowest.json").write_text(json.dumps({"seconds": seconds}), "utf-8")
            (self._work / "slowest").write_bytes(data)
        if seconds > _MAX_SECONDS:
            raise RuntimeError(f"{seconds:.2f} s for one input")
        megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        if megabytes > _MAX_MEGABYTES:
            raise RuntimeError(f"{megabytes} MB after this input")


if __name__ == "__main__":
    main()
