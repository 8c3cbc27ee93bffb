"""What OpenTelemetry shows of an agent's calls through TryageMiddleware."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("langchain")

from langchain.agents import create_agent

from tryage import Router
from tryage.testing import FunctionPerception
from tryage_langchain.middleware import TryageMiddleware
from tryage_langchain.testing import ScriptedChatModel


@pytest.fixture
def agent():
    models = {name: ScriptedChatModel(model=name) for name in ("a", "b")}
    router = Router(FunctionPerception(("a", "b"), lambda _: [0.1, 0.5]))
    return create_agent(models["b"], middleware=[TryageMiddleware(models, router=router)])


@pytest.mark.parametrize("is_async", [False, True])
def test_each_call_of_an_agent_is_one_trace_below_its_caller(telemetry, agent, is_async):
    messages = {"messages": [("user", "Hello")]}
    with telemetry.caller():
        asyncio.run(agent.ainvoke(messages)) if is_async else agent.invoke(messages)
    spans = {span.name: span for span in telemetry.spans()}
    assert set(spans) == {"caller", "invoke_workflow tryage", "route tryage", "chat a"}
    whole = spans["invoke_workflow tryage"]
    assert whole.parent.span_id == spans["caller"].context.span_id
    assert spans["chat a"].parent.span_id == whole.context.span_id
    assert spans["chat a"].attributes["gen_ai.usage.output_tokens"] == 5
