"""Hedge: where the chosen expert is late, the second-best is asked, too, and the first answers."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.choice import NO_EXPERT
from tryage.core.policy import Policy, PolicyChoice, PolicyStage
from tryage.core.policy_change import CallPlan, HedgePlan
from tryage.core.validation import check_number
from tryage.locks import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from tryage.core.arrays import IndexArray
    from tryage.core.decision import Decision
    from tryage.core.library import Library
    from tryage.core.policy import PolicyBatch
    from tryage.core.simulated_answer import Ask, SimulatedAnswer

_MIN_ANSWERS = 20  # before a quantile of latencies is believed
_KEPT_ANSWERS = 500  # latencies of each expert: the last ones
_LOG_SECONDS = 86_400.0  # how far back the log is read
_LOG_ANSWERS = 5_000  # and how many of the last answers
_WINDOW = 1_000.0  # calls over which the share of hedges holds
_FIRST_HEDGES = 1.0  # that are allowed before any call has earned them


class Hedge(Policy):
    """Asks the second-best expert, too, if the chosen one has not answered in time.

    The answer that comes first is returned; in a stream, what begins first. The other call is
    cancelled: a task is, but a thread of a sync call runs on, and what it returns is dropped. Both
    calls are billed, the one without a known number of tokens by what it was expected to cost.
    (Dean and Barroso 2013, "The Tail at Scale".)

    The second-best has the lowest total among the other experts that meet the requirements. A
    conversation that stays with its expert is not hedged.

    The latencies are those of this process, and at first those of the last day in the router's
    log. A copy or a pickle begins with none.

    Args:
        quantile: The chosen expert is late when it takes longer than in this share of its answers.
            Until 20 answers of it are known, no other expert is asked.
        seconds: When any expert is late; None is by the quantile.
        max_share: The highest share of calls in which a second expert is asked, so that an outage
            does not double the bill.
        clock: Returns the time in seconds.

    Raises:
        InputError: a number is out of range.
    """

    stage = PolicyStage.HEDGE

    def __init__(
        self,
        quantile: float = 0.95,
        *,
        seconds: float | None = None,
        max_share: float = 0.05,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.quantile = check_number("quantile", quantile, 0.0, 1.0)
        self.seconds = None if seconds is None else check_number("seconds", seconds, 1e-3)
        self.max_share = check_number("max_share", max_share, 0.0, 1.0)
        self._clock = clock
        self._latencies: dict[str, Latencies] = {}
        self._allowance = HedgeAllowance(self.max_share)
        self._lock = ForkSafeLock()
        self._read_log: object = None

    def bind(self, library: Library, traffic: Any) -> Self:  # noqa: ANN401, ARG002 - as in the base class
        """Read the latencies of the last day from the log, once."""
        if traffic is not None and traffic is not self._read_log and self.seconds is None:
            self._read_log = traffic
            since = self._clock() - _LOG_SECONDS
            for _, outcome, _ in traffic.decisions(since=since, last=_LOG_ANSWERS):
                if outcome is None or outcome.served_by is None or outcome.latency is None:
                    continue
                if outcome.output_tokens != 0:  # a cached answer has none, and took no time
                    self.note_latency(outcome.served_by, outcome.latency)
        return self

    def choose(self, batch: PolicyBatch) -> PolicyChoice | None:
        """Say who is asked, too, and when the chosen expert is late."""
        seconds = second_best(batch)
        names = batch.library.names
        calls: list[CallPlan | None] = []
        for chosen, second in zip(batch.choice.tolist(), seconds.tolist(), strict=True):
            if chosen == NO_EXPERT:
                calls.append(None)
                continue
            other = None if second == NO_EXPERT else names[second]
            delay = self.delay(names[chosen])
            calls.append(CallPlan(hedge=HedgePlan(other, delay, self.may_ask, self.note_latency)))
        return PolicyChoice(batch.choice, [None] * len(calls), calls)

    def delay(self, expert: str) -> float | None:
        """Return after how many seconds an expert is late, None if that is unknown."""
        if self.seconds is not None:
            return self.seconds
        with self._lock:
            latencies = self._latencies.get(expert)
            return None if latencies is None else latencies.quantile(self.quantile)

    def note_latency(self, expert: str, seconds: float) -> None:
        """Note how long an answer took; of one that was cancelled, how long it was waited for."""
        with self._lock:
            self._latencies.setdefault(expert, Latencies()).add(seconds)

    def may_ask(self) -> bool:
        """Tell whether the share of hedges allows one more, and count it if so."""
        with self._lock:
            return self._allowance.take()

    def record(self, decision: Decision) -> None:
        """Count a call: only calls allow hedges."""
        if not decision.default_used:
            with self._lock:
                self._allowance.earn()

    def serve(self, decision: Decision, expert: str, ask: Ask) -> SimulatedAnswer:
        """Ask the second-best, too, if the measured latency of the first is above the delay."""
        first, plan = ask(expert), None if decision.calls is None else decision.calls.hedge
        if first.latency is not None:
            self.note_latency(expert, first.latency)
        if plan is None or plan.expert is None or plan.seconds is None or first.latency is None:
            return first
        if first.latency <= plan.seconds or not self.may_ask():
            return first
        second = ask(plan.expert)
        return first_answer(first, second, plan.seconds)

    def set_clock(self, clock: Callable[[], float]) -> None:
        """Read the time from another clock."""
        self._clock = clock

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the settings without the latencies."""
        settings = {"seconds": self.seconds, "max_share": self.max_share, "clock": self._clock}
        return _make, (type(self), self.quantile, settings)

    def __repr__(self) -> str:
        """Show the settings."""
        late = f"quantile={self.quantile:g}"
        if self.seconds is not None:
            late = f"seconds={self.seconds:g}"
        return f"Hedge({late}, max_share={self.max_share:g})"


