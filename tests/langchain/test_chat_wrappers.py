"""ChatTryage inside what LangChain and LangGraph put around a chat model."""

from __future__ import annotations

import pickle

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from tryage import Router
from tryage.testing import FixedPerception
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel

DOWN = ConnectionError("no route")
RETRIED_METHODS = ["invoke", "ainvoke", "batch", "abatch"]  # with_retry does not retry streams


class Certainty(BaseModel):
    """How certain the answer is."""

    certainty: int


def look(where: str) -> str:
    """Look somewhere."""
    return f"nothing {where}"


def ask_person(question: str) -> str:
    """Ask a person."""
    return interrupt(question)


def record_of(message):
    return message.response_metadata["tryage"]


@pytest.mark.parametrize("method", RETRIED_METHODS)
async def test_with_retry_asks_all_models_again_if_all_have_failed(
    method, call_chat, chat, small, big
):
    big.fails, small.fails = [DOWN], [DOWN]
    patient = chat.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    answer = await call_chat(method, patient, "big question")
    # Both cool down, so the one that is due first is asked.
    assert record_of(answer)["model"] in ("small", "big")
    assert len(small.calls) + len(big.calls) == 3


def test_with_fallbacks_binds_tools_and_schemas_to_both(chat, small, big):
    last = ScriptedChatModel(model="last")
    safe = chat.with_fallbacks([last])
    for bound in (safe.bind_tools([look]), safe.with_structured_output(Certainty)):
        big.fails, small.fails = [DOWN], [DOWN]
        bound.invoke("big question")
        assert last.calls[-1]["tools"]
    big.fails, small.fails = [DOWN], [DOWN]
    assert safe.invoke("big question").text == "Hello from last today"


def test_it_can_be_a_fallback_itself(chat):
    first = ScriptedChatModel(model="first", fails=[DOWN])
    assert record_of(first.with_fallbacks([chat]).invoke("big question"))["model"] == "big"


def test_configurable_fields_reach_the_chosen_model_and_the_turn_goes_on(perception, router):
    made = []

    def make():
        made.append(ScriptedChatModel(model="scripted-small"))
        return made[-1]

    chat = ChatTryage(models={"small": make, "big": make}, router=router)
    warm = chat.configurable_fields(temperature=ConfigurableField(id="warmth"))
    config = {"configurable": {"warmth": 0.7}}
    question = HumanMessage("small question")
    warm.invoke([question], config)
    called = AIMessage("", tool_calls=[{"name": "look", "args": {"where": "here"}, "id": "1"}])
    answer = warm.invoke([question, called, ToolMessage("nothing", tool_call_id="1")], config)
    assert record_of(answer)["how"] == "kept for the turn"
    assert len(perception.passes) == len(made) == 1
    assert [call["temperature"] for call in made[0].calls] == [0.7, 0.7]
    warm.invoke([question])
    assert made[0].calls[-1].get("temperature") is None


def test_it_can_be_one_of_configurable_alternatives(chat, big):
    other = ScriptedChatModel(model="other")
    either = chat.configurable_alternatives(ConfigurableField(id="llm"), other=other)
    assert record_of(either.invoke("big question"))["model"] == "big"
    config = {"configurable": {"llm": "other"}}
    assert either.invoke("big question", config).text == "Hello from other today"
    assert len(big.calls) == 1


def test_with_bound_tools_it_is_pickled_and_read_back(small, big):
    chosen = Router(FixedPerception({"small": 0.2, "big": 0.1}))
    chat = ChatTryage(models={"small": small, "big": big}, router=chosen)
    schema = {"title": "look", "description": "Look.", "type": "object", "properties": {}}
    again = pickle.loads(pickle.dumps(chat.bind_tools([schema])))  # noqa: S301 - written here
    assert again.invoke("big question").tool_calls[0]["name"] == "look"


def test_after_an_interrupt_in_a_tool_the_turn_goes_on_with_the_same_model(chat, small):
    agent = create_agent(chat, [ask_person], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    state = agent.invoke({"messages": [("user", "small question")]}, config)
    assert state["__interrupt__"]
    state = agent.invoke(Command(resume="big answer"), config)
    assert state["messages"][-2].text == "big answer"
    assert record_of(state["messages"][-1])["how"] == "kept for the turn"
    assert len(small.calls) == 2


def test_an_interrupt_in_a_model_is_not_a_failure(router, big):
    def pause(_):
        return AIMessage(interrupt("may I?"))

    chat = ChatTryage(models={"small": RunnableLambda(pause), "big": big}, router=router)
    agent = create_agent(chat, [], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    assert agent.invoke({"messages": [("user", "small question")]}, config)["__interrupt__"]
    assert big.calls == []
    state = agent.invoke(Command(resume="go on"), config)
    assert state["messages"][-1].text == "go on"
