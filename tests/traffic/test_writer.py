"""The queue and its thread: recording neither waits nor fails, and losses are counted."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

from tryage.errors import TrafficError
from tryage.traffic import writer as writer_module
from tryage.traffic.writer import Writer


class Store:
    """Keeps what is written; it fails while `is_down`, and waits while `is_stuck`."""

    def __init__(self):
        self.records, self.is_down = [], False
        self.goes_on = threading.Event()
        self.goes_on.set()

    def write(self, records):
        self.goes_on.wait(10)
        if self.is_down:
            raise TrafficError("the store is down")
        self.records += records
        return [one for one in records if one == "unfit"]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def writer(store):
    writer = Writer(store.write, lambda _: "records", queue_size=5, interval=0.0)
    yield writer
    store.goes_on.set()
    writer.close(1.0)


def test_records_are_written_in_their_order(writer, store):
    for i in range(4):
        writer.put(i)
    assert writer.flush(10)
    assert store.records == [0, 1, 2, 3]
    assert not writer.lost


def test_a_flush_waits_for_a_record_on_its_way_from_the_queue_to_the_batch(writer, store):
    is_taken, goes_on = threading.Event(), threading.Event()

    class SlowQueue(deque):
        def popleft(self):
            record = super().popleft()
            is_taken.set()
            goes_on.wait(10)
            return record

    writer._queue = SlowQueue()
    writer.put(0)
    assert is_taken.wait(10)
    threading.Timer(0.05, goes_on.set).start()
    assert writer.flush(10)
    assert store.records == [0]


def test_a_full_queue_loses_what_comes_and_counts_it(writer, store):
    store.goes_on.clear()
    for i in range(8):
        writer.put(i)
    store.goes_on.set()
    assert writer.flush(10)
    assert store.records == [0, 1, 2, 3, 4]
    assert writer.lost == {"records": 3}


def test_what_a_store_that_fails_could_not_take_is_written_when_it_is_back(writer, store):
    store.is_down = True
    writer.put(1)
    writer.put(2)
    assert not writer.flush(10)
    store.is_down = False
    assert writer.flush(10)
    assert store.records == [1, 2]
    assert not writer.lost


def test_what_no_store_can_take_is_lost(writer):
    writer.put("unfit")
    assert writer.flush(10)
    assert writer.lost == {"records": 1}


def test_a_mistake_in_the_store_loses_its_records_only(writer, store, monkeypatch):
    def mistake(_):
        raise KeyError("x")

    monkeypatch.setattr(writer, "_write", mistake)
    writer.put(1)
    assert writer.flush(10)
    monkeypatch.setattr(writer, "_write", store.write)
    writer.put(2)
    assert writer.flush(10)
    assert (store.records, writer.lost) == ([2], {"records": 1})


def test_warnings_come_once_in_a_minute(writer, caplog):
    with caplog.at_level(logging.WARNING, "tryage.traffic"):
        for _ in range(3):
            writer.put("unfit")
            writer.flush(10)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "1 records so far" in caplog.text
    writer._warned_at -= 61
    with caplog.at_level(logging.WARNING, "tryage.traffic"):
        writer.put("unfit")
        writer.flush(10)
    assert "4 records so far" in caplog.text


def test_the_end_writes_what_is_queued(writer, store):
    writer.put(1)
    writer.close(10)
    writer.put(2)
    assert (store.records, writer.lost) == ([1], {"records": 1})


def test_the_end_counts_what_a_store_that_fails_does_not_take(writer, store):
    store.is_down = True
    writer.put(1)
    writer.close(1.0)
    assert writer.lost == {"records": 1}


def test_a_child_of_a_fork_writes_its_own_records_only(writer, store, finishes_in_child):
    store.goes_on.clear()
    writer.put("of the parent")

    def record():
        store.goes_on = threading.Event()
        store.goes_on.set()
        writer.put("of the child")
        assert writer.flush(5)
        assert store.records == ["of the child"]

    assert finishes_in_child(record)
    store.goes_on.set()
    assert writer.flush(10)
    assert store.records == ["of the parent"]


def test_a_function_is_called_in_intervals_until_it_is_cancelled(writer):
    called = threading.Semaphore(0)
    cancel = writer.call_every(0.005, called.release)
    assert all(called.acquire(timeout=10) for _ in range(3))
    cancel()
    writer.put(1)
    assert writer.flush(10)
    assert writer._tasks == []


def test_a_function_that_fails_does_not_end_the_thread(writer, store):
    called = threading.Semaphore(0)

    def fail():
        called.release()
        raise ValueError("x")

    writer.call_every(0.005, fail)
    assert all(called.acquire(timeout=10) for _ in range(2))
    writer.put(1)
    assert writer.flush(10)
    assert store.records == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_a_mistake_is_followed_by_another(writer, store, monkeypatch):
    def mistake():
        raise KeyError("x")

    monkeypatch.setattr(writer, "_run_tasks", mistake)
    writer.put(1)
    writer._thread.join(10)
    monkeypatch.undo()
    writer.put(2)
    assert writer.flush(10)
    assert store.records == [1, 2]


def test_what_waits_is_counted(writer, store):
    store.goes_on.clear()
    writer.put(1)
    writer.put(2)
    assert writer.waiting == 2
    store.goes_on.set()
    assert writer.flush(10)
    assert writer.waiting == 0


def test_no_loss_is_left_uncounted_when_threads_lose_records_at_once(writer):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(writer.lose, ["x"], "a reason") for _ in range(4_000)]
        for one in done:
            one.result()
    finally:
        sys.setswitchinterval(interval)
    assert writer.lost == {"records": 4_000}


def test_what_threads_record_while_the_writer_is_closed_is_written_or_counted_as_lost(
    writer, store
):
    interval, n_threads, n_records = sys.getswitchinterval(), 8, 500
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(n_threads) as pool:
            done = [
                pool.submit(lambda: [writer.put(i) for i in range(n_records)])
                for _ in range(n_threads)
            ]
            writer.close(10)
        for one in done:
            one.result()
    finally:
        sys.setswitchinterval(interval)
    assert len(store.records) + writer.lost["records"] == n_threads * n_records
    assert writer.waiting == 0


def test_a_record_that_comes_between_the_question_and_the_end_is_counted_as_lost(writer, store):
    class ClosesWhenFilled(deque):
        def append(self, record):
            self.append = super().append
            writer.close(10)
            super().append(record)

    writer._queue = ClosesWhenFilled()
    assert not writer.put("late")
    assert (store.records, writer.lost) == ([], {"records": 1})


def test_a_call_is_cancelled_while_the_lock_is_held_because_finalizers_do_that_anywhere(writer):
    cancel = writer.call_every(60, lambda: None)
    with writer._lock:
        thread = threading.Thread(target=cancel, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert writer._tasks == []
    cancel()  # a second time changes nothing


# A thread without anything to do ------------------------------------------------------------------


def writer_threads():
    return [one for one in threading.enumerate() if one.name == "tryage-traffic"]


def wait_until(condition):
    ends = time.monotonic() + 60
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def soon_idle(monkeypatch):
    monkeypatch.setattr(writer_module, "IDLE_SECONDS", 0.05)


@pytest.mark.usefixtures("soon_idle")
def test_an_idle_thread_ends_and_the_next_record_starts_another(writer, store):
    before = len(writer_threads())
    for i in range(3):
        writer.put(i)
        assert len(writer_threads()) == before + 1
        assert wait_until(lambda: len(writer_threads()) == before)
    assert store.records == [0, 1, 2]


@pytest.mark.usefixtures("soon_idle")
def test_a_thread_with_a_task_goes_on_until_the_task_is_over(writer):
    called = threading.Event()
    before = len(writer_threads())
    end = writer.call_every(0.02, called.set)
    assert called.wait(10)
    time.sleep(0.2)
    assert len(writer_threads()) == before + 1
    end()
    assert wait_until(lambda: len(writer_threads()) == before)


@pytest.mark.usefixtures("soon_idle")
def test_no_record_is_lost_while_threads_end_and_start(store):
    writer = Writer(store.write, lambda _: "records", queue_size=10_000, interval=0.0)
    for i in range(40):
        writer.put(i)
        time.sleep(0.05 if i % 4 else 0.0)  # about when the thread ends
    assert writer.flush(10)
    assert store.records == list(range(40))
    writer.close(1.0)


@pytest.mark.usefixtures("soon_idle", "small_heap")
def test_an_idle_writer_keeps_nothing_alive():
    class Owner(Store):
        def __init__(self):
            super().__init__()
            self.writer = Writer(self.write, lambda _: "records", queue_size=5, interval=0.0)

    owner = Owner()
    owner.writer.put(1)
    assert owner.writer.flush(10)
    reference = weakref.ref(owner)
    del owner

    def is_gone():
        gc.collect()
        return reference() is None

    assert wait_until(is_gone)
