"""Runs a benchmark in several checkouts in turn: each run imports the library of its checkout."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Runs = dict[Path, list[dict[str, Any]]]  # by checkout, in the order of the rounds

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


def run_command(
    script: str,
    description: str | None,
    measure: Callable[[], Mapping[str, Any]],
    show: Callable[[Runs], None],
    *,
    rounds: int = 5,
) -> None:
    """Run a script's command: show what checkouts yield, or print as JSON what `measure` does."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("checkouts", nargs="*", type=Path, help="before and after")
    parser.add_argument("--rounds", type=int, default=rounds)
    options = parser.parse_args()
    if options.checkouts:
        show(measure_in_turn(options.checkouts, options.rounds, script))
    else:
        print(json.dumps(measure()))


def measure_in_turn(checkouts: Sequence[Path], rounds: int, script: str) -> Runs:
    """Measure all checkouts in each round; every other round begins with the last."""
    runs: Runs = {checkout: [] for checkout in checkouts}
    for i in range(rounds):
        for checkout in checkouts if i % 2 == 0 else reversed(checkouts):
            runs[checkout].append(measure_checkout(checkout, script))
    return runs


def measure_checkout(checkout: Path, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script with the library of a checkout and one thread; its last line is JSON."""
    folders = os.pathsep.join(str((checkout / name).resolve()) for name in ("shared", "src"))
    env = {**os.environ, **ONE_THREAD, "PYTHONPATH": folders}
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} failed in {checkout}:\n{done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
