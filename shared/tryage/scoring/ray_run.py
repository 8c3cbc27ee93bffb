"""One run on Ray: starts workers, assigns chunks, reserves budget, and stores results."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from tryage.core.redaction import describe_error
from tryage.errors import MeasurementError, TryageError
from tryage.scoring.ray_scheduling import BudgetLedger, ChunkQueue
from tryage.scoring.ray_worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tryage.scoring.measurement import Budget, Measurement, Prompt
    from tryage.scoring.ray_scheduling import Chunk
    from tryage.scoring.ray_worker import WorkerUpdate
    from tryage.scoring.run import Outcome, Task

POLL_SECONDS = 0.2  # seconds until a Ctrl-C is noticed

STOP_GROUP = "stop"  # Ray's name for the thread of a worker that receives `stop`

PART_BYTES = 64 << 10  # bytes; Ray sends arguments of up to 100 KiB directly to the worker


class RayRun:
    """Measures tasks on workers of a Ray that is already running.

    Args:
        tasks: What is measured.
        pickled: The pickled measurer of each task.
        budget: Kept over all workers.
        n_workers: How many workers run at a time.
        resources: What Ray reserves for a worker: `num_cpus`, `num_gpus`.
        attempts: How many workers in a row may be lost over one chunk.
    """

    def __init__(  # noqa: PLR0913 - a run needs all of these
        self,
        tasks: Sequence[Task],
        pickled_measurers: Sequence[bytes],
        budget: Budget,
        n_workers: int,
        *,
        resources: Mapping[str, float],
        attempts: int,
    ) -> None:
        self._tasks, self._pickled_measurers = tasks, pickled_measurers
        self._resources, self._attempts = resources, attempts
        self._budget, self._ledger = budget, BudgetLedger(budget)
        self._chunks = ChunkQueue([len(task.prompts) for task in tasks], n_workers)
        self._free_slots = n_workers
        self._pending_calls: dict[Any, WorkerHandle] = {}  # Ray's call -> its worker
        self._awaiting_budget: list[WorkerHandle] = []
        self._writers: dict[int, Callable[[int, Measurement], Outcome]] = {}
        self._exit_stacks: dict[int, ExitStack] = {}
        self._failed_tasks: set[int] = set()
        self._startup_crashes = [0] * len(tasks)  # workers in a row that died before they started
        self._error: BaseException | None = None
        self._stopping = False

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each prompt until nothing is left to do."""
        try:
            self._start_workers()
            while self._pending_calls or self._awaiting_budget:
                for call in self._finished_calls():
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
        """Start workers while there are free slots and chunks."""
        while self._free_slots and (task := self._chunks.assign_worker()) is not None:
            self._free_slots -= 1
            worker = WorkerHandle.start(
                task, self._pickled_measurers[task], self._budget.limit, self._resources
            )
            self._pending_calls[worker.load_measurer()] = worker

    def _finished_calls(self) -> list[Any]:
        import ray

        if not self._pending_calls:
            return []
        finished_calls, _ = ray.wait([*self._pending_calls], timeout=POLL_SECONDS)
        return list(finished_calls)

    def _workers(self) -> list[WorkerHandle]:
        return [*self._pending_calls.values(), *self._awaiting_budget]

    def _handle_update(self, worker: WorkerHandle, call: Any) -> Iterator[Outcome]:  # noqa: ANN401 - Ray's own type
        """Handle what a worker reports, or its end."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            update: WorkerUpdate = ray.get(call)
        except RayTaskError as error:
            yield from self._handle_error(worker, error)
        except RayError as error:  # the process, the machine or the network failed
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
        """Write the measurements of an update."""
        if worker.chunk is None:
            return
        if update.measurements:
            worker.chunk.crashes = 0
        if worker.task not in self._exit_stacks:
            self._exit_stacks[worker.task] = stack = ExitStack()
            writer = self._tasks[worker.task].open_writer()
            self._writers[worker.task] = stack.enter_context(writer)
        for position, measurement in update.measurements:
            worker.remaining_positions.discard(position)
            yield self._writers[worker.task](worker.chunk.positions[position], measurement)

    def _continue_worker(self, worker: WorkerHandle, update: WorkerUpdate) -> Iterator[Outcome]:
        """Let a worker go on with its chunk or with the next one, or release it."""
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

    def _assign_chunk(self, worker: WorkerHandle, chunk: Chunk) -> None:
        prompts = self._tasks[worker.task].prompts
        call = worker.start_chunk(chunk, [prompts[position] for position in chunk.positions])
        self._pending_calls[call] = worker

    def _answer_budget_requests(self) -> None:
        """Answer the workers that ask for budget; those without an answer yet go on waiting."""
        waiting_workers, self._awaiting_budget = self._awaiting_budget, []
        for worker in waiting_workers:
            expert, running = worker.budget_request or ("", 0)
            granted = False if self._stopping else self._ledger.reserve(worker, expert, running)
            if granted is None:
                self._awaiting_budget.append(worker)
            else:
                self._pending_calls[worker.next_update(granted)] = worker

    def _stop_if_requested(self) -> None:
        """Once the budget is stopped, tell all workers to start nothing more."""
        if self._stopping or not self._budget.stopped:
            return
        self._stopping = True
        for task in range(len(self._tasks)):
            self._chunks.clear(task)
        for worker in self._workers():
            worker.stop()

    def _cancel_unneeded_workers(self) -> None:
        """Release workers that have not started yet and for which no chunk is left."""
        for call, worker in list(self._pending_calls.items()):
            if not worker.is_ready and self._chunks.count_unclaimed(worker.task) < 0:
                del self._pending_calls[call]
                self._release_worker(worker)

    def _handle_crash(self, worker: WorkerHandle, error: Exception) -> Iterator[Outcome]:
        """Let another worker go on with the chunk of a worker that was killed."""
        self._ledger.write_off(worker)
        chunk, task = worker.chunk, worker.task
        if chunk is None:
            self._startup_crashes[task] += 1
            crashes = self._startup_crashes[task]
        else:
            chunk.crashes += 1
            crashes = chunk.crashes
            chunk.positions = [
                chunk.positions[position] for position in sorted(worker.remaining_positions)
            ]
        if crashes >= self._attempts:
            reason = f"{crashes} workers in a row died without a result, for example because "
            reason += f"memory was too small: {describe_error(error)}"
            yield from self._give_up_task(task, reason)
        elif chunk is not None and chunk.positions and self._accepts_work(task):
            self._chunks.put_back(chunk)
        self._release_worker(worker)

    def _accepts_work(self, task: int) -> bool:
        return not self._stopping and task not in self._failed_tasks

    def _handle_error(self, worker: WorkerHandle, error: Any) -> Iterator[Outcome]:  # noqa: ANN401 - Ray's own type
        """Give up an expert that cannot be measured; stop the run after any other error."""
        if isinstance(error.cause, MeasurementError):
            yield from self._give_up(worker, str(error.cause))
            return
        is_own_error = isinstance(error.cause, TryageError)
        self._error = self._error or (error.cause if is_own_error else error)
        self._budget.stop()
        self._ledger.release(worker)
        self._release_worker(worker)

    def _give_up(self, worker: WorkerHandle, reason: str) -> Iterator[Outcome]:
        self._ledger.release(worker)
        self._release_worker(worker)
        yield from self._give_up_task(worker.task, reason)

    def _give_up_task(self, task: int, reason: str) -> Iterator[Outcome]:
        """Drop the remaining chunks of an expert; its other workers finish what they have begun."""
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
        """Turn the journal of an expert into a shard."""
        if task in self._exit_stacks:
            del self._writers[task]
            self._exit_stacks.pop(task).close()


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """A worker for the expert of a task.

    `remaining_positions` are the positions in its chunk that are not measured yet.
    Its methods return at once, with a call of Ray that later yields a `WorkerUpdate`.
    """

    actor: Any
    task: int
    chunk: Chunk | None = None
    remaining_positions: set[int] = field(default_factory=set)
    is_ready: bool = False
    budget_request: tuple[str, int] | None = None

    @classmethod
    def start(
        cls, task: int, pickled_measurer: bytes, limit: float | None, resources: Mapping[str, float]
    ) -> Self:
        """Start a worker with some resources, and send it the pickled measurer."""
        import ray

        # `stop` has a thread of its own, so that it arrives while `next_update` waits.
        actor: Any = ray.remote(concurrency_groups={STOP_GROUP: 1}, **resources)(Worker)
        handle = cls(actor.remote(limit), task)
        # A measurer may hold secrets. As arguments of methods, in small parts, it passes directly
        # from process to process: not through the object store, which may spill to disk, and not
        # through the tables of Ray's head.
        for start in range(0, len(pickled_measurer), PART_BYTES):
            handle.actor.receive_bytes.remote(pickled_measurer[start : start + PART_BYTES])
        return handle

    def load_measurer(self) -> Any:  # noqa: ANN401 - Ray's own type
        """Let the worker unpickle the measurer."""
        return self.actor.load_measurer.remote()

    def start_chunk(self, chunk: Chunk, prompts: Sequence[Prompt]) -> Any:  # noqa: ANN401 - Ray's own type
        """Let the worker begin with a chunk."""
        self.chunk, self.remaining_positions = chunk, set(range(len(chunk.positions)))
        return self.actor.start_chunk.remote(prompts)

    def next_update(self, granted: bool | None = None) -> Any:  # noqa: ANN401 - Ray's own type
        """Ask for the next update; `granted` answers the request for budget, if there is one."""
        return self.actor.next_update.remote(granted)

    def stop(self) -> None:
        """Let the worker start nothing more."""
        self.actor.stop.options(concurrency_group=STOP_GROUP).remote()

    def kill(self) -> None:
        """End the process of the worker."""
        import ray

        ray.kill(self.actor)
