"""Which worker measures what, and which may spend: the decisions of a run, without Ray."""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tryage.scoring.measurement import Budget

# Prompts of a chunk: full batches for a model, and a short wait for the last chunk.
MIN_CHUNK_SIZE, MAX_CHUNK_SIZE = 16, 512

# If there are enough prompts: then a slow worker delays the end less.
CHUNKS_PER_WORKER = 4


@dataclass(slots=True)
class Chunk:
    """Prompts of one task by their positions; `crashes` counts workers lost without a result."""

    task: int
    positions: list[int]
    crashes: int = 0


class ChunkQueue:
    """The chunks that wait for a worker, and how many workers each task has.

    Args:
        sizes: How many prompts each task has, `(n_tasks,)`.
        n_workers: How many workers run at a time.
    """

    def __init__(self, sizes: Sequence[int], n_workers: int) -> None:
        per_task = math.ceil(n_workers / max(len(sizes), 1))
        self._queues = [
            deque(Chunk(task, positions) for positions in _split_positions(size, per_task))
            for task, size in enumerate(sizes)
        ]
        self._workers = [0] * len(sizes)
        self._starting = [0] * len(sizes)

    def assign_worker(self) -> int | None:
        """Assign a new worker to a task, and return the task; None if no chunk waits.

        Tasks without a worker come first, then the task with the most chunks per worker.
        """

        def priority(task: int) -> tuple[bool, float]:
            n_waiting, n_workers = self.count_unclaimed(task), self._workers[task]
            return n_waiting > 0 and not n_workers, n_waiting / (1 + n_workers)

        task = max(range(len(self._queues)), key=priority, default=None)
        if task is None or self.count_unclaimed(task) <= 0:
            return None
        self._workers[task] += 1
        self._starting[task] += 1
        return task

    def count_unclaimed(self, task: int) -> int:
        """Return how many chunks of a task wait, without those that starting workers will take.

        Below zero, there are more starting workers than chunks.
        """
        return len(self._queues[task]) - self._starting[task]

    def mark_started(self, task: int) -> None:
        """Note that a starting worker has started, or never will."""
        self._starting[task] -= 1

    def release_worker(self, task: int) -> None:
        """Take a worker from a task."""
        self._workers[task] -= 1

    def take(self, task: int) -> Chunk | None:
        """Return the next chunk of a task, None if no chunk waits."""
        return self._queues[task].popleft() if self._queues[task] else None

    def put_back(self, chunk: Chunk) -> None:
        """Make a chunk the next of its task, so that another worker goes on with it."""
        self._queues[chunk.task].appendleft(chunk)

    def is_done(self, task: int) -> bool:
        """Return whether a task has neither workers nor waiting chunks."""
        return not (self._queues[task] or self._workers[task])

    def clear(self, task: int) -> None:
        """Drop the waiting chunks of a task."""
        self._queues[task].clear()


class BudgetLedger:
    """Keeps a `Budget` while workers in other processes spend at the same time.

    Each running request is reserved at the highest price of its expert so far. While a request of
    unknown price runs, no other one starts, in the whole table. So the limit is passed only by a
    request that is more expensive than all before it of its expert, as with one process. The
    requests of a killed worker may have been paid: they stay reserved.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._running: dict[Hashable, tuple[str, int]] = {}
        self._written_off: Counter[str] = Counter()

    def reserve(self, worker: Hashable, expert: str, running: int) -> bool | None:
        """Return whether a worker may start one more request while `running` of its own run.

        None means: not now, and no request of its own runs that it could wait for. Ask again when
        another worker has charged, was released, or was lost.
        """
        self._running[worker] = (expert, running)
        granted = self._can_start(expert, running)
        if granted:
            self._running[worker] = (expert, running + 1)
        return granted

    def release(self, worker: Hashable) -> None:
        """Note that no request of a worker runs any more."""
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
        if not _fits(spent, price, budget.limit):  # it never will: the sum spent only grows
            budget.exhausted = budget.exhausted or not running
            return False
        reserved: Counter[str] = Counter()
        for name, requests in self._running.values():
            reserved[name] += requests
        spent += self._total_price(reserved)
        is_priced = all(budget.max_price(name) is not None for name in reserved if reserved[name])
        if is_priced and _fits(spent, price, budget.limit):
            return True
        return False if running else None

    def _total_price(self, requests: Counter[str]) -> float:
        return sum(n * (self._budget.max_price(name) or 0.0) for name, n in requests.items())


def _split_positions(size: int, n_workers: int) -> list[list[int]]:
    """Cut `size` positions into chunks of nearly the same length."""
    max_chunks = max(1, math.ceil(size / MIN_CHUNK_SIZE))
    n_chunks = max(min(max_chunks, CHUNKS_PER_WORKER * n_workers), math.ceil(size / MAX_CHUNK_SIZE))
    ends = [size * i // n_chunks for i in range(n_chunks + 1)]
    return [list(range(start, end)) for start, end in itertools.pairwise(ends)]


def _fits(spent: float, price: float | None, limit: float) -> bool:
    return spent < limit if price is None else spent + price <= limit
