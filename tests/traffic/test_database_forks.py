"""Processes that fork while they have a log of SQLite, which keeps its locks by process."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no forks"),
]


def stored_ids(url):
    """Return the ids of feedback as another program finds them; the file is whole."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        return {row[0] for row in connection.execute("SELECT id FROM tryage_feedback")}


def test_what_a_child_writes_after_its_parent_has_closed_the_log_is_kept(log, url, feedback):
    log.add_feedback(feedback("parent"))
    context = multiprocessing.get_context("fork")
    has_written, is_closed = context.Event(), context.Event()

    def write():
        log.add_feedback(feedback("child, before"))
        has_written.set()
        assert is_closed.wait(30)
        log.add_feedback(feedback("child, after"))
        os._exit(0)  # a child that is killed later closes nothing, either

    child = context.Process(target=write)
    child.start()
    assert has_written.wait(30)
    log.close()
    is_closed.set()
    child.join(30)
    assert child.exitcode == 0
    assert stored_ids(url) == {"parent", "child, before", "child, after"}


def test_children_that_are_forked_while_threads_write_can_write(
    open_log, url, feedback, finishes_in_children
):
    """A child must not inherit that a thread of its parent holds the lock of SQLite."""
    log = open_log(url, timeout=50.0)  # SQLite has no queue: others may get its lock many times
    written, n_forks = [], 12

    def write_in_thread():
        name = f"thread {len(written)}-{os.urandom(4).hex()}"
        log.add_feedback(feedback(name))
        written.append(name)

    def write_in_child():
        log.add_feedback(feedback(f"child {os.getpid()}"))

    assert finishes_in_children(write_in_child, n_forks, meanwhile=write_in_thread)
    log.close()
    stored = stored_ids(url)
    assert set(written) <= stored
    assert len(stored) == len(written) + n_forks + 1  # one is of the parent, before the forks


def test_threads_that_write_at_once_all_have_their_turn(open_log, url, feedback):
    log = open_log(url, timeout=0.05)
    names = [f"f{i}" for i in range(256)]
    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(lambda name: log.add_feedback(feedback(name)), names))
    log.close()
    assert stored_ids(url) == set(names)
