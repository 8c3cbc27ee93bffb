"""A bounded store of answers by request, which keeps those that are expected to save the most."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from tryage.core.validation import check_integer, check_number

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from tryage.core.policy_change import CachedAnswer

_HISTORY = 8  # times the size: requests whose counts are kept, so that one may come back
_HALF_LIFE = 20.0  # times the size: requests after which one counts half
_MAX_DOUBLINGS = 500  # of the weight of a request before all counts are scaled down: 2**1000 is inf
_MAX_HEAP = 4  # times the size: how many outdated priorities are kept


@dataclass(frozen=True, slots=True)
class RequestUse:
    """What is known about the use of a request.

    `count` is how often it was asked, `last` the number of the request at which it was asked last.
    An earlier one counts less than a later one. `saving` are the USD that an answer from the store
    saves.
    """

    count: float
    saving: float
    last: int


Priority: TypeAlias = "Callable[[RequestUse], float]"
"""How much it is worth to keep the answers to a request; those of the lowest priority go first."""


def expected_saving(use: RequestUse) -> float:
    """Return the frequency times the cost: the least expected cost of Zhu et al. (2023)."""
    return use.count * use.saving


def last_use(use: RequestUse) -> float:
    """Return when it was asked last: the least recently used goes first (LRU)."""
    return float(use.last)


def frequency(use: RequestUse) -> float:
    """Return how often it was asked: the least frequently used goes first (LFU)."""
    return use.count


@dataclass(slots=True)
class _Entry:
    answers: dict[str, CachedAnswer] = field(default_factory=dict)
    saving: float = 0.0


class AnswerStore:
    """The answers to up to `size` requests, by the expert that gave them.

    A new request takes the place of the one of the lowest priority, unless its own is lower still:
    Zhu et al. (2023), "Towards Optimal Caching and Model Selection for Large Model Inference",
    algorithm 1. The counts of requests outlive their answers, and halve while other requests come.

    Args:
        size: How many requests have answers in the store.
        priority: Which are kept: `expected_saving`, `last_use`, `frequency`, or another function.
        half_life: After how many requests one counts half; by default 20 times the size.

    The caller locks it.

    Raises:
        InputError: a number is too small.
    """

    def __init__(
        self, size: int, priority: Priority = expected_saving, half_life: float | None = None
    ) -> None:
        self.size, self.priority = check_integer("size", size, 1), priority
        given = _HALF_LIFE * size if half_life is None else half_life
        self.half_life = check_number("half_life", given, 1.0)
        self._entries: dict[Hashable, _Entry] = {}
        self._counts: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()  # count, last
        self._heap: list[tuple[float, int, int, Hashable]] = []  # priority, last, number, key
        self._numbers = itertools.count()
        self._requests = self._first_request = 0

    def __len__(self) -> int:
        """Return the number of requests that have answers."""
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        """Tell whether a request has answers."""
        return key in self._entries

    def __iter__(self) -> Iterator[Hashable]:
        """Yield the keys of the requests that have answers."""
        return iter(self._entries)

    def get(self, key: Hashable) -> dict[str, CachedAnswer]:
        """Return the answers to a request by their experts; the request is not counted."""
        entry = self._entries.get(key)
        return {} if entry is None else entry.answers

    def count(self, key: Hashable) -> None:
        """Count a request, which was answered from the store or is about to be put into it."""
        self._requests += 1
        if self._requests - self._first_request > _MAX_DOUBLINGS * self.half_life:
            self._scale_down()
        weight = 2.0 ** ((self._requests - self._first_request) / self.half_life)
        count, _ = self._counts.pop(key, (0.0, 0))
        self._counts[key] = count + weight, self._requests
        if len(self._counts) > _HISTORY * self.size:
            self._forget_oldest_count()
        if key in self._entries:
            self._push(key)

    def put(self, key: Hashable, answer: CachedAnswer, saving: float) -> list[Hashable] | None:
        """Store an answer to a request that was counted; return the keys that it has displaced.

        None if the answer is not stored: all others are worth more.
        """
        entry = self._entries.get(key)
        displaced: list[Hashable] = []
        if entry is None:
            entry = _Entry(saving=saving)
            if len(self._entries) >= self.size:
                victim = self._lowest()
                if self._priority(key, saving) < self._priority(victim):
                    return None
                self.discard(victim)
                displaced.append(victim)
            self._entries[key] = entry
        entry.answers[answer.expert] = answer
        entry.saving = saving
        self._push(key)
        return displaced

    def discard(self, key: Hashable) -> None:
        """Remove the answers to a request, if there are any."""
        self._entries.pop(key, None)

    def _priority(self, key: Hashable, saving: float | None = None) -> float:
        count, last = self._counts.get(key, (0.0, 0))
        if saving is None:
            saving = self._entries[key].saving
        return self.priority(RequestUse(count, saving, last))

    def _push(self, key: Hashable) -> None:
        """Note the priority of an entry; the one noted before is outdated."""
        if len(self._heap) >= _MAX_HEAP * self.size + 64:
            self._rebuild_heap()
        heapq.heappush(self._heap, self._item(key))

    def _item(self, key: Hashable) -> tuple[float, int, int, Hashable]:
        """Return an item of the heap, in which the older of two equal priorities is first."""
        _, last = self._counts.get(key, (0.0, 0))
        return self._priority(key), last, next(self._numbers), key

    def _rebuild_heap(self) -> None:
        self._heap = [self._item(key) for key in self._entries]
        heapq.heapify(self._heap)

    def _lowest(self) -> Hashable:
        """Return the request of the lowest priority."""
        while True:
            if not self._heap:
                self._rebuild_heap()
            priority, *_, key = self._heap[0]
            if key in self._entries and priority == self._priority(key):
                return key
            heapq.heappop(self._heap)

    def _forget_oldest_count(self) -> None:
        """Forget the count of the request that was asked longest ago and has no answer."""
        key, use = self._counts.popitem(last=False)
        if key in self._entries:
            self._counts[key] = use

    def _scale_down(self) -> None:
        """Scale all counts to the weight of the next request; their order stays."""
        factor = 2.0 ** (-(self._requests - self._first_request) / self.half_life)
        self._counts = OrderedDict(
            (key, (count * factor, last)) for key, (count, last) in self._counts.items()
        )
        self._first_request = self._requests
        self._rebuild_heap()
