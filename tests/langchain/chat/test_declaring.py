"""Tools and formats are declared once and done by whoever is chosen, in its own way."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableBinding
from pydantic import BaseModel

from tryage import Expert
from tryage.errors import NoExpertError
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel


class Antique(ScriptedChatModel):
    """A model with a tool format of its own, and another word for "any"."""

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        bound = super().bind_tools(tools, tool_choice=tool_choice, **kwargs)
        own = [tool["function"] for tool in bound.kwargs["tools"]]
        return self.bind(functions=own, function_call="must" if tool_choice == "any" else None)


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def look(where: str) -> str:
    """Look somewhere."""
    return f"big nothing {where}"


@pytest.fixture
def two(router, small):
    models = {"small": small, "big": Antique(model="antique")}
    return ChatTryage(models=models, router=router)


async def test_each_model_gets_tools_in_its_own_format(how, call, two, small):
    bound = two.bind_tools([look], tool_choice="any")
    assert isinstance(bound, RunnableBinding)
    await call(how, bound, "small question")
    await call(how, bound, "big question")
    (first,), (second,) = small.calls, two.models["big"].calls
    assert first["tools"][0]["type"] == "function"
    assert first["tool_choice"] == "any"
    assert second["functions"][0]["name"] == "look"
    assert (second["function_call"], "tools" in second) == ("must", False)


@pytest.mark.parametrize("include_raw", [False, True])
def test_structured_output_is_made_by_whoever_is_chosen(chat, recorder, include_raw):
    asked = chat.with_structured_output(Person, include_raw=include_raw)
    answer = asked.invoke("big question", {"callbacks": [recorder]})
    person = answer["parsed"] if include_raw else answer
    assert person == Person(name="你好 客户 こんにちは", age=3)
    if include_raw:
        assert answer["raw"].response_metadata["tryage"]["model"] == "big"
    (model,) = recorder.of("model")
    assert model["metadata"]["tryage_model"] == "big"
    assert "tryage:big" in model["tags"]


async def test_structured_output_streams_and_is_awaited(chat):
    asked = chat.with_structured_output(Person)
    assert (await asked.ainvoke("small one")).age == 3
    assert list(asked.stream("big one"))[-1].age == 3
    assert [p async for p in asked.astream("big one")][-1].age == 3


def test_what_is_configured_after_tools_are_bound_is_not_lost(chat, big):
    bound = chat.bind_tools([look]).with_config(tags=["mine"]).bind(stop=["\n"])
    bound.invoke("small question", {"configurable": {"tryage_model": "big"}})
    assert big.calls[0]["stop"] == ["\n"]
    assert big.calls[0]["tools"]


def test_who_is_known_to_lack_tools_is_not_asked_for_them(router, small, big):
    blunt = [Expert("big", capabilities=[])]
    chat = ChatTryage(models={"small": small, "big": big}, router=router, experts=blunt)
    assert chat.invoke("big question").response_metadata["tryage"]["model"] == "big"
    told = chat.bind_tools([look]).invoke("big question").response_metadata["tryage"]
    assert told["model"] == "small"
    with pytest.raises(NoExpertError, match="capabilities lack vision"):
        ChatTryage(models={"big": big}, router=router, experts=blunt).invoke(
            [HumanMessage([{"type": "image", "url": "data:image/png;base64,AA"}])]
        )


def test_a_long_conversation_goes_to_a_model_with_room(router, small, big):
    short = [Expert("big", context_length=1_000)]
    chat = ChatTryage(models={"small": small, "big": big}, router=router, experts=short)
    assert chat.invoke("big question").response_metadata["tryage"]["model"] == "big"
    talk = [("human", "x" * 4_000), ("ai", "yes"), ("human", "big question")]
    assert chat.invoke(talk).response_metadata["tryage"]["model"] == "small"
    told = chat.invoke("big question two", max_tokens=2_000).response_metadata["tryage"]
    assert told["model"] == "small"


LOOP = [
    HumanMessage("small question"),
    AIMessage("", tool_calls=[{"name": "look", "args": {"where": "here"}, "id": "1"}]),
    ToolMessage("big answer of a tool", tool_call_id="1"),
]


@pytest.mark.parametrize("sticky", ["turn", "thread", "call"])
def test_the_users_request_is_routed_on_not_a_tools_output(router, small, big, sticky):
    chat = ChatTryage(models={"small": small, "big": big}, router=router, sticky=sticky)
    assert chat.invoke(LOOP).response_metadata["tryage"]["model"] == "small"


def test_a_tools_output_in_a_users_place_and_a_summary_are_no_request(chat):
    output = {"type": "tool_result", "tool_use_id": "1", "content": "big"}
    summary = HumanMessage("big summary", additional_kwargs={"lc_source": "summarization"})
    for last in (HumanMessage([output]), summary):
        told = chat.invoke([HumanMessage("small question"), AIMessage("hm"), last])
        assert told.response_metadata["tryage"]["model"] == "small"


async def test_a_turn_is_decided_once_through_a_tool_loop(how, call, chat, perception):
    tooled = chat.bind_tools([look])
    await call(how, tooled, LOOP[:1])
    answer = await call(how, tooled, LOOP)
    assert answer.response_metadata["tryage"]["how"] == "kept for the turn"
    assert len(perception.passes) == 1
    later = await call(how, tooled, [*LOOP, AIMessage("done"), HumanMessage("big next")])
    assert later.response_metadata["tryage"]["model"] == "big"


def test_an_agent_takes_it_as_its_model_and_keeps_one_model_per_turn(chat, perception, small):
    agent = create_agent(chat, [look])
    result = agent.invoke({"messages": [("user", "small question")]})
    assert result["messages"][-1].text == "Hello from scripted-small today"
    assert len(small.calls) == 2
    assert len(perception.passes) == 1
    again = agent.invoke({"messages": [*result["messages"], ("user", "big question")]})
    assert again["messages"][-1].response_metadata["tryage"]["model"] == "big"


def test_an_agent_gets_structured_answers(chat):
    agent = create_agent(chat, [], response_format=Person)
    result = agent.invoke({"messages": [("user", "big question")]})
    assert result["structured_response"].age == 3


def test_flags_in_the_prompt_choose_and_are_taken_out(flagged, small, big):
    chat = ChatTryage(models={"small": small, "big": big}, router=flagged)
    chat.invoke([("system", "Be brief."), ("human", "[Flag: model=small] big question")])
    (heard,) = small.calls
    assert [message.text for message in heard["messages"]] == ["Be brief.", "big question"]
