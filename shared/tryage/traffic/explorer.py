"""Explores for a router: keeps the budget and the random numbers, for all threads of a process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.exploration import Exploration, ExplorationBudget, explore
from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tryage.core.decision import Decision, ScoredBatch


class Explorer:
    """Draws experts as an `Exploration` says, and keeps its budget; safe to share between threads.

    With a `seed`, the same requests in the same order draw the same experts. The child of a fork
    starts with a budget of its own and draws other numbers; a copy or a pickle starts anew.
    Without an exploration it draws probes alone.

    Raises:
        InputError: `exploration` is not an `Exploration`.
    """

    def __init__(self, exploration: Exploration | None = None, seed: int | None = None) -> None:
        if not isinstance(exploration, Exploration | None):
            raise InputError(
                f"exploration is a {type(exploration).__name__}; expected a "
                "tryage.core.Exploration."
            )
        self.exploration = exploration
        self._seed = seed
        self._start(None if seed is None else [seed])

    def _start(self, seed: list[int] | None) -> None:
        self.budget = ExplorationBudget(self.exploration.budget if self.exploration else 0.0)
        self._random = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the settings alone."""
        return type(self), (self.exploration, self._seed)

    def explore(
        self,
        batch: ScoredBatch,
        i: int,
        decision: Decision,
        *,
        tags: Collection[str] = (),
        probes: Mapping[str, float] | None = None,
    ) -> Decision:
        """Return the decision for prompt `i` of a batch; see `tryage.core.exploration.explore`."""
        if self._process != os.getpid():  # a fork: another thread may have held the lock
            self._start(None if self._seed is None else [self._seed, os.getpid()])
        with self._lock:  # no other thread spends what is left of the budget meanwhile
            return explore(
                batch,
                i,
                decision,
                self.exploration,
                budget=self.budget,
                random=self._random,
                tags=tags,
                probes=probes,
            )