class Latencies:
    """The last latencies of one expert, in seconds, and their quantiles."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_KEPT_ANSWERS)
        self._quantile: tuple[float, float] | None = None

    def add(self, seconds: float) -> None:
        """Add a latency; the oldest one is forgotten."""
        self._seconds.append(seconds)
        self._quantile = None

    def quantile(self, share: float) -> float | None:
        """Return the seconds within which a share of the answers came, None if few are known."""
        if len(self._seconds) < _MIN_ANSWERS:
            return None
        if self._quantile is None or self._quantile[0] != share:
            self._quantile = share, float(np.quantile(np.array(self._seconds), share))
        return self._quantile[1]


class HedgeAllowance:
    """Allows hedges in a share of the calls: each call earns a part of one.

    What quiet times leave is kept for 1,000 calls at most.
    """

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._earned = _FIRST_HEDGES if max_share > 0 else 0.0

    def earn(self) -> None:
        """Count a call."""
        most = max(_FIRST_HEDGES, self._max_share * _WINDOW)
        self._earned = min(self._earned + self._max_share, most)

    def take(self) -> bool:
        """Tell whether a hedge is allowed now, and count it if so."""
        if self._earned < 1 - 1e-9:
            return False
        self._earned -= 1
        return True


def second_best(batch: PolicyBatch) -> IndexArray:
    """Return the eligible expert of the lowest total beside the chosen one, `(batch,)`.

    `NO_EXPERT` where there is none.
    """
    totals = np.where(batch.eligible, batch.totals, np.inf)
    rows = np.flatnonzero(batch.choice != NO_EXPERT)
    totals[rows, batch.choice[rows]] = np.inf
    best = totals.argmin(axis=1)
    has_any = np.isfinite(totals[np.arange(len(totals)), best])
    return np.where(has_any, best, NO_EXPERT)


def first_answer(first: SimulatedAnswer, second: SimulatedAnswer, delay: float) -> SimulatedAnswer:
    """Return the answer that comes first, if the second expert is asked after `delay` seconds.

    Both are billed.
    """
    second_at = None if second.latency is None else delay + second.latency
    wins = second_at is not None and first.latency is not None and second_at < first.latency
    winner, latency = (second, second_at) if wins else (first, first.latency)
    both = second.after(first)
    return replace(winner, cost=both.cost, latency=latency, called=both.called, outcome="hedged")


def _make(kind: type[Hedge], quantile: float, settings: dict[str, Any]) -> Hedge:
    return kind(quantile, **settings)
