"""How slowly the process of the server responds."""

import asyncio
import time

import pytest

from tryage_server.response_delay import ResponseDelay


def measured(task):
    """Return what a task of one event loop returns, with a delay that is watched there."""

    async def run():
        is_busy = [True]
        delay = ResponseDelay(lambda: is_busy[0])
        delay.watch()
        return await task(delay, is_busy)

    return asyncio.run(run())


def test_without_requests_there_is_no_delay():
    async def seconds():
        return ResponseDelay(lambda: True).seconds

    assert asyncio.run(seconds()) == 0.0


def test_an_event_loop_that_computes_without_a_pause_is_late():
    async def block(delay, _):
        await asyncio.sleep(0)  # a measurement begins
        time.sleep(1.0)
        during = delay.seconds
        await asyncio.sleep(0.05)
        return during, delay.seconds

    during, after = measured(block)
    assert during == pytest.approx(0.3, rel=0.5)  # three tenths of the last measurement
    assert after >= during


def test_a_loop_each_of_whose_turns_is_long_is_late_by_several_turns():
    async def work(delay, _):
        for _ in range(40):
            time.sleep(0.1)
            await asyncio.sleep(0)
        return delay.seconds

    assert measured(work) > 0.1


def test_the_delay_falls_when_the_loop_is_in_time_again():
    async def block_and_rest(delay, _):
        await asyncio.sleep(0)
        time.sleep(1.0)
        await asyncio.sleep(0.05)
        late = delay.seconds
        for _ in range(100):
            await asyncio.sleep(0.1)
            if delay.seconds < late / 4:
                return True
        return False

    assert measured(block_and_rest)


def test_nothing_is_measured_when_no_request_is_left():
    async def end(delay, is_busy):
        is_busy[0] = False
        for _ in range(100):
            await asyncio.sleep(0.02)
            if len(asyncio.all_tasks()) == 1:  # this one
                break
        time.sleep(0.5)
        return len(asyncio.all_tasks()), delay.seconds

    assert measured(end) == (1, 0.0)


def test_a_loop_that_has_ended_leaves_no_delay_to_the_next():
    delay = ResponseDelay(lambda: True)

    async def block():
        delay.watch()
        await asyncio.sleep(0)
        time.sleep(1.0)
        return delay.seconds

    async def seconds():
        before = delay.seconds
        delay.watch()
        return before, delay.seconds

    assert asyncio.run(block()) > 0.1
    assert asyncio.run(seconds()) == pytest.approx((0.0, 0.0), abs=0.1)
