"""For processes that fork: a lock that no child gets locked, and blocks that a fork waits for."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

_LOCKS: WeakSet[ForkSafeLock] = WeakSet()
_BARRIERS: WeakSet[ForkBarrier] = WeakSet()

_LONGEST_WAIT = 5.0  # seconds for which a fork waits for blocks to end


class ForkSafeLock:
    """A lock for `with`, which a forked child gets unlocked.

    A fork copies one thread only. If another thread held an ordinary lock, nobody in the child
    could ever release it. What the lock protects must therefore be valid between any two
    assignments. A copy or a pickle is a new lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _LOCKS.add(self)
        _renew_after_forks()

    def __enter__(self) -> None:
        """Wait until the lock is free, and take it."""
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock, unless a fork inside the block has renewed it."""
        if self._lock.locked():
            self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a new lock."""
        return type(self), ()

    def renew(self) -> None:
        """Replace the lock by a free one; for the child of a fork, which has a single thread."""
        self._lock = threading.Lock()


class ForkBarrier:
    """Blocks of code that a fork waits for, for what must not be copied in the middle of its use.

    A fork waits until no other thread is in a block, but not for ever: after five seconds it goes
    on. Then it calls `prepare`. Threads that want to enter a block meanwhile wait for the fork; one
    that is in a block may enter another one.

    Args:
        prepare: Called in the parent before each fork.
    """

    def __init__(self, prepare: Callable[[], object]) -> None:
        self._prepare = prepare
        self.renew()
        _BARRIERS.add(self)
        _renew_after_forks()

    def renew(self) -> None:
        """Begin with no thread in a block; for the child of a fork, which has a single thread."""
        self._condition = threading.Condition()
        self._depths: dict[int, int] = {}  # of blocks, by the threads that are in them
        self._n_forks = 0  # that wait or go on now

    @contextmanager
    def block(self) -> Iterator[None]:
        """Keep forks from happening until the block ends."""
        thread = threading.get_ident()
        with self._condition:
            while self._n_forks and thread not in self._depths:
                self._condition.wait()
            self._depths[thread] = self._depths.get(thread, 0) + 1
        try:
            yield
        finally:
            self._leave(thread)

    def _leave(self, thread: int) -> None:
        with self._condition:
            depth = self._depths.pop(thread, 1) - 1  # none is known if the block was forked
            if depth:
                self._depths[thread] = depth
            else:
                self._condition.notify_all()

    def close(self, deadline: float) -> None:
        """Let no thread enter, wait for those in a block until a time of `time.monotonic`."""
        own = {threading.get_ident()}
        with self._condition:
            self._n_forks += 1
            while self._depths.keys() - own and time.monotonic() < deadline:
                self._condition.wait(deadline - time.monotonic())
        self._prepare()

    def open(self) -> None:
        """Let threads enter again, in the parent."""
        with self._condition:
            self._n_forks = max(self._n_forks - 1, 0)  # one that was made during a fork has none
            self._condition.notify_all()


@cache
def _renew_after_forks() -> None:
    """Prepare for forks, where the platform has them."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_close_barriers, after_in_parent=_open_barriers, after_in_child=_renew_all
        )


def _close_barriers() -> None:
    deadline = time.monotonic() + _LONGEST_WAIT
    for barrier in list(_BARRIERS):
        barrier.close(deadline)


def _open_barriers() -> None:
    for barrier in list(_BARRIERS):
        barrier.open()


def _renew_all() -> None:
    for lock in list(_LOCKS):
        lock.renew()
    for barrier in list(_BARRIERS):
        barrier.renew()
