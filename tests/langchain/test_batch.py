"""TryageRouter in batches: one encoder pass, own configs, own failures."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from langchain_core.runnables import RunnableLambda

from tryage.errors import InputError
from tryage_langchain import TryageRouter

if TYPE_CHECKING:
    from tryage.router import Router

MIXED = ["big 1", "small 2", "big 3"]


def echo(name):
    return RunnableLambda(lambda value: (name, value), name=name)


@pytest.fixture
def chooser(router):
    return TryageRouter(router=router, runnables={"small": echo("small"), "big": echo("big")})


EXPECTED = [("big", "big 1"), ("small", "small 2"), ("big", "big 3")]


def test_a_batch_is_predicted_in_one_pass_and_answered_in_order(chooser, perception):
    assert chooser.batch(MIXED) == EXPECTED
    assert perception.passes == [MIXED]


async def test_an_async_batch_is_predicted_in_one_pass_too(chooser, perception):
    assert await chooser.abatch(MIXED) == EXPECTED
    assert perception.passes == [MIXED]


async def test_without_runnables_a_batch_yields_decisions(router):
    chooser = TryageRouter(router=router)
    assert [d.expert.name for d in chooser.batch(MIXED)] == ["big", "small", "big"]
    assert [d.expert.name for d in await chooser.abatch(MIXED)] == ["big", "small", "big"]


async def test_an_empty_batch_is_empty(chooser):
    assert chooser.batch([]) == []
    assert await chooser.abatch([]) == []


async def test_every_input_has_its_own_config(chooser):
    configs = [{}, {"configurable": {"tryage_model": "big"}}, {}]
    expected = ["big", "big", "big"]
    assert [name for name, _ in chooser.batch(MIXED, configs)] == expected
    assert [name for name, _ in await chooser.abatch(MIXED, configs)] == expected


async def test_one_bad_input_does_not_take_the_others_down(chooser):
    first, second, third = chooser.batch(["big", 7, "small"], return_exceptions=True)
    assert (first, third) == (("big", "big"), ("small", "small"))
    assert isinstance(second, InputError)
    again = await chooser.abatch(["big", 7, "small"], return_exceptions=True)
    assert (again[0], again[2]) == (first, third)
    assert isinstance(again[1], InputError)
    with pytest.raises(InputError):
        chooser.batch(["big", 7, "small"])


def test_one_failing_child_does_not_take_the_others_down(router):
    def fail(_):
        raise ConnectionError("gone")

    chooser = TryageRouter(router=router, runnables={"small": fail, "big": echo("big")})
    first, second, _ = chooser.batch(MIXED, return_exceptions=True)
    assert first == ("big", "big 1")
    assert isinstance(second, ConnectionError)
    with pytest.raises(ConnectionError, match="gone"):
        chooser.batch(MIXED)


def test_each_child_batches_its_share(router):
    class Batcher(RunnableLambda):
        def batch(self, inputs, config=None, **kwargs):  # noqa: ARG002 - as in Runnable
            return [tuple(inputs)] * len(inputs)

    chooser = TryageRouter(
        router=router, runnables={"small": echo("small"), "big": Batcher(lambda value: value)}
    )
    assert chooser.batch(MIXED)[0] == ("big 1", "big 3")


@pytest.mark.parametrize("limit", [1, 2])
def test_max_concurrency_holds_across_children(router: Router, limit: int):
    running, most, lock = 0, 0, threading.Lock()
    pause = threading.Event()

    def work(value):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pause.wait(0.01)
        with lock:
            running -= 1
        return value

    chooser = TryageRouter(router=router, runnables={"small": work, "big": work})
    inputs = MIXED * 3
    assert chooser.batch(inputs, {"max_concurrency": limit}) == inputs
    assert most <= limit
