"""A call that takes longer than its limit is cut off, and its time is divided among attempts."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import math
import threading

import pytest

from tryage.chat.time_limits import CallTimer, TimeLimits, arun_with_timeout, run_with_timeout
from tryage.errors import AttemptTimeoutError, InputError

SHORT = 0.01  # seconds


class Clock:
    """A clock that a test sets."""

    seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


# Sharing the time ------------------------------------------------------------------------------


def limits_in_a_row(timer, clock, attempts):
    """Use up the whole time of each attempt; return the seconds that each one gets."""
    seconds = []
    for i in range(attempts):
        limit = timer.attempt_limit(is_last=i == attempts - 1)
        seconds.append(limit.seconds)
        clock.seconds = limit.ends_at
    return seconds


def test_each_attempt_gets_half_of_what_is_left_and_the_last_all_of_it(clock):
    timer = CallTimer(TimeLimits(deadline=8), clock)
    assert limits_in_a_row(timer, clock, 4) == [4, 2, 1, 1]
    assert timer.has_expired


def test_an_attempt_timeout_holds_for_each_attempt_within_the_deadline(clock):
    timer = CallTimer(TimeLimits(deadline=8, attempt_timeout=3), clock)
    assert limits_in_a_row(timer, clock, 3) == [3, 3, 2]
    assert not CallTimer(TimeLimits(attempt_timeout=3), clock).has_expired


def test_a_limit_tells_whether_it_is_the_attempts_own(clock):
    timer = CallTimer(TimeLimits(deadline=4, attempt_timeout=3), clock)
    first = timer.attempt_limit(is_last=False)
    clock.seconds = first.ends_at
    assert (first.is_own, timer.attempt_limit(is_last=True).is_own) == (True, False)


def test_an_attempt_knows_the_seconds_that_it_has_left(clock):
    timer = CallTimer(TimeLimits(attempt_timeout=3), clock)
    limit = timer.attempt_limit(is_last=False)
    clock.seconds += 2
    assert timer.seconds_left(limit) == 1
    clock.seconds += 2
    assert timer.seconds_left(limit) == 0


def test_without_limits_nothing_is_limited(clock):
    timer = CallTimer(TimeLimits(), clock)
    assert timer.attempt_limit(is_last=True) is None
    assert timer.seconds_left(None) is None
    assert not timer.has_expired


def test_a_call_may_have_a_deadline_of_its_own():
    limits = TimeLimits(deadline=8, attempt_timeout=3)
    assert limits.with_deadline(2) == TimeLimits(2, 3)
    assert limits.with_deadline(None) is limits


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 10**400, True, "5", [1]])
@pytest.mark.parametrize("name", ["deadline", "attempt_timeout"])
def test_a_limit_is_seconds_above_zero(name, value):
    with pytest.raises(InputError, match=f"{name} is .* Expected seconds above zero, or None"):
        TimeLimits(**{name: value})


# Cutting off -----------------------------------------------------------------------------------


def test_a_call_that_hangs_is_given_up():
    end = threading.Event()
    try:
        with pytest.raises(AttemptTimeoutError, match=r"No answer within 0\.01 seconds"):
            run_with_timeout(end.wait, SHORT)
    finally:
        end.set()


def test_a_call_in_time_returns_its_result_or_raises_its_error():
    def fail():
        raise TimeoutError("of the client itself")

    assert run_with_timeout(lambda: 7, 5) == 7
    with pytest.raises(TimeoutError, match="of the client itself") as raised:
        run_with_timeout(fail, 5)
    assert type(raised.value) is TimeoutError


def test_only_a_call_with_a_limit_runs_in_a_thread():
    assert run_with_timeout(threading.get_ident, None) == threading.get_ident()
    assert run_with_timeout(threading.get_ident, 5) != threading.get_ident()


def test_the_thread_has_a_copy_of_the_callers_context_variables():
    name = contextvars.ContextVar("name")
    name.set("caller")

    def read_and_set():
        before = name.get()
        name.set("thread")
        return before

    assert run_with_timeout(read_and_set, 5) == "caller"
    assert name.get() == "caller"


def test_a_thread_that_hangs_does_not_keep_the_interpreter_alive():
    end, threads = threading.Event(), []

    def hang():
        threads.append(threading.current_thread())
        end.wait()

    with pytest.raises(AttemptTimeoutError):
        run_with_timeout(hang, 0.2)
    end.set()
    assert threads[0].daemon


def test_an_exit_of_the_program_inside_a_call_reaches_the_caller():
    def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run_with_timeout(leave, 5)


async def test_an_awaited_call_that_hangs_is_cancelled():
    ends = []

    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    with pytest.raises(AttemptTimeoutError, match=r"No answer within 0\.01 seconds"):
        await arun_with_timeout(hang, SHORT)
    await asyncio.sleep(0)
    assert ends == ["cancelled"]


async def test_an_awaited_call_that_ignores_its_cancellation_holds_up_nobody():
    end = asyncio.Event()

    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await end.wait()
            raise ValueError("too late to matter") from None

    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    with pytest.raises(AttemptTimeoutError):
        await arun_with_timeout(stubborn, SHORT)
    end.set()
    await asyncio.sleep(SHORT)
    gc.collect()
    assert reports == []


async def test_an_awaited_call_in_time_returns_its_result_or_raises_its_error():
    async def answer():
        await asyncio.sleep(0)
        return 7

    async def fail():
        raise TimeoutError("of the client itself")

    assert await arun_with_timeout(answer, 5) == 7
    assert await arun_with_timeout(answer, None) == 7
    with pytest.raises(TimeoutError, match="of the client itself") as raised:
        await arun_with_timeout(fail, 5)
    assert type(raised.value) is TimeoutError


async def test_cancelling_the_caller_cancels_the_call():
    ends, begun = [], asyncio.Event()

    async def hang():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    caller = asyncio.create_task(arun_with_timeout(hang, 60))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.sleep(0)
    assert ends == ["cancelled"]


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_an_answer_that_comes_too_late_is_discarded(is_cancelled):
    begun, discarded = asyncio.Event(), asyncio.Event()

    async def answer_anyway():
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return 7

    async def discard(value):
        assert value == 7
        discarded.set()

    seconds = 60 if is_cancelled else SHORT
    caller = asyncio.create_task(arun_with_timeout(answer_anyway, seconds, discard))
    await begun.wait()
    if is_cancelled:
        caller.cancel()
    with pytest.raises(asyncio.CancelledError if is_cancelled else AttemptTimeoutError):
        await caller
    await asyncio.wait_for(discarded.wait(), 10)
