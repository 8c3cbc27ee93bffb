"""How work is shared out: prompts in chunks, and which expert gets the next worker."""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALLEST, LARGEST = 16, 512  # prompts: whole batches for a model, little to wait for at the end
ROUNDS = 4  # chunks of one worker, if there are prompts enough: a slow worker then holds up less


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
