"""What is remembered of conversations for a limited time: values under keys that hold no text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tryage.errors import InputError
from tryage.perception.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

DEFAULT_MAX_AGE = 3_600.0
"""Seconds after which an answer no longer counts: longer than a tool loop or a pause in a chat."""


class TurnMemory(Generic[T]):
    """Up to `size` values by key, each for `max_age` seconds after it was last stored.

    The values that were stored first are dropped first. `clock` returns seconds that never go back.
    A copy or a pickle is empty, because the values belong to conversations of this process. Safe
    between threads, and in a process that is forked.

    Raises:
        InputError: the size or the age is not above zero.
    """

    def __init__(
        self,
        size: int = 1_024,
        max_age: float = DEFAULT_MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not size >= 1:
            raise InputError(f"size is {size!r:.80}; expected a number of at least 1.")
        if not max_age > 0:
            raise InputError(f"max_age is {max_age!r:.80}; expected seconds above 0.")
        self.size, self.max_age, self._clock = size, max_age, clock
        self._entries: dict[Hashable, tuple[float, T]] = {}  # the oldest first
        self._lock = ForkSafeLock()

    def get(self, key: Hashable) -> T | None:
        """Return the value that was last put under the key; None if there is none, or it is old."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            stored_at, value = entry
            if self._clock() - stored_at > self.max_age:
                del self._entries[key]
                return None
            return value

    def put(self, key: Hashable, value: T) -> None:
        """Store a value under a key."""
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = self._clock(), value
            if len(self._entries) > self.size:
                del self._entries[next(iter(self._entries))]

    def discard(self, key: Hashable) -> None:
        """Remove the value under a key, if there is one."""
        with self._lock:
            self._entries.pop(key, None)

    def __len__(self) -> int:
        """Return the number of stored values, old ones too."""
        return len(self._entries)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the limits without the values."""
        return type(self), (self.size, self.max_age)

    def __repr__(self) -> str:
        """Show how full it is; the values belong to conversations, so they stay out of logs."""
        return f"TurnMemory({len(self)} of {self.size})"
