"""Calls that are made alone, at the same time, or in a thread where others are awaited."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from tryage.chat.calls import Call, amake_call, make_call
from tryage.chat.streams import apeek_stream
from tryage.errors import AttemptTimeoutError

setting: ContextVar[str] = ContextVar("setting", default="none")


def fail():
    raise ConnectionError("down")


async def afail():
    fail()


async def test_a_call_alone_returns_or_raises():
    async def answer():
        return 1

    assert make_call(Call(lambda: 1)) == await amake_call(Call(answer)) == 1
    with pytest.raises(ConnectionError):
        make_call(Call(fail))
    with pytest.raises(ConnectionError):
        await amake_call(Call(afail))


def test_calls_at_the_same_time_return_what_each_of_them_does():
    barrier = threading.Barrier(3, timeout=5)
    setting.set("mine")

    def answer():
        barrier.wait()
        return setting.get()

    def fail_late():
        barrier.wait()
        fail()

    first, second, third = make_call(Call(answer, beside=(answer, fail_late)))
    assert (first, second) == ("mine", "mine")
    assert isinstance(third, ConnectionError)


async def test_awaited_calls_at_the_same_time_return_what_each_of_them_does():
    ready = asyncio.Event()

    async def wait():
        await asyncio.wait_for(ready.wait(), 5)
        return "waited"

    async def release():
        ready.set()
        return "released"

    results = await amake_call(Call(wait, beside=(release, afail)))
    assert results[:2] == ["waited", "released"]
    assert isinstance(results[2], ConnectionError)


async def test_calls_at_the_same_time_end_with_a_caller_that_is_cancelled():
    ended = []

    async def chunks():
        try:
            yield "a"
            yield "b"
        finally:
            ended.append("stream")

    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("call")

    stream = chunks()  # which is held here, so that no garbage collector closes it

    async def answer():
        return await apeek_stream(stream, bool)

    task = asyncio.ensure_future(amake_call(Call(hang, beside=(answer,))))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)
    assert sorted(ended) == ["call", "stream"]


async def test_every_call_has_the_limit_of_time():
    hangs = threading.Event()
    first, second = make_call(Call(lambda: 1, 0.02, beside=(lambda: hangs.wait(5),)))
    assert first == 1
    assert isinstance(second, AttemptTimeoutError)
    hangs.set()


async def test_a_blocking_call_does_not_run_in_the_event_loop():
    loop_thread = threading.get_ident()
    assert await amake_call(Call(threading.get_ident, blocking=True)) != loop_thread
    assert make_call(Call(threading.get_ident, blocking=True)) == loop_thread
