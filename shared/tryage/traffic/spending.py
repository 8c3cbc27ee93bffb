"""What budgets have spent, known at once in this process and soon in all that share a log.

A decision that is acted on is a `Charge`: it reserves what it is expected to cost, until its `Bill`
replaces that. Both count once for each decision, whichever process reports them. What is reserved
for a request whose bill never comes, such as of a process that was killed, stays spent until the
period of the budget ends.
"""

from __future__ import annotations

import math
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from tryage.errors import TrafficError
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

REFRESH_SECONDS = 1.0  # after which a purse is read again, in the background
BILL_SECONDS = 60.0  # for which a bill waits for the charge of its decision

_HALF_LIFE = 100.0  # bills after which older ones count half, in what bills are expected to be
_MAX_PURSES = 100_000  # that a process remembers; those used last
_MAX_OPEN = 100_000  # charges without a bill that a process remembers
_MAX_CHARGED = 10_000  # decisions that a process remembers, so that a second charge changes nothing


@dataclass(frozen=True)
class Purse:
    """What a budget holds for one key and one period: its start and end in seconds since 1970."""

    budget: str
    key: str
    start: float
    end: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Charge:
    """A decision that is acted on.

    Args:
        purse: What it is paid from.
        decision_id: Its id.
        time: When it was made, in seconds since 1970 (UTC).
        reserved: USD that count as spent until there is a bill.
        expected: USD that its prediction says.
        costs: The USD expected at each price, for the forecast of later requests.
    """

    purse: Purse
    decision_id: str
    time: float
    reserved: float
    expected: float
    costs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Bill:
    """What a decision cost, in USD; `time` is when that was reported."""

    decision_id: str
    usd: float
    time: float


Change: TypeAlias = Charge | Bill

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True)
class Spending:
    """What was spent of a purse, in USD, with what is still reserved.

    `costs` are the sums of `Charge.costs`. `billed` and `expected` are sums over the last answers,
    older ones with falling weights; `bills` is the number of those added.
    """

    spent: float = 0.0
    reserved: float = 0.0
    requests: int = 0
    costs: tuple[float, ...] = ()
    billed: float = 0.0
    expected: float = 0.0
    bills: int = 0

    def plus(self, later: Spending) -> Spending:
        """Return both together; older bills count less."""
        fading = 0.5 ** (later.bills / _HALF_LIFE)
        return Spending(
            self.spent + later.spent,
            self.reserved + later.reserved,
            self.requests + later.requests,
            _sum(self.costs, later.costs),
            self.billed * fading + later.billed,
            self.expected * fading + later.expected,
            self.bills + later.bills,
        )


