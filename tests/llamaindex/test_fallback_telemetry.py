"""What OpenTelemetry shows of TryageLLM: one trace for each call, sync, async or streamed."""

from __future__ import annotations

import asyncio
import gc

import pytest
from llama_index.core.llms import ChatMessage

from tryage import Router
from tryage.testing import FunctionPerception
from tryage_llamaindex import TryageLLM
from tryage_llamaindex.testing import ScriptedLLM

WHOLE, ROUTE = "invoke_workflow tryage", "route tryage"
MESSAGES = [ChatMessage("canary-prompt")]


@pytest.fixture
def children():
    return {name: ScriptedLLM(model=name) for name in ("small", "big")}


@pytest.fixture
def llm(children):
    router = Router(FunctionPerception(("small", "big"), lambda _: [0.1, 0.5]))
    return TryageLLM(llms=children, router=router)


async def read(stream):
    return [chunk async for chunk in await stream]


@pytest.mark.parametrize(
    "call",
    [
        lambda llm: llm.chat(MESSAGES),
        lambda llm: list(llm.stream_chat(MESSAGES)),
        lambda llm: asyncio.run(llm.achat(MESSAGES)),
        lambda llm: asyncio.run(read(llm.astream_chat(MESSAGES))),
        lambda llm: llm.complete("canary-prompt"),
        lambda llm: asyncio.run(llm.acomplete("canary-prompt")),
    ],
    ids=["chat", "stream_chat", "achat", "astream_chat", "complete", "acomplete"],
)
def test_every_way_to_call_is_one_trace_below_the_caller(telemetry, llm, call):
    with telemetry.caller():
        call(llm)
    spans = {span.name: span for span in telemetry.spans()}
    assert set(spans) == {"caller", WHOLE, ROUTE, "chat small"}
    assert spans[WHOLE].parent.span_id == spans["caller"].context.span_id
    for name in (ROUTE, "chat small"):
        assert spans[name].parent.span_id == spans[WHOLE].context.span_id
    assert not [span for span in spans.values() if "canary" in span.to_json()]


async def test_calls_of_many_tasks_belong_each_to_their_own_caller(telemetry, llm):
    async def ask(i):
        with telemetry.caller(f"caller {i}"):
            await llm.achat([ChatMessage(f"Hello {i}")])

    await asyncio.gather(*(ask(i) for i in range(4)))
    parents = {span.parent.span_id for span in telemetry.spans(WHOLE)}
    callers = {span.context.span_id for i in range(4) for span in telemetry.spans(f"caller {i}")}
    assert parents == callers
    assert len(callers) == 4


def test_a_stream_that_is_never_read_ends_its_spans(telemetry, llm):
    stream = llm.stream_chat(MESSAGES)
    assert telemetry.spans(WHOLE) == []
    del stream
    gc.collect()
    assert len(telemetry.spans(WHOLE)) == len(telemetry.spans("chat small")) == 1


def test_a_fallback_shows_both_attempts(telemetry, llm, children):
    children["small"].fails = [ConnectionError("canary-error")]
    llm.chat(MESSAGES)
    (failed,), (answered,) = telemetry.spans("chat small"), telemetry.spans("chat big")
    assert failed.attributes["error.type"] == "ConnectionError"
    assert answered.attributes["tryage.attempt.outcome"] == "answered"
    assert "canary" not in failed.to_json()
