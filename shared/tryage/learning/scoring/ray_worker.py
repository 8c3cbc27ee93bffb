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
from tryage.learning.scoring.run import measured

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tryage.learning.scoring.measurement import Measurement, Measurer, Prompt

ROOM = 1024  # measurements that may wait to be fetched


@dataclass(frozen=True, slots=True)
class News:
    """What has happened in a worker since it was asked the last time.

    `found` are positions in the chunk with what was measured, `charged` experts with USD. With
    `asked`, expert and running requests, it waits to hear whether it may start one more. `ended`
    says that the chunk is done, `given_up` why the expert cannot be measured any further.
    """

    found: Sequence[tuple[int, Measurement]] = ()
    charged: Sequence[tuple[str, float]] = ()
    asked: tuple[str, int] | None = None
    ended: bool = False
    given_up: str | None = None


class Worker:
    """Measures one expert; whoever runs it in another process calls these methods.

    `limit` is that of the budget, in USD. Only `stop` may be called while another method runs.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit, self._parts = limit, list[bytes]()
        self._measurer: Measurer | None = None
        self._desk, self._stopped = Desk(), threading.Event()

    def receive(self, part: bytes) -> None:
        """Take the next part of the pickled measurer."""
        self._parts.append(part)

    def unpack(self) -> News:
        """Build the measurer of what was received, and be ready for a chunk.

        Raises:
            MeasurementError: it cannot be unpacked here.
        """
        self._measurer = _unpacked(b"".join(self._parts))
        self._parts.clear()
        return News(ended=True)

    def begin(self, prompts: Sequence[Prompt]) -> News:
        """Start to measure a chunk; the worker must be ready."""
        assert self._measurer is not None  # noqa: S101 - unpack() comes first
        self._desk = Desk()
        if self._stopped.is_set():
            self._desk.stop()
        work = (self._measurer, prompts, self._desk, self._limit)
        threading.Thread(target=_measure, args=work, daemon=True).start()
        return News()

    def news(self, granted: bool | None) -> News:
        """Answer what was asked, if anything was, and wait for what comes next.

        Raises:
            Exception: what the measurer raised, when all that it found before was fetched.
        """
        if granted is not None:
            self._desk.answer(granted)
        return self._desk.news()

    def stop(self) -> None:
        """Start nothing any more; what runs may finish."""
        self._stopped.set()
        self._desk.stop()


class Desk:
    """Where the thread that measures leaves what it found, for whoever fetches it."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._changed = threading.Condition()
        self._asking = threading.Lock()
        self._found: list[tuple[int, Measurement]] = []
        self._charged: list[tuple[str, float]] = []
        self._asked: tuple[str, int] | None = None
        self._answer: bool | None = None
        self._ended = False
        self._given_up: str | None = None
        self._error: BaseException | None = None

    def tell(self, position: int, measurement: Measurement) -> None:
        """Leave a measurement; wait while too many lie there."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._found) < ROOM)
            self._found.append((position, measurement))
            self._changed.notify_all()

    def charge(self, expert: str, usd: float) -> None:
        """Leave word of what a request has cost; it goes with whatever is told next."""
        with self._changed:
            self._charged.append((expert, usd))

    def ask(self, expert: str, running: int) -> bool:
        """Wait to hear whether one more request may start."""
        with self._asking, self._changed:
            self._asked, self._answer = (expert, running), None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answer is not None)
            return bool(self._answer)

    def end(self, given_up: str | None = None, error: BaseException | None = None) -> None:
        """Leave word that the chunk is done."""
        with self._changed:
            self._ended, self._given_up, self._error = True, given_up, error
            self._changed.notify_all()

    def answer(self, granted: bool) -> None:
        """Tell who asked."""
        with self._changed:
            self._answer = granted
            self._changed.notify_all()

    def stop(self) -> None:
        """Let nothing start any more."""
        self.stopped.set()

    def news(self) -> News:
        """Wait until something lies there, and take all of it.

        Raises:
            BaseException: the error that ended the chunk, when nothing else is left to take.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._found or self._asked or self._ended)
            if self._error is not None and not self._found and not self._charged:
                raise self._error
            ended = self._ended and self._error is None
            news = News(self._found, self._charged, self._asked, ended, self._given_up)
            self._found, self._charged, self._asked = [], [], None
            self._changed.notify_all()
            return news


