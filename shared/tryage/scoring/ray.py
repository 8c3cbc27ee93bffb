"""Measuring on Ray: several workers per expert, on this machine or on a cluster.

Workers measure, and this process alone writes. So a cluster needs no shared folder, the folder's
lock holds for all of them, and a worker that was taken for dead cannot write a row twice. A row is
on disk here as soon as it arrives, so memory does not grow with the table.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tryage.chat.failures import told
from tryage.errors import InputError, MeasurementError, TryageError
from tryage.experts.values import number
from tryage.extras import require
from tryage.scoring.chunks import Chunk, Chunks
from tryage.scoring.grants import Grants
from tryage.scoring.worker import News, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tryage.scoring.budget import Budget
    from tryage.scoring.measurement import Measurement
    from tryage.scoring.tasks import Outcome, Task

POLL = 0.2  # seconds until Ctrl-C is heard
PART = (
    64 << 10
)  # bytes; an argument of up to 100 KiB goes to the worker itself, past the object store
OBJECTS = 80 << 20  # bytes of Ray's object store, near the least: only long answers use it
QUIET = {"log_to_driver": False, "logging_level": logging.CRITICAL}
TRACKING = "RAY_USAGE_STATS_ENABLED"


@dataclass(frozen=True)
class Ray:
    """An engine for `score` that measures in many processes.

    Without an `address`, Ray is started on this machine and ends with the run: on the loopback
    interface only, without dashboard and without usage statistics. With one, or with RAY_ADDRESS
    set, it connects to that cluster. If Ray runs in this process already, that is used.

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
        for name, least in (("workers", 1), ("attempts", 1), ("num_cpus", 0), ("num_gpus", 0)):
            if (value := getattr(self, name)) is not None:
                number(name, value, least)

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
            yield from _Run(self, tasks, packed, budget, workers).outcomes()

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
        address = self.address or os.environ.get("RAY_ADDRESS")
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

    def _own(self) -> dict[str, Any]:
        """Return how Ray starts on this machine: it has no password, so it lets nobody else in."""
        own: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        if self.workers is not None:  # more than there are processors, if that is wanted
            own["num_cpus"] = math.ceil(self.workers * self.num_cpus)
        return own | {"object_store_memory": OBJECTS}

    def _room(self) -> int:
        """Return the number of workers, and check that a machine has room for one."""
        import ray

        needs = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if self.workers is not None and self.address is not None:
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


@dataclass(slots=True, eq=False)
class _Hired:
    """A worker as this process sees it: its actor, its expert, and the chunk that it measures."""

    actor: Any
    task: int
    chunk: Chunk
    left: set[int] = field(default_factory=set)
    up: bool = False
    asked: tuple[str, int] | None = None


