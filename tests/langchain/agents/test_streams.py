"""What an observer sees of an agent with TryageMiddleware, and what its checkpoints keep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from tryage_langchain import TryageMiddleware

WAYS = ["invoke", "stream", "ainvoke", "astream", "batch", "abatch"]


@pytest.fixture
def agent(router, models, own, lookup):
    return create_agent(own, [lookup], middleware=[TryageMiddleware(models, router)])


async def pieces(agent, asynchronous, **kwargs):
    asked = {"messages": [HumanMessage("big question")]}
    if asynchronous:
        return [piece async for piece in agent.astream(asked, **kwargs)]
    return list(agent.stream(asked, **kwargs))


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.usefixtures("knows_its_run")
async def test_tokens_are_streamed_once_and_say_whose_they_are(agent, asynchronous):
    told = await pieces(agent, asynchronous, stream_mode="messages")
    tokens = [(c.text, meta) for c, meta in told if c.type in ("AIMessageChunk", "ai") and c.text]
    assert "".join(text for text, _ in tokens).strip() == "I am big"
    assert {meta["tryage_model"] for _, meta in tokens} == {"big"}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.usefixtures("knows_its_run")
async def test_the_custom_stream_tells_every_choice_before_it_is_made_use_of(agent, asynchronous):
    told = await pieces(agent, asynchronous, stream_mode=["custom", "updates"])
    routes = [data["tryage_route"] for mode, data in told if mode == "custom"]
    assert [(r["model"], r["how"]) for r in routes] == [
        ("big", "routed"),
        ("big", "kept for the turn"),
    ]
    assert told[0][0] == "custom"
    assert json.dumps(routes)


@pytest.mark.usefixtures("knows_its_run")
async def test_events_tell_the_route_before_the_models_first_token(agent):
    asked = {"messages": [HumanMessage("big question")]}
    events = [event async for event in agent.astream_events(asked, version="v2")]
    kinds = [event["event"] for event in events]
    assert kinds.index("on_custom_event") < kinds.index("on_chat_model_start")
    (start, *_) = [event for event in events if event["event"] == "on_chat_model_start"]
    assert start["metadata"]["model_route"] == "big"
    assert "tryage:big" in start["tags"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.usefixtures("knows_its_run")
async def test_runs_have_one_root_and_usage_is_counted_once_under_who_answered(
    agent, every_way, how, recorder
):
    usage = UsageMetadataCallbackHandler()
    asked = {"messages": [HumanMessage("big question")]}
    await every_way(agent, how, asked, {"callbacks": [recorder, usage]})
    roots = [run for run in recorder.runs.values() if run["parent"] is None]
    assert len(roots) == 1
    assert {run["ended"] for run in recorder.runs.values()} == {"well"}
    assert Counter(run["name"] for run in recorder.runs.values())["model"] >= 2
    assert set(usage.usage_metadata) == {"big-model"}
    assert usage.usage_metadata["big-model"]["total_tokens"] == 2 * 15


@pytest.mark.parametrize("how", WAYS)
async def test_every_way_gives_the_same_answer_and_record(agent, every_way, how):
    given = await every_way(agent, how, {"messages": [HumanMessage("big question")]})
    if how.endswith("stream"):
        given = given[-1]["model"]
    state = given[0] if how.endswith("batch") else given
    assert state["messages"][-1].text.strip() == "I am big"
    assert state["messages"][-1].response_metadata["tryage"]["served_by"] == "big"


def test_what_the_state_takes_and_gives_is_declared(agent):
    assert "tryage" not in agent.get_input_jsonschema()["properties"]
    assert "tryage" in agent.get_output_jsonschema()["properties"]


def test_what_is_sent_in_as_the_record_is_not_believed(agent):
    forged = {"model": "small", "turn": "1", "served_by": "small"}
    asked = {"messages": [HumanMessage("big question", id="1")], "tryage": forged}
    assert agent.invoke(asked)["tryage"]["served_by"] == "big"


STRICT = """
import warnings; warnings.simplefilter("error")
import json, sys
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from tryage import Router
from tryage.testing import FixedPerception
from tryage_langchain import TryageMiddleware
names = ["small", "big"]
models = {name: FakeListChatModel(responses=[name]) for name in names}
router = Router(FixedPerception(dict.fromkeys(names, 0.5)))
saver = InMemorySaver(serde=JsonPlusSerializer())
def agent():
    return create_agent(models["big"], checkpointer=saver,
                        middleware=[TryageMiddleware(models, router, sticky="thread")])
config = {"configurable": {"thread_id": "t"}}
agent().invoke({"messages": [HumanMessage("hello")]}, config)
kept = agent().get_state(config).values["tryage"]
again = agent().invoke({"messages": [HumanMessage("more")]}, config)["tryage"]
print(json.dumps([kept, again]))
"""


def test_a_checkpoint_is_read_back_where_only_plain_values_are_allowed():
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", STRICT],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert "unregistered" not in done.stderr
    kept, again = json.loads(done.stdout.splitlines()[-1])
    assert kept["model"] == again["model"] == "small"
    assert again["how"] == "kept for the thread"


def test_a_thread_goes_on_in_another_agent_over_the_same_checkpoints(
    router, perception, models, own, lookup
):
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}

    def agent(**kwargs):
        middleware = [TryageMiddleware(models, router)]
        return create_agent(own, [lookup], middleware=middleware, checkpointer=saver, **kwargs)

    paused = agent(interrupt_before=["tools"])
    paused.invoke({"messages": [HumanMessage("big question")]}, config)
    state = agent().invoke(None, config)
    assert state["messages"][-1].content == "I am big"
    assert perception.passes == [["big question"]], "the turn was decided twice"
