"""A lock excludes other threads, and a process that is forked does not inherit it locked."""

from __future__ import annotations

import copy
import os
import pickle
import threading

import pytest

from tryage.perception.fork_safe_lock import ForkSafeLock


def is_free(lock):
    """Tell whether a thread gets the lock within a short time."""
    taken = threading.Event()

    def take():
        with lock:
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken.wait(0.3)


def test_only_one_thread_holds_the_lock():
    lock = ForkSafeLock()
    with lock:
        assert not is_free(lock)
    assert is_free(lock)


def test_an_error_releases_the_lock():
    lock = ForkSafeLock()
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert is_free(lock)


def pickled(lock):
    return pickle.loads(pickle.dumps(lock))  # noqa: S301 - written here


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_is_a_lock_of_its_own(make_copy):
    lock = ForkSafeLock()
    with lock:
        assert is_free(make_copy(lock))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("is_held_by_the_forking_thread", [False, True])
def test_a_lock_that_is_held_during_a_fork_is_free_in_the_new_process(
    is_held_by_the_forking_thread,
):
    lock, is_held, may_end = ForkSafeLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            may_end.wait(20)

    def fork():
        child = os.fork()
        if child == 0:
            os._exit(0 if is_free(lock) else 1)
        return os.waitpid(child, 0)[1]

    if is_held_by_the_forking_thread:
        with lock:
            status = fork()
    else:
        thread = threading.Thread(target=hold)
        thread.start()
        is_held.wait(20)
        status = fork()
        may_end.set()
        thread.join(20)
    assert status == 0
    assert is_free(lock)
