"""Measuring on Ray: several workers per expert, on this machine or on a cluster.

Workers measure, and this process alone writes. So a cluster needs no shared folder, the folder's
lock holds for all of them, and a worker that was taken for dead cannot write a row twice. A row is
on disk here as soon as it arrives, so memory does not grow with the table.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import sys
import warnings
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from tryage.core.client_errors import told
from tryage.core.validation import number, require
from tryage.errors import InputError, MeasurementError, TryageError
from tryage.learning.scoring.ray_worker import Grants, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tryage.learning.scoring.measurement import Budget, Measurement, Prompt
    from tryage.learning.scoring.ray_worker import News
    from tryage.learning.scoring.run import Outcome, Task

OBJECTS = 80 << 20  # bytes of Ray's object store, near the least: only long answers use it

QUIET = {"log_to_driver": False, "logging_level": logging.CRITICAL}

LOOPBACK = "127.0.0.2"  # for 127.0.0.1 Ray would take the address that other machines reach

TRACKING = "RAY_USAGE_STATS_ENABLED"

POLL = 0.2  # seconds until Ctrl-C is heard

ASIDE = "aside"  # the thread of a worker that hears `stop`

PART = 64 << 10  # bytes; Ray sends arguments of up to 100 KiB straight to the worker

SMALLEST, LARGEST = 16, 512  # prompts: whole batches for a model, little to wait for at the end

ROUNDS = 4  # chunks of one worker, if there are prompts enough: a slow worker then holds up less


@dataclass(frozen=True)
class Ray:
    """An engine for `score` that measures in many processes.

    Without an `address`, Ray is started on this machine and ends with the run: without dashboard
    and usage statistics, behind a token that it makes itself. With one, or with RAY_ADDRESS set, it
    connects to that cluster. If Ray runs in this process already, that is used.

    Args:
        workers: How many processes measure, each with one expert in memory; as many as there are
            processors for by default.
        address: "auto", "HOST:PORT" or "ray://HOST:PORT" of a cluster.
        num_cpus: Processors that a worker takes; fractions share one.
        num_gpus: GPUs that a worker takes.
        attempts: How many workers in a row may be lost over one chunk without a single result
            before the expert is given up.

    Raises:
        InputError: a number is out of range.
    """

    workers: int | None = None
    address: str | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    attempts: int = 3

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("num_cpus", "num_gpus"):
            number(name, getattr(self, name))
        for name in ("workers", "attempts"):
            if (value := getattr(self, name)) is not None and number(name, value, 1) % 1:
                raise InputError(f"{name} must be a whole number, got {value}.")

    def __call__(self, tasks: Sequence[Task], budget: Budget) -> Iterator[Outcome]:
        """Measure, write each row at once, and yield what became of each prompt.

        Raises:
            InputError: a measurer cannot be sent to a worker, no cluster answers, or none of its
                machines has room for a worker.
            MissingExtraError: Ray is not installed.
        """
        require("ray", "ray")
        packed = [_packed(task) for task in tasks]
        if not packed or budget.stopped:
            return
        with self.connected() as workers:
            needs = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
            run = Run(tasks, packed, budget, workers, needs=needs, attempts=self.attempts)
            yield from run.outcomes()

    @contextmanager
    def connected(self) -> Iterator[int]:
        """Start Ray or connect to it, and yield the number of workers; several runs may share it.

        Raises:
            InputError: no cluster answers, or none of its machines has room for a worker.
        """
        import ray

        if ray.is_initialized():
            yield self._room()
            return
        address = self._cluster()
        try:
            with _untracked(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # Ray's advice to its own users
                ray.init(address or "local", **QUIET, **({} if address else self._own()))
        except Exception as error:  # Ray raises bare ones as well
            ray.shutdown()
            raise InputError(
                f"Ray cannot be reached at {address or 'this machine'}: {told(error)} Start a "
                "cluster with `ray start --head` and give the address that it tells."
            ) from error
        try:
            yield self._room()
        finally:
            ray.shutdown()

    def _cluster(self) -> str | None:
        return self.address or os.environ.get("RAY_ADDRESS")

    def _own(self) -> dict[str, Any]:
        """Return how Ray starts on this machine."""
        own: dict[str, Any] = {"include_dashboard": False}
        if sys.platform == "linux":  # elsewhere Ray keeps to the loopback interface by itself
            own["_node_ip_address"] = LOOPBACK
        if self.workers is not None:  # more than there are processors, if that is wanted
            own["num_cpus"] = math.ceil(self.workers * self.num_cpus)
        return own | {"object_store_memory": OBJECTS}

    def _room(self) -> int:
        """Return the number of workers, and check that a machine has room for one."""
        import ray

        needs = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if self.workers is not None and self._cluster():
            return self.workers  # an autoscaler may add such a machine
        fitting = [
            min(int(machine.get(name, 0.0) // need) for name, need in needs.items() if need)
            if any(needs.values())
            else int(machine.get("CPU", 1.0))
            for machine in machines
        ]
        if not sum(fitting):
            raise InputError(
                f"A worker needs {self.num_cpus:g} CPUs and {self.num_gpus:g} GPUs, and no machine "
                "of the cluster has them. Ask for less."
            )
        return self.workers or sum(fitting)


def _packed(task: Task) -> bytes:
    """Return a measurer as it travels.

    Raises:
        InputError: it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(task.measurer)
    except Exception as error:  # pickling raises anything
        raise InputError(
            f"The measurer of {task.measurer.identify().expert.name} cannot be sent to a worker: "
            f"{told(error)} Let it build its client when it is first asked, in the worker, or use "
            "the local engine."
        ) from error
    return packed


