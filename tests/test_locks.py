"""A lock that survives forks, copies and pickles."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from tryage.locks import ForkBarrier, ForkSafeLock


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


# Barriers ----------------------------------------------------------------------------------------


@pytest.fixture
def steps():
    """What happened, in order."""
    return []


@pytest.fixture
def barrier(steps):
    return ForkBarrier(lambda: steps.append("prepared"))


def in_a_block(barrier, steps, is_in, may_leave, also=None):
    """Stay in a block in a thread until it may leave."""

    def stay():
        with barrier.block():
            is_in.set()
            may_leave.wait(60)
            if also is not None:
                also()
            steps.append("left")

    thread = threading.Thread(target=stay)
    thread.start()
    is_in.wait(60)
    return thread


@pytest.fixture
def is_in():
    return threading.Event()


@pytest.fixture
def may_leave():
    return threading.Event()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_waits_for_the_blocks_of_other_threads_and_then_prepares(
    barrier, steps, is_in, may_leave, finishes_in_child
):
    thread = in_a_block(barrier, steps, is_in, may_leave)
    threading.Timer(0.05, may_leave.set).start()

    def check_and_enter():
        assert steps == ["left", "prepared"]
        with barrier.block():
            pass

    assert finishes_in_child(check_and_enter)
    thread.join()
    with barrier.block():  # the parent may enter again, too
        pass


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_thread_in_a_block_may_enter_another_one_while_a_fork_waits(
    barrier, steps, is_in, may_leave, finishes_in_child
):
    def enter_another():
        with barrier.block():
            steps.append("inner")

    thread = in_a_block(barrier, steps, is_in, may_leave, also=enter_another)
    threading.Timer(0.05, may_leave.set).start()
    assert finishes_in_child(lambda: steps.index("inner") < steps.index("prepared"))
    thread.join()
    assert steps == ["inner", "left", "prepared"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_goes_on_when_a_block_takes_too_long(
    barrier, steps, is_in, may_leave, finishes_in_child, monkeypatch
):
    monkeypatch.setattr("tryage.locks._LONGEST_WAIT", 0.05)
    thread = in_a_block(barrier, steps, is_in, may_leave)

    def enter():
        with barrier.block():
            pass

    assert finishes_in_child(enter)
    may_leave.set()
    thread.join()
    assert steps == ["prepared", "left"]


def test_a_child_that_is_forked_inside_a_block_leaves_it(barrier, finishes_in_child):
    block = barrier.block()
    block.__enter__()
    assert finishes_in_child(lambda: block.__exit__(None, None, None))
    block.__exit__(None, None, None)
    with barrier.block():
        pass
