"""Hedged calls: a second expert is asked, too, if the first is late; the first answer counts."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tryage.chat.streams import PeekedStream, close_answer, close_stream
from tryage.chat.time_limits import drop_task, run_in_thread, timeout_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from tryage.chat.attempts import Attempts
    from tryage.chat.costs import CallCosts
    from tryage.chat.hooks import FallbackHooks
    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage.core.policy_change import HedgePlan
    from tryage.traffic.health import HealthRegistry

HEDGE_KEY = "hedge"
"""Where a record says that two experts were asked at the same time."""


class BegunCall(Protocol):
    """A call that was begun: the future of a thread, or a task."""

    def done(self) -> bool: ...  # noqa: D102 - as in both
    def exception(self) -> BaseException | None: ...  # noqa: D102 - as in both
    def result(self) -> Any: ...  # noqa: ANN401, D102 - as in both


F = TypeVar("F", bound=BegunCall)


class HedgedCall:
    """The call of the expert that is asked, too, and what came of both calls.

    Args:
        first: The name of the expert that is asked first.
        plan: Says who is asked, too, and when.
        hooks: What asks an expert.
        make_record: Returns the record of an answer of an expert.
        health: Which models fail now.
        key_of: Returns the key of an expert's model in `health`.
        note_cool_down: Is told an expert that has failed, its error, and the seconds for which it
            is left out, None if it is not.
        clock: Returns seconds that never go back.

    `was_asked` says whether the second expert was asked and has not failed, `has_won` whether its
    answer counts. `first_error` is the error of the first expert, if the second one has answered
    after it.
    """

    def __init__(  # noqa: PLR0913 - independent parts
        self,
        first: str,
        plan: HedgePlan,
        hooks: FallbackHooks,
        make_record: Callable[[str], RoutingRecord],
        health: HealthRegistry,
        key_of: Callable[[str], Hashable],
        note_cool_down: Callable[[str, Exception, float | None], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._note_cool_down = note_cool_down
        self.first, self.name, self.seconds = first, plan.expert or "", plan.seconds
        self._plan, self._hooks, self._clock = plan, hooks, clock
        self._make_record, self._health, self._key_of = make_record, health, key_of
        self.was_asked = self.has_won = False
        self.record: RoutingRecord = {}
        self.first_error: BaseException | None = None
        self._unused_answer: Any = None
        self._started, self._asked_at, self._health_started = clock(), 0.0, 0.0

    # Asking the second expert --------------------------------------------------------------

    def begin(self) -> bool:
        """Tell whether the second expert is asked now: it is well, and few calls are hedged."""
        started = self._health.begin(self._key_of(self.name)) if self.name else None
        if started is None:
            return False
        self._health_started = started
        if not self._plan.may_ask():
            self._release()
            return False
        self._asked_at, self.was_asked = self._clock(), True
        self.record = {**self._make_record(self.name), "reason": f"{self.first} was late"}
        return True

    def ask(self) -> Any:  # noqa: ANN401 - any framework's answer
        """Ask the second expert."""
        client = self._hooks.get_client(self.name)
        self._hooks.emit_event(self.record)
        return self._hooks.call(client, self.record)

    async def aask(self) -> Any:  # noqa: ANN401 - any framework's answer
        """Do what `ask` does, with hooks whose results are awaited."""
        client = await self._hooks.get_client(self.name)
        await self._hooks.emit_event(self.record)
        return await self._hooks.call(client, self.record)

    # What came of both ---------------------------------------------------------------------

    def answered(self, calls: Sequence[F]) -> F | None:
        """Return the call that has answered, the first one if both have; None if none has yet.

        If all have failed it is the first one, with its error.
        """
        first, *others = calls
        second = others[0] if others else None
        if second is not None and second.done() and (error := second.exception()) is not None:
            self._note_failure(error)
            second = None
        if first.done() and first.exception() is None:
            self._end(None if second is None or not second.done() else second.result())
            return first
        if first.done() and second is None:
            return first
        if second is None or not second.done():
            return None
        self.first_error = first.exception() if first.done() else None
        self._win()
        return second

    def give_up(self) -> None:
        """Note that neither is waited for any more."""
        if self.was_asked:
            self._release()

    def _end(self, unused_answer: Any) -> None:  # noqa: ANN401 - any framework's answer
        """Note that the first expert has answered."""
        self._plan.note_latency(self.first, self._clock() - self._started)
        self._unused_answer = unused_answer
        self.give_up()

    def _win(self) -> None:
        """Note that the second expert has answered first."""
        now, self.has_won = self._clock(), True
        if self.first_error is None:  # a call that is cancelled has taken at least so long
            self._plan.note_latency(self.first, now - self._started)
        self._plan.note_latency(self.name, now - self._asked_at)
        self._health.record_success(self._key_of(self.name), self._health_started)

    def _note_failure(self, error: BaseException) -> None:
        """Note once that the second expert has failed."""
        if self.was_asked and isinstance(error, Exception):
            key, started = self._key_of(self.name), self._health_started
            seconds = self._health.record_failure(key, error, started)
            self._note_cool_down(self.name, error, seconds)
        self.was_asked = False

    def _release(self) -> None:
        self._health.release(self._key_of(self.name), self._health_started)

    @property
    def unused_stream(self) -> PeekedStream | None:
        """The stream of the second expert, if it has begun at the same moment as the first one."""
        return self._unused_answer if isinstance(self._unused_answer, PeekedStream) else None

    # What it costs -------------------------------------------------------------------------

    def bill(self, record: RoutingRecord, plan: RoutingPlan, costs: CallCosts) -> None:
        """Write into the record of the answer who was asked, too, and what that costs."""
        if not self.was_asked:
            return
        record[HEDGE_KEY] = {"model": self.name, "after": self.seconds, "answered": self.has_won}
        if isinstance(self.first_error, Exception):
            costs.add_failure(self.first, self.first_error)
            return
        unused, usage = self.first if self.has_won else self.name, None
        if self._unused_answer is not None and self.unused_stream is None:
            self._hooks.answered_by(unused)
            usage = self._hooks.read_usage(self._unused_answer)
        costs.add_unused(unused, usage, plan.expected_cost(unused))

    def finish(
        self,
        record: RoutingRecord,
        plan: RoutingPlan,
        attempts: Attempts,
        costs: CallCosts,
    ) -> RoutingRecord:
        """Return the record of the answer that counts, with what both calls cost.

        `record` is that of the first expert.
        """
        if self.has_won:
            record = self.record
            if isinstance(self.first_error, Exception):
                attempts.late_failure(self.first)(self.first_error)
            attempts.end()
        self.bill(record, plan, costs)
        if self.was_asked:
            self._hooks.answered_by(record["model"])
        return record


# Waiting for the first of two --------------------------------------------------------------------


def run_hedged(call: Callable[[], Any], hedge: HedgedCall, seconds: float | None) -> Any:  # noqa: ANN401 - any framework's answer
    """Return the answer that comes first: of a call, or of the hedge if the call is late.

    Both run in threads. One that is not waited for any more runs on, and its answer is dropped.

    Raises:
        AttemptTimeoutError: the seconds have passed.
        Exception: the call has failed, and the hedge was not asked or has failed, too.
    """
    ends_at = None if seconds is None else time.monotonic() + seconds
    calls = [run_in_thread(call)]
    try:
        if hedge.seconds is not None:
            wait(calls, _shorter(hedge.seconds, seconds))
            if not calls[0].done() and hedge.begin():
                calls.append(run_in_thread(hedge.ask))
        while (answered := hedge.answered(calls)) is None:
            _check_any(wait(_open(calls), _left(ends_at), FIRST_COMPLETED).done, seconds)
    except BaseException:
        hedge.give_up()
        raise
    finally:
        for late in _open(calls):
            late.add_done_callback(_close_late)
    if hedge.unused_stream is not None:
        close_stream(hedge.unused_stream)
    return answered.result()


async def arun_hedged(
    call: Callable[[], Awaitable[Any]], hedge: HedgedCall, seconds: float | None
) -> Any:  # noqa: ANN401 - any framework's answer
    """Do what `run_hedged` does with calls that are awaited; the other one is cancelled."""
    ends_at = None if seconds is None else time.monotonic() + seconds
    calls: list[asyncio.Future[Any]] = [asyncio.ensure_future(call())]
    try:
        if hedge.seconds is not None:
            await asyncio.wait(calls, timeout=_shorter(hedge.seconds, seconds))
            if not calls[0].done() and hedge.begin():
                calls.append(asyncio.ensure_future(hedge.aask()))
        while (answered := hedge.answered(calls)) is None:
            done, _ = await asyncio.wait(
                _open(calls), timeout=_left(ends_at), return_when=asyncio.FIRST_COMPLETED
            )
            _check_any(done, seconds)
    except BaseException:
        hedge.give_up()
        raise
    finally:
        for late in _open(calls):
            drop_task(late, close_answer)
    if hedge.unused_stream is not None:
        ending = close_stream(hedge.unused_stream)
        if ending is not None:
            await ending
    return answered.result()


def _check_any(done: object, seconds: float | None) -> None:
    """Raise unless a call is done before the time is over.

    Raises:
        AttemptTimeoutError: none is.
    """
    if not done:
        raise timeout_error(seconds or 0.0)


def _open(calls: Sequence[F]) -> list[F]:
    return [call for call in calls if not call.done()]


def _left(ends_at: float | None) -> float | None:
    return None if ends_at is None else max(ends_at - time.monotonic(), 0.0)


def _shorter(seconds: float, limit: float | None) -> float:
    return seconds if limit is None else min(seconds, limit)


def _close_late(late: Future[Any]) -> None:
    """Close the stream of a call whose answer is no longer needed."""
    if late.exception() is None:
        close_answer(late.result())
