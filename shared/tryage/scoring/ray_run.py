"""One run on Ray: who measures what, who may spend, and what happens when a worker is lost."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tryage.chat.failures import told
from tryage.errors import MeasurementError, TryageError
from tryage.scoring.chunks import Chunk, Chunks
from tryage.scoring.grants import Grants
from tryage.scoring.hired import Hired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tryage.scoring.budget import Budget
    from tryage.scoring.measurement import Measurement
    from tryage.scoring.tasks import Outcome, Task
    from tryage.scoring.worker import News

POLL = 0.2  # seconds until Ctrl-C is heard


class Run:
    """Hires workers, hands out chunks, grants money, and keeps what comes back.

    `packed` are the pickled measurers of the tasks, `needs` what Ray reserves for a worker,
    `attempts` how many may be lost in a row over one chunk. Ray must be running.
    """

    def __init__(  # noqa: PLR0913 - what a run has to know
        self,
        tasks: Sequence[Task],
        packed: Sequence[bytes],
        budget: Budget,
        workers: int,
        *,
        needs: Mapping[str, float],
        attempts: int,
    ) -> None:
        self._tasks, self._packed = tasks, packed
        self._needs, self._attempts = needs, attempts
        self._budget, self._grants = budget, Grants(budget)
        self._chunks = Chunks([len(task.prompts) for task in tasks], workers)
        self._free = workers
        self._calls: dict[Any, Hired] = {}  # what is awaited, and from whom
        self._waiting: list[Hired] = []  # for leave to spend
        self._keep: dict[int, Callable[[int, Measurement], Outcome]] = {}
        self._open: dict[int, ExitStack] = {}
        self._given_up: set[int] = set()
        self._stillborn = [0] * len(tasks)  # workers in a row that died before they were ready
        self._error: BaseException | None = None
        self._stopping = False

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what became of each prompt until nothing is left to do."""
        import ray

        try:
            self._hire()
            while self._calls or self._waiting:
                done, _ = ray.wait([*self._calls], timeout=POLL) if self._calls else ([], [])
                for call in done:
                    yield from self._heard(self._calls.pop(call), call)
                self._stop_if_told()
                self._call_off()
                self._grant()
                self._hire()
        finally:
            for hired in self._hired():
                hired.kill()
            for task in list(self._open):
                self._close(task)
        if self._error is not None:
            raise self._error

    def _hire(self) -> None:
        """Start workers while there is room and work."""
        while self._free and (task := self._chunks.hire()) is not None:
            self._free -= 1
            hired = Hired.start(task, self._packed[task], self._budget.limit, self._needs)
            self._calls[hired.ready()] = hired

    def _hired(self) -> list[Hired]:
        return [*self._calls.values(), *self._waiting]

    def _begin(self, hired: Hired, chunk: Chunk) -> None:
        prompts = self._tasks[hired.task].prompts
        self._calls[hired.begin(chunk, [prompts[at] for at in chunk.positions])] = hired

    def _heard(self, hired: Hired, call: Any) -> Iterator[Outcome]:  # noqa: ANN401 - Ray's own
        """Deal with what a worker says, or with its end."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            news: News = ray.get(call)
        except RayTaskError as error:
            yield from self._failed(hired, error)
        except RayError as error:  # its process, its machine, or the way to it
            yield from self._lost(hired, error)
        else:
            if not hired.up:
                hired.up = True
                self._chunks.arrive(hired.task)
                self._stillborn[hired.task] = 0
            yield from self._kept(hired, news)
            for expert, usd in news.charged:
                self._budget.charge(expert, usd)
            yield from self._went_on(hired, news)

    def _kept(self, hired: Hired, news: News) -> Iterator[Outcome]:
        """Write what was found."""
        if hired.chunk is None:
            return
        if news.found:
            hired.chunk.losses = 0
        if hired.task not in self._open:
            self._open[hired.task] = stack = ExitStack()
            keeping = self._tasks[hired.task].keeping()
            self._keep[hired.task] = stack.enter_context(keeping)
        for at, measurement in news.found:
            hired.left.discard(at)
            yield self._keep[hired.task](hired.chunk.positions[at], measurement)

    def _went_on(self, hired: Hired, news: News) -> Iterator[Outcome]:
        """Let a worker go on, with its chunk or the next one, or dismiss it."""
        if news.asked is not None:
            hired.asked = news.asked
            self._waiting.append(hired)
        elif not news.ended:
            self._calls[hired.news()] = hired
        elif news.given_up is not None:
            yield from self._give_up(hired, news.given_up)
        else:
            self._grants.leave(hired)
            chunk = None if self._stopping else self._chunks.take(hired.task)
            if chunk is None:
                self._dismiss(hired)
            else:
                self._begin(hired, chunk)

    def _grant(self) -> None:
        """Answer those who wait for leave to spend, where it is known."""
        waiting, self._waiting = self._waiting, []
        for hired in waiting:
            expert, running = hired.asked or ("", 0)
            granted = False if self._stopping else self._grants.ask(hired, expert, running)
            if granted is None:
                self._waiting.append(hired)
            else:
                self._calls[hired.news(granted)] = hired

    def _stop_if_told(self) -> None:
        """Tell all workers to start nothing any more, once."""
        if self._stopping or not self._budget.stopped:
            return
        self._stopping = True
        for task in range(len(self._tasks)):
            self._chunks.drop(task)
        for hired in self._hired():
            hired.stop()

    def _call_off(self) -> None:
        """Dismiss workers that have not started yet and for which nothing is left to do."""
        for call, hired in list(self._calls.items()):
            if not hired.up and self._chunks.waiting(hired.task) < 0:
                del self._calls[call]
                self._dismiss(hired)

    def _lost(self, hired: Hired, error: Exception) -> Iterator[Outcome]:
        """Let another worker go on with the chunk of one that was killed."""
        self._grants.lose(hired)
        chunk, task = hired.chunk, hired.task
        if chunk is None:
            self._stillborn[task] += 1
            losses = self._stillborn[task]
        else:
            chunk.losses += 1
            losses = chunk.losses
            chunk.positions = [chunk.positions[at] for at in sorted(hired.left)]
        if losses >= self._attempts:
            yield from self._give_up_task(
                task,
                f"{losses} workers in a row died without a result, for want of memory for example: "
                f"{told(error)}",
            )
        elif chunk is not None and chunk.positions and self._goes_on(task):
            self._chunks.put_back(chunk)
        self._dismiss(hired)

    def _goes_on(self, task: int) -> bool:
        return not self._stopping and task not in self._given_up

    def _failed(self, hired: Hired, error: Any) -> Iterator[Outcome]:  # noqa: ANN401 - Ray's own
        """Give up what cannot be measured; end the run, gently, for any other error."""
        if isinstance(error.cause, MeasurementError):
            yield from self._give_up(hired, str(error.cause))
            return
        own = isinstance(error.cause, TryageError)
        self._error = self._error or (error.cause if own else error)
        self._budget.stop()
        self._grants.leave(hired)
        self._dismiss(hired)

    def _give_up(self, hired: Hired, reason: str) -> Iterator[Outcome]:
        self._grants.leave(hired)
        self._dismiss(hired)
        yield from self._give_up_task(hired.task, reason)

    def _give_up_task(self, task: int, reason: str) -> Iterator[Outcome]:
        """Forget what is left of an expert; its other workers finish what they have begun."""
        self._given_up.add(task)
        self._chunks.drop(task)
        for hired in self._hired():
            if hired.task == task:
                hired.stop()
        yield self._tasks[task].given_up(reason)

    def _dismiss(self, hired: Hired) -> None:
        hired.kill()
        self._free += 1
        if not hired.up:
            self._chunks.arrive(hired.task)
        self._chunks.dismiss(hired.task)
        if self._chunks.over(hired.task):
            self._close(hired.task)

    def _close(self, task: int) -> None:
        """Make a shard of what an expert's journal holds."""
        if task in self._open:
            del self._keep[task]
            self._open.pop(task).close()
