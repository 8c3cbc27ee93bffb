"""ChatTryage inside what LangChain and LangGraph put around a chat model."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, trim_messages
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from tryage import Router
from tryage.testing import FixedPerception
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

DOWN = ConnectionError("no route")


class Sure(BaseModel):
    """How sure."""

    certainty: int


def look(where: str) -> str:
    """Look somewhere."""
    return f"nothing {where}"


def ask(question: str) -> str:
    """Ask a person."""
    return interrupt(question)


def told(message):
    return message.response_metadata["tryage"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "abatch"])  # it retries no streams
async def test_with_retry_asks_all_again_when_all_have_failed(how, call, chat, small, big):
    big.fails, small.fails = [DOWN], [DOWN]
    patient = chat.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    assert told(await call(how, patient, "big question"))["model"] == "big"
    assert len(small.calls) == 1


def test_with_fallbacks_binds_tools_and_formats_to_both(chat, small, big):
    last = ScriptedChatModel(model="last")
    safe = chat.with_fallbacks([last])
    for asked in (safe.bind_tools([look]), safe.with_structured_output(Sure)):
        big.fails, small.fails = [DOWN], [DOWN]
        asked.invoke("big question")
        assert last.calls[-1]["tools"]
    big.fails, small.fails = [DOWN], [DOWN]
    assert safe.invoke("big question").text == "Hello from last today"


def test_it_is_a_fallback_itself(chat):
    first = ScriptedChatModel(model="first", fails=[DOWN])
    assert told(first.with_fallbacks([chat]).invoke("big question"))["model"] == "big"


def test_configurable_fields_reach_whoever_is_chosen_and_the_turn_goes_on(perception, router):
    made = []

    def make():
        made.append(ScriptedChatModel(model="scripted-small"))
        return made[-1]

    chat = ChatTryage(models={"small": make, "big": make}, router=router)
    warm = chat.configurable_fields(temperature=ConfigurableField(id="warmth"))
    config = {"configurable": {"warmth": 0.7}}
    asked = HumanMessage("small question")
    warm.invoke([asked], config)
    called = AIMessage("", tool_calls=[{"name": "look", "args": {"where": "here"}, "id": "1"}])
    answer = warm.invoke([asked, called, ToolMessage("nothing", tool_call_id="1")], config)
    assert told(answer)["how"] == "kept for the turn"
    assert len(perception.passes) == len(made) == 1
    assert [heard["temperature"] for heard in made[0].calls] == [0.7, 0.7]
    warm.invoke([asked])
    assert made[0].calls[-1].get("temperature") is None


def test_it_is_one_of_configurable_alternatives(chat, big):
    other = ScriptedChatModel(model="other")
    either = chat.configurable_alternatives(ConfigurableField(id="llm"), other=other)
    assert told(either.invoke("big question"))["model"] == "big"
    config = {"configurable": {"llm": "other"}}
    assert either.invoke("big question", config).text == "Hello from other today"
    assert len(big.calls) == 1


def test_threads_share_it_and_mix_nothing_up(chat):
    def one(i):
        return told(chat.invoke(f"{('small', 'big')[i % 2]} question {i}"))["model"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(100))) == ["small", "big"] * 50


def test_with_tools_bound_it_is_pickled_and_read_back(small, big):
    chosen = Router(FixedPerception({"small": 0.2, "big": 0.1}))
    chat = ChatTryage(models={"small": small, "big": big}, router=chosen)
    schema = {"title": "look", "description": "Look.", "type": "object", "properties": {}}
    again = pickle.loads(pickle.dumps(chat.bind_tools([schema])))  # noqa: S301 - just written
    assert again.invoke("big question").tool_calls[0]["name"] == "look"


def test_an_interrupt_in_a_tool_waits_and_the_turn_goes_on_with_the_same_model(chat, small):
    agent = create_agent(chat, [ask], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    state = agent.invoke({"messages": [("user", "small question")]}, config)
    assert state["__interrupt__"]
    state = agent.invoke(Command(resume="big answer"), config)
    assert state["messages"][-2].text == "big answer"
    assert told(state["messages"][-1])["how"] == "kept for the turn"
    assert len(small.calls) == 2


def test_an_interrupt_in_a_child_is_no_failure(router, big):
    def pause(_):
        return AIMessage(interrupt("may I?"))

    chat = ChatTryage(models={"small": RunnableLambda(pause), "big": big}, router=router)
    agent = create_agent(chat, [], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    assert agent.invoke({"messages": [("user", "small question")]}, config)["__interrupt__"]
    assert big.calls == []
    state = agent.invoke(Command(resume="go on"), config)
    assert state["messages"][-1].text == "go on"


def test_tokens_are_counted_without_a_download(chat):
    assert chat.get_num_tokens("four words of text") == 5
    talk = [HumanMessage("x" * 4_000), AIMessage("y" * 40), HumanMessage("small question")]
    kept = trim_messages(talk, max_tokens=100, token_counter=chat, strategy="last")
    assert [message.type for message in kept] == ["ai", "human"]


@pytest.mark.parametrize("way", ["batch_as_completed", "abatch_as_completed"])
async def test_a_batch_as_completed_has_every_answer(chat, way):
    asked = ["small one", "big two", "small three"]
    found = getattr(chat, way)(asked)
    rows = [row async for row in found] if way.startswith("a") else list(found)
    assert {i: told(answer)["model"] for i, answer in rows} == {0: "small", 1: "big", 2: "small"}
