"""LlamaIndex's observers see one decision per call, in its span; a stream may be left early."""

from __future__ import annotations

import asyncio
import gc

import pytest
from llama_index.core.llms import ChatMessage

from tryage_llamaindex import RoutingDecisionEvent


async def test_the_event_of_the_decision_comes_before_the_child_starts(llm, observer, method, call):
    await call(llm, method, "big question")
    (event,) = observer.of("RoutingDecisionEvent")
    assert isinstance(event, RoutingDecisionEvent)
    assert (event.model, event.reason) == ("big", "lowest total of 2")
    starts = [
        e for e in observer.events if e.class_name().endswith(("ChatStartEvent", "ionStartEvent"))
    ]
    order = [observer.events.index(one) for one in (starts[0], event, starts[-1])]
    assert order == sorted(order)
    assert starts[0].model_dict["model_name"] == "tryage"
    assert starts[-1].model_dict["model_name"] == "scripted-big"


async def test_the_event_belongs_to_the_span_of_its_call(llm, observer, method, call):
    await call(llm, method, "big question")
    (event,) = observer.of("RoutingDecisionEvent")
    assert event.span_id is not None
    span = event.span_id.partition("-")[0]  # older versions name the class that has the method
    assert span.startswith(f"TryageLLM.{method}") or "LLMChatMixin" in span


def test_a_stream_is_routed_when_it_is_requested_not_when_it_is_read(llm, perception, observer):
    stream = llm.stream_chat([ChatMessage("big question")])
    assert perception.asked == ["big question"]
    assert observer.of("RoutingDecisionEvent")[0].span_id is not None
    assert len(list(stream)) > 1


async def test_an_asynchronous_stream_gives_no_validation_error(llm, observer):
    stream = await llm.astream_chat([ChatMessage("big question")])
    assert [chunk async for chunk in stream][-1].message.content == "Hello from scripted-big today"
    assert observer.of("LLMChatEndEvent")


@pytest.mark.parametrize("n_read", [0, 1])
def test_a_stream_that_is_left_early_is_closed_and_has_not_failed(llm, small, big, n_read):
    stream = llm.stream_chat([ChatMessage("small question")])
    for _ in range(n_read):
        next(stream)
    stream.close()
    del stream
    gc.collect()
    assert (small.closed_streams, big.calls) == (1, [])
    assert llm.chat([ChatMessage("small question")]).additional_kwargs["tryage"]["model"] == "small"


async def test_an_asynchronous_stream_that_is_left_early_is_closed(llm, small, big):
    stream = await llm.astream_chat([ChatMessage("small question")])
    await anext(stream)
    await stream.aclose()
    del stream
    gc.collect()
    for _ in range(10):  # asyncio closes nested generators one after the other
        await asyncio.sleep(0)
    assert (small.closed_streams, big.calls) == (1, [])
