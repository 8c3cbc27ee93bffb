"""The runs of ChatTryage: what observers see of them, and what reaches the chosen model."""

from __future__ import annotations

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import (
    AsyncCallbackManager,
    CallbackManager,
    UsageMetadataCallbackHandler,
    get_usage_metadata_callback,
)
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph

from tryage import Preferences, Router
from tryage.errors import InputError
from tryage.testing import FixedPerception
from tryage_langchain import ChatTryage


def model_of(answer):
    return answer.response_metadata["tryage"]["model"]


# What observers see ------------------------------------------------------------------------------


async def test_one_model_run_is_inside_one_chain_run(method, call_chat, chat, recorder):
    config = {"callbacks": [recorder], "tags": ["mine"], "metadata": {"user": 7}}
    answer = await call_chat(method, chat, "big question", config)
    assert answer.text == "Hello from scripted-big today"
    ((own_id, own_run),) = [(i, run) for i, run in recorder.runs.items() if run["kind"] == "chain"]
    (model,) = recorder.of_kind("model")
    assert (own_run["parent"], model["parent"]) == (None, own_id)
    assert {own_run["end"], model["end"]} == {"well"}
    assert {"mine", "tryage:big"} <= set(model["tags"])
    assert "tryage:big" not in own_run["tags"]
    metadata = model["metadata"]
    assert (metadata["user"], metadata["tryage_model"]) == (7, "big")
    assert metadata["model_route"] == "big"
    assert metadata["ls_model_name"] == "scripted-big"
    assert metadata["ls_provider"] == "scriptedchatmodel"
    ((name, data, event_run),) = recorder.events
    assert (name, data["model"], event_run) == ("tryage_route", "big", own_id)


async def test_usage_is_counted_once_under_the_model_that_answered(method, call_chat, chat):
    handler = UsageMetadataCallbackHandler()
    await call_chat(method, chat, "big question", {"callbacks": [handler]})
    assert {name: usage["total_tokens"] for name, usage in handler.usage_metadata.items()} == {
        "scripted-big": 15
    }
    with get_usage_metadata_callback() as around:
        answer = await call_chat(method, chat, "small question")
    assert around.usage_metadata["scripted-small"]["total_tokens"] == 15
    assert answer.usage_metadata["total_tokens"] == 15


async def test_the_answer_tells_which_model_gave_it_and_why(method, call_chat, chat):
    answer = await call_chat(method, chat, "big question")
    record = answer.response_metadata["tryage"]
    assert (record["model"], record["how"]) == ("big", "routed")
    assert record["reason"] == "lowest total of 2"
    assert record["scores"] == {"big": 0.0, "small": 1.0}
    assert answer.response_metadata["model_name"] == "scripted-big"


async def test_an_answer_without_a_model_name_gets_it_once(method, call_chat, router, small):
    small.names_itself = False
    chat = ChatTryage(models={"small": small}, router=router)
    answer = await call_chat(method, chat, "small question")
    assert answer.response_metadata["model_name"] == "small"


@pytest.mark.parametrize("streamed", [False, True])
def test_in_a_pipeline_every_run_has_a_parent(chat, recorder, streamed):
    chain = ChatPromptTemplate.from_template("{q}") | chat | StrOutputParser()
    config = {"callbacks": [recorder]}
    given = {"q": "big one"}
    answer = "".join(chain.stream(given, config)) if streamed else chain.invoke(given, config)
    assert answer == "Hello from scripted-big today"
    roots = [run["name"] for run in recorder.runs.values() if run["parent"] is None]
    assert roots == ["RunnableSequence"]
    assert {run["end"] for run in recorder.runs.values()} == {"well"}


def test_inside_a_function_the_runs_are_nested_without_passing_the_config(chat, recorder):
    def around(text):
        return chat.invoke(text)

    RunnableLambda(around).invoke("big question", {"callbacks": [recorder]})
    assert sum(run["parent"] is None for run in recorder.runs.values()) == 1
    assert len(recorder.of_kind("model")) == 1


def test_run_name_and_run_id_belong_to_chattryage_only(chat, recorder):
    run_id = uuid.uuid4()
    chat.invoke("big", {"callbacks": [recorder], "run_name": "mine", "run_id": run_id})
    assert recorder.runs[run_id]["name"] == "mine"
    assert recorder.of_kind("model")[0]["name"] != "mine"


def test_a_stream_that_is_not_read_to_its_end_ends_its_runs(chat, recorder):
    chunks = chat.stream("big question", {"callbacks": [recorder]})
    next(chunks)
    chunks.close()
    assert [run["end"] for run in recorder.runs.values()] == ["well", "GeneratorExit"]


async def test_an_async_stream_that_is_not_read_to_its_end_ends_its_runs(chat, recorder):
    chunks = chat.astream("big question", {"callbacks": [recorder]})
    await anext(chunks)
    await chunks.aclose()
    assert len(recorder.runs) == 2
    assert None not in {run["end"] for run in recorder.runs.values()}


