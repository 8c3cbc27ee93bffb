"""Values are computed once per owner, and a bounded cache keeps the ones used last."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tryage import Library
from tryage.core.cache import (
    LRUCache,
    cached_property,
    deferred,
    get_or_compute,
    get_or_compute_bounded,
)
from tryage.errors import InputError


def test_a_value_is_computed_once_per_owner_and_key():
    one, other, calls = Library(["a"]), Library(["a"]), []
    for owner, key in [(one, "x"), (one, "x"), (one, "y"), (other, "x"), (other, "x")]:
        assert get_or_compute(owner, key, lambda key=key: calls.append(key)) is None
    assert calls == ["x", "y", "x"]


def test_the_values_live_as_long_as_their_owner():
    class Value:
        alive = 0

        def __init__(self):
            Value.alive += 1

        def __del__(self):
            Value.alive -= 1

    owner = Library(["a"])
    get_or_compute(owner, "x", Value)
    assert Value.alive == 1
    del owner
    gc.collect()
    assert Value.alive == 0


def test_of_many_keys_only_the_newest_are_kept():
    owner, calls = Library(["a"]), []
    for key in [*range(5), 4, 3, 0]:
        get_or_compute_bounded(owner, key, lambda key=key: calls.append(key), maxsize=2)
    assert calls == [0, 1, 2, 3, 4, 0]


def test_the_least_recently_used_value_is_dropped():
    cache = LRUCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    assert len(cache) == 2


def test_threads_that_share_a_cache_get_their_own_values_and_keep_its_size():
    cache = LRUCache(64)

    def work(worker):
        found = []
        for i in range(2_000):
            cache.put((worker, i), (worker, i))
            found += [cache.get((worker, j)) in ((worker, j), None) for j in (i, i - 3)]
        return all(found)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert len(cache) <= 64 + 8
    for i in range(64):
        cache.put(i, i)
    assert [cache.get(i) for i in range(32, 64)] == list(range(32, 64))


def test_of_a_full_cache_the_values_that_are_still_used_stay():
    cache = LRUCache(64)
    for i in range(500):
        cache.put(i, i)
        assert cache.get(0) == 0
    assert len(cache) <= 64


def test_copies_pickles_and_the_representation_hold_no_values():
    cache = LRUCache(3)
    cache.put("key", "secret")
    for other in (copy.copy(cache), copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):  # noqa: S301 - our own bytes
        assert (other.size, len(other)) == (3, 0)
    assert repr(cache) == "LRUCache(1 of 3)"


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "many"])
def test_a_size_below_one_is_refused(size):
    with pytest.raises(InputError, match="whole number from 1"):
        LRUCache(size)


class Table:
    """A class with a cached property, whose computation a test can hold up."""

    def __init__(self, compute=object):
        self.compute = compute

    @cached_property
    def value(self):
        """What is computed."""
        return self.compute()


def test_a_cached_property_is_computed_once_for_each_object():
    table = Table()
    assert table.value is table.value
    assert table.value is not Table().value
    assert Table.value.__doc__ == "What is computed."


def test_a_deferred_attribute_calls_its_function_once_and_takes_any_other_value():
    class Owner:
        value = deferred()

    one, other, calls = Owner(), Owner(), []
    one.value, other.value = lambda: calls.append("called") or 3, 5
    assert not calls
    assert (one.value, one.value, other.value) == (3, 3, 5)
    assert calls == ["called"]
    assert not hasattr(Owner, "value")


def test_a_cached_property_whose_computation_fails_is_computed_again():
    table = Table(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _ = table.value
    table.compute = lambda: 3
    assert table.value == 3


def test_no_object_waits_for_the_cached_property_of_another():
    is_started, finish = threading.Event(), threading.Event()
    slow = Table(lambda: (is_started.set(), finish.wait(60)))
    with ThreadPoolExecutor(2) as pool:
        pool.submit(lambda: slow.value)
        assert is_started.wait(60)
        try:
            assert pool.submit(lambda: Table(lambda: 3).value).result(10) == 3
        finally:
            finish.set()


def test_threads_that_compute_a_cached_property_at_once_get_the_same_value():
    barrier = threading.Barrier(4)
    table = Table(lambda: (barrier.wait(60), object()))
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda _: table.value, range(4)))
    assert len(set(map(id, values))) == 1
