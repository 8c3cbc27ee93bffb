"""What an observer sees of a route: a router run, the decision, the child's run inside."""

from __future__ import annotations

import json
import uuid

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from tryage_langchain import TryageRouter


@pytest.fixture
def chooser(router):
    models = {name: FakeListChatModel(responses=["ok"]) for name in ("small", "big")}
    return TryageRouter(router=router, runnables=models)


async def test_the_child_runs_inside_the_router_and_carries_the_choice(
    chooser, how, recorder, every_way
):
    await every_way(
        chooser, how, "big", {"callbacks": [recorder], "tags": ["mine"], "metadata": {"user": 7}}
    )
    router_id, router_run = recorder.only("TryageRouter")
    _, child = recorder.only("model")
    assert router_run["parent"] is None
    assert child["parent"] == router_id
    assert {"mine", "tryage:big"} <= set(child["tags"])
    assert child["metadata"]["tryage_model"] == "big"
    assert child["metadata"]["user"] == 7
    assert "tryage:big" not in router_run["tags"]
    assert {run["ended"] for run in recorder.runs.values()} == {"well"}
    ((name, data, event_run),) = recorder.events
    assert (name, event_run, data["expert"]) == ("tryage_route", router_id, "big")
    assert json.dumps(data)
    assert recorder.order == ["TryageRouter", "tryage_route", "model"]


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_in_a_pipeline_there_is_no_orphan_run(chooser, how, recorder):
    chain = ChatPromptTemplate.from_template("{q}") | chooser | StrOutputParser()
    answer = getattr(chain, how)({"q": "big"}, {"callbacks": [recorder]})
    assert "".join(answer) == "ok"
    roots = [run["name"] for run in recorder.runs.values() if run["parent"] is None]
    assert roots == ["RunnableSequence"]


def test_run_name_and_run_id_belong_to_the_router_only(chooser, recorder):
    run_id = uuid.uuid4()
    chooser.invoke("big", {"callbacks": [recorder], "run_name": "desk", "run_id": run_id})
    assert recorder.only("desk")[0] == run_id
    assert recorder.only("model")[0] != run_id


def test_a_bad_input_in_a_batch_ends_only_its_own_run_badly(chooser, recorder):
    chooser.batch(["big", 7], {"callbacks": [recorder]}, return_exceptions=True)
    ends = [run["ended"] for run in recorder.runs.values() if run["name"] == "TryageRouter"]
    assert sorted(ends) == ["InputError", "well"]


async def test_astream_events_tells_the_route_before_the_first_token(chooser):
    kinds = [event["event"] async for event in chooser.astream_events("big", version="v2")]
    assert kinds.index("on_custom_event") < kinds.index("on_chat_model_stream")


def test_the_decision_alone_is_announced_too(router, recorder):
    TryageRouter(router=router).invoke("big", {"callbacks": [recorder]})
    assert [name for name, *_ in recorder.events] == ["tryage_route"]
