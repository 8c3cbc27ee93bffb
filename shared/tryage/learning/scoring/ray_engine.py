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

from tryage.core.client_errors import describe_error
from tryage.core.validation import check_number, require_extra
from tryage.errors import InputError, MeasurementError, TryageError
from tryage.learning.scoring.ray_worker import BudgetLedger, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tryage.learning.scoring.measurement import Budget, Measurement, Prompt
    from tryage.learning.scoring.ray_worker import WorkerUpdate
    from tryage.learning.scoring.run import Outcome, Task

OBJECT_STORE_BYTES = (
    80 << 20
)  # bytes of Ray's object store, near the least: only long answers use it

QUIET_OPTIONS = {"log_to_driver": False, "logging_level": logging.CRITICAL}

LOOPBACK = "127.0.0.2"  # for 127.0.0.1 Ray would take the address that other machines reach

USAGE_STATS_VARIABLE = "RAY_USAGE_STATS_ENABLED"

POLL_SECONDS = 0.2  # seconds until Ctrl-C is heard

STOP_GROUP = "aside"  # the thread of a worker that hears `stop`

PART_BYTES = 64 << 10  # bytes; Ray sends arguments of up to 100 KiB straight to the worker

MIN_CHUNK_SIZE, MAX_CHUNK_SIZE = (
    16,
    512,
)  # prompts: whole batches for a model, little to wait for at the end

CHUNKS_PER_WORKER = (
    4  # chunks of one worker, if there are prompts enough: a slow worker then holds up less
)


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
            check_number(name, getattr(self, name))
        for name in ("workers", "attempts"):
            if (value := getattr(self, name)) is not None and check_number(name, value, 1) % 1:
                raise InputError(f"{name} must be a whole number, got {value}.")

    def __call__(self, tasks: Sequence[Task], budget: Budget) -> Iterator[Outcome]:
        """Measure, write each row at once, and yield what became of each prompt.

        Raises:
            InputError: a measurer cannot be sent to a worker, no cluster answers, or none of its
                machines has room for a worker.
            MissingExtraError: Ray is not installed.
        """
        require_extra("ray", "ray")
        pickled = [_pickle_measurer(task) for task in tasks]
        if not pickled or budget.stopped:
            return
        with self.connect() as workers:
            resources = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
            run = RayRun(
                tasks, pickled, budget, workers, resources=resources, attempts=self.attempts
            )
            yield from run.outcomes()

    @contextmanager
    def connect(self) -> Iterator[int]:
        """Start Ray or connect to it, and yield the number of workers; several runs may share it.

        Raises:
            InputError: no cluster answers, or none of its machines has room for a worker.
        """
        import ray

        if ray.is_initialized():
            yield self._count_workers()
            return
        address = self._cluster_address()
        try:
            with _without_usage_stats(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # Ray's advice to its own users
                ray.init(
                    address or "local",
                    **QUIET_OPTIONS,
                    **({} if address else self._local_cluster_options()),
                )
        except Exception as error:  # Ray raises bare ones as well
            ray.shutdown()
            raise InputError(
                f"Ray cannot be reached at {address or 'this machine'}: {describe_error(error)} Start a "
                "cluster with `ray start --head` and give the address that it tells."
            ) from error
        try:
            yield self._count_workers()
        finally:
            ray.shutdown()

    def _cluster_address(self) -> str | None:
        return self.address or os.environ.get("RAY_ADDRESS")

    def _local_cluster_options(self) -> dict[str, Any]:
        """Return how Ray starts on this machine."""
        own: dict[str, Any] = {"include_dashboard": False}
        if sys.platform == "linux":  # elsewhere Ray keeps to the loopback interface by itself
            own["_node_ip_address"] = LOOPBACK
        if self.workers is not None:  # more than there are processors, if that is wanted
            own["num_cpus"] = math.ceil(self.workers * self.num_cpus)
        return own | {"object_store_memory": OBJECT_STORE_BYTES}

    def _count_workers(self) -> int:
        """Return the number of workers, and check that a machine has room for one."""
        import ray

        needs = {"CPU": self.num_cpus, "GPU": self.num_gpus}
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if self.workers is not None and self._cluster_address():
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


def _pickle_measurer(task: Task) -> bytes:
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
            f"{describe_error(error)} Let it build its client when it is first asked, in the worker, or use "
            "the local engine."
        ) from error
    return packed


