"""What depends on a library alone, computed once for as long as the library lives."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


T = TypeVar("T")

_CACHES: WeakKeyDictionary[object, dict[object, Any]] = WeakKeyDictionary()


def get_or_compute(owner: object, key: object, compute: Callable[[], T]) -> T:
    """Return what `compute` returned for this library and key when it was first called.

    Two threads may both compute; that costs time, not correctness.
    """
    known = _CACHES.get(owner)
    if known is None:
        known = _CACHES.setdefault(owner, {})
    if key not in known:
        known[key] = compute()
    value: T = known[key]
    return value


def get_or_compute_bounded(
    owner: object, key: object, compute: Callable[[], T], maxsize: int = 16
) -> T:
    """Return what `compute` returned for this key, if it is among the last `keep` that were new.

    For what grows with the library and has a key that comes from outside, such as weights
    and requirements.
    """
    recent: dict[object, Any] = get_or_compute(owner, "recent", dict)
    known = recent.get(key, recent)  # a value that can be none of ours
    if known is not recent:
        value: T = known
        return value
    value = recent[key] = compute()
    for old in list(recent)[:-maxsize]:
        recent.pop(old, None)  # another thread may have dropped it
    return value


class LRUCache(Generic[T]):
    """Up to `size` values by key; the one unused for longest makes room. Threads may share it.

    A copy or a pickle starts empty: what is remembered belongs to conversations of this process.

    Raises:
        InputError: the size is not a whole number above zero.
    """

    def __init__(self, size: int = 1_024) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"A memory needs a size of at least 1, got {size!r:.80}.")
        self.size = size
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """Return what was put under the key last; None if it is gone or never was."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: T) -> None:
        """Remember a value."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self.size:
                self._values.popitem(last=False)

    def __len__(self) -> int:
        """Count what is remembered."""
        return len(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy the size, not what is remembered."""
        return type(self), (self.size,)

    def __repr__(self) -> str:
        """Tell how full it is; what people said stays out of logs."""
        return f"Memory({len(self)} of {self.size})"
