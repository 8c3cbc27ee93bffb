"""How TryageRouter runs: what observers see, what it streams, and how it reads a streamed input."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import aclosing

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableGenerator, RunnableLambda

from tryage import Router
from tryage.testing import FixedPolicy
from tryage_langchain import TryageRouter

# What observers see ------------------------------------------------------------------------------


@pytest.fixture
def tryage_router(router):
    models = {name: FakeListChatModel(responses=["ok"]) for name in ("small", "big")}
    return TryageRouter(router=router, runnables=models)


async def test_the_chosen_model_runs_inside_the_router_and_its_run_names_the_choice(
    tryage_router, method, recorder, call_runnable
):
    await call_runnable(
        tryage_router,
        method,
        "big",
        {"callbacks": [recorder], "tags": ["mine"], "metadata": {"user": 7}},
    )
    router_id, router_run = recorder.only("TryageRouter")
    _, child = recorder.only("model")
    assert router_run["parent"] is None
    assert child["parent"] == router_id
    assert {"mine", "tryage:big"} <= set(child["tags"])
    assert child["metadata"]["tryage_model"] == "big"
    assert child["metadata"]["user"] == 7
    assert "tryage:big" not in router_run["tags"]
    assert {run["end"] for run in recorder.runs.values()} == {"well"}
    ((name, data, event_run),) = recorder.events
    assert (name, event_run, data["expert"]) == ("tryage_route", router_id, "big")
    assert json.dumps(data)
    assert recorder.order == ["TryageRouter", "tryage_route", "model"]


@pytest.mark.parametrize("method", ["invoke", "stream"])
def test_in_a_pipeline_every_run_has_a_parent(tryage_router, method, recorder):
    chain = ChatPromptTemplate.from_template("{q}") | tryage_router | StrOutputParser()
    answer = getattr(chain, method)({"q": "big"}, {"callbacks": [recorder]})
    assert "".join(answer) == "ok"
    roots = [run["name"] for run in recorder.runs.values() if run["parent"] is None]
    assert roots == ["RunnableSequence"]


def test_run_name_and_run_id_belong_to_the_router_only(tryage_router, recorder):
    run_id = uuid.uuid4()
    tryage_router.invoke("big", {"callbacks": [recorder], "run_name": "mine", "run_id": run_id})
    assert recorder.only("mine")[0] == run_id
    assert recorder.only("model")[0] != run_id


def test_a_bad_input_in_a_batch_fails_only_its_own_run(tryage_router, recorder):
    tryage_router.batch(["big", 7], {"callbacks": [recorder]}, return_exceptions=True)
    ends = [run["end"] for run in recorder.runs.values() if run["name"] == "TryageRouter"]
    assert sorted(ends) == ["InputError", "well"]


async def test_astream_events_has_the_decision_before_the_first_token(tryage_router):
    kinds = [event["event"] async for event in tryage_router.astream_events("big", version="v2")]
    assert kinds.index("on_custom_event") < kinds.index("on_chat_model_stream")


def test_a_decision_without_runnables_is_reported_too(router, recorder):
    TryageRouter(router=router).invoke("big", {"callbacks": [recorder]})
    assert [name for name, *_ in recorder.events] == ["tryage_route"]


# Streams -----------------------------------------------------------------------------------------


def echo(name):
    return RunnableLambda(lambda value: (name, value), name=name)


def test_a_streamed_input_is_read_whole_before_it_is_routed(router):
    tryage_router = TryageRouter(router, {"big": echo("big")})
    assert list(tryage_router.transform(iter(["big ", "question"]))) == [("big", "big question")]


async def test_a_streamed_input_is_read_whole_asynchronously(router):
    async def pieces():
        for piece in ("big ", "question"):
            yield piece

    tryage_router = TryageRouter(router, {"big": echo("big")})
    chunks = [chunk async for chunk in tryage_router.atransform(pieces())]
    assert chunks == [("big", "big question")]


async def test_a_decision_is_streamed_and_awaited(router):
    tryage_router = TryageRouter(router=router)
    assert [d.expert.name for d in tryage_router.stream("big")] == ["big"]
    assert [d.expert.name async for d in tryage_router.astream("big")] == ["big"]
    assert (await tryage_router.ainvoke("big")).expert.name == "big"


def test_a_stream_runs_only_as_far_as_it_is_read(router):
    made = []

    def letters(_):
        for letter in "abc":
            made.append(letter)
            yield letter

    stream = TryageRouter(router=router, runnables={"big": letters}).stream("big")
    assert made == []
    assert next(stream) == "a"
    stream.close()
    assert made == ["a"]


async def test_a_reader_that_stops_ends_the_stream_of_the_chosen_runnable_at_once(router):
    ends = []

    async def letters(_):
        try:
            for letter in "abc":
                yield letter
        finally:
            ends.append("closed")

    policy = FixedPolicy("big")
    tryage_router = TryageRouter(router, {"big": RunnableGenerator(letters)}, policy=policy)
    async with aclosing(tryage_router.astream("big")) as stream:
        assert await anext(stream) == "a"
        assert ends == []
    assert ends == ["closed"]
    assert [expert for _, expert, _ in policy.settled] == ["big"]  # what was read is an answer


# Calls that nobody waits for any more ------------------------------------------------------------


@pytest.fixture
def hanging():
    """Return a runnable that does not end, and an event that tells that it has begun."""
    has_begun = asyncio.Event()

    async def hang(_):
        has_begun.set()
        await asyncio.Event().wait()

    return RunnableLambda(str, afunc=hang), has_begun


async def read(stream):
    return [chunk async for chunk in stream]


@pytest.mark.parametrize(
    "call",
    [
        lambda tryage_router: tryage_router.ainvoke("big"),
        lambda tryage_router: read(tryage_router.astream("big")),
        lambda tryage_router: tryage_router.abatch(["big"]),
    ],
    ids=["ainvoke", "astream", "abatch"],
)
async def test_a_call_that_is_cancelled_is_settled_as_unanswered(router, hanging, call):
    runnable, has_begun = hanging
    policy = FixedPolicy("big")
    tryage_router = TryageRouter(router, {"big": runnable}, policy=policy)
    task = asyncio.create_task(call(tryage_router))
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert policy.settled == [(policy.recorded[0], None, None)]
    assert tryage_router.savings().answers == 0


async def test_the_log_says_that_a_cancelled_call_has_no_answer_and_its_model_has_not_failed(
    router, hanging, tmp_path
):
    pytest.importorskip("sqlalchemy")
    runnable, has_begun = hanging
    logged = Router(router.perception, traffic=f"sqlite:///{tmp_path}/log.db")
    task = asyncio.create_task(TryageRouter(logged, {"big": runnable}).ainvoke("big"))
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    logged.traffic.flush(5)
    ((_, outcome, _),) = logged.traffic.decisions()
    assert (outcome.served_by, outcome.error) == (None, "CancelledError")
    assert outcome.failed == ()
