"""What observers see of an agent with TryageMiddleware, and what its checkpoints hold."""

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

# Streams and runs --------------------------------------------------------------------------------


@pytest.fixture
def agent(router, models, agent_model, lookup):
    return create_agent(agent_model, [lookup], middleware=[TryageMiddleware(models, router)])


async def stream_agent(agent, asynchronous, **kwargs):
    value = {"messages": [HumanMessage("big question")]}
    if asynchronous:
        return [piece async for piece in agent.astream(value, **kwargs)]
    return list(agent.stream(value, **kwargs))


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.usefixtures("needs_run_config")
async def test_tokens_are_streamed_once_with_the_name_of_their_model(agent, asynchronous):
    pieces = await stream_agent(agent, asynchronous, stream_mode="messages")
    tokens = [(c.text, meta) for c, meta in pieces if c.type in ("AIMessageChunk", "ai") and c.text]
    assert "".join(text for text, _ in tokens).strip() == "I am big"
    assert {meta["tryage_model"] for _, meta in tokens} == {"big"}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.usefixtures("needs_run_config")
async def test_the_custom_stream_has_every_choice_before_the_model_is_asked(agent, asynchronous):
    pieces = await stream_agent(agent, asynchronous, stream_mode=["custom", "updates"])
    routes = [data["tryage_route"] for mode, data in pieces if mode == "custom"]
    assert [(r["model"], r["how"]) for r in routes] == [
        ("big", "routed"),
        ("big", "kept for the turn"),
    ]
    assert pieces[0][0] == "custom"
    assert json.dumps(routes)


@pytest.mark.usefixtures("needs_run_config")
async def test_events_have_the_decision_before_the_model_starts(agent):
    value = {"messages": [HumanMessage("big question")]}
    events = [event async for event in agent.astream_events(value, version="v2")]
    kinds = [event["event"] for event in events]
    assert kinds.index("on_custom_event") < kinds.index("on_chat_model_start")
    (start, *_) = [event for event in events if event["event"] == "on_chat_model_start"]
    assert start["metadata"]["model_route"] == "big"
    assert "tryage:big" in start["tags"]


@pytest.mark.usefixtures("needs_run_config")
async def test_runs_have_one_root_and_usage_is_counted_once(agent, call_runnable, method, recorder):
    usage = UsageMetadataCallbackHandler()
    value = {"messages": [HumanMessage("big question")]}
    await call_runnable(agent, method, value, {"callbacks": [recorder, usage]})
    roots = [run for run in recorder.runs.values() if run["parent"] is None]
    assert len(roots) == 1
    assert {run["end"] for run in recorder.runs.values()} == {"well"}
    assert Counter(run["name"] for run in recorder.runs.values())["model"] >= 2
    assert set(usage.usage_metadata) == {"big-model"}
    assert usage.usage_metadata["big-model"]["total_tokens"] == 2 * 15


async def test_every_method_gives_the_same_answer_and_record(agent, call_runnable, method):
    given = await call_runnable(agent, method, {"messages": [HumanMessage("big question")]})
    if method.endswith("stream"):
        given = given[-1]["model"]
    state = given[0] if method.endswith("batch") else given
    assert state["messages"][-1].text.strip() == "I am big"
    assert state["messages"][-1].response_metadata["tryage"]["served_by"] == "big"


# State and checkpoints ---------------------------------------------------------------------------


def test_the_record_is_in_the_output_schema_only(agent):
    assert "tryage" not in agent.get_input_jsonschema()["properties"]
    assert "tryage" in agent.get_output_jsonschema()["properties"]


def test_a_record_in_the_input_is_ignored(agent):
    forged = {"model": "small", "turn": "1", "served_by": "small"}
    value = {"messages": [HumanMessage("big question", id="1")], "tryage": forged}
    assert agent.invoke(value)["tryage"]["served_by"] == "big"


STRICT_CHECKPOINT = """
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


def test_a_strict_checkpoint_that_allows_only_plain_values_is_read_back():
    done = subprocess.run(  # noqa: S603 - this interpreter and the code above
        [sys.executable, "-c", STRICT_CHECKPOINT],
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


def test_a_thread_goes_on_in_another_agent_with_the_same_checkpoints(
    router, perception, models, agent_model, lookup
):
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}

    def agent(**kwargs):
        middleware = [TryageMiddleware(models, router)]
        return create_agent(
            agent_model, [lookup], middleware=middleware, checkpointer=saver, **kwargs
        )

    paused = agent(interrupt_before=["tools"])
    paused.invoke({"messages": [HumanMessage("big question")]}, config)
    state = agent().invoke(None, config)
    assert state["messages"][-1].content == "I am big"
    assert perception.passes == [["big question"]], "the turn was decided twice"
