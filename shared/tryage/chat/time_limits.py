"""Limits of time: seconds for a whole call, for each attempt in it, and how a call is cut off."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from tryage.errors import AttemptTimeoutError, InputError

T = TypeVar("T")

Discard: TypeAlias = Callable[[T], Awaitable[None] | None]

_CLOCK_TOLERANCE = 1e-3  # seconds by which a wait may end too soon

_LAST_SHARE, _SHARE = 1.0, 0.5  # of the time that is left, for the last model and for any other


@dataclass(frozen=True)
class TimeLimits:
    """How long a call may take, in seconds; None is no limit.

    Args:
        deadline: For the whole call, over all models that are asked.
        attempt_timeout: For one model's answer; in a stream, for each wait until a chunk comes.

    Raises:
        InputError: a limit is not a number above zero.
    """

    deadline: float | None = None
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("deadline", "attempt_timeout"):
            check_seconds(name, getattr(self, name))

    def with_deadline(self, deadline: float | None) -> TimeLimits:
        """Return the limits of a call with a deadline of its own; None keeps the common one."""
        return self if deadline is None else TimeLimits(deadline, self.attempt_timeout)


def check_seconds(name: str, value: object) -> float | None:
    """Return a limit if it is None or seconds above zero.

    Raises:
        InputError: it is not; the message has the name of the limit.
    """
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value <= sys.float_info.max:  # type: ignore[operator]  # `is_number` says so
        raise InputError(f"{name} is {value!r:.80}. Expected seconds above zero, or None.")
    return value  # type: ignore[return-value]  # a number, as just checked


class AttemptLimit(NamedTuple):
    """When an attempt must have ended.

    `is_own` is False if only the deadline of the whole call, or a share of it, sets the limit.
    """

    seconds: float
    ends_at: float
    is_own: bool


class CallTimer:
    """Divides the time of one call among its attempts; it starts now.

    While other models are left, an attempt without a timeout gets half of the time that remains,
    so that a model that hangs leaves time for the next. The last model gets all of it.
    """

    def __init__(self, limits: TimeLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        deadline = limits.deadline
        self._ends_at = None if deadline is None else clock() + deadline

    @property
    def deadline(self) -> float | None:
        """The seconds for the whole call, None without a limit."""
        return self._limits.deadline

    @property
    def has_expired(self) -> bool:
        """Whether the deadline has passed."""
        return self._ends_at is not None and self._clock() >= self._ends_at - _CLOCK_TOLERANCE

    @property
    def call_seconds_left(self) -> float | None:
        """The seconds until the deadline, None without one."""
        return None if self._ends_at is None else max(self._ends_at - self._clock(), 0.0)

    def attempt_limit(self, *, is_last: bool) -> AttemptLimit | None:
        """Return the limit of an attempt that begins now, None if there is none."""
        now, own = self._clock(), self._limits.attempt_timeout
        seconds = own
        if self._ends_at is not None:
            share = _LAST_SHARE if is_last or own is not None else _SHARE
            remaining = max(self._ends_at - now, 0.0) * share
            seconds = remaining if own is None else min(own, remaining)
        return None if seconds is None else AttemptLimit(seconds, now + seconds, seconds == own)

    def seconds_left(self, limit: AttemptLimit | None) -> float | None:
        """Return the seconds that an attempt has left, None without a limit."""
        return None if limit is None else max(limit.ends_at - self._clock(), 0.0)


def run_with_timeout(
    call: Callable[[], T], seconds: float | None, context: Context | None = None
) -> T:
    """Return what a call returns; with a limit, it runs in a thread that is given up at its end.

    The thread has a copy of the caller's context variables, or the given context. A thread cannot
    be stopped: what it returns later is dropped.

    Raises:
        AttemptTimeoutError: the seconds have passed.
    """
    if seconds is None:
        return call()
    future = run_in_thread(call, context)
    if not wait([future], timeout=seconds).done:
        raise timeout_error(seconds)
    return future.result()


def run_in_thread(call: Callable[[], T], context: Context | None = None) -> Future[T]:
    """Make a call in a thread of its own, with a copy of the caller's context or the given one."""
    future: Future[T] = Future()
    # A daemon: the interpreter does not wait for a call that hangs.
    run = (context or copy_context()).run
    threading.Thread(
        target=run, args=(_complete, future, call), name="tryage-attempt", daemon=True
    ).start()
    return future


async def arun_with_timeout(
    call: Callable[[], Awaitable[T]], seconds: float | None, discard: Discard[T] | None = None
) -> T:
    """Do what `run_with_timeout` does with a call that is awaited; at its end it is cancelled.

    What it returns all the same, too late, is given to `discard`, such as a stream to close.

    Raises:
        AttemptTimeoutError: the seconds have passed.
    """
    if seconds is None:
        return await call()
    task: asyncio.Future[T] = asyncio.ensure_future(call())
    try:
        # Unlike `wait_for`, it does not wait until a call that ignores its cancellation ends.
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        drop_task(task, discard)
        raise
    if not done:
        drop_task(task, discard)
        raise timeout_error(seconds)
    return task.result()


def drop_task(task: asyncio.Future[T], discard: Discard[T] | None = None) -> None:
    """Cancel a task whose result is no longer needed; one that it has is given to `discard`."""
    task.add_done_callback(partial(_end_dropped, discard))
    task.cancel()


def timeout_error(seconds: float) -> AttemptTimeoutError:
    """Return the error of an attempt that was given up."""
    rounded = float(f"{seconds:.2g}")  # a part of the limit may have passed before the call
    return AttemptTimeoutError(f"No answer within {rounded:g} seconds.")


def _complete(future: Future[Any], call: Callable[[], Any]) -> None:
    """Make the call, and give its result or its error to the thread that waits."""
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
        future.set_exception(error)
    else:
        future.set_result(result)


def _end_dropped(discard: Discard[T] | None, task: asyncio.Future[T]) -> None:
    """Read the error of a task that nobody awaits, so that asyncio does not report it."""
    if task.cancelled() or task.exception() is not None or discard is None:
        return
    ending = discard(task.result())
    if ending is not None:
        end = asyncio.ensure_future(ending)
        _ENDS.add(end)
        end.add_done_callback(_ENDS.discard)
        end.add_done_callback(partial(_end_dropped, None))


_ENDS: set[asyncio.Future[None]] = set()  # an event loop does not keep its tasks alive
