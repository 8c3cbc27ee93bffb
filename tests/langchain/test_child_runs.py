"""What OpenTelemetry shows of TryageRouter: the decision, and the run of the chosen runnable."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.runnables import RunnableLambda

from tryage import Expert, Router
from tryage.testing import FunctionPerception
from tryage_langchain import TryageRouter
from tryage_langchain.testing import ScriptedChatModel

WHOLE, ROUTE = "invoke_workflow tryage", "route tryage"


@pytest.fixture
def router():
    perception = FunctionPerception(("a", "b"), lambda prompt: [float(prompt != "a"), 0.5])
    return Router(perception, [Expert("a", input_price=1, output_price=1), Expert("b")])


@pytest.fixture
def routed(router):
    models = {name: ScriptedChatModel(model=name) for name in ("a", "b")}
    return TryageRouter(router=router, runnables=models)


def parents(telemetry):
    names = {span.context.span_id: span.name for span in telemetry.spans()}
    return sorted(
        (span.name, span.parent and names[span.parent.span_id]) for span in telemetry.spans()
    )


def run_stream(routed):
    return list(routed.stream("a"))


async def arun_stream(routed):
    return [chunk async for chunk in routed.astream("a")]


@pytest.mark.parametrize(
    "call",
    [
        lambda routed: routed.invoke("a"),
        lambda routed: asyncio.run(routed.ainvoke("a")),
        run_stream,
        lambda routed: asyncio.run(arun_stream(routed)),
        lambda routed: routed.batch(["a"]),
        lambda routed: asyncio.run(routed.abatch(["a"])),
    ],
    ids=["invoke", "ainvoke", "stream", "astream", "batch", "abatch"],
)
def test_every_way_to_run_is_one_trace_below_the_caller(telemetry, routed, call):
    with telemetry.caller():
        call(routed)
    assert parents(telemetry) == [
        ("caller", None), ("chat a", WHOLE), (WHOLE, "caller"), (ROUTE, WHOLE),
    ]  # fmt: skip
    (attempt,) = telemetry.spans("chat a")
    assert attempt.attributes["gen_ai.usage.input_tokens"] == 10
    assert telemetry.values("tryage.calls") == {("a", "routed"): 1}


def test_without_runnables_the_decision_is_all(telemetry, router):
    asked = TryageRouter(router=router)
    with telemetry.caller():
        asked.invoke("a")
        asyncio.run(asked.ainvoke("a"))
        asked.batch(["a", "b"])
    assert parents(telemetry) == [("caller", None)] + [(ROUTE, "caller")] * 3


def test_a_runnable_that_fails_ends_the_call_with_its_error(telemetry, router):
    def fail(_):
        raise ValueError("canary")

    runnables = {"a": RunnableLambda(fail), "b": RunnableLambda(fail)}
    with pytest.raises(ValueError, match="canary"):
        TryageRouter(router=router, runnables=runnables).invoke("a")
    (attempt,), (whole,) = telemetry.spans("chat a"), telemetry.spans(WHOLE)
    assert attempt.attributes["error.type"] == whole.attributes["error.type"] == "ValueError"
    assert "canary" not in whole.to_json()
