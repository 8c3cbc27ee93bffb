"""A lock that a process does not inherit in a locked state when it is forked."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from types import TracebackType


class ForkSafeLock:
    """A lock for `with`, which is free in a process that has just been forked.

    The thread that holds a lock does not exist in the new process and would never release it. A
    copy or a pickle is a new lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def __enter__(self) -> None:
        """Wait for the lock and take it."""
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock, unless a fork has done so."""
        if self._lock.locked():
            self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle it as a new lock."""
        return type(self), ()

    def _renew(self) -> None:
        self._lock = threading.Lock()


_locks: WeakSet[ForkSafeLock] = WeakSet()


def _renew_locks() -> None:
    for lock in list(_locks):
        lock._renew()  # noqa: SLF001 - a function of this module


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_locks)
