"""How slowly the process itself responds: the sign of a server with more work than it can do."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERVAL = 0.1  # seconds between two measurements
_WEIGHT = 0.3  # of the last one in the mean: a single slow one is no overload


class ResponseDelay:
    """Measures how long a call of no work takes to a worker thread and back, as long as others run.

    A server that is overloaded does not know it otherwise: each request takes its time in hundreds
    of turns of the event loop, and further connections wait in the socket, where no limit of the
    number of requests sees them.

    Args:
        is_busy: Tells whether requests are answered. If none is, nothing is measured.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._mean = 0.0
        self._start: float | None = None  # of the measurement that is under way
        self._task: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """The mean of the last delays, with the one that is under way if that is longer."""
        if not self._is_measured:
            return 0.0
        if self._start is None:
            return self._mean
        return max(self._mean, self._mean_with(time.monotonic() - self._start))

    def watch(self) -> None:
        """Measure in the event loop that runs until nothing is answered any more."""
        if not self._is_measured:
            self._mean, self._start = 0.0, None
            self._task = asyncio.get_running_loop().create_task(self._measure())

    @property
    def _is_measured(self) -> bool:
        """Whether a task measures in this event loop; one of another loop may never end."""
        task = self._task
        if task is None or task.done():
            return False
        return task.get_loop() is asyncio.get_running_loop()

    async def _measure(self) -> None:
        while self._is_busy():
            self._start = time.monotonic()
            await run_in_threadpool(_do_nothing)
            self._mean = self._mean_with(time.monotonic() - self._start)
            self._start = None
            await asyncio.sleep(_INTERVAL)

    def _mean_with(self, delay: float) -> float:
        return self._mean + _WEIGHT * (delay - self._mean)


def _do_nothing() -> None:
    """Return at once."""