async def test_events_have_the_decision_before_the_first_token(chat):
    events = [event async for event in chat.astream_events("big question", version="v2")]
    kinds = [event["event"] for event in events]
    assert kinds.count("on_chat_model_start") == 1
    assert kinds.index("on_custom_event") < kinds.index("on_chat_model_stream")
    spoken = [e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(spoken) == "Hello from scripted-big today"


# LangGraph ---------------------------------------------------------------------------------------


@pytest.fixture
def graph(chat):
    def answer(state, config):
        return {"messages": [chat.invoke(state["messages"], config)]}

    built = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    return built.compile()


STATE = {"messages": [("user", "big question")]}


def test_langgraph_streams_every_token_once_with_the_name_of_its_model(graph):
    parts = list(graph.stream(STATE, stream_mode="messages"))
    spoken = "".join(chunk.text for chunk, _ in parts)
    assert spoken == "Hello from scripted-big today"
    assert {metadata["tryage_model"] for _, metadata in parts} == {"big"}


async def test_langgraph_streams_asynchronously_too(chat):
    async def answer(state, config):
        return {"messages": [await chat.ainvoke(state["messages"], config)]}

    built = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    parts = [p async for p in built.compile().astream(STATE, stream_mode=["messages", "custom"])]
    spoken = "".join(part[0].text for mode, part in parts if mode == "messages")
    assert spoken == "Hello from scripted-big today"
    assert [p["tryage_route"]["model"] for mode, p in parts if mode == "custom"] == ["big"]


def test_the_custom_stream_of_langgraph_has_the_decision(graph):
    (written,) = list(graph.stream(STATE, stream_mode="custom"))
    assert written["tryage_route"]["model"] == "big"


# What reaches the chosen model -------------------------------------------------------------------


class CountingRateLimiter(BaseRateLimiter):
    """Counts the calls that pass."""

    def __init__(self):
        self.passed = 0

    def acquire(self, *, blocking=True):  # noqa: ARG002 - LangChain passes it by name
        self.passed += 1
        return True

    async def aacquire(self, *, blocking=True):
        return self.acquire(blocking=blocking)


async def test_its_callbacks_tags_and_metadata_reach_the_run_of_the_model(
    method, call_chat, make_chat, recorder
):
    chat = make_chat(callbacks=[recorder], tags=["house"], metadata={"team": "a"})
    await call_chat(method, chat, "big question", {"tags": ["mine"]})
    (model,) = recorder.of_kind("model")
    assert {"house", "mine", "tryage:big"} <= set(model["tags"])
    assert model["metadata"]["team"] == "a"
    assert "langchain-core" in model["metadata"]["lc_versions"]


@pytest.mark.parametrize("method", ["invoke", "ainvoke", "batch", "abatch"])
async def test_its_cache_answers_the_second_time(method, call_chat, make_chat, big):
    chat = make_chat(cache=InMemoryCache(), sticky="call")
    first = await call_chat(method, chat, "big question")
    again = await call_chat(method, chat, "big question")
    assert first.text == again.text
    assert len(big.calls) == 1
    await call_chat(method, chat, "big other")
    assert len(big.calls) == 2


def test_a_model_keeps_its_own_cache(make_chat, big):
    cache = InMemoryCache()
    big.cache = cache
    make_chat(cache=InMemoryCache()).invoke("big question")
    assert cache._cache


async def test_its_rate_limiter_is_asked_once_per_call(method, call_chat, make_chat):
    limiter = CountingRateLimiter()
    await call_chat(method, make_chat(rate_limiter=limiter), "big question")
    assert limiter.passed == 1


@pytest.mark.parametrize("method", ["stream", "astream"])
async def test_without_streaming_the_answer_comes_whole(method, call_chat, make_chat, big):
    chat = make_chat(disable_streaming=True)
    big.breaks_after = 0  # a stream would fail
    assert (await call_chat(method, chat, "big question")).text == "Hello from scripted-big today"
    assert len(list(chat.stream("small one"))) == 1


def test_streaming_may_be_off_for_tools_only(make_chat):
    chat = make_chat(disable_streaming="tool_calling")

    def look(where: str) -> str:
        """Look."""
        return where

    assert len(list(chat.stream("big one"))) > 1
    assert len(list(chat.bind_tools([look]).stream("big one"))) == 1


async def test_sampling_and_stops_are_passed_on_and_a_call_may_change_them(
    method, call_chat, make_chat, big
):
    chat = make_chat(temperature=0.2, max_tokens=50, stop=["END"])
    await call_chat(method, chat, "big question")
    await call_chat(method, chat, "big question", temperature=0.9, stop=["\n"])
    first, second = big.calls
    assert (first["temperature"], first["max_tokens"], first["stop"]) == (0.2, 50, ["END"])
    assert (second["temperature"], second["max_tokens"], second["stop"]) == (0.9, 50, ["\n"])


async def test_settings_without_a_value_are_not_passed_on(method, call_chat, chat, big):
    await call_chat(method, chat, "big question")
    assert set(big.calls[0]) == {"messages", "stop"}
    assert big.calls[0]["stop"] is None


# Many calls --------------------------------------------------------------------------------------


async def test_a_thousand_calls_at_once_each_get_their_own_answer(make_chat):
    chat = make_chat()
    names = ["small", "big"] * 500
    calls = (chat.ainvoke(f"{name} {row}") for row, name in enumerate(names))
    answers = await asyncio.gather(*calls)
    assert [model_of(answer) for answer in answers] == names
    assert [answer.text for answer in answers] == [f"Hello from scripted-{n} today" for n in names]
    sent = {call["messages"][0].text for one in chat.models.values() for call in one.calls}
    assert len(sent) == 1_000


def test_threads_may_share_it(chat):
    def one(i):
        return model_of(chat.invoke(f"{('small', 'big')[i % 2]} question {i}"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(100))) == ["small", "big"] * 50


async def test_the_first_async_call_reads_the_router_beside_the_event_loop(monkeypatch, small):
    readers = []

    def from_pretrained(*_, **__):
        readers.append(threading.get_ident())
        return Router(FixedPerception({"small": 0.1}))

    monkeypatch.setattr(Router, "from_pretrained", from_pretrained)
    chat = ChatTryage(models={"small": small})
    assert model_of(await chat.ainvoke("small question")) == "small"
    assert len(readers) == 1
    assert readers[0] != threading.get_ident()


# Many calls at once, and no listener -------------------------------------------------------------


async def test_calls_that_begin_together_are_decided_in_few_passes(chat, perception):
    await chat.ainvoke("big question")  # the first pass may load an encoder
    perception.passes.clear()
    names = ["small", "big"] * 50
    answers = await asyncio.gather(*(chat.ainvoke(f"{name} {i}") for i, name in enumerate(names)))
    assert [answer.response_metadata["tryage"]["model"] for answer in answers] == names
    assert len(perception.passes) == 2
    assert sum(map(len, perception.passes)) == 100


async def test_of_calls_that_begin_together_each_keeps_its_own_settings_and_error(chat):
    calls = [
        chat.ainvoke("big one", {"configurable": {"tryage_model": "small"}}),
        chat.ainvoke("big one", {"configurable": {"tryage_modle": "small"}}),
        chat.bind_tools([]).ainvoke("big one"),
        chat.model_copy(update={"preferences": Preferences(only=["small"])}).ainvoke("big one"),
        chat.ainvoke(3),
    ]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    names = [
        answer.response_metadata["tryage"]["model"] if isinstance(answer, AIMessage) else answer
        for answer in answers
    ]
    assert names[0] == names[3] == "small"
    assert names[2] == "big"
    assert isinstance(names[1], InputError)
    assert isinstance(names[4], ValueError)


async def test_a_long_prompt_does_not_halt_the_event_loop_whatever_came_before(router, small, big):
    threads = {}

    class Watched(type(router.perception)):
        def predict(self, prompts):
            threads[len(prompts[0])] = threading.get_ident()
            return super().predict(prompts)

    chat = ChatTryage(models={"small": small, "big": big}, router=Router(Watched()))
    for length in (1, 2, 3, 100_000):
        await chat.ainvoke("x" * length)
    here = threading.get_ident()
    assert [threads[length] == here for length in (1, 2, 3, 100_000)] == [False, True, True, False]


async def test_without_a_listener_there_is_no_run_of_its_own_and_the_answer_is_the_same(
    method, call_chat, chat, big, recorder
):
    big.callbacks, big.tags = [recorder], ["own"]
    config = {
        "tags": ["mine"],
        "metadata": {"who": "me"},
        "run_name": "outer",
        "run_id": uuid.uuid4(),
    }
    silent = await call_chat(method, chat, "big question", config)
    assert recorder.of_kind("chain") == []
    (run,) = recorder.of_kind("model")
    assert {"mine", "own", "tryage:big"} <= set(run["tags"])
    assert (run["metadata"]["who"], run["metadata"]["tryage_model"]) == ("me", "big")
    assert run["name"] != "outer"
    assert config["run_id"] not in recorder.runs
    observer = type(recorder)()
    heard = await call_chat(method, chat, "big question", {**config, "callbacks": [observer]})
    assert heard.text == silent.text
    assert [run["name"] for run in observer.of_kind("chain")] == ["outer"]


@pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_run_that_nobody_sees_is_not_started(
    call_chat, chat, recorder, monkeypatch, method
):
    started = []
    for manager in (CallbackManager, AsyncCallbackManager):
        start = manager.on_chain_start

        def count(self, *args, start=start, **kwargs):
            started.append(self)
            return start(self, *args, **kwargs)

        monkeypatch.setattr(manager, "on_chain_start", count)
    await call_chat(method, chat, "big question")
    assert started == []
    await call_chat(method, chat, "big question", {"callbacks": [recorder]})
    assert len(started) == 1


async def test_a_listener_in_the_context_is_a_listener(method, call_chat, chat):
    with get_usage_metadata_callback() as usage:
        await call_chat(method, chat, "big question")
    assert usage.usage_metadata["scripted-big"]["total_tokens"] == 15
