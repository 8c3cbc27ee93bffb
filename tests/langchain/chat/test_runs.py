"""What an observer sees: one model run per call, inside ChatTryage's own, under its real name."""

from __future__ import annotations

import uuid

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler, get_usage_metadata_callback
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph

from tryage_langchain import ChatTryage


async def test_one_model_run_inside_one_chain_run_with_explicit_callbacks(
    how, call, chat, recorder
):
    config = {"callbacks": [recorder], "tags": ["mine"], "metadata": {"user": 7}}
    answer = await call(how, chat, "big question", config)
    assert answer.text == "Hello from scripted-big today"
    ((own_id, own),) = [(i, run) for i, run in recorder.runs.items() if run["kind"] == "chain"]
    (model,) = recorder.of("model")
    assert (own["parent"], model["parent"]) == (None, own_id)
    assert {own["end"], model["end"]} == {"well"}
    assert {"mine", "tryage:big"} <= set(model["tags"])
    assert "tryage:big" not in own["tags"]
    told = model["metadata"]
    assert (told["user"], told["tryage_model"], told["model_route"]) == (7, "big", "big")
    assert told["ls_model_name"] == "scripted-big"
    assert told["ls_provider"] == "scriptedchatmodel"
    ((name, data, event_run),) = recorder.events
    assert (name, data["model"], event_run) == ("tryage_route", "big", own_id)


async def test_usage_is_counted_once_under_the_model_that_served(how, call, chat):
    counted = UsageMetadataCallbackHandler()
    await call(how, chat, "big question", {"callbacks": [counted]})
    assert {name: usage["total_tokens"] for name, usage in counted.usage_metadata.items()} == {
        "scripted-big": 15
    }
    with get_usage_metadata_callback() as around:
        answer = await call(how, chat, "small question")
    assert around.usage_metadata["scripted-small"]["total_tokens"] == 15
    assert answer.usage_metadata["total_tokens"] == 15


async def test_the_answer_tells_who_gave_it_and_why(how, call, chat):
    answer = await call(how, chat, "big question")
    told = answer.response_metadata["tryage"]
    assert (told["model"], told["reason"], told["how"]) == ("big", "lowest total of 2", "routed")
    assert told["scores"] == {"big": 0.0, "small": 1.0}
    assert answer.response_metadata["model_name"] == "scripted-big"


async def test_a_model_that_does_not_say_its_name_is_given_it_once(how, call, router, small):
    small.names_itself = False
    chat = ChatTryage(models={"small": small}, router=router)
    answer = await call(how, chat, "small question")
    assert answer.response_metadata["model_name"] == "small"


@pytest.mark.parametrize("streamed", [False, True])
def test_in_a_pipeline_no_run_is_an_orphan(chat, recorder, streamed):
    chain = ChatPromptTemplate.from_template("{q}") | chat | StrOutputParser()
    config = {"callbacks": [recorder]}
    given = {"q": "big one"}
    answer = "".join(chain.stream(given, config)) if streamed else chain.invoke(given, config)
    assert answer == "Hello from scripted-big today"
    roots = [run["name"] for run in recorder.runs.values() if run["parent"] is None]
    assert roots == ["RunnableSequence"]
    assert {run["end"] for run in recorder.runs.values()} == {"well"}


def test_called_inside_a_function_the_runs_are_nested_without_passing_the_config(chat, recorder):
    def around(text):
        return chat.invoke(text)

    RunnableLambda(around).invoke("big question", {"callbacks": [recorder]})
    assert sum(run["parent"] is None for run in recorder.runs.values()) == 1
    assert len(recorder.of("model")) == 1


def test_run_name_and_run_id_belong_to_chattryage_only(chat, recorder):
    run_id = uuid.uuid4()
    chat.invoke("big", {"callbacks": [recorder], "run_name": "desk", "run_id": run_id})
    assert recorder.runs[run_id]["name"] == "desk"
    assert recorder.of("model")[0]["name"] != "desk"


def test_a_stream_that_is_left_early_ends_its_runs(chat, recorder):
    chunks = chat.stream("big question", {"callbacks": [recorder]})
    next(chunks)
    chunks.close()
    assert [run["end"] for run in recorder.runs.values()] == ["well", "GeneratorExit"]


async def test_an_async_stream_that_is_left_early_ends_its_runs(chat, recorder):
    chunks = chat.astream("big question", {"callbacks": [recorder]})
    await anext(chunks)
    await chunks.aclose()
    assert len(recorder.runs) == 2
    assert None not in {run["end"] for run in recorder.runs.values()}


async def test_events_tell_the_route_before_the_first_token(chat):
    events = [event async for event in chat.astream_events("big question", version="v2")]
    kinds = [event["event"] for event in events]
    assert kinds.count("on_chat_model_start") == 1
    assert kinds.index("on_custom_event") < kinds.index("on_chat_model_stream")
    spoken = [e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(spoken) == "Hello from scripted-big today"


@pytest.fixture
def graph(chat):
    def answer(state, config):
        return {"messages": [chat.invoke(state["messages"], config)]}

    built = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    return built.compile()


ASKED = {"messages": [("user", "big question")]}


def test_langgraph_streams_every_token_once_and_says_whose_it_is(graph):
    parts = list(graph.stream(ASKED, stream_mode="messages"))
    spoken = "".join(chunk.text for chunk, _ in parts)
    assert spoken == "Hello from scripted-big today"
    assert {told["tryage_model"] for _, told in parts} == {"big"}


async def test_langgraph_streams_asynchronously_too(chat):
    async def answer(state, config):
        return {"messages": [await chat.ainvoke(state["messages"], config)]}

    built = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    parts = [p async for p in built.compile().astream(ASKED, stream_mode=["messages", "custom"])]
    spoken = "".join(part[0].text for mode, part in parts if mode == "messages")
    assert spoken == "Hello from scripted-big today"
    assert [p["tryage_route"]["model"] for mode, p in parts if mode == "custom"] == ["big"]


def test_langgraphs_custom_stream_tells_the_route(graph):
    (written,) = list(graph.stream(ASKED, stream_mode="custom"))
    assert written["tryage_route"]["model"] == "big"
