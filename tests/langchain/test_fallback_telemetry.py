"""What OpenTelemetry shows of ChatTryage: one trace for each call, and no words of anybody."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from tryage import Expert, Preferences, Router
from tryage.errors import AllFailedError, NoExpertError
from tryage.policies import Hedge
from tryage.testing import FunctionPerception
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

WHOLE, ROUTE = "invoke_workflow tryage", "route tryage"


@pytest.fixture
def models():
    return {name: ScriptedChatModel(model=name) for name in ("small", "big")}


@pytest.fixture
def router():
    experts = [Expert("small", input_price=1, output_price=2), Expert("big", input_price=9)]
    return Router(
        FunctionPerception(("small", "big"), lambda _: [0.1, 0.5]), experts, preferences="best"
    )


@pytest.fixture
def chat(models, router):
    return ChatTryage(models=models, router=router)


def tree(telemetry):
    """Return the names of spans, each with the name of its parent."""
    names = {span.context.span_id: span.name for span in telemetry.spans()}
    return sorted(
        (span.name, None if span.parent is None else names.get(span.parent.span_id))
        for span in telemetry.spans()
    )


CALL = [("chat small", WHOLE), (WHOLE, "caller"), (ROUTE, WHOLE)]


async def collect(chunks):
    return [chunk async for chunk in chunks]


@pytest.mark.parametrize(
    "call",
    [
        lambda chat: chat.invoke("Hello"),
        lambda chat: list(chat.stream("Hello")),
        lambda chat: asyncio.run(chat.ainvoke("Hello")),
        lambda chat: asyncio.run(collect(chat.astream("Hello"))),
        lambda chat: chat.generate([[HumanMessage("Hello")]]),
    ],
    ids=["invoke", "stream", "ainvoke", "astream", "generate"],
)
def test_every_way_to_call_is_one_trace_below_the_caller(telemetry, chat, call):
    with telemetry.caller():
        call(chat)
    assert tree(telemetry) == sorted([*CALL, ("caller", None)])
    (attempt,) = telemetry.spans("chat small")
    assert attempt.attributes["gen_ai.usage.output_tokens"] == 5


def test_calls_of_a_batch_run_in_threads_and_belong_to_the_caller(telemetry, chat):
    with telemetry.caller():
        chat.batch(["Hello", "Goodbye", "Again"])
    assert tree(telemetry) == sorted([*CALL * 3, ("caller", None)])


async def test_calls_that_are_decided_together_belong_each_to_their_own_caller(telemetry, chat):
    async def ask(i):
        with telemetry.caller(f"caller {i}"):
            await chat.ainvoke(f"Hello {i}")

    await asyncio.gather(*(ask(i) for i in range(3)))
    assert {pair for pair in tree(telemetry) if pair[0] == WHOLE} == {
        (WHOLE, f"caller {i}") for i in range(3)
    }
    ids = {span.context.trace_id for span in telemetry.spans(ROUTE)}
    assert len(ids) == 3


def test_a_stream_that_is_cut_ends_its_spans_without_tokens(telemetry, chat):
    chunks = chat.stream("Hello")
    next(chunks)
    assert telemetry.spans("chat small") == []
    chunks.close()
    (attempt,), (whole,) = telemetry.spans("chat small"), telemetry.spans(WHOLE)
    assert "gen_ai.usage.output_tokens" not in attempt.attributes
    assert "tryage.cost.billed" not in whole.attributes
    assert telemetry.values("tryage.cost.unknown") == {("small",): 1}


def test_a_stream_that_is_forgotten_ends_its_spans(telemetry, chat):
    chunks = chat.stream("Hello")
    next(chunks)
    del chunks
    gc.collect()
    assert len(telemetry.spans(WHOLE)) == 1


@pytest.mark.parametrize("limits", [{}, {"deadline": 30}, {"attempt_timeout": 30}], ids=str)
async def test_a_call_that_is_cancelled_ends_its_spans(telemetry, router, limits):
    class Hanging(ScriptedChatModel):
        async def _agenerate(self, *_, **__):
            await asyncio.sleep(60)

    chat = ChatTryage(models={"small": Hanging(), "big": Hanging()}, router=router, **limits)
    task = asyncio.ensure_future(chat.ainvoke("Hello"))
    while not telemetry.spans(ROUTE):
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (whole,) = telemetry.spans(WHOLE)
    (attempt,) = telemetry.spans("chat small")
    for span in (whole, attempt):
        assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert attempt.attributes["tryage.attempt.outcome"] == "failed"


def test_a_fallback_shows_both_attempts_and_the_cool_down(telemetry, chat, models):
    models["small"].fails = [ConnectionError("canary-error")]
    chat.invoke("Hello")
    failed, answered = telemetry.spans("chat small"), telemetry.spans("chat big")
    assert failed[0].attributes["error.type"] == "ConnectionError"
    assert answered[0].attributes["tryage.attempt.outcome"] == "answered"
    (whole,) = telemetry.spans(WHOLE)
    assert whole.attributes["tryage.failed"] == ("small",)
    assert [event.name for event in whole.events] == ["tryage.cool_down"]
    assert telemetry.values("tryage.fallbacks") == {("ConnectionError", "small"): 1}
    assert telemetry.values("tryage.cool_downs.open") == {("small",): 1}


def test_an_attempt_that_takes_too_long_ends_when_it_is_given_up(telemetry, router, models):
    class Hanging(ScriptedChatModel):
        def _generate(self, *args, **kwargs):
            release.wait(10)
            return super()._generate(*args, **kwargs)

    release = threading.Event()
    models = {**models, "small": Hanging(model="small")}
    chat = ChatTryage(models=models, router=router, attempt_timeout=0.05)
    assert chat.invoke("Hello").response_metadata["tryage"]["model"] == "big"
    (attempt,) = telemetry.spans("chat small")
    release.set()
    assert attempt.attributes["error.type"] == "tryage.errors.AttemptTimeoutError"


def test_all_that_fail_are_one_failed_call(telemetry, chat, models):
    for model in models.values():
        model.fails = [ConnectionError("canary-error")]
    with pytest.raises(AllFailedError):
        chat.invoke("Hello")
    (whole,) = telemetry.spans(WHOLE)
    assert whole.attributes["error.type"] == "tryage.errors.AllFailedError"
    assert telemetry.values("tryage.calls") == {
        ("tryage.errors.AllFailedError", "small", "routed"): 1
    }


def test_a_call_that_cannot_be_decided_is_a_failed_decision(telemetry, models, router):
    chat = ChatTryage(models=models, router=router, preferences=Preferences(max_cost=1e-12))
    with telemetry.caller(), pytest.raises(NoExpertError):
        chat.invoke("Hello")
    assert tree(telemetry) == [("caller", None), (ROUTE, "caller")]


def test_a_turn_that_keeps_its_model_has_no_decision(telemetry, chat):
    from langchain_core.messages import AIMessage, ToolMessage

    first = chat.invoke("Hello")
    call = AIMessage(
        "", tool_calls=[{"name": "f", "args": {}, "id": "1"}],
        response_metadata=first.response_metadata, id=first.id,
    )  # fmt: skip
    chat.invoke([HumanMessage("Hello"), call, ToolMessage("4", tool_call_id="1")])
    assert len(telemetry.spans(ROUTE)) == 1
    assert telemetry.values("tryage.calls") == {
        ("small", "routed"): 1,
        ("small", "kept for the turn"): 1,
    }


def test_dollars_and_savings_are_those_of_the_record(telemetry, chat):
    cost = chat.invoke("Hello").response_metadata["tryage"]["cost"]
    (whole,) = telemetry.spans(WHOLE)
    assert whole.attributes["tryage.cost.billed"] == cost["billed"]
    assert cost["billed"] == pytest.approx((10 * 1 + 5 * 2) / 1e6)
    assert whole.attributes["tryage.cost.expected"] == cost["expected"]
    assert telemetry.values("tryage.cost.billed") == {("small",): cost["billed"]}


def test_a_hedge_shows_both_attempts(telemetry, models, router):
    class Slow(ScriptedChatModel):
        async def _agenerate(self, *_, **__):
            await asyncio.sleep(60)

    models = {**models, "small": Slow(model="small")}
    hedge = Hedge(seconds=0.01, max_share=1.0)
    chat = ChatTryage(models=models, router=router.with_policy(hedge))
    asyncio.run(chat.ainvoke("Hello"))
    assert {span.name for span in telemetry.spans()} == {WHOLE, ROUTE, "chat small", "chat big"}
    (late,) = telemetry.spans("chat small")
    assert late.attributes["tryage.attempt.outcome"] in ("unused", "failed")


def test_no_word_of_a_prompt_an_answer_a_key_or_a_user_is_in_any_span_or_metric(
    telemetry, models, router
):
    class Answering(ScriptedChatModel):
        api_key: str = "canary-key-0123456789"

        def _reply(self, *_):
            return "canary-answer", []

    models = {"small": Answering(model="small"), "big": Answering(model="big")}
    models["small"].fails = [ConnectionError("canary-error for canary-prompt")]
    chat = ChatTryage(models=models, router=router)
    config = {
        "configurable": {"thread_id": "canary-thread", "user_id": "canary-user"},
        "metadata": {"session_id": "canary-session"},
        "tags": ["canary-tag"],
    }
    messages = [SystemMessage("canary-system"), HumanMessage("canary-prompt")]
    assert "canary-answer" in chat.invoke(messages, config).text
    list(chat.stream(messages, config))
    written = [span.to_json() for span in telemetry.spans()]
    assert written
    assert not [text for text in written if "canary" in text]
    data = telemetry.metrics_json()
    assert "tryage.calls" in data
    assert "canary" not in data
