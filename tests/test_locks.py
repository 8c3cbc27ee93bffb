"""A lock that survives forks, copies and pickles."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from tryage.locks import ForkSafeLock


@pytest.fixture
def held_lock():
    """A lock that another thread holds during the test."""
    lock, is_held, release = ForkSafeLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(60)
    yield lock
    release.set()
    thread.join()


def use(lock):
    with lock:
        pass


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_can_take_a_lock_that_a_thread_of_its_parent_held(held_lock, finishes_in_child):
    assert finishes_in_child(lambda: use(held_lock))


def test_a_child_that_is_forked_inside_the_block_leaves_it_and_can_take_the_lock_again(
    finishes_in_child,
):
    lock = ForkSafeLock()

    def leave_the_block_and_use():
        lock.__exit__(None, None, None)
        use(lock)

    with lock:
        assert finishes_in_child(leave_the_block_and_use)
    use(lock)


def test_copies_and_pickles_are_new_locks(held_lock):
    for other in (copy.copy(held_lock), copy.deepcopy(held_lock)):
        use(other)
    use(pickle.loads(pickle.dumps(held_lock)))  # noqa: S301 - our own pickle


def test_one_thread_at_a_time_holds_the_lock():
    lock, total = ForkSafeLock(), [0]

    def add():
        for _ in range(2_000):
            with lock:
                value = total[0]
                total[0] = value + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total == [8_000]


def test_the_lock_is_released_when_its_block_raises():
    lock = ForkSafeLock()
    with pytest.raises(KeyError), lock:
        raise KeyError
    use(lock)
