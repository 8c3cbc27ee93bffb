"""A worker in another process: one expert, measured chunk after chunk, and what it reports."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.errors import MeasurementError
from tryage.learning.scoring.language_model import LanguageModel
from tryage.learning.scoring.measurement import Budget
from tryage.learning.scoring.run import checked_measurements

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tryage.learning.scoring.measurement import Measurement, Measurer, Prompt

MAX_QUEUED = 1024  # measurements that may wait to be fetched


@dataclass(frozen=True, slots=True)
class WorkerUpdate:
    """What has happened in a worker since it was asked the last time.

    `found` are positions in the chunk with what was measured, `charged` experts with USD. With
    `asked`, expert and running requests, it waits to hear whether it may start one more. `ended`
    says that the chunk is done, `given_up` why the expert cannot be measured any further.
    """

    measurements: Sequence[tuple[int, Measurement]] = ()
    charges: Sequence[tuple[str, float]] = ()
    budget_request: tuple[str, int] | None = None
    finished: bool = False
    failure: str | None = None


class Worker:
    """Measures one expert; whoever runs it in another process calls these methods.

    `limit` is that of the budget, in USD. Only `stop` may be called while another method runs.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit, self._parts = limit, list[bytes]()
        self._measurer: Measurer | None = None
        self._results, self._stopped = ResultQueue(), threading.Event()

    def receive_bytes(self, part: bytes) -> None:
        """Take the next part of the pickled measurer."""
        self._parts.append(part)

    def load_measurer(self) -> WorkerUpdate:
        """Build the measurer of what was received, and be ready for a chunk.

        Raises:
            MeasurementError: it cannot be unpacked here.
        """
        self._measurer = _unpickle_measurer(b"".join(self._parts))
        self._parts.clear()
        return WorkerUpdate(finished=True)

    def start_chunk(self, prompts: Sequence[Prompt]) -> WorkerUpdate:
        """Start to measure a chunk; the worker must be ready."""
        assert self._measurer is not None  # noqa: S101 - unpack() comes first
        self._results = ResultQueue()
        if self._stopped.is_set():
            self._results.stop()
        work = (self._measurer, prompts, self._results, self._limit)
        threading.Thread(target=_measure_chunk, args=work, daemon=True).start()
        return WorkerUpdate()

    def next_update(self, granted: bool | None) -> WorkerUpdate:
        """Answer what was asked, if anything was, and wait for what comes next.

        Raises:
            Exception: what the measurer raised, when all that it found before was fetched.
        """
        if granted is not None:
            self._results.answer_request(granted)
        return self._results.get()

    def stop(self) -> None:
        """Start nothing any more; what runs may finish."""
        self._stopped.set()
        self._results.stop()


