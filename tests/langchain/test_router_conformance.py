"""Each runnable of Tryage, TryageRouter and ChatTryage, keeps what LangChain promises of runnables.

LangChain has standard tests for chat models and tools, but not for runnables.
"""

from __future__ import annotations

import asyncio
import functools
import operator
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from tryage_langchain import ChatTryage, TryageRouter
from tryage_langchain.testing import ScriptedChatModel

KINDS = [
    "decision",
    "router",
    "router with tools",
    "router input",
    "assigned",
    "chat",
    "chat with tools",
]


def scripted_models(**kwargs):
    return {name: ScriptedChatModel(model=name, **kwargs) for name in ("small", "big")}


def make_runnable(kind, router, **kwargs):
    """Return a runnable of Tryage, followed by one that yields the name of the choice."""
    children = scripted_models(**kwargs)
    return {
        "decision": lambda: TryageRouter(router) | (lambda decision: decision.expert.name),
        "router": lambda: TryageRouter(router, children) | StrOutputParser(),
        "router with tools": lambda: (
            TryageRouter(router, children).bind_tools([]) | StrOutputParser()
        ),
        "router input": lambda: TryageRouter(router).to_router_input() | operator.itemgetter("key"),
        "assigned": lambda: (
            RunnablePassthrough()
            | (lambda text: {"q": text})
            | TryageRouter(router, input_key="q").assign_to("r")
            | (lambda both: both["r"].expert.name)
        ),
        "chat": lambda: ChatTryage(models=children, router=router) | StrOutputParser(),
        "chat with tools": lambda: (
            ChatTryage(models=children, router=router).bind_tools([]) | StrOutputParser()
        ),
    }[kind]()


def join_answer(method, answer):
    """Return the one answer of any method."""
    if method.endswith("stream"):
        return functools.reduce(operator.add, answer)
    return answer[0] if method.endswith("batch") else answer


@pytest.fixture(params=KINDS)
def runnable(request, router):
    return make_runnable(request.param, router)


@pytest.fixture(params=["router", "router with tools", "chat", "chat with tools"])
def make_answering(request, router):
    """The kinds that run a model, with models that may fail."""
    return lambda **kwargs: make_runnable(request.param, router, **kwargs)


@pytest.mark.parametrize("name", ["small", "big"])
async def test_every_method_gives_the_same_answer(runnable, call_runnable, method, name):
    answer = join_answer(method, await call_runnable(runnable, method, f"{name} question"))
    assert name in answer
    assert answer == runnable.invoke(f"{name} question")


async def test_there_is_one_root_and_every_run_ends(runnable, call_runnable, method, recorder):
    run_id = uuid.uuid4()
    config = {"callbacks": [recorder], "run_name": "root", "run_id": run_id, "tags": ["mine"]}
    await call_runnable(runnable, method, "big question", config)
    roots = [key for key, run in recorder.runs.items() if run["parent"] is None]
    assert roots == [run_id]
    assert recorder.runs[run_id]["name"] == "root"
    assert all(
        run["parent"] in recorder.runs for key, run in recorder.runs.items() if key != run_id
    )
    assert {run["end"] for run in recorder.runs.values()} == {"well"}
    assert all("mine" in run["tags"] for run in recorder.runs.values())


async def test_a_named_model_is_used(runnable, call_runnable, method):
    config = {"configurable": {"tryage_model": "small"}}
    assert "small" in join_answer(
        method, await call_runnable(runnable, method, "big question", config)
    )
    assert "small" in join_answer(
        method, await call_runnable(runnable.with_config(config), method, "big one")
    )


async def test_a_wrong_input_is_an_error_in_every_method(runnable, call_runnable, method):
    with pytest.raises((ValueError, TypeError)):
        await call_runnable(runnable, method, 7)


async def test_the_error_of_a_model_is_raised_and_ends_its_runs(
    make_answering, call_runnable, method, recorder
):
    chain = make_answering(fails=[ValueError("bad request")])
    with pytest.raises(ValueError, match="bad request"):
        await call_runnable(chain, method, "big question", {"callbacks": [recorder]})
    assert None not in {run["end"] for run in recorder.runs.values()}


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_batch_keeps_its_order_and_each_error_in_its_row(runnable, asynchronous):
    inputs = ["big 1", 7, "small 2", "big 3"]
    given = {"return_exceptions": True}
    answers = (
        await runnable.abatch(inputs, **given) if asynchronous else runnable.batch(inputs, **given)
    )
    assert isinstance(answers[1], Exception)
    for name, answer in zip(("big", "small", "big"), [answers[0], *answers[2:]], strict=True):
        assert name in answer


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_batch_as_completed_yields_every_answer(runnable, asynchronous):
    inputs = ["big 1", "small 2", "big 3"]
    if asynchronous:
        found = {at: answer async for at, answer in runnable.abatch_as_completed(inputs)}
    else:
        found = dict(runnable.batch_as_completed(inputs))
    assert ["big" in found[0], "small" in found[1], "big" in found[2]] == [True] * 3


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_events_begin_and_end_with_the_root_and_name_their_parents(runnable, version):
    events = [e async for e in runnable.astream_events("big question", version=version)]
    assert events[0]["event"].endswith("_start")
    assert events[-1]["event"].endswith("_end")
    assert events[0]["run_id"] == events[-1]["run_id"]
    begun = {e["run_id"] for e in events if e["event"].endswith("_start")}
    ended = {e["run_id"] for e in events if e["event"].endswith("_end")}
    assert begun == ended
    if version == "v2":
        assert all(set(e["parent_ids"]) <= begun for e in events)
        assert "on_custom_event" in {e["event"] for e in events}


async def test_a_streamed_answer_comes_once_and_in_pieces(make_answering):
    chain = make_answering()
    assert len(list(chain.stream("big question"))) > 2
    events = [e async for e in chain.astream_events("big question", version="v2")]
    texts = [e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(texts) == chain.invoke("big question")


async def test_a_stream_that_is_not_read_to_its_end_does_no_harm(runnable):
    for _ in range(2):
        stream = runnable.astream("big question")
        await anext(stream)
        await stream.aclose()
    next(iter(runnable.stream("big question")))
    assert "small" in runnable.invoke("small question")


async def test_many_calls_at_once_each_get_their_own_answer(runnable):
    names = ["small", "big"] * 20
    inputs = [f"{name} {i}" for i, name in enumerate(names)]
    answers = await asyncio.gather(*map(runnable.ainvoke, inputs))
    assert [name in answer for name, answer in zip(names, answers, strict=True)] == [True] * 40
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(runnable.invoke, inputs))
    assert [name in answer for name, answer in zip(names, answers, strict=True)] == [True] * 40


@pytest.mark.parametrize("text", ["", " ", "big 你好 \U0001f600", "big " * 50_000])
def test_unusual_prompts_are_answered(runnable, text):
    assert runnable.invoke(text)


def test_schemas_graph_and_config_are_described(runnable):
    assert runnable.get_input_jsonschema()
    assert runnable.get_output_jsonschema() is not None
    assert runnable.config_schema(include=["configurable"])
    assert runnable.get_graph().draw_mermaid()


def test_it_can_be_wrapped_like_every_runnable(runnable):
    wrapped = runnable.with_retry(stop_after_attempt=2).with_fallbacks([RunnableLambda(str)])
    assert "big" in wrapped.invoke("big question")
    assert runnable.map().invoke(["big 1", "small 2"])[1].count("small")