class Allowance(Budget):
    """The budget as a worker sees it: with a limit, leave is asked for before every request."""

    def __init__(self, limit: float | None, desk: Desk) -> None:
        super().__init__(limit)
        self._desk, self._stop = desk, desk.stopped

    def allows(self, expert: str, running: int = 0) -> bool:
        """Tell whether one more request may start; wait while that depends on other workers."""
        if self.limit is None or self.stopped:
            return not self.stopped
        return self._desk.ask(expert, running)

    def charge(self, expert: str, usd: float | None) -> None:
        """Note what a request has cost.

        Raises:
            MeasurementError: unknown, and there is a limit to keep.
        """
        super().charge(expert, usd)
        if usd is not None:
            self._desk.charge(expert, usd)


def _measure(
    measurer: Measurer, prompts: Sequence[Prompt], desk: Desk, limit: float | None
) -> None:
    """Measure a chunk, and leave what is found at the desk."""
    try:
        for position, measurement in measured(measurer, prompts, Allowance(limit, desk)):
            desk.tell(position, measurement)
    except MeasurementError as error:
        desk.end(given_up=str(error))
    except BaseException as error:  # noqa: BLE001 - told to the driver, which would wait for ever
        desk.end(error=error)
    else:
        desk.end()


def _unpacked(pickled: bytes) -> Measurer:
    """Return a measurer that came from the driver, with a model that stays in memory."""
    try:
        measurer: Measurer = pickle.loads(pickled)  # noqa: S301 - our own driver packed it
    except Exception as error:  # unpickling raises anything
        raise MeasurementError(
            f"the measurer cannot be unpacked on a worker: {type(error).__name__}: {error}. Its "
            "module, and what that imports, must be installed on every machine."
        ) from error
    return measurer.resident() if isinstance(measurer, LanguageModel) else measurer


class Grants:
    """Keeps the promise of a `Budget` while workers in other processes spend at the same time.

    What runs is reserved at the price of its expert's dearest request so far. While a request runs
    whose price nobody knows yet, no other one starts, in the whole table. So the limit is passed
    only by a request that is dearer than all before it of its expert, as with one process. What a
    killed worker had sent may have been paid: it stays reserved.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._running: dict[Hashable, tuple[str, int]] = {}
        self._lost: Counter[str] = Counter()

    def ask(self, worker: Hashable, expert: str, running: int) -> bool | None:
        """Tell whether a worker may start one request more while `running` of its own run.

        None: not now, and nothing of its own runs that it could wait for; ask again when another
        worker has charged, left or been lost.
        """
        self._running[worker] = (expert, running)
        granted = self._verdict(expert, running)
        if granted:
            self._running[worker] = (expert, running + 1)
        return granted

    def leave(self, worker: Hashable) -> None:
        """Note that nothing of a worker runs any more."""
        self._running.pop(worker, None)

    def lose(self, worker: Hashable) -> None:
        """Note that a worker was killed, maybe after it had sent its requests."""
        expert, running = self._running.pop(worker, ("", 0))
        self._lost[expert] += running

    def _verdict(self, expert: str, running: int) -> bool | None:
        budget, price = self._budget, self._budget.dearest(expert)
        if budget.stopped or budget.limit is None:
            return not budget.stopped
        spent = budget.spent + self._price(self._lost)
        if not _fits(spent, price, budget.limit):  # nor will it: what is spent only grows
            budget.exhausted = budget.exhausted or not running
            return False
        held: Counter[str] = Counter()
        for name, others in self._running.values():
            held[name] += others
        unknown = any(held[name] and budget.dearest(name) is None for name in held)
        now = _fits(spent + self._price(held), price, budget.limit)
        if now and not unknown:
            return True
        return False if running else None

    def _price(self, requests: Counter[str]) -> float:
        return sum(n * (self._budget.dearest(name) or 0.0) for name, n in requests.items())


def _fits(spent: float, price: float | None, limit: float) -> bool:
    return spent < limit if price is None else spent + price <= limit
