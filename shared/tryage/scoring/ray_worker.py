"""One worker in another process: it measures one expert, chunk by chunk, and reports results."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.errors import MeasurementError
from tryage.scoring.language_model import LanguageModel
from tryage.scoring.measurement import Budget
from tryage.scoring.run import checked_measurements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.scoring.measurement import Measurement, Measurer, Prompt

MAX_QUEUED = 1024  # measurements that may wait to be fetched


@dataclass(frozen=True, slots=True)
class WorkerUpdate:
    """What has happened in a worker since the last update.

    `measurements` are pairs of a position in the chunk and what was measured there, `charges` pairs
    of an expert and USD. With a `budget_request` (expert, running requests) the worker waits to
    hear whether it may start one more request. `finished` says that the chunk is done, `failure`
    why the expert cannot be measured any further.
    """

    measurements: Sequence[tuple[int, Measurement]] = ()
    charges: Sequence[tuple[str, float]] = ()
    budget_request: tuple[str, int] | None = None
    finished: bool = False
    failure: str | None = None


class Worker:
    """Measures one expert; the run calls these methods from another process.

    `limit` is the limit of the budget in USD. Only `stop` may be called while another method runs.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit, self._parts = limit, list[bytes]()
        self._measurer: Measurer | None = None
        self._results, self._stopped = ResultQueue(), threading.Event()

    def receive_bytes(self, part: bytes) -> None:
        """Receive the next part of the pickled measurer."""
        self._parts.append(part)

    def load_measurer(self) -> WorkerUpdate:
        """Unpickle the measurer, and be ready for a chunk.

        Raises:
            MeasurementError: the measurer cannot be unpickled on this machine.
        """
        self._measurer = _unpickle_measurer(b"".join(self._parts))
        self._parts.clear()
        return WorkerUpdate(finished=True)

    def start_chunk(self, prompts: Sequence[Prompt]) -> WorkerUpdate:
        """Start to measure a chunk; the measurer must be loaded."""
        assert self._measurer is not None  # noqa: S101 - the run calls load_measurer() first
        self._results = ResultQueue()
        if self._stopped.is_set():
            self._results.stop()
        arguments = (self._measurer, prompts, self._results, self._limit)
        threading.Thread(target=_measure_chunk, args=arguments, daemon=True).start()
        return WorkerUpdate()

    def next_update(self, granted: bool | None) -> WorkerUpdate:
        """Answer the request for budget, if there is one, and wait for the next update.

        Raises:
            Exception: the error of the measurer, after all that it found before was fetched.
        """
        if granted is not None:
            self._results.answer_request(granted)
        return self._results.get()

    def stop(self) -> None:
        """Start nothing more; running requests may finish."""
        self._stopped.set()
        self._results.stop()


class ResultQueue:
    """Passes results and requests for budget from the measuring thread to `Worker.next_update`."""

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
        """Add a measurement; wait while the queue is full."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._measurements) < MAX_QUEUED)
            self._measurements.append((position, measurement))
            self._changed.notify_all()

    def charge(self, expert: str, usd: float) -> None:
        """Record the cost of a request; it is sent with the next update."""
        with self._changed:
            self._charges.append((expert, usd))

    def request_budget(self, expert: str, running: int) -> bool:
        """Wait for the answer whether one more request may start."""
        with self._request_lock, self._changed:
            self._request, self._granted = (expert, running), None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._granted is not None)
            return bool(self._granted)

    def finish(self, failure: str | None = None, error: BaseException | None = None) -> None:
        """Record that the chunk is done, with a failure of the expert or an error if any."""
        with self._changed:
            self._finished, self._failure, self._error = True, failure, error
            self._changed.notify_all()

    def answer_request(self, granted: bool) -> None:
        """Answer the request for budget."""
        with self._changed:
            self._granted = granted
            self._changed.notify_all()

    def stop(self) -> None:
        """Let no further request start."""
        self.stopped.set()

    def get(self) -> WorkerUpdate:
        """Wait until there is something to report, and return all of it.

        Raises:
            BaseException: the error that ended the chunk, when nothing else is left to report.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._measurements or self._request or self._finished)
            if self._error is not None and not self._measurements and not self._charges:
                raise self._error
            finished = self._finished and self._error is None
            update = WorkerUpdate(
                self._measurements, self._charges, self._request, finished, self._failure
            )
            self._measurements, self._charges, self._request = [], [], None
            self._changed.notify_all()
            return update


class RemoteBudget(Budget):
    """The budget in a worker: with a limit, it asks the run before every request."""

    def __init__(self, limit: float | None, results: ResultQueue) -> None:
        super().__init__(limit)
        self._results, self._stop = results, results.stopped

    def allows(self, expert: str, running: int = 0) -> bool:
        """Return whether one more request may start; wait while that depends on other workers."""
        if self.limit is None or self.stopped:
            return not self.stopped
        return self._results.request_budget(expert, running)

    def charge(self, expert: str, usd: float | None) -> None:
        """Record the cost of a request, and report it to the run.

        Raises:
            MeasurementError: the cost is unknown, and there is a limit.
        """
        super().charge(expert, usd)
        if usd is not None:
            self._results.charge(expert, usd)


def _measure_chunk(
    measurer: Measurer, prompts: Sequence[Prompt], results: ResultQueue, limit: float | None
) -> None:
    """Measure a chunk, and put the measurements into the queue."""
    try:
        for position, measurement in checked_measurements(
            measurer, prompts, RemoteBudget(limit, results)
        ):
            results.put(position, measurement)
    except MeasurementError as error:
        results.finish(failure=str(error))
    except BaseException as error:  # noqa: BLE001 - without a report the run would wait forever
        results.finish(error=error)
    else:
        results.finish()


def _unpickle_measurer(pickled_measurer: bytes) -> Measurer:
    """Return the measurer that the run sent; a language model stays in memory between chunks."""
    try:
        measurer: Measurer = pickle.loads(pickled_measurer)  # noqa: S301 - this program's run pickled it
    except Exception as error:  # unpickling raises anything
        raise MeasurementError(
            f"the measurer cannot be unpickled on a worker: {type(error).__name__}: {error}. Its "
            "module, and what that imports, must be installed on every machine."
        ) from error
    return measurer.with_cached_model() if isinstance(measurer, LanguageModel) else measurer
