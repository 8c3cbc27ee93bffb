"""Dollars of agents and of TryageRouter: each step counts, repetitions too, and copies together."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, wrap_model_call
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool

from tryage import Expert, Router
from tryage_langchain import ChatTryage, TryageMiddleware, TryageRouter
from tryage_langchain.testing import ScriptedChatModel

# Scripted models report 10 tokens of input and 5 of output.
EXPERTS = (
    Expert("small", input_price=2, output_price=8),
    Expert("big", input_price=10, output_price=50),
)
SMALL, BIG = (10 * 2 + 5 * 8) / 1e6, (10 * 10 + 5 * 50) / 1e6


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def scripted():
    return {name: ScriptedChatModel(model=name) for name in ("small", "big")}


@pytest.fixture
def best_is_big(perception, monkeypatch):
    """The typical prompts begin with "big", so that expert is the best single one."""
    monkeypatch.setattr(type(perception), "typical_prompts", lambda _: ("big question",))


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def run(request):
    async def run(agent, value):
        return await agent.ainvoke(value) if request.param else agent.invoke(value)

    return run


def question(text="small question"):
    return {"messages": [("user", text)]}


# Agents -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("best_is_big")
async def test_every_step_of_an_agent_is_billed(run, router, scripted):
    middleware = TryageMiddleware(scripted, router, experts=EXPERTS)
    agent = create_agent(ScriptedChatModel(model="own"), [add], middleware=[middleware])
    state = await run(agent, question())
    cost = state["tryage"]["cost"]
    assert cost["billed"] == pytest.approx(SMALL)
    assert cost["dearest"] == cost["best_single"] == pytest.approx(BIG)
    assert cost["expected"] > 0
    assert state["messages"][-1].response_metadata["tryage"]["cost"] == cost
    savings = middleware.savings()
    assert (savings.answers, savings.unknown, savings.best_single_name) == (2, 0, "big")
    assert savings.billed == pytest.approx(2 * SMALL)
    assert savings.saved == pytest.approx(2 * (BIG - SMALL))


def test_a_repetition_by_another_middleware_is_billed_too(router, scripted):
    asked = []

    class Twice(ScriptedChatModel):
        def _generate(self, *args, **kwargs):
            asked.append(self.model)
            return super()._generate(*args, **kwargs)

    @wrap_model_call
    def ask_twice(request, handler):
        handler(request)
        return handler(request)

    middleware = TryageMiddleware(
        {"small": Twice(model="small"), "big": scripted["big"]}, router, experts=EXPERTS
    )
    agent = create_agent(ScriptedChatModel(model="own"), middleware=[middleware, ask_twice])
    agent.invoke(question())
    assert asked == ["small", "small"]
    assert middleware.savings().billed == pytest.approx(2 * SMALL)


async def test_a_retried_failure_is_not_billed(run, router, scripted):
    scripted["small"].fails = [ConnectionError("no")]
    middleware = TryageMiddleware(scripted, router, experts=EXPERTS)
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=0)
    agent = create_agent(ScriptedChatModel(model="own"), middleware=[middleware, retry])
    await run(agent, question())
    assert middleware.savings().billed == pytest.approx(SMALL)


async def test_a_model_that_another_middleware_asks_instead_has_an_unknown_bill(router, scripted):
    other = ScriptedChatModel(model="other")

    @wrap_model_call
    def replace_model(request, handler):
        return handler(request.override(model=other))

    middleware = TryageMiddleware(scripted, router, experts=EXPERTS)
    agent = create_agent(ScriptedChatModel(model="own"), middleware=[middleware, replace_model])
    state = agent.invoke(question())
    assert state["tryage"]["served_by"] == "other"
    assert state["tryage"]["cost"]["billed"] is None
    assert (middleware.savings().answers, middleware.savings().unknown) == (1, 1)


async def test_the_default_of_a_failed_routing_is_billed(run, scripted, perception, monkeypatch):
    def fail(*_):
        raise RuntimeError("no prediction")

    middleware = TryageMiddleware(scripted, Router(perception), experts=EXPERTS, default="small")
    monkeypatch.setattr(type(middleware._session.chat_router), "plan_from_record", fail)
    agent = create_agent(ScriptedChatModel(model="own"), middleware=[middleware])
    state = await run(agent, question())
    assert (state["tryage"]["how"], state["tryage"]["cost"]["expected"]) == ("default", None)
    assert state["tryage"]["cost"]["billed"] == pytest.approx(SMALL)
    assert middleware.savings().billed == pytest.approx(SMALL)


async def test_the_expected_cost_is_a_number_in_the_metadata_of_the_run(router, scripted, recorder):
    chat = ChatTryage(models=scripted, router=router, experts=EXPERTS)
    answer = chat.invoke("small question", {"callbacks": [recorder]})
    (model_run,) = recorder.of_kind("model")
    expected = model_run["metadata"]["tryage_expected_cost"]
    assert expected == answer.response_metadata["tryage"]["cost"]["expected"] > 0
    ((_, event, _),) = recorder.events
    assert event["cost"]["expected"] == expected


def test_an_unknown_cost_is_not_in_the_metadata_of_the_run(router, scripted, recorder):
    ChatTryage(models=scripted, router=router).invoke("small one", {"callbacks": [recorder]})
    (model_run,) = recorder.of_kind("model")
    assert "tryage_expected_cost" not in model_run["metadata"]


def test_a_tool_loop_is_billed_step_by_step(router, scripted):
    chat = ChatTryage(models=scripted, router=router, experts=EXPERTS)
    agent = create_agent(chat, [add])
    agent.invoke(question())
    assert chat.savings().answers == 2
    assert chat.savings().billed == pytest.approx(2 * SMALL)


def test_configured_copies_count_together_and_deep_copies_for_themselves(router, scripted):
    from langchain_core.runnables import ConfigurableField

    chat = ChatTryage(models=scripted, router=router, experts=EXPERTS)
    configurable = chat.configurable_fields(temperature=ConfigurableField("temperature"))
    configurable.invoke("small question", {"configurable": {"temperature": 0.5}})
    copy, deep_copy = chat.model_copy(), chat.model_copy(deep=True)
    for one in (chat, copy, deep_copy):
        one.invoke("small question")
    assert (chat.savings().answers, deep_copy.savings().answers) == (3, 1)


# TryageRouter -------------------------------------------------------------------------------------


@pytest.fixture
def priced_router(perception):
    return Router(perception, EXPERTS)


@pytest.mark.usefixtures("best_is_big")
async def test_a_router_bills_the_models_of_its_runnables(
    priced_router, scripted, method, call_runnable
):
    chain = ChatPromptTemplate.from_template("{question}") | scripted["small"] | StrOutputParser()
    router = TryageRouter(
        router=priced_router,
        runnables={"small": chain, "big": scripted["big"]},
        input_key="question",
    )
    await call_runnable(router, method, {"question": "small question"})
    savings = router.savings()
    assert (savings.answers, savings.unknown) == (1, 0)
    assert savings.billed == pytest.approx(SMALL)
    assert savings.best_single == savings.dearest == pytest.approx(BIG)


def test_a_router_without_reports_of_tokens_has_unknown_bills(priced_router):
    models = {name: FakeListChatModel(responses=["ok"]) for name in ("small", "big")}
    router = TryageRouter(router=priced_router, runnables=models)
    router.invoke("small question")
    assert (router.savings().answers, router.savings().unknown) == (1, 1)


def test_a_runnable_that_fails_is_no_answer(priced_router, scripted):
    scripted["small"].fails = [ConnectionError("no")]
    router = TryageRouter(router=priced_router, runnables=scripted)
    with pytest.raises(ConnectionError):
        router.invoke("small question")
    assert router.savings().answers == router.savings().unknown == 0


def test_copies_with_tools_count_together(priced_router, scripted):
    router = TryageRouter(router=priced_router, runnables=scripted)
    router.bind_tools([add]).invoke("small question")
    router.invoke("big question")
    assert router.savings(reset=True).billed == pytest.approx(SMALL + BIG)
    assert router.savings().answers == 0


def test_a_router_that_only_decides_counts_nothing(priced_router):
    router = TryageRouter(router=priced_router)
    router.invoke("small question")
    assert router.savings().answers == 0
