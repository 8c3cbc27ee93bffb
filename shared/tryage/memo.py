"""What depends on a library alone, computed once for as long as the library lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.experts import Library

T = TypeVar("T")

_REMEMBERED: WeakKeyDictionary[Library, dict[object, Any]] = WeakKeyDictionary()


def remember(library: Library, key: object, compute: Callable[[], T]) -> T:
    """Return what `compute` returned for this library and key when it was first called.

    Two threads may both compute; that costs time, not correctness.
    """
    known = _REMEMBERED.get(library)
    if known is None:
        known = _REMEMBERED.setdefault(library, {})
    if key not in known:
        known[key] = compute()
    value: T = known[key]
    return value


def remember_last(library: Library, key: object, compute: Callable[[], T], keep: int = 16) -> T:
    """Return what `compute` returned for this key, if it is among the last `keep` that were new.

    For what grows with the library and has a key that comes from outside, such as weights
    and requirements.
    """
    recent: dict[object, Any] = remember(library, "recent", dict)
    known = recent.get(key, recent)  # a value that can be none of ours
    if known is not recent:
        value: T = known
        return value
    value = recent[key] = compute()
    for old in list(recent)[:-keep]:
        recent.pop(old, None)  # another thread may have dropped it
    return value
