"""What is remembered of conversations for a limited time: values under keys that hold no text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tryage.core.cache import LRUCache
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

DEFAULT_MAX_AGE = 3_600.0
"""Seconds after which an answer no longer counts: longer than a tool loop or a pause in a chat."""


class TurnMemory(Generic[T]):
    """Up to `size` values by key, each for `max_age` seconds after it was last stored.

    `clock` returns seconds that never go back. A copy or a pickle is empty, because the values
    belong to conversations of this process. Safe between threads.

    Raises:
        InputError: the size is not a whole number above zero, or the age is not above zero.
    """

    def __init__(
        self,
        size: int = 1_024,
        max_age: float = DEFAULT_MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not max_age > 0:
            raise InputError(f"max_age is {max_age!r:.80}; expected seconds above 0.")
        self.max_age, self._clock = max_age, clock
        self._values: LRUCache[tuple[float, T]] = LRUCache(size)

    def get(self, key: Hashable) -> T | None:
        """Return the value that was last put under the key; None if there is none, or it is old."""
        entry = self._values.get(key)
        if entry is None:
            return None
        stored_at, value = entry
        if self._clock() - stored_at > self.max_age:
            self._values.discard(key)
            return None
        return value

    def put(self, key: Hashable, value: T) -> None:
        """Store a value under a key."""
        self._values.put(key, (self._clock(), value))

    def discard(self, key: Hashable) -> None:
        """Remove the value under a key, if there is one."""
        self._values.discard(key)

    def __len__(self) -> int:
        """Return the number of stored values, old ones too."""
        return len(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the limits without the values."""
        return type(self), (self._values.size, self.max_age)

    def __repr__(self) -> str:
        """Show how full it is; the values belong to conversations, so they stay out of logs."""
        return f"TurnMemory({len(self)} of {self._values.size})"
