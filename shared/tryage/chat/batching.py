"""Compute what coroutines ask for: together if they ask together, in a thread if it is long.

One pass of the encoder for many prompts costs much less than one pass for each. A long prompt must
not halt the event loop, and for a short one a switch to a thread costs more than the prompt itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

R = TypeVar("R")

Compute: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]

# A prompt of 16,000 characters takes a few milliseconds, and so do 16 short ones.
_MAX_INLINE_SIZE = 16_000  # characters of one pass in the event loop

_MAX_INLINE_ITEMS = 16  # of one pass in the event loop

_MAX_ITEMS = 64  # of one pass in a thread; more do not make a pass cheaper per item


class BatchingExecutor(Generic[T, R]):
    """Computes results for coroutines, in one pass for all that ask in the same turn of the loop.

    A few short items are computed in the event loop, and many or long ones in a thread. The first
    pass goes to a thread, because it may load an encoder. Event loops in several threads may share
    an executor.

    Args:
        compute: Returns a result, or an exception, for each item; a function of a module, so that
            the executor can be pickled.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._has_run = False
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()

    async def run(self, item: T, size: int) -> R:
        """Return the result for an item; `size` is about how many characters are read for it.

        Raises:
            Exception: the one that `compute` returns for the item, or raises.
        """
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(loop, _Queue())
        entry = _Entry(item, size, loop.create_future())
        queue.entries.append(entry)
        self._schedule(loop, queue)
        result: R = await entry.future
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the function alone: what waits belongs to this process."""
        return type(self), (self._compute,)

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchingExecutor[T, R]:
        """Share nothing but the function."""
        return type(self)(self._compute)

    def _schedule(self, loop: asyncio.AbstractEventLoop, queue: _Queue) -> None:
        if queue.entries and not queue.is_scheduled and not queue.is_loading:
            queue.is_scheduled = True
            loop.call_soon(self._start_pass, loop, queue)

    def _start_pass(self, loop: asyncio.AbstractEventLoop, queue: _Queue) -> None:
        """Compute the next items in the loop, or hand them to a thread."""
        queue.is_scheduled = False
        is_crowded = len(queue.entries) > _MAX_INLINE_ITEMS
        if self._has_run and not is_crowded and (entries := queue.take_short()):
            self._hand_out(entries, _outcomes(self._compute, entries))
        else:
            # Until an encoder is loaded, the next items wait: each would wait for it in a thread.
            queue.is_loading = not self._has_run
            entries = queue.take(_MAX_ITEMS)
            pending = loop.run_in_executor(None, _outcomes, self._compute, entries)
            pending.add_done_callback(partial(self._end_thread, loop, queue, entries))
        self._schedule(loop, queue)

    def _end_thread(
        self,
        loop: asyncio.AbstractEventLoop,
        queue: _Queue,
        entries: Sequence[_Entry],
        done: asyncio.Future[Sequence[Any]],
    ) -> None:
        """Hand out what a thread has computed."""
        self._has_run, queue.is_loading = True, False
        self._hand_out(entries, done.result())
        self._schedule(loop, queue)

    def _hand_out(self, entries: Sequence[_Entry], outcomes: Sequence[Any]) -> None:
        for entry, outcome in zip(entries, outcomes, strict=True):
            if entry.future.done():  # its coroutine was cancelled
                continue
            if isinstance(outcome, BaseException):
                entry.future.set_exception(outcome)
            else:
                entry.future.set_result(outcome)


class _Entry(NamedTuple):
    """An item that waits, its size in characters, and where its result goes."""

    item: Any
    size: int
    future: asyncio.Future[Any]


@dataclass
class _Queue:
    """What waits in one event loop."""

    entries: deque[_Entry] = field(default_factory=deque)
    is_scheduled: bool = False
    is_loading: bool = False

    def take(self, count: int) -> list[_Entry]:
        """Remove and return the first entries."""
        return [self.entries.popleft() for _ in range(min(count, len(self.entries)))]

    def take_short(self) -> list[_Entry]:
        """Remove and return the first entries that are computed quickly together, if there are."""
        taken: list[_Entry] = []
        size = 0
        while self.entries and len(taken) < _MAX_INLINE_ITEMS:
            size += self.entries[0].size
            if size > _MAX_INLINE_SIZE:
                break
            taken += self.take(1)
        return taken


def _outcomes(compute: Compute, entries: Sequence[_Entry]) -> Sequence[Any]:
    """Return a result or an exception for each entry."""
    try:
        return compute([entry.item for entry in entries])
    except BaseException as error:  # noqa: BLE001 - the coroutines that wait for the pass get it
        return [error] * len(entries)
