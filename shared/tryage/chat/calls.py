"""Calls to make, sync or async: with a limit of time, a hedge, or others at the same time."""

# ruff: noqa: BLE001 - clients raise anything; what asks for several calls gets their errors.

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tryage.chat.hedging import arun_hedged, run_hedged
from tryage.chat.streams import close_answer
from tryage.chat.time_limits import arun_with_timeout, drop_task, run_with_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.chat.hedging import HedgedCall


class Call(NamedTuple):
    """A call to make, and the seconds that it may take; None is no limit.

    `hedge` is a second call that is made, too, if the first one is late. With `beside`, calls to
    make at the same time, the result is a list of what all of them return, or of the errors that
    they raise. A call that is `blocking` is never awaited: where others are awaited, it runs in a
    thread.
    """

    call: Callable[[], Any]
    seconds: float | None = None
    hedge: HedgedCall | None = None
    beside: tuple[Callable[[], Any], ...] = ()
    blocking: bool = False


def make_call(call: Call) -> Any:  # noqa: ANN401 - any framework's answer
    """Make a call, and return what it returns."""
    if call.hedge is not None:
        return run_hedged(call.call, call.hedge, call.seconds)
    if not call.beside:
        return run_with_timeout(call.call, call.seconds)
    with ThreadPoolExecutor(len(call.beside), "tryage-sample") as executor:
        others = [
            executor.submit(copy_context().run, _result_or_error, one, call.seconds)
            for one in call.beside
        ]
        first = _result_or_error(call.call, call.seconds)
        return [first, *(other.result() for other in others)]


async def amake_call(call: Call) -> Any:  # noqa: ANN401 - any framework's answer
    """Do what `make_call` does, with calls that are awaited."""
    if call.blocking:
        return await arun_with_timeout(partial(asyncio.to_thread, call.call), call.seconds)
    if call.hedge is not None:
        return await arun_hedged(call.call, call.hedge, call.seconds)
    if not call.beside:
        return await arun_with_timeout(call.call, call.seconds, close_answer)
    return await _agather(call)


async def _agather(call: Call) -> list[Any]:
    """Return what calls at the same time return or raise; they end with the caller.

    Unlike `gather`, it leaves no answer open that has come before the caller is cancelled.
    """
    tasks = [
        asyncio.ensure_future(arun_with_timeout(one, call.seconds, close_answer))
        for one in (call.call, *call.beside)
    ]
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            drop_task(task, close_answer)
        raise
    return [_result_of(task) for task in tasks]


def _result_of(task: asyncio.Future[Any]) -> Any:  # noqa: ANN401 - any framework's answer
    if task.cancelled():
        return asyncio.CancelledError()
    error = task.exception()
    return task.result() if error is None else error


def _result_or_error(call: Callable[[], Any], seconds: float | None) -> Any:  # noqa: ANN401 - any framework's answer
    try:
        return run_with_timeout(call, seconds)
    except Exception as error:
        return error
