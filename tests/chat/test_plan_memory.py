"""What is remembered of conversations is limited in number and time, and is never copied."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from tryage.chat.plan import TurnMemory
from tryage.errors import InputError


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_value_is_forgotten_after_its_time(clock):
    memory = TurnMemory(max_age=60, clock=clock)
    memory.put("a", 1)
    clock.now = 60
    assert memory.get("a") == 1
    clock.now = 61
    assert memory.get("a") is None
    assert len(memory) == 0


def test_storing_a_value_again_begins_its_time_anew(clock):
    memory = TurnMemory(max_age=60, clock=clock)
    memory.put("a", 1)
    clock.now = 50
    memory.put("a", 2)
    clock.now = 100
    assert memory.get("a") == 2


def test_only_the_newest_values_are_kept():
    memory = TurnMemory(2)
    for key in "abc":
        memory.put(key, key)
    assert [memory.get(key) for key in "abc"] == [None, "b", "c"]


def test_a_value_can_be_discarded():
    memory = TurnMemory()
    memory.put("a", 1)
    memory.discard("a")
    memory.discard("b")
    assert memory.get("a") is None


def test_copies_pickles_and_the_representation_hold_no_values():
    memory = TurnMemory(3, max_age=9)
    memory.put("a", "secret")
    for other in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):  # noqa: S301 - our own bytes
        assert (len(other), other.max_age) == (0, 9)
    assert repr(memory) == "TurnMemory(1 of 3)"


def test_threads_may_share_a_memory():
    memory = TurnMemory(64)

    def work(worker):
        for i in range(1_000):
            memory.put((worker, i % 4), i)
            memory.get((worker, i % 4))
        return memory.get((worker, 3)) == 999

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.parametrize("limits", [{"max_age": 0}, {"max_age": float("nan")}, {"size": 0}])
def test_a_limit_that_is_not_above_zero_is_refused(limits):
    with pytest.raises(InputError, match=r"above 0|at least 1"):
        TurnMemory(**limits)