@contextmanager
def _without_usage_stats() -> Iterator[None]:
    """Let the Ray that starts here report to nobody."""
    before = os.environ.get(USAGE_STATS_VARIABLE)
    os.environ[USAGE_STATS_VARIABLE] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[USAGE_STATS_VARIABLE]
        else:
            os.environ[USAGE_STATS_VARIABLE] = before


class RayRun:
    """Hires workers, hands out chunks, grants money, and keeps what comes back.

    `packed` are the pickled measurers of the tasks, `needs` what Ray reserves for a worker,
    `attempts` how many may be lost in a row over one chunk. Ray must be running.
    """

    def __init__(  # noqa: PLR0913 - what a run has to know
        self,
        tasks: Sequence[Task],
        pickled: Sequence[bytes],
        budget: Budget,
        workers: int,
        *,
        resources: Mapping[str, float],
        attempts: int,
    ) -> None:
        self._tasks, self._pickled = tasks, pickled
        self._resources, self._attempts = resources, attempts
        self._budget, self._ledger = budget, BudgetLedger(budget)
        self._chunks = ChunkQueue([len(task.prompts) for task in tasks], workers)
        self._free_slots = workers
        self._pending_calls: dict[Any, WorkerHandle] = {}  # what is awaited, and from whom
        self._awaiting_budget: list[WorkerHandle] = []  # for leave to spend
        self._writers: dict[int, Callable[[int, Measurement], Outcome]] = {}
        self._exit_stacks: dict[int, ExitStack] = {}
        self._failed_tasks: set[int] = set()
        self._startup_crashes = [0] * len(
            tasks
        )  # workers in a row that died before they were ready
        self._error: BaseException | None = None
        self._stopping = False

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what became of each prompt until nothing is left to do."""
        import ray

        try:
            self._start_workers()
            while self._pending_calls or self._awaiting_budget:
                done, _ = (
                    ray.wait([*self._pending_calls], timeout=POLL_SECONDS)
                    if self._pending_calls
                    else ([], [])
                )
                for call in done:
                    yield from self._handle_update(self._pending_calls.pop(call), call)
                self._stop_if_requested()
                self._cancel_unneeded_workers()
                self._answer_budget_requests()
                self._start_workers()
        finally:
            for worker in self._workers():
                worker.kill()
            for task in list(self._exit_stacks):
                self._close_writer(task)
        if self._error is not None:
            raise self._error

    def _start_workers(self) -> None:
        """Start workers while there is room and work."""
        while self._free_slots and (task := self._chunks.assign_worker()) is not None:
            self._free_slots -= 1
            worker = WorkerHandle.start(
                task, self._pickled[task], self._budget.limit, self._resources
            )
            self._pending_calls[worker.load_measurer()] = worker

    def _workers(self) -> list[WorkerHandle]:
        return [*self._pending_calls.values(), *self._awaiting_budget]

    def _assign_chunk(self, worker: WorkerHandle, chunk: Chunk) -> None:
        prompts = self._tasks[worker.task].prompts
        self._pending_calls[worker.start_chunk(chunk, [prompts[at] for at in chunk.positions])] = (
            worker
        )

    def _handle_update(self, worker: WorkerHandle, call: Any) -> Iterator[Outcome]:  # noqa: ANN401 - Ray's own
        """Deal with what a worker says, or with its end."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            update: WorkerUpdate = ray.get(call)
        except RayTaskError as error:
            yield from self._handle_error(worker, error)
        except RayError as error:  # its process, its machine, or the way to it
            yield from self._handle_crash(worker, error)
        else:
            if not worker.is_ready:
                worker.is_ready = True
                self._chunks.mark_started(worker.task)
                self._startup_crashes[worker.task] = 0
            yield from self._store_results(worker, update)
            for expert, usd in update.charges:
                self._budget.charge(expert, usd)
            yield from self._continue_worker(worker, update)

    def _store_results(self, worker: WorkerHandle, update: WorkerUpdate) -> Iterator[Outcome]:
        """Write what was found."""
        if worker.chunk is None:
            return
        if update.measurements:
            worker.chunk.crashes = 0
        if worker.task not in self._exit_stacks:
            self._exit_stacks[worker.task] = stack = ExitStack()
            writer = self._tasks[worker.task].open_writer()
            self._writers[worker.task] = stack.enter_context(writer)
        for at, measurement in update.measurements:
            worker.remaining.discard(at)
            yield self._writers[worker.task](worker.chunk.positions[at], measurement)

    def _continue_worker(self, worker: WorkerHandle, update: WorkerUpdate) -> Iterator[Outcome]:
        """Let a worker go on, with its chunk or the next one, or dismiss it."""
        if update.budget_request is not None:
            worker.budget_request = update.budget_request
            self._awaiting_budget.append(worker)
        elif not update.finished:
            self._pending_calls[worker.next_update()] = worker
        elif update.failure is not None:
            yield from self._give_up(worker, update.failure)
        else:
            self._ledger.release(worker)
            chunk = None if self._stopping else self._chunks.take(worker.task)
            if chunk is None:
                self._release_worker(worker)
            else:
                self._assign_chunk(worker, chunk)

    def _answer_budget_requests(self) -> None:
        """Answer those who wait for leave to spend, where it is known."""
        waiting, self._awaiting_budget = self._awaiting_budget, []
        for worker in waiting:
            expert, running = worker.budget_request or ("", 0)
            granted = False if self._stopping else self._ledger.reserve(worker, expert, running)
            if granted is None:
                self._awaiting_budget.append(worker)
            else:
                self._pending_calls[worker.next_update(granted)] = worker

    def _stop_if_requested(self) -> None:
        """Tell all workers to start nothing any more, once."""
        if self._stopping or not self._budget.stopped:
            return
        self._stopping = True
        for task in range(len(self._tasks)):
            self._chunks.clear(task)
        for worker in self._workers():
            worker.stop()

    def _cancel_unneeded_workers(self) -> None:
        """Dismiss workers that have not started yet and for which nothing is left to do."""
        for call, worker in list(self._pending_calls.items()):
            if not worker.is_ready and self._chunks.count_unclaimed(worker.task) < 0:
                del self._pending_calls[call]
                self._release_worker(worker)

    def _handle_crash(self, worker: WorkerHandle, error: Exception) -> Iterator[Outcome]:
        """Let another worker go on with the chunk of one that was killed."""
        self._ledger.write_off(worker)
        chunk, task = worker.chunk, worker.task
        if chunk is None:
            self._startup_crashes[task] += 1
            crashes = self._startup_crashes[task]
        else:
            chunk.crashes += 1
            crashes = chunk.crashes
            chunk.positions = [chunk.positions[at] for at in sorted(worker.remaining)]
        if crashes >= self._attempts:
            yield from self._give_up_task(
                task,
                f"{crashes} workers in a row died without a result, for want of memory for example: "
                f"{describe_error(error)}",
            )
        elif chunk is not None and chunk.positions and self._accepts_work(task):
            self._chunks.put_back(chunk)
        self._release_worker(worker)

    def _accepts_work(self, task: int) -> bool:
        return not self._stopping and task not in self._failed_tasks

    def _handle_error(self, worker: WorkerHandle, error: Any) -> Iterator[Outcome]:  # noqa: ANN401 - Ray's own
        """Give up what cannot be measured; end the run, gently, for any other error."""
        if isinstance(error.cause, MeasurementError):
            yield from self._give_up(worker, str(error.cause))
            return
        own = isinstance(error.cause, TryageError)
        self._error = self._error or (error.cause if own else error)
        self._budget.stop()
        self._ledger.release(worker)
        self._release_worker(worker)

    def _give_up(self, worker: WorkerHandle, reason: str) -> Iterator[Outcome]:
        self._ledger.release(worker)
        self._release_worker(worker)
        yield from self._give_up_task(worker.task, reason)

    def _give_up_task(self, task: int, reason: str) -> Iterator[Outcome]:
        """Forget what is left of an expert; its other workers finish what they have begun."""
        self._failed_tasks.add(task)
        self._chunks.clear(task)
        for worker in self._workers():
            if worker.task == task:
                worker.stop()
        yield self._tasks[task].failed_outcome(reason)

    def _release_worker(self, worker: WorkerHandle) -> None:
        worker.kill()
        self._free_slots += 1
        if not worker.is_ready:
            self._chunks.mark_started(worker.task)
        self._chunks.release_worker(worker.task)
        if self._chunks.is_done(worker.task):
            self._close_writer(worker.task)

    def _close_writer(self, task: int) -> None:
        """Make a shard of what an expert's journal holds."""
        if task in self._exit_stacks:
            del self._writers[task]
            self._exit_stacks.pop(task).close()


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """A worker for the expert of a task; `left` are the places in its chunk still to be measured.

    What it is asked is answered later, with `News`: the methods return what to wait for.
    """

    actor: Any
    task: int
    chunk: Chunk | None = None
    remaining: set[int] = field(default_factory=set)
    is_ready: bool = False
    budget_request: tuple[str, int] | None = None

    @classmethod
    def start(
        cls, task: int, pickled: bytes, limit: float | None, resources: Mapping[str, float]
    ) -> Self:
        """Start a worker, and send it the pickled measurer; `needs` is what Ray reserves for it."""
        import ray

        # A thread of its own for `stop`, which is heard while `news` waits.
        actor: Any = ray.remote(concurrency_groups={STOP_GROUP: 1}, **resources)(Worker)
        handle = cls(actor.remote(limit), task)
        # As arguments of methods, in small parts: so they pass from process to process, and
        # neither the object store, which may spill to disk, nor the head's tables hold secrets.
        for start in range(0, len(pickled), PART_BYTES):
            handle.actor.receive_bytes.remote(pickled[start : start + PART_BYTES])
        return handle

    def load_measurer(self) -> Any:  # noqa: ANN401 - Ray's own
        """Let it unpack the measurer."""
        return self.actor.load_measurer.remote()

    def start_chunk(self, chunk: Chunk, prompts: Sequence[Prompt]) -> Any:  # noqa: ANN401 - Ray's own
        """Let it begin with a chunk."""
        self.chunk, self.remaining = chunk, set(range(len(chunk.positions)))
        return self.actor.start_chunk.remote(prompts)

    def next_update(self, granted: bool | None = None) -> Any:  # noqa: ANN401 - Ray's own
        """Ask for what comes next, with the answer to what it asked, if anything."""
        return self.actor.next_update.remote(granted)

    def stop(self) -> None:
        """Let it start nothing any more."""
        self.actor.stop.options(concurrency_group=STOP_GROUP).remote()

    def kill(self) -> None:
        """End its process."""
        import ray

        ray.kill(self.actor)


