"""What coroutines ask for together is computed together, and what is long in a thread."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading

import pytest

from tryage.chat.batching import BatchingExecutor


class Computer:
    """Doubles numbers, and keeps each pass with its thread, those of two threads in any order."""

    def __init__(self):
        self.calls = []

    def __call__(self, items):
        self.calls.append((list(items), threading.get_ident()))
        return [2 * item for item in items]

    @property
    def passes(self):
        return [items for items, _ in self.calls]

    @property
    def threads(self):
        return [thread for _, thread in self.calls]


@pytest.fixture
def computer():
    return Computer()


@pytest.fixture
async def warm(computer):
    """An executor that has run once."""
    executor = BatchingExecutor(computer)
    await executor.run(0, 1)
    computer.calls.clear()
    return executor


async def test_the_first_pass_goes_to_a_thread_and_the_next_short_one_does_not(computer):
    executor = BatchingExecutor(computer)
    assert [await executor.run(i, 10) for i in range(3)] == [0, 2, 4]
    here = threading.get_ident()
    assert [thread == here for thread in computer.threads] == [False, True, True]


async def test_coroutines_that_ask_together_share_passes_and_get_their_own_results(warm, computer):
    results = await asyncio.gather(*(warm.run(i, 10) for i in range(100)))
    assert results == [2 * i for i in range(100)]
    assert sorted(computer.passes) == [list(range(64)), list(range(64, 100))]
    assert threading.get_ident() not in computer.threads, "many items halted the event loop"


async def test_while_the_first_pass_runs_the_others_wait_and_are_one_pass(computer):
    executor = BatchingExecutor(computer)
    await asyncio.gather(*(executor.run(i, 10) for i in range(80)))
    assert len(computer.passes[0]) == 64
    assert sum(map(len, computer.passes)) == 80


async def test_a_long_item_goes_to_a_thread_whatever_came_before(warm, computer):
    await asyncio.gather(warm.run(1, 10), warm.run(2, 1_000_000), warm.run(3, 10))
    here = threading.get_ident()
    by_thread = {item: thread == here for items, thread in computer.calls for item in items}
    assert (by_thread[1], by_thread[2]) == (True, False)


async def test_long_and_short_items_together_each_get_their_own_result(warm):
    sizes = [1_000_000 if i % 5 == 0 else 10 for i in range(200)]
    results = await asyncio.gather(*(warm.run(i, size) for i, size in enumerate(sizes)))
    assert results == [2 * i for i in range(200)]


async def test_a_thread_that_ends_while_a_pass_is_due_starts_no_pass_without_items(
    warm, computer, monkeypatch
):
    failures = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))

    def run_at_once(_, function, *args):
        done = loop.create_future()
        done.set_result(function(*args))
        return done

    monkeypatch.setattr(loop, "run_in_executor", run_at_once)
    results = await asyncio.gather(*(warm.run(i, 1_000_000) for i in range(100)))
    await asyncio.sleep(0.01)
    assert results == [2 * i for i in range(100)]
    assert list(map(len, computer.passes)) == [64, 36]
    assert failures == []


async def test_the_event_loop_goes_on_while_a_long_item_is_computed():
    release = threading.Event()

    def compute(items):
        release.wait(10)
        return items

    executor = BatchingExecutor(compute)
    waiting = asyncio.ensure_future(executor.run("long", 1_000_000))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    release.set()
    assert await waiting == "long"


async def test_between_two_passes_other_callbacks_run(warm):
    order = []

    async def other():
        for _ in range(3):
            await asyncio.sleep(0)
            order.append("other")

    async def ask(i):
        await warm.run(i, 10)
        order.append("asked")

    await asyncio.gather(other(), *(ask(i) for i in range(16)), *(ask(i) for i in range(64)))
    assert order.index("other") < len(order) - 1 - order[::-1].index("asked")


async def test_an_error_of_one_item_is_that_ones_alone():
    executor = BatchingExecutor(lambda items: [ValueError(i) if i == 1 else i for i in items])
    results = await asyncio.gather(*(executor.run(i, 1) for i in range(3)), return_exceptions=True)
    assert (results[0], results[2]) == (0, 2)
    assert isinstance(results[1], ValueError)


@pytest.mark.parametrize("size", [1, 1_000_000])
async def test_an_error_of_a_pass_reaches_all_that_wait_for_it(size):
    class PanicError(BaseException):
        """As a package written in Rust raises it."""

    def fail(_):
        raise PanicError

    executor = BatchingExecutor(fail)
    for _ in range(2):  # in a thread, then perhaps in the loop
        results = await asyncio.gather(
            *(executor.run(i, size) for i in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [PanicError] * 3


async def test_a_cancelled_coroutine_does_not_hold_up_the_others(warm):
    waiting = [asyncio.ensure_future(warm.run(i, 10)) for i in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    assert await asyncio.gather(waiting[0], waiting[2]) == [0, 4]
    assert await warm.run(5, 10) == 10


def test_event_loops_in_several_threads_share_an_executor(computer):
    executor = BatchingExecutor(computer)
    results = {}

    async def ask_all(start):
        numbers = range(start, start + 50)
        results[start] = await asyncio.gather(*(executor.run(i, 10) for i in numbers))

    threads = [threading.Thread(target=asyncio.run, args=(ask_all(100 * k),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {100 * k: [2 * i for i in range(100 * k, 100 * k + 50)] for k in range(4)}


def test_one_event_loop_after_another_may_use_it(computer):
    executor = BatchingExecutor(computer)
    assert [asyncio.run(executor.run(i, 10)) for i in range(3)] == [0, 2, 4]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301 - written here
def test_a_copy_computes_the_same(copied):
    executor = BatchingExecutor(sorted)
    asyncio.run(executor.run(1, 1))
    assert asyncio.run(copied(executor).run(3, 1)) == 3
