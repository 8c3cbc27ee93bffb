"""Run functions in forked children that report lines, and kill them at a moment.

A fork starts in milliseconds, where a new Python would import for a second: so thousands of
processes can be killed, each in the middle of its work.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Report: TypeAlias = Callable[[str], None]
"""Sends one line to the parent; a kill after it does not take it back."""


class Child:
    """A forked child that runs a function with a `Report`."""

    def __init__(self, function: Callable[[Report], object]) -> None:
        sys.stdout.flush()
        self._started = time.monotonic()
        self._reader, writer = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._reader)
            _run(function, writer)
        os.close(writer)

    def kill(self, seconds: float) -> None:
        """Wait so long from the start, and kill the child with SIGKILL."""
        time.sleep(max(self._started + seconds - time.monotonic(), 0.0))
        os.kill(self._process, signal.SIGKILL)

    def wait(self) -> tuple[list[str], int, float]:
        """Return what was reported, the exit status (below 0: a signal), and the seconds taken."""
        with os.fdopen(self._reader, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
        _, status = os.waitpid(self._process, 0)
        return lines, os.waitstatus_to_exitcode(status), time.monotonic() - self._started


class ChildError(Exception):
    """A child failed; the message is its traceback."""


def run(function: Callable[[Report], object]) -> list[str]:
    """Run a function in a child to its end, and return what it reports.

    Raises:
        ChildError: it failed.
    """
    lines, status, _ = Child(function).wait()
    if status != 0:
        raise ChildError("\n".join(lines) or f"the child ended with {status}")
    return lines


def count_steps(function: Callable[[Report], object], report: Report, kill_at: int = 0) -> None:
    """Run a function, and report how often it has opened a file to write, moved or removed one.

    At the step `kill_at` it kills this process, before the step is done; one more than there are is
    the end of the function.
    """
    n_steps, is_running = 0, True

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal n_steps
        is_step = event in _STEPS or (event == "open" and _writes(arguments[-1]))
        if is_running and is_step:
            n_steps += 1
            if n_steps == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    function(report)
    is_running = False  # a hook cannot be removed
    if kill_at > n_steps:
        os.kill(os.getpid(), signal.SIGKILL)
    report(f"{_COUNT}{n_steps}")


def n_steps(lines: list[str]) -> int:
    """Return how many steps `count_steps` has reported."""
    return next(int(one.removeprefix(_COUNT)) for one in lines if one.startswith(_COUNT))


_COUNT = "steps: "
_STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "sqlite3.connect"}


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _run(function: Callable[[Report], object], writer: int) -> None:
    """Run the function and end the process, without what the parent would do at its end."""
    status = 1
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)

        def report(line: str) -> None:
            os.write(writer, f"{line}\n".encode())

        try:
            function(report)
            status = 0
        except BaseException:  # noqa: BLE001 - the parent reads what went wrong
            report(traceback.format_exc())
    finally:
        os._exit(status)