def _sum(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[float, ...]:
    if not first or not second:
        return first or second
    return tuple(map(float.__add__, first, second))


def charged(charge: Charge) -> Spending:
    """Return what a charge adds to its purse."""
    return Spending(charge.reserved, charge.reserved, 1, charge.costs)


def settled(bill: Bill, reserved: float, expected: float) -> Spending:
    """Return what a bill adds to the purse of its charge."""
    return Spending(bill.usd - reserved, -reserved, billed=bill.usd, expected=expected, bills=1)


class SpendingStore:
    """The base of what keeps spending for all processes."""

    def apply(
        self, changes: Sequence[Change], purses: Iterable[Purse]
    ) -> tuple[dict[Purse, Spending], list[Bill]]:
        """Store changes, each once, and return purses as they are then: these and the changed ones.

        Bills whose charge is not there are returned, too.

        Raises:
            TrafficError: the store fails, and nothing was stored.
        """
        raise NotImplementedError


class SpendingLedger:
    """Knows what was spent of each purse; safe to share between threads.

    Without a store it holds what this process spends. With one, changes wait in this process and
    count here at once; `sync` stores them and reads what other processes have spent. A copy or a
    pickle is a new ledger without a store, and the child of a fork leaves the changes of its parent
    to that.

    Args:
        store: What all processes share.
        request_sync: Asks for a `sync` in the background and tells whether there will be one.
        clock: Returns seconds since 1970 (UTC).
    """

    def __init__(
        self,
        store: SpendingStore | None = None,
        request_sync: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._request_sync, self._clock = store, request_sync, clock
        self._lock = ForkSafeLock()
        self._sync_lock = ForkSafeLock()
        self._process = os.getpid()
        self._renew()

    def _renew(self) -> None:
        self._known: OrderedDict[Purse, _Known] = OrderedDict()
        self._open: OrderedDict[str, tuple[Charge, ...]] = OrderedDict()
        self._charged: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._waiting: list[Change] = []
        self._to_read: set[Purse] = set()
        self._changed: set[Purse] = set()
        self._is_requested = False

    def view(self, purse: Purse) -> Spending:
        """Return what is known now, without waiting; what is old is read soon."""
        with self._lock:
            self._check_process()
            known = self._find(purse)
            age = self._clock() - known.read_at  # below 0 after a clock was set back
            is_old = self._store is not None and not 0 <= age <= REFRESH_SECONDS
            spending = known.total
            if is_old:
                self._to_read.add(purse)
        if is_old:
            self._ask_for_sync()
        return spending

    def read(self, purse: Purse) -> Spending:
        """Return what all processes have spent until now.

        Raises:
            TrafficError: the store fails.
        """
        self.sync([purse])
        return self.view(purse)

    def charge(self, charge: Charge) -> None:
        """Note a decision that is acted on; a second time changes nothing."""
        with self._lock:
            self._check_process()
            place = (charge.purse.budget, charge.decision_id)
            if place in self._charged:
                return
            _remember(self._charged, place, None, _MAX_CHARGED)
            # Its costs at all prices, which take most of its memory, are added now and never again.
            opened = (*self._open.pop(charge.decision_id, ()), replace(charge, costs=()))
            _remember(self._open, charge.decision_id, opened, _MAX_OPEN)
            self._add(charge.purse, charged(charge))
            self._wait(charge)
        self._ask_for_sync()

    def bill(self, bill: Bill) -> None:
        """Note what a decision cost; only the first bill of a decision counts."""
        with self._lock:
            self._check_process()
            for charge in self._open.pop(bill.decision_id, ()):
                self._add(charge.purse, settled(bill, charge.reserved, charge.expected))
            self._wait(bill)
        self._ask_for_sync()

    def sync(self, purses: Iterable[Purse] = ()) -> None:
        """Store what waits, and read the purses that are used and those given.

        Raises:
            TrafficError: the store fails; what waits stays.
        """
        if self._store is None:
            return
        with self._sync_lock:
            with self._lock:
                self._check_process()
                self._is_requested = False
                waiting, self._waiting = self._waiting, []
                wanted, self._to_read = {*purses, *self._to_read}, set()
                sent, self._changed = self._changed, set()
                for purse in sent:
                    self._find(purse).begin_sync()
                now = self._clock()
            try:
                found, early = self._store.apply(waiting, wanted)
            except TrafficError:
                with self._lock:
                    self._waiting = waiting + self._waiting
                    self._to_read |= wanted
                    self._changed |= sent
                    for purse in sent:
                        self._find(purse).take_back()
                raise
            self._take(found, early, now)

    def _take(self, found: Mapping[Purse, Spending], early: Sequence[Bill], now: float) -> None:
        """Take over what the store holds; bills without a charge wait for some time."""
        with self._lock:
            for purse, spending in found.items():
                self._find(purse).end_sync(spending, now)
            young = [bill for bill in early if abs(now - bill.time) < BILL_SECONDS]
            self._waiting = [*young, *self._waiting]

    def _add(self, purse: Purse, change: Spending) -> None:
        known = self._find(purse)
        if self._store is None:
            known.stored = known.stored.plus(change)
        else:
            known.waiting = known.waiting.plus(change)
            self._changed.add(purse)

    def _wait(self, change: Change) -> None:
        if self._store is not None:
            self._waiting.append(change)

    def _find(self, purse: Purse) -> _Known:
        known = self._known.get(purse)
        if known is None:
            known = _Known()
            _remember(self._known, purse, known, _MAX_PURSES)
        else:
            self._known.move_to_end(purse)
        return known

    def _ask_for_sync(self) -> None:
        if self._store is not None and not self._is_requested:
            self._is_requested = True  # before the request: a sync may begin at once
            self._is_requested = self._request_sync() and self._is_requested

    def _check_process(self) -> None:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._renew()

    def __reduce__(self) -> tuple[type[SpendingLedger], tuple[()]]:
        """Copy and pickle as an empty ledger of one process."""
        return type(self), ()


class _Known:
    """A purse as this process knows it: what is stored, what the store is given, what waits."""

    def __init__(self) -> None:
        self.stored, self.sent, self.waiting = Spending(), Spending(), Spending()
        self.read_at = -math.inf

    @property
    def total(self) -> Spending:
        return self.stored.plus(self.sent).plus(self.waiting)

    def begin_sync(self) -> None:
        self.sent, self.waiting = self.waiting, Spending()

    def end_sync(self, stored: Spending, now: float) -> None:
        self.stored, self.sent, self.read_at = stored, Spending(), now

    def take_back(self) -> None:
        """Let what the store did not take wait again."""
        self.waiting, self.sent = self.sent.plus(self.waiting), Spending()


def _remember(places: OrderedDict[_K, _V], key: _K, value: _V, size: int) -> None:
    """Add a value, and forget the oldest ones beyond a size."""
    places[key] = value
    while len(places) > size:
        places.popitem(last=False)
