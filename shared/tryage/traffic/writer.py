"""A bounded queue that one thread of each process empties: recording never waits or fails."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections import Counter, deque
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from tryage.errors import TrafficError
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LOGGER = logging.getLogger("tryage.traffic")

BATCH_SIZE = 1_000  # records of a transaction
FIRST_DELAY = 0.2  # seconds after a failure; each further one doubles them
LONGEST_DELAY = 10.0
WARNING_INTERVAL = 60.0  # seconds; at most one warning in them
EXIT_TIMEOUT = 2.0  # seconds for which the end of a process waits for the store
REPORT_INTERVAL = 60.0  # seconds; losses are stored at most once in them
IDLE_SECONDS = 5.0  # without a record and without tasks, after which the thread ends

_WRITERS: WeakSet[Writer] = WeakSet()


class Writer:
    """Passes records to `write` in batches, from a thread that starts with the first record.

    The thread ends when it has nothing to do, because it keeps alive whatever `write` belongs to.
    The next record starts another. A child of a fork has an empty queue, because the parent writes
    its own, and starts a thread of its own.

    Args:
        write: Stores records, all or none, and returns those that cannot be stored at all. If the
            store fails, it raises `TrafficError`: the records stay and are tried again later.
        name_of: Returns the name under which a record is counted in `lost`.
        queue_size: How many records may wait; further ones are lost.
        interval: Seconds for which records are gathered before they are written.
        store_lost: Stores how many records were lost since the last time, by their names: at most
            once a minute and at the end, when the store is well. It may raise `TrafficError`.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Any]], Sequence[Any]],
        name_of: Callable[[Any], str],
        *,
        queue_size: int,
        interval: float,
        store_lost: Callable[[Mapping[str, int]], object] | None = None,
    ) -> None:
        self._write, self._name_of, self._store_lost = write, name_of, store_lost
        self._queue_size, self._interval = queue_size, interval
        self._tasks: list[_Task] = []
        self._warned_at: float | None = None
        self.lost: Counter[str] = Counter()
        self._stored_lost: Counter[str] = Counter()  # those that the store knows of
        self._lost_stored_at: float | None = None
        self.is_closed = False
        self._flushes_at_exit_of: int | None = None  # a process
        self._lock, self._count_lock = ForkSafeLock(), ForkSafeLock()
        self._renew()
        _WRITERS.add(self)
        _renew_after_forks()

    def _renew(self) -> None:
        """Begin with an empty queue and no thread: at first, and in the child of a fork."""
        self._queue: deque[Any] = deque()
        self._is_filling = False  # a record may be in neither the queue nor the batch
        self._batch: list[Any] = []  # taken from the queue and not yet written
        self.lost.clear()
        self._stored_lost.clear()
        self._failures = 0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()  # something is to be written
        self._hurry = threading.Event()  # somebody waits for it

    def put(self, record: object) -> bool:
        """Queue a record; if the queue is full or closed, count it as lost and return False."""
        if self.is_closed or self.waiting >= self._queue_size:
            self.lose([record], "it is closed" if self.is_closed else "the queue is full")
            return False
        self._queue.append(record)
        if self.is_closed:  # since the question above: the thread may have ended
            self._lose_queue()
            return False
        if not self._wake.is_set():
            self._start_thread()
            self._wake.set()
        return True

    @property
    def waiting(self) -> int:
        """The number of records that are not yet written."""
        return len(self._queue) + len(self._batch)

    def flush(self, timeout: float | None) -> bool:
        """Wait until all that was queued before is written; return False if it was not."""
        if not (self._queue or self._is_filling or self._batch):  # in the order of a record's way
            return True
        if threading.current_thread() is self._thread:
            return self._write_queue()
        marker = _Marker()
        self._queue.append(marker)
        self._start_thread()
        self._wake.set()
        self._hurry.set()
        return marker.reached.wait(timeout) and marker.is_written

    def close(self, timeout: float | None) -> None:
        """Write what is queued and end the thread; what is recorded later is lost."""
        self.flush(timeout)
        self.is_closed = True
        thread = self._thread
        self._wake.set()
        self._hurry.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        batch, self._batch = self._batch, []
        self._queue.extendleft(reversed(batch))
        if not self._lose_queue():
            self._report_lost(is_last=True)

    def _lose_queue(self) -> bool:
        """Count what is still queued after the end as lost; return whether that was anything.

        Threads that record at that moment do the same: each record is counted by one of them.
        """
        left = []
        with suppress(IndexError):  # the queue is empty
            while True:
                one = self._queue.popleft()
                if isinstance(one, _Marker):
                    one.end(is_written=False)
                else:
                    left.append(one)
        self.lose(left, "the log was closed, or its store failed until then")
        return bool(left)

    def call_every(self, seconds: float, function: Callable[[], object]) -> Callable[[], None]:
        """Call a function from the thread in intervals; return what ends that.

        What is returned takes no lock: finalizers call it, which may run in the middle of anything.
        """
        task = _Task(function, seconds, time.monotonic() + seconds)
        self._tasks.append(task)

        def cancel() -> None:
            with suppress(ValueError):  # it was cancelled before
                self._tasks.remove(task)

        self._start_thread()
        self._wake.set()
        return cancel

    def _start_thread(self) -> None:
        with self._lock:
            if self.is_closed or (self._thread is not None and self._thread.is_alive()):
                return
            thread = threading.Thread(target=self._run, name="tryage-traffic", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends, or there are too many threads
                return
            self._thread = thread
            if self._flushes_at_exit_of != os.getpid():
                self._flushes_at_exit_of = os.getpid()
                _flush_at_exit_of_workers(self)

    def _run(self) -> None:
        try:
            self._write_until_idle()
        except BaseException:
            self._wake.clear()  # after a mistake in this program, the next record starts a thread
            raise

    def _write_until_idle(self) -> None:
        """Write until the writer is closed, or has had nothing to do for a while."""
        while not self.is_closed:
            self._wake.wait(self._seconds_until_task())
            if self._wake.is_set():
                self._hurry.wait(self._delay())
                self._hurry.clear()
                self._wake.clear()
                if not self._write_queue():
                    self._wake.set()
            elif self._ends_idle():
                return
            self._run_tasks()

    def _ends_idle(self) -> bool:
        """Tell whether the thread has nothing to do; then the next record starts another."""
        with self._lock:  # `put` queues a record before it asks for the thread
            if self._tasks or self._queue or self._batch:
                return False
            self._thread = None
            return True

    def _delay(self) -> float:
        """Return the seconds to gather records, or to wait for a store that fails."""
        if not self._failures:
            return self._interval
        return min(FIRST_DELAY * 2.0 ** min(self._failures - 1, 16), LONGEST_DELAY)

    def _write_queue(self) -> bool:
        """Write all batches; return False when the store fails."""
        while self._fill_batch():
            records = [one for one in self._batch if not isinstance(one, _Marker)]
            markers = [one for one in self._batch if isinstance(one, _Marker)]
            try:
                lost = self._write(records) if records else ()
            except TrafficError as error:
                self._fail(error, markers)
                return False
            except Exception as error:  # noqa: BLE001 - the thread must go on, and the loss is counted
                self.lose(records, f"{type(error).__name__} in the writer")
            else:
                self.lose(lost, "they do not fit the tables")
            self._failures, self._batch = 0, []
            for marker in markers:
                marker.end(is_written=True)
        self._report_lost()
        return True

    def _report_lost(self, *, is_last: bool = False) -> None:
        """Store what was lost since the last time, at most once a minute."""
        with self._count_lock:
            now, losses = time.monotonic(), self.lost - self._stored_lost
        if not losses or self._store_lost is None:
            return
        due = 0.0 if self._lost_stored_at is None else self._lost_stored_at + REPORT_INTERVAL
        if is_last or now >= due:
            with suppress(TrafficError):  # the next time will do
                self._store_lost(dict(losses))
                self._stored_lost += losses
                self._lost_stored_at = now

    def _fill_batch(self) -> bool:
        """Take the next records from the queue, unless a batch is left from a failure."""
        self._is_filling = True
        try:
            while self._queue and len(self._batch) < BATCH_SIZE:  # nobody else takes from it
                self._batch.append(self._queue.popleft())
        finally:
            self._is_filling = False
        return bool(self._batch)

    def _fail(self, error: TrafficError, markers: Sequence[_Marker]) -> None:
        """Keep the batch for later, and tell those that wait."""
        self._failures += 1
        self._batch = [one for one in self._batch if not isinstance(one, _Marker)]
        for marker in (*markers, *(one for one in list(self._queue) if isinstance(one, _Marker))):
            marker.end(is_written=False)
        self.warn(f"{error}. What is recorded waits, up to {self._queue_size} records.")

    def lose(self, records: Sequence[Any], reason: str) -> None:
        """Count records as lost, and warn of it, at most once in a minute."""
        if records:
            with self._count_lock:
                self.lost.update(map(self._name_of, records))
                lost = sorted(self.lost.items())
            counts = ", ".join(f"{count} {name}" for name, count in lost)
            self.warn(f"The log of traffic loses records, because {reason}: {counts} so far.")

    def warn(self, message: str) -> None:
        """Log a warning, at most one in a minute."""
        now = time.monotonic()
        if self._warned_at is None or now - self._warned_at >= WARNING_INTERVAL:
            self._warned_at = now
            _LOGGER.warning("%s", message)

    def _seconds_until_task(self) -> float:
        dues = [task.due for task in list(self._tasks)]
        return max(min(dues) - time.monotonic(), 0.0) if dues else IDLE_SECONDS

    def _run_tasks(self) -> None:
        for task in list(self._tasks):
            if time.monotonic() >= task.due:
                try:
                    task.function()
                except Exception as error:  # noqa: BLE001 - the thread must go on
                    self.warn(f"A task of the log of traffic failed: {type(error).__name__}")
                task.due = time.monotonic() + task.seconds


def _flush_at_exit_of_workers(writer: Writer) -> None:
    """Write what is queued when a process of `multiprocessing` ends, which runs no `atexit`."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        reference = weakref.ref(writer)

        def flush() -> None:
            living = reference()
            if living is not None:
                living.flush(EXIT_TIMEOUT)

        at_exit = util.Finalize(None, flush, exitpriority=10)
        weakref.finalize(writer, at_exit.cancel).atexit = False


class _Marker:
    """Stands in the queue for somebody who waits until all before it is written."""

    def __init__(self) -> None:
        self.reached, self.is_written = threading.Event(), False

    def end(self, *, is_written: bool) -> None:
        self.is_written = is_written
        self.reached.set()


class _Task:
    """A function that is called every so many seconds, next at `due`."""

    def __init__(self, function: Callable[[], object], seconds: float, due: float) -> None:
        self.function, self.seconds, self.due = function, seconds, due


@cache
def _renew_after_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_renew_all)


def _renew_all() -> None:
    for writer in list(_WRITERS):
        writer._renew()  # noqa: SLF001 - of this module