class ResultQueue:
    """Where the thread that measures leaves what it found, for whoever fetches it."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._changed = threading.Condition()
        self._request_lock = threading.Lock()
        self._measurements: list[tuple[int, Measurement]] = []
        self._charges: list[tuple[str, float]] = []
        self._request: tuple[str, int] | None = None
        self._granted: bool | None = None
        self._finished = False
        self._failure: str | None = None
        self._error: BaseException | None = None

    def put(self, position: int, measurement: Measurement) -> None:
        """Leave a measurement; wait while too many lie there."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._measurements) < MAX_QUEUED)
            self._measurements.append((position, measurement))
            self._changed.notify_all()

    def charge(self, expert: str, usd: float) -> None:
        """Leave word of what a request has cost; it goes with whatever is told next."""
        with self._changed:
            self._charges.append((expert, usd))

    def request_budget(self, expert: str, running: int) -> bool:
        """Wait to hear whether one more request may start."""
        with self._request_lock, self._changed:
            self._request, self._granted = (expert, running), None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._granted is not None)
            return bool(self._granted)

    def finish(self, failure: str | None = None, error: BaseException | None = None) -> None:
        """Leave word that the chunk is done."""
        with self._changed:
            self._finished, self._failure, self._error = True, failure, error
            self._changed.notify_all()

    def answer_request(self, granted: bool) -> None:
        """Tell who asked."""
        with self._changed:
            self._granted = granted
            self._changed.notify_all()

    def stop(self) -> None:
        """Let nothing start any more."""
        self.stopped.set()

    def get(self) -> WorkerUpdate:
        """Wait until something lies there, and take all of it.

        Raises:
            BaseException: the error that ended the chunk, when nothing else is left to take.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._measurements or self._request or self._finished)
            if self._error is not None and not self._measurements and not self._charges:
                raise self._error
            ended = self._finished and self._error is None
            news = WorkerUpdate(
                self._measurements, self._charges, self._request, ended, self._failure
            )
            self._measurements, self._charges, self._request = [], [], None
            self._changed.notify_all()
            return news


class RemoteBudget(Budget):
    """The budget as a worker sees it: with a limit, leave is asked for before every request."""

    def __init__(self, limit: float | None, results: ResultQueue) -> None:
        super().__init__(limit)
        self._results, self._stop = results, results.stopped

    def allows(self, expert: str, running: int = 0) -> bool:
        """Tell whether one more request may start; wait while that depends on other workers."""
        if self.limit is None or self.stopped:
            return not self.stopped
        return self._results.request_budget(expert, running)

    def charge(self, expert: str, usd: float | None) -> None:
        """Note what a request has cost.

        Raises:
            MeasurementError: unknown, and there is a limit to keep.
        """
        super().charge(expert, usd)
        if usd is not None:
            self._results.charge(expert, usd)


def _measure_chunk(
    measurer: Measurer, prompts: Sequence[Prompt], results: ResultQueue, limit: float | None
) -> None:
    """Measure a chunk, and leave what is found at the desk."""
    try:
        for position, measurement in checked_measurements(
            measurer, prompts, RemoteBudget(limit, results)
        ):
            results.put(position, measurement)
    except MeasurementError as error:
        results.finish(failure=str(error))
    except BaseException as error:  # noqa: BLE001 - told to the driver, which would wait for ever
        results.finish(error=error)
    else:
        results.finish()


def _unpickle_measurer(pickled: bytes) -> Measurer:
    """Return a measurer that came from the driver, with a model that stays in memory."""
    try:
        measurer: Measurer = pickle.loads(pickled)  # noqa: S301 - our own driver packed it
    except Exception as error:  # unpickling raises anything
        raise MeasurementError(
            f"the measurer cannot be unpacked on a worker: {type(error).__name__}: {error}. Its "
            "module, and what that imports, must be installed on every machine."
        ) from error
    return measurer.with_cached_model() if isinstance(measurer, LanguageModel) else measurer


class BudgetLedger:
    """Keeps the promise of a `Budget` while workers in other processes spend at the same time.

    What runs is reserved at the price of its expert's dearest request so far. While a request runs
    whose price nobody knows yet, no other one starts, in the whole table. So the limit is passed
    only by a request that is dearer than all before it of its expert, as with one process. What a
    killed worker had sent may have been paid: it stays reserved.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._running: dict[Hashable, tuple[str, int]] = {}
        self._written_off: Counter[str] = Counter()

    def reserve(self, worker: Hashable, expert: str, running: int) -> bool | None:
        """Tell whether a worker may start one request more while `running` of its own run.

        None: not now, and nothing of its own runs that it could wait for; ask again when another
        worker has charged, left or been lost.
        """
        self._running[worker] = (expert, running)
        granted = self._can_start(expert, running)
        if granted:
            self._running[worker] = (expert, running + 1)
        return granted

    def release(self, worker: Hashable) -> None:
        """Note that nothing of a worker runs any more."""
        self._running.pop(worker, None)

    def write_off(self, worker: Hashable) -> None:
        """Note that a worker was killed, maybe after it had sent its requests."""
        expert, running = self._running.pop(worker, ("", 0))
        self._written_off[expert] += running

    def _can_start(self, expert: str, running: int) -> bool | None:
        budget, price = self._budget, self._budget.max_price(expert)
        if budget.stopped or budget.limit is None:
            return not budget.stopped
        spent = budget.spent + self._total_price(self._written_off)
        if not _fits(spent, price, budget.limit):  # nor will it: what is spent only grows
            budget.exhausted = budget.exhausted or not running
            return False
        reserved: Counter[str] = Counter()
        for name, others in self._running.values():
            reserved[name] += others
        unknown = any(reserved[name] and budget.max_price(name) is None for name in reserved)
        now = _fits(spent + self._total_price(reserved), price, budget.limit)
        if now and not unknown:
            return True
        return False if running else None

    def _total_price(self, requests: Counter[str]) -> float:
        return sum(n * (self._budget.max_price(name) or 0.0) for name, n in requests.items())


def _fits(spent: float, price: float | None, limit: float) -> bool:
    return spent < limit if price is None else spent + price <= limit