@contextmanager
def _untracked() -> Iterator[None]:
    """Let the Ray that starts here report to nobody."""
    before = os.environ.get(TRACKING)
    os.environ[TRACKING] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[TRACKING]
        else:
            os.environ[TRACKING] = before


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


@dataclass(slots=True, eq=False)
class Hired:
    """A worker for the expert of a task; `left` are the places in its chunk still to be measured.

    What it is asked is answered later, with `News`: the methods return what to wait for.
    """

    actor: Any
    task: int
    chunk: Chunk | None = None
    left: set[int] = field(default_factory=set)
    up: bool = False
    asked: tuple[str, int] | None = None

    @classmethod
    def start(
        cls, task: int, packed: bytes, limit: float | None, needs: Mapping[str, float]
    ) -> Self:
        """Start a worker, and send it the pickled measurer; `needs` is what Ray reserves for it."""
        import ray

        # A thread of its own for `stop`, which is heard while `news` waits.
        actor: Any = ray.remote(concurrency_groups={ASIDE: 1}, **needs)(Worker)
        hired = cls(actor.remote(limit), task)
        # As arguments of methods, in small parts: so they pass from process to process, and
        # neither the object store, which may spill to disk, nor the head's tables hold secrets.
        for start in range(0, len(packed), PART):
            hired.actor.receive.remote(packed[start : start + PART])
        return hired

    def ready(self) -> Any:  # noqa: ANN401 - Ray's own
        """Let it unpack the measurer."""
        return self.actor.unpack.remote()

    def begin(self, chunk: Chunk, prompts: Sequence[Prompt]) -> Any:  # noqa: ANN401 - Ray's own
        """Let it begin with a chunk."""
        self.chunk, self.left = chunk, set(range(len(chunk.positions)))
        return self.actor.begin.remote(prompts)

    def news(self, granted: bool | None = None) -> Any:  # noqa: ANN401 - Ray's own
        """Ask for what comes next, with the answer to what it asked, if anything."""
        return self.actor.news.remote(granted)

    def stop(self) -> None:
        """Let it start nothing any more."""
        self.actor.stop.options(concurrency_group=ASIDE).remote()

    def kill(self) -> None:
        """End its process."""
        import ray

        ray.kill(self.actor)


@dataclass(slots=True)
class Chunk:
    """Prompts of one expert by their positions; `losses` counts workers lost without a result."""

    task: int
    positions: list[int]
    losses: int = 0


class Chunks:
    """All chunks that wait for a worker, and how many workers each task has.

    Args:
        sizes: How many prompts each task has, `(n_tasks,)`.
        workers: How many workers there are.
    """

    def __init__(self, sizes: Sequence[int], workers: int) -> None:
        each = math.ceil(workers / max(len(sizes), 1))
        self._waiting = [
            deque(Chunk(task, part) for part in _parts(size, each))
            for task, size in enumerate(sizes)
        ]
        self._workers = [0] * len(sizes)
        self._starting = [0] * len(sizes)

    def hire(self) -> int | None:
        """Give a free worker to a task that has none, else to that with the most chunks per worker.

        None: no chunk waits.
        """

        def need(task: int) -> tuple[bool, float]:
            waiting, workers = self.waiting(task), self._workers[task]
            return waiting > 0 and not workers, waiting / (1 + workers)

        best = max(range(len(self._waiting)), key=need, default=None)
        if best is None or self.waiting(best) <= 0:
            return None
        self._workers[best] += 1
        self._starting[best] += 1
        return best

    def waiting(self, task: int) -> int:
        """Return how many chunks of a task wait, but for those that workers on their way will take.

        Below zero, workers are on their way for nothing.
        """
        return len(self._waiting[task]) - self._starting[task]

    def arrive(self, task: int) -> None:
        """Note that a worker has started, or never will."""
        self._starting[task] -= 1

    def dismiss(self, task: int) -> None:
        """Take a worker from a task."""
        self._workers[task] -= 1

    def take(self, task: int) -> Chunk | None:
        """Return the next chunk of a task, if one waits."""
        return self._waiting[task].popleft() if self._waiting[task] else None

    def put_back(self, chunk: Chunk) -> None:
        """Let another worker go on with a chunk, before all others of its task."""
        self._waiting[chunk.task].appendleft(chunk)

    def over(self, task: int) -> bool:
        """Tell whether nobody works on a task and nothing waits."""
        return not (self._waiting[task] or self._workers[task])

    def drop(self, task: int) -> None:
        """Forget what waits of a task."""
        self._waiting[task].clear()


def _parts(size: int, workers: int) -> list[list[int]]:
    """Cut `size` positions into chunks of nearly one length."""
    most = max(1, math.ceil(size / SMALLEST))
    n = max(min(most, ROUNDS * workers), math.ceil(size / LARGEST))
    ends = [size * at // n for at in range(n + 1)]
    return [list(range(start, end)) for start, end in itertools.pairwise(ends)]
