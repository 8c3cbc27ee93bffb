"""A process that forks while its threads call an LLM leaves no child that hangs."""

from __future__ import annotations

import asyncio
import threading

import pytest
from llama_index.core import get_response_synthesizer
from llama_index.core.schema import NodeWithScore, TextNode

from tryage_llamaindex import TryageLLM, _components

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

CALLS = {
    "complete": lambda llm: llm.complete("small?"),
    "stream_complete": lambda llm: list(llm.stream_complete("big?")),
    "acomplete": lambda llm: asyncio.run(llm.acomplete("small?")),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_no_child_hangs_that_is_forked_while_threads_use_an_llm(call, llm, finishes_in_children):
    assert finishes_in_children(lambda: call(llm), 20, meanwhile=lambda: llm.complete("small?"))


@pytest.mark.parametrize("lock", [_components._handler.lock, _components._handler_lock])
def test_a_child_inherits_no_lock_of_the_handler_of_spans(lock, router, small, finishes_in_child):
    is_held, release = threading.Event(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            release.wait(60)

    def call():
        llm = TryageLLM(llms={"small": small, "big": small}, router=router)
        nodes = [NodeWithScore(node=TextNode(text="What is known."))]
        get_response_synthesizer(llm=llm).synthesize("small?", nodes=nodes)

    call()  # what is imported for the first call takes locks of Python
    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(60)
    try:
        assert finishes_in_child(call)
    finally:
        release.set()
        thread.join()
