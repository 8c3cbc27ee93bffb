"""A process that forks while its threads call chat models leaves no child that hangs."""

from __future__ import annotations

import asyncio
import operator

import pytest

from tryage_langchain import ChatTryage, TryageRouter
from tryage_langchain.testing import ScriptedChatModel

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

CALLS = {
    "invoke": lambda model: model.invoke("small?"),
    "batch": lambda model: model.batch(["small?", "big?"]),
    "stream": lambda model: list(model.stream("big?")),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("small?")),
}


class ForgetfulChatModel(ScriptedChatModel):
    """Keeps no calls, of which the threads make thousands."""

    def _record_call(self, *_, **__):
        pass


@pytest.fixture
def models():
    return {name: ForgetfulChatModel(model=name) for name in ("small", "big")}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_child_hangs_that_is_forked_while_threads_use_a_chat_model(
    call, models, router, finishes_in_children
):
    chat = ChatTryage(models=models, router=router)
    ask = operator.methodcaller("invoke", "small?")
    assert finishes_in_children(lambda: call(chat), 20, meanwhile=lambda: ask(chat))


def test_no_child_hangs_that_is_forked_while_threads_use_a_router(
    models, router, finishes_in_children
):
    tryage_router = TryageRouter(router, models)

    def ask():
        tryage_router.invoke("small?")

    assert finishes_in_children(ask, 20, meanwhile=ask)
