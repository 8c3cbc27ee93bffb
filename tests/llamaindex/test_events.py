"""What LlamaIndex's own observers see: the decision, once, inside the call that it belongs to."""

from __future__ import annotations

import asyncio
import gc

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.llms import ChatMessage

from tryage_llamaindex import RoutingDecisionEvent


async def test_the_decision_is_told_before_the_child_starts(llm, observer, way, call):
    await call(llm, way, "big question")
    (told,) = observer.of("RoutingDecisionEvent")
    assert isinstance(told, RoutingDecisionEvent)
    assert (told.model, told.reason) == ("big", "lowest total of 2")
    starts = [
        e for e in observer.events if e.class_name().endswith(("ChatStartEvent", "ionStartEvent"))
    ]
    order = [observer.events.index(event) for event in (starts[0], told, starts[-1])]
    assert order == sorted(order)
    assert starts[0].model_dict["model_name"] == "tryage"
    assert starts[-1].model_dict["model_name"] == "scripted-big"


async def test_the_event_belongs_to_the_span_of_its_call(llm, observer, way, call):
    await call(llm, way, "big question")
    (told,) = observer.of("RoutingDecisionEvent")
    assert told.span_id is not None
    assert told.span_id.startswith(f"TryageLLM.{way}") or "Answering" in told.span_id


def test_routing_happens_when_a_stream_is_asked_for_not_when_it_is_read(llm, perception, observer):
    stream = llm.stream_chat([ChatMessage("big question")])
    assert perception.asked == ["big question"]
    assert observer.of("RoutingDecisionEvent")[0].span_id is not None
    assert len(list(stream)) > 1


async def test_an_asynchronous_stream_gives_no_validation_error(llm, observer):
    stream = await llm.astream_chat([ChatMessage("big question")])
    assert [chunk async for chunk in stream][-1].message.content == "Hello from scripted-big today"
    assert observer.of("LLMChatEndEvent")


@pytest.mark.parametrize("most", [0, 1])
def test_a_stream_that_nobody_reads_on_is_cancelled_not_failed(llm, small, big, most):
    stream = llm.stream_chat([ChatMessage("small question")])
    for _ in range(most):
        next(stream)
    stream.close()
    del stream
    gc.collect()
    assert (small.closed, big.heard) == (1, [])
    assert llm.chat([ChatMessage("small question")]).additional_kwargs["tryage"]["model"] == "small"


async def test_an_asynchronous_stream_that_nobody_reads_on_is_cancelled(llm, small, big):
    stream = await llm.astream_chat([ChatMessage("small question")])
    await anext(stream)
    await stream.aclose()
    del stream
    gc.collect()
    for _ in range(10):  # asyncio closes the generators within one after the other
        await asyncio.sleep(0)
    assert (small.closed, big.heard) == (1, [])


async def test_the_query_is_routed_not_the_template_around_it(llm, perception):
    template = PromptTemplate("Context: big small\nQuery: {query_str}\nAnswer: ")
    partial = template.partial_format(query_str="small, partially")
    llm.predict(template, query_str="small one")
    await llm.apredict(partial)
    list(llm.stream(template, query_str="big two"))
    async for _ in await llm.astream(template, query_str="big three"):
        pass
    assert perception.asked == ["small one", "small, partially", "big two", "big three"]


async def test_queries_asked_at_once_are_not_mixed_up(llm, perception):
    template = PromptTemplate("Context: ... Query: {query_str}")
    asked = [f"{name} {i}" for i in range(8) for name in ("small", "big")]
    answers = await asyncio.gather(*(llm.apredict(template, query_str=one) for one in asked))
    assert answers == [f"Hello from scripted-{one.split()[0]} today" for one in asked]
    assert sorted(perception.asked) == sorted(asked)


def test_a_template_without_a_query_is_routed_as_it_reads(llm, perception):
    llm.predict(PromptTemplate("big {thing}"), thing="question")
    assert perception.asked == ["big question"]