@dataclass(slots=True)
class Chunk:
    """Prompts of one expert by their positions; `losses` counts workers lost without a result."""

    task: int
    positions: list[int]
    crashes: int = 0


class ChunkQueue:
    """All chunks that wait for a worker, and how many workers each task has.

    Args:
        sizes: How many prompts each task has, `(n_tasks,)`.
        workers: How many workers there are.
    """

    def __init__(self, sizes: Sequence[int], workers: int) -> None:
        each = math.ceil(workers / max(len(sizes), 1))
        self._queues = [
            deque(Chunk(task, part) for part in _split_positions(size, each))
            for task, size in enumerate(sizes)
        ]
        self._workers = [0] * len(sizes)
        self._starting = [0] * len(sizes)

    def assign_worker(self) -> int | None:
        """Give a free worker to a task that has none, else to that with the most chunks per worker.

        None: no chunk waits.
        """

        def need(task: int) -> tuple[bool, float]:
            waiting, workers = self.count_unclaimed(task), self._workers[task]
            return waiting > 0 and not workers, waiting / (1 + workers)

        best = max(range(len(self._queues)), key=need, default=None)
        if best is None or self.count_unclaimed(best) <= 0:
            return None
        self._workers[best] += 1
        self._starting[best] += 1
        return best

    def count_unclaimed(self, task: int) -> int:
        """Return how many chunks of a task wait, but for those that workers on their way will take.

        Below zero, workers are on their way for nothing.
        """
        return len(self._queues[task]) - self._starting[task]

    def mark_started(self, task: int) -> None:
        """Note that a worker has started, or never will."""
        self._starting[task] -= 1

    def release_worker(self, task: int) -> None:
        """Take a worker from a task."""
        self._workers[task] -= 1

    def take(self, task: int) -> Chunk | None:
        """Return the next chunk of a task, if one waits."""
        return self._queues[task].popleft() if self._queues[task] else None

    def put_back(self, chunk: Chunk) -> None:
        """Let another worker go on with a chunk, before all others of its task."""
        self._queues[chunk.task].appendleft(chunk)

    def is_done(self, task: int) -> bool:
        """Tell whether nobody works on a task and nothing waits."""
        return not (self._queues[task] or self._workers[task])

    def clear(self, task: int) -> None:
        """Forget what waits of a task."""
        self._queues[task].clear()


def _split_positions(size: int, workers: int) -> list[list[int]]:
    """Cut `size` positions into chunks of nearly one length."""
    most = max(1, math.ceil(size / MIN_CHUNK_SIZE))
    n = max(min(most, CHUNKS_PER_WORKER * workers), math.ceil(size / MAX_CHUNK_SIZE))
    ends = [size * at // n for at in range(n + 1)]
    return [list(range(start, end)) for start, end in itertools.pairwise(ends)]
