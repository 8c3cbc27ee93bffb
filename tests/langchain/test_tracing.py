"""What an observer sees of a route: a router run, the decision, the child's run inside."""

# ruff: noqa: ARG002 - the recorder has the signatures of the callbacks.

from __future__ import annotations

import json
import subprocess
import sys
import uuid

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from tryage_langchain import TryageRouter


class Recorder(BaseCallbackHandler):
    """Keeps every start, end, error and custom event."""

    def __init__(self):
        self.runs, self.events, self.order = {}, [], []

    def on_chain_start(self, serialized, inputs, *, run_id, **kwargs):
        self._start(run_id, **kwargs)

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        self._start(run_id, **kwargs)

    def _start(self, run_id, parent_run_id=None, tags=None, metadata=None, name=None, **_):
        self.runs[run_id] = {
            "name": name or "model",
            "parent": parent_run_id,
            "tags": tags,
            "metadata": metadata,
            "ended": None,
        }
        self.order.append(name or "model")

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.runs[run_id]["ended"] = "well"

    def on_llm_end(self, response, *, run_id, **kwargs):
        self.runs[run_id]["ended"] = "well"

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.runs[run_id]["ended"] = type(error).__name__

    def on_custom_event(self, name, data, *, run_id, **kwargs):
        self.events.append((name, data, run_id))
        self.order.append(name)

    def only(self, name):
        (found,) = [(run_id, run) for run_id, run in self.runs.items() if run["name"] == name]
        return found


@pytest.fixture
def chooser(router):
    models = {name: FakeListChatModel(responses=["ok"]) for name in ("small", "big")}
    return TryageRouter(router=router, runnables=models)


async def _aall(stream):
    return [chunk async for chunk in stream]


async def _run(chooser, how, config):
    calls = {
        "invoke": lambda: chooser.invoke("big", config),
        "stream": lambda: list(chooser.stream("big", config)),
        "batch": lambda: chooser.batch(["big"], config),
    }
    awaited = {
        "ainvoke": lambda: chooser.ainvoke("big", config),
        "astream": lambda: _aall(chooser.astream("big", config)),
        "abatch": lambda: chooser.abatch(["big"], config),
    }
    return calls[how]() if how in calls else await awaited[how]()


@pytest.mark.parametrize("how", ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"])
async def test_the_child_runs_inside_the_router_and_carries_the_choice(chooser, how):
    recorder = Recorder()
    await _run(chooser, how, {"callbacks": [recorder], "tags": ["mine"], "metadata": {"user": 7}})
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
def test_in_a_pipeline_there_is_no_orphan_run(chooser, how):
    recorder = Recorder()
    chain = ChatPromptTemplate.from_template("{q}") | chooser | StrOutputParser()
    answer = getattr(chain, how)({"q": "big"}, {"callbacks": [recorder]})
    assert "".join(answer) == "ok"
    roots = [run["name"] for run in recorder.runs.values() if run["parent"] is None]
    assert roots == ["RunnableSequence"]


def test_run_name_and_run_id_belong_to_the_router_only(chooser):
    recorder, run_id = Recorder(), uuid.uuid4()
    chooser.invoke("big", {"callbacks": [recorder], "run_name": "desk", "run_id": run_id})
    assert recorder.only("desk")[0] == run_id
    assert recorder.only("model")[0] != run_id


def test_a_bad_input_in_a_batch_ends_only_its_own_run_badly(chooser):
    recorder = Recorder()
    chooser.batch(["big", 7], {"callbacks": [recorder]}, return_exceptions=True)
    ends = [run["ended"] for run in recorder.runs.values() if run["name"] == "TryageRouter"]
    assert sorted(ends) == ["InputError", "well"]


async def test_astream_events_tells_the_route_before_the_first_token(chooser):
    kinds = [event["event"] async for event in chooser.astream_events("big", version="v2")]
    assert kinds.index("on_custom_event") < kinds.index("on_chat_model_stream")


def test_the_decision_alone_is_announced_too(router):
    recorder = Recorder()
    TryageRouter(router=router).invoke("big", {"callbacks": [recorder]})
    assert [name for name, *_ in recorder.events] == ["tryage_route"]


def test_importing_loads_neither_torch_nor_langchain_the_agent_package():
    code = (
        "import sys, tryage_langchain; print([m for m in ('torch', 'transformers', 'langchain', "
        "'llama_index') if m in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == "[]"
