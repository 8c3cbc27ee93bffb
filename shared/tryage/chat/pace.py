"""Where the encoder runs under an event loop: in the loop if it is quick, else beside it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_QUICK = 2e-3  # seconds; a hop to a thread and back adds half a millisecond under load


class Pace:
    """Runs a function in the loop while it last took less than two milliseconds.

    The first time it may have an encoder to load, so it goes to a thread.
    """

    def __init__(self) -> None:
        self._last = float("inf")

    async def run(self, function: Callable[[], T]) -> T:
        """Return what the function returns."""
        if self._last < _QUICK:
            return self._timed(function)
        return await asyncio.to_thread(self._timed, function)

    def _timed(self, function: Callable[[], T]) -> T:
        start = time.perf_counter()
        try:
            return function()
        finally:
            self._last = time.perf_counter() - start
