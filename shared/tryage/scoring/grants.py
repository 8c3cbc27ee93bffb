"""One budget among many workers: which of them may send a request now, and which has to wait."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tryage.scoring.budget import Budget


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
