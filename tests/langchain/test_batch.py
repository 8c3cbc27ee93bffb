"""A batch is routed in one encoder pass; each row has its own config and its own failure."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from langchain_core.runnables import RunnableLambda

from tryage.errors import InputError
from tryage_langchain import ChatTryage, TryageRouter
from tryage_langchain._batch import max_workers
from tryage_langchain.testing import ScriptedChatModel

if TYPE_CHECKING:
    from tryage.router import Router


# TryageRouter ------------------------------------------------------------------------------------


MIXED = ["big 1", "small 2", "big 3"]
EXPECTED = [("big", "big 1"), ("small", "small 2"), ("big", "big 3")]


def echo(name):
    return RunnableLambda(lambda value: (name, value), name=name)


@pytest.fixture
def tryage_router(router):
    return TryageRouter(router=router, runnables={"small": echo("small"), "big": echo("big")})


def test_a_batch_is_predicted_in_one_pass_and_answered_in_order(tryage_router, perception):
    assert tryage_router.batch(MIXED) == EXPECTED
    assert perception.passes == [MIXED]


async def test_an_async_batch_is_predicted_in_one_pass_too(tryage_router, perception):
    assert await tryage_router.abatch(MIXED) == EXPECTED
    assert perception.passes == [MIXED]


async def test_without_runnables_a_batch_yields_decisions(router):
    tryage_router = TryageRouter(router=router)
    assert [d.expert.name for d in tryage_router.batch(MIXED)] == ["big", "small", "big"]
    assert [d.expert.name for d in await tryage_router.abatch(MIXED)] == ["big", "small", "big"]


async def test_an_empty_batch_has_no_answers(tryage_router):
    assert tryage_router.batch([]) == []
    assert await tryage_router.abatch([]) == []


async def test_every_row_has_its_own_config(tryage_router):
    configs = [{}, {"configurable": {"tryage_model": "big"}}, {}]
    expected = ["big", "big", "big"]
    assert [name for name, _ in tryage_router.batch(MIXED, configs)] == expected
    assert [name for name, _ in await tryage_router.abatch(MIXED, configs)] == expected


async def test_a_bad_input_fails_only_its_own_row(tryage_router):
    first, second, third = tryage_router.batch(["big", 7, "small"], return_exceptions=True)
    assert (first, third) == (("big", "big"), ("small", "small"))
    assert isinstance(second, InputError)
    again = await tryage_router.abatch(["big", 7, "small"], return_exceptions=True)
    assert (again[0], again[2]) == (first, third)
    assert isinstance(again[1], InputError)
    with pytest.raises(InputError):
        tryage_router.batch(["big", 7, "small"])


def test_a_failing_runnable_fails_only_its_own_rows(router):
    def fail(_):
        raise ConnectionError("gone")

    tryage_router = TryageRouter(router=router, runnables={"small": fail, "big": echo("big")})
    first, second, _ = tryage_router.batch(MIXED, return_exceptions=True)
    assert first == ("big", "big 1")
    assert isinstance(second, ConnectionError)
    with pytest.raises(ConnectionError, match="gone"):
        tryage_router.batch(MIXED)


def test_each_runnable_gets_its_rows_as_one_batch(router):
    class Batcher(RunnableLambda):
        def batch(self, inputs, config=None, **kwargs):  # noqa: ARG002 - as in Runnable
            return [tuple(inputs)] * len(inputs)

    tryage_router = TryageRouter(
        router=router, runnables={"small": echo("small"), "big": Batcher(lambda value: value)}
    )
    assert tryage_router.batch(MIXED)[0] == ("big 1", "big 3")


@pytest.mark.parametrize("limit", [1, 2])
def test_max_concurrency_holds_for_all_runnables_together(router: Router, limit: int):
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

    tryage_router = TryageRouter(router=router, runnables={"small": work, "big": work})
    inputs = MIXED * 3
    assert tryage_router.batch(inputs, {"max_concurrency": limit}) == inputs
    assert most <= limit


# ChatTryage --------------------------------------------------------------------------------------


def model_of(answer):
    return answer.response_metadata["tryage"]["model"]


def test_a_chat_batch_is_one_pass_and_every_row_has_its_own_config(chat, perception):
    inputs = ["big 1", "small 2", "big 3", 7]
    configs = [{}, {}, {"configurable": {"tryage_model": "small"}}, {}]
    *answers, wrong = chat.batch(inputs, configs, return_exceptions=True)
    assert [model_of(answer) for answer in answers] == ["big", "small", "small"]
    assert isinstance(wrong, ValueError)
    assert perception.passes == [["big 1", "small 2", "big 3"]]
    assert chat.batch([]) == []


async def test_an_async_chat_batch_is_one_pass_too(chat, perception):
    answers = await chat.abatch(["big 1", "small 2"], {"max_concurrency": 1})
    assert [model_of(answer) for answer in answers] == ["big", "small"]
    assert len(perception.passes) == 1


def test_a_failing_answer_fails_only_its_own_row(chat, big):
    big.fails = [ValueError("bad request")]
    first, second = chat.batch(["big question", "small one"], return_exceptions=True)
    assert isinstance(first, ValueError)
    assert second.text == "Hello from scripted-small today"


@pytest.mark.parametrize("method", ["batch_as_completed", "abatch_as_completed"])
async def test_batch_as_completed_yields_every_answer(chat, method):
    answers = getattr(chat, method)(["small one", "big two", "small three"])
    rows = [row async for row in answers] if method.startswith("a") else list(answers)
    assert {i: model_of(answer) for i, answer in rows} == {0: "small", 1: "big", 2: "small"}


# Items that hang ---------------------------------------------------------------------------------


class Gate:
    """Lets "small" models hang until a "big" one has answered, and remembers if it did not."""

    def __init__(self):
        self.opened, self.timed_out = threading.Event(), False

    def answer(self, value):
        if value.startswith("big"):
            self.opened.set()
        elif not self.opened.wait(10):
            self.timed_out = True
        return value


HANGING_FIRST = [*(f"small {i}" for i in range(40)), "big"]


@pytest.fixture
def gate_model():
    """A chat model of which the calls for "small" wait for the one for "big"."""
    gate = Gate()

    class GateModel(ScriptedChatModel):
        def _generate(self, messages, *args, **kwargs):
            gate.answer(messages[-1].text)
            return super()._generate(messages, *args, **kwargs)

    return gate, GateModel(model="scripted")


def test_a_batch_of_chats_does_not_wait_for_its_first_items(router, gate_model):
    gate, model = gate_model
    chat = ChatTryage(models={"small": model, "big": model}, router=router)
    assert len(chat.batch(HANGING_FIRST)) == 41
    assert not gate.timed_out


@pytest.mark.parametrize("config", [None, {}, [{}] * 41])
def test_batch_as_completed_does_not_wait_for_its_first_items(router, gate_model, config):
    gate, model = gate_model
    chat = ChatTryage(models={"small": model, "big": model}, router=router)
    assert sorted(i for i, _ in chat.batch_as_completed(HANGING_FIRST, config)) == list(range(41))
    assert not gate.timed_out


def test_batch_as_completed_of_runnables_does_not_wait_for_its_first_items(router):
    gate = Gate()
    runnables = {name: RunnableLambda(gate.answer) for name in ("small", "big")}
    tryage_router = TryageRouter(router=router, runnables=runnables)
    answers = dict(tryage_router.batch_as_completed(HANGING_FIRST))
    assert [answers[i] for i in range(41)] == HANGING_FIRST
    assert not gate.timed_out
    assert list(tryage_router.batch_as_completed([])) == []


def test_max_concurrency_still_limits_batch_as_completed(router):
    running, most, lock = 0, 0, threading.Lock()

    def work(value):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1
        return value

    tryage_router = TryageRouter(router=router, runnables={"small": work, "big": work})
    list(tryage_router.batch_as_completed(HANGING_FIRST, {"max_concurrency": 2}))
    assert most <= 2


@pytest.mark.parametrize(("items", "workers"), [(0, 1), (1, 1), (13, 13), (1_000, 64)])
def test_a_batch_has_as_many_workers_as_items_up_to_a_bound(items, workers):
    assert max_workers(range(items)) == workers
