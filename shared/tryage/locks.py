"""A lock that stays usable in a forked child, whichever thread held it at the fork."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType

_LOCKS: WeakSet[ForkSafeLock] = WeakSet()


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


@cache
def _renew_after_forks() -> None:
    """Renew all locks in every child of a fork, where the platform has forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_renew_all)


def _renew_all() -> None:
    for lock in list(_LOCKS):
        lock.renew()
