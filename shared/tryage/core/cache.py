"""Cached values: computed once per object, or the most recent ones by key."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload
from weakref import WeakKeyDictionary

from tryage.core.validation import check_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from typing_extensions import Self

T = TypeVar("T")

_MISSING = object()
_CACHES: WeakKeyDictionary[object, dict[object, Any]] = WeakKeyDictionary()


class cached_property(Generic[T]):  # noqa: N801 - named and used as the one of `functools`
    """A property that is computed at its first use and kept in the object's `__dict__`.

    That of `functools` holds a lock until Python 3.12, one for all objects of a class: threads wait
    for each other, and a process that forks meanwhile copies it locked. Here two threads may both
    compute the value; all get the same one.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        """Keep the name, under which the value is stored."""
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | T:
        """Return the value of an object that has not stored it yet; a class has the property."""
        if instance is None:
            return self
        value: T = instance.__dict__.setdefault(self.name, self.function(instance))
        return value


class deferred(Generic[T]):  # noqa: N801 - the name of a descriptor, as that of `property`
    """An attribute that is set to a value, or to a function that is called at the first read.

    It may be the field of a dataclass without slots. Two threads may both call the function, which
    has to return the same each time.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        """Keep the name, under which the value is stored."""
        self.name = name

    def __set__(self, instance: object, value: T | Callable[[], T]) -> None:
        """Store a value, or the function that returns it."""
        instance.__dict__[self.name] = value

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | T:
        """Return the value; a class has none, so that a dataclass sees no default."""
        if instance is None:
            raise AttributeError(self.name)
        value: Any = instance.__dict__[self.name]
        if callable(value):
            value = instance.__dict__[self.name] = value()
        found: T = value
        return found


def get_or_compute(owner: object, key: object, compute: Callable[[], T]) -> T:
    """Return the value of `compute()` for an owner, such as a library, and a key.

    It is computed at the first call and kept as long as the owner lives. Two threads may both
    compute it; that costs time, not correctness.
    """
    values = _CACHES.get(owner)
    if values is None:
        values = _CACHES.setdefault(owner, {})
    if key not in values:
        values[key] = compute()
    value: T = values[key]
    return value


def get_or_compute_bounded(
    owner: object, key: object, compute: Callable[[], T], maxsize: int = 16
) -> T:
    """Return the value of `compute()` like `get_or_compute`, but keep only the `maxsize` newest.

    For values that grow with the library under keys that come from outside, such as weights and
    requirements: any number of different keys must not fill the memory.
    """
    recent: dict[object, Any] = get_or_compute(owner, "recent", dict)
    value: T = recent.get(key, _MISSING)
    if value is not _MISSING:
        return value
    value = recent[key] = compute()
    for old in list(recent)[:-maxsize]:
        recent.pop(old, None)  # another thread may have removed it
    return value


class LRUCache(Generic[T]):
    """Up to `size` values by key; the least recently used ones are dropped. Safe between threads.

    It has no lock, because a process that forks while another thread holds a lock copies it locked.
    Single operations on a dict are atomic. A copy or a pickle is empty, because the values belong
    to conversations of this process.

    Raises:
        InputError: the size is not a whole number above zero.
    """

    def __init__(self, size: int = 1_024) -> None:
        self.size = check_integer("size", size, 1)
        self._values: dict[Hashable, T] = {}
        self._last_uses: dict[Hashable, int] = {}
        self._uses = itertools.count(1)

    def get(self, key: Hashable) -> T | None:
        """Return the value that was last put under the key, None if there is none."""
        value = self._values.get(key)
        if value is not None:
            self._last_uses[key] = next(self._uses)
        return value

    def put(self, key: Hashable, value: T) -> None:
        """Store a value under a key."""
        self._last_uses[key] = next(self._uses)
        self._values[key] = value
        if len(self._values) > self.size:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Make room: at once for some more values, because sorting takes a while."""
        last_uses = self._last_uses.copy()
        oldest = sorted(last_uses, key=last_uses.__getitem__)
        for key in oldest[: len(oldest) - self.size + self.size // 8]:
            if self._last_uses.get(key) == last_uses[key]:  # no other thread has used it meanwhile
                self._values.pop(key, None)
                self._last_uses.pop(key, None)

    def __len__(self) -> int:
        """Return the number of stored values."""
        return len(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the size without the values."""
        return type(self), (self.size,)

    def __repr__(self) -> str:
        """Show how full the cache is; the values may be private, so they stay out of logs."""
        return f"LRUCache({len(self)} of {self.size})"