class _Run:
    """One run: hires workers, hands out chunks, grants money, and keeps what comes back."""

    def __init__(
        self,
        engine: Ray,
        tasks: Sequence[Task],
        packed: Sequence[bytes],
        budget: Budget,
        workers: int,
    ) -> None:
        self._engine, self._tasks, self._packed = engine, tasks, packed
        self._budget, self._grants = budget, Grants(budget)
        self._chunks = Chunks([len(task.prompts) for task in tasks], workers)
        self._free = workers
        self._calls: dict[Any, _Hired] = {}  # what is awaited, and from whom
        self._waiting: list[_Hired] = []  # for leave to spend
        self._keep: dict[int, Callable[[int, Measurement], Outcome]] = {}
        self._open = ExitStack()
        self._error: BaseException | None = None
        self._stopping = False

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what became of each prompt until nothing is left to do."""
        import ray

        with self._open:
            try:
                self._hire()
                while self._calls or self._waiting:
                    done, _ = ray.wait([*self._calls], timeout=POLL) if self._calls else ([], [])
                    for call in done:
                        yield from self._heard(self._calls.pop(call), call)
                    self._stop_if_told()
                    self._grant()
                    self._hire()
            finally:
                for hired in (*self._calls.values(), *self._waiting):
                    ray.kill(hired.actor)
        if self._error is not None:
            raise self._error

    def _hire(self) -> None:
        """Start workers while there is room and work."""
        import ray

        actor = ray.remote(Worker).options(
            num_cpus=self._engine.num_cpus,
            num_gpus=self._engine.num_gpus,
            concurrency_groups={"aside": 1},  # so that `stop` is heard while `news` waits
        )
        while self._free and (task := self._chunks.hire()) is not None:
            chunk = self._chunks.take(task)
            assert chunk is not None  # noqa: S101 - hire() names tasks that have one
            self._free -= 1
            hired = _Hired(actor.remote(self._budget.limit), task, chunk)
            packed = self._packed[task]
            # As arguments of methods, in small parts: so they pass from process to process, and
            # neither the object store, which may spill to disk, nor the head's tables hold secrets.
            for start in range(0, len(packed), PART):
                hired.actor.receive.remote(packed[start : start + PART])
            self._begin(hired)

    def _begin(self, hired: _Hired) -> None:
        prompts = self._tasks[hired.task].prompts
        hired.left = set(range(len(hired.chunk.positions)))
        call = hired.actor.begin.remote([prompts[at] for at in hired.chunk.positions])
        self._calls[call] = hired

    def _heard(self, hired: _Hired, call: Any) -> Iterator[Outcome]:  # noqa: ANN401 - Ray's own
        """Deal with what a worker says, or with its end."""
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        try:
            news: News = ray.get(call)
        except RayActorError as error:
            yield from self._lost(hired, error)
        except RayTaskError as error:
            yield from self._failed(hired, error)
        else:
            hired.up = True
            yield from self._kept(hired, news)
            for expert, usd in news.charged:
                self._budget.charge(expert, usd)
            yield from self._went_on(hired, news)

    def _kept(self, hired: _Hired, news: News) -> Iterator[Outcome]:
        """Write what was found."""
        if news.found:
            hired.chunk.losses = 0
        if hired.task not in self._keep:
            keeping = self._tasks[hired.task].keeping()
            self._keep[hired.task] = self._open.enter_context(keeping)
        for at, measurement in news.found:
            hired.left.discard(at)
            yield self._keep[hired.task](hired.chunk.positions[at], measurement)

    def _went_on(self, hired: _Hired, news: News) -> Iterator[Outcome]:
        """Let a worker go on, with its chunk or the next one, or dismiss it."""
        if news.asked is not None:
            hired.asked = news.asked
            self._waiting.append(hired)
        elif not news.ended:
            self._calls[hired.actor.news.remote(None)] = hired
        elif news.given_up is not None:
            yield from self._give_up(hired, news.given_up)
        else:
            self._grants.leave(hired)
            chunk = None if self._stopping else self._chunks.take(hired.task)
            if chunk is None:
                self._dismiss(hired)
            else:
                hired.chunk = chunk
                self._begin(hired)

    def _grant(self) -> None:
        """Answer those who wait for leave to spend, where it is known."""
        waiting, self._waiting = self._waiting, []
        for hired in waiting:
            expert, running = hired.asked or ("", 0)
            granted = False if self._stopping else self._grants.ask(hired, expert, running)
            if granted is None:
                self._waiting.append(hired)
            else:
                self._calls[hired.actor.news.remote(granted)] = hired

    def _stop_if_told(self) -> None:
        """Tell all workers to start nothing any more, once."""
        if self._stopping or not self._budget.stopped:
            return
        self._stopping = True
        for task in range(len(self._tasks)):
            self._chunks.drop(task)
        for call, hired in list(self._calls.items()):
            if hired.up:
                _stop(hired)
            else:  # it may never start, if the cluster has no room for it
                del self._calls[call]
                self._dismiss(hired)

    def _lost(self, hired: _Hired, error: Exception) -> Iterator[Outcome]:
        """Let another worker go on with the chunk of one that was killed."""
        self._grants.lose(hired)
        self._dismiss(hired)
        hired.chunk.losses += 1
        hired.chunk.positions = [hired.chunk.positions[at] for at in sorted(hired.left)]
        if hired.chunk.losses >= self._engine.attempts:
            yield from self._give_up_task(
                hired.task,
                f"{hired.chunk.losses} workers in a row died over the same prompts, for want of "
                f"memory for example: {told(error)}",
            )
        elif hired.left and not self._stopping:
            self._chunks.put_back(hired.chunk)

    def _failed(self, hired: _Hired, error: Any) -> Iterator[Outcome]:  # noqa: ANN401 - Ray's own
        """Give up what cannot be measured; end the run, gently, for any other error."""
        if isinstance(error.cause, MeasurementError):
            yield from self._give_up(hired, str(error.cause))
            return
        own = isinstance(error.cause, TryageError)
        self._error = self._error or (error.cause if own else error)
        self._budget.stop()
        self._grants.leave(hired)
        self._dismiss(hired)

    def _give_up(self, hired: _Hired, reason: str) -> Iterator[Outcome]:
        self._grants.leave(hired)
        self._dismiss(hired)
        yield from self._give_up_task(hired.task, reason)

    def _give_up_task(self, task: int, reason: str) -> Iterator[Outcome]:
        """Forget what is left of an expert; its other workers finish what they have begun."""
        self._chunks.drop(task)
        for hired in self._calls.values():
            if hired.task == task:
                _stop(hired)
        yield self._tasks[task].given_up(reason)

    def _dismiss(self, hired: _Hired) -> None:
        import ray

        ray.kill(hired.actor)
        self._chunks.dismiss(hired.task)
        self._free += 1


def _stop(hired: _Hired) -> None:
    hired.actor.stop.options(concurrency_group="aside").remote()


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
