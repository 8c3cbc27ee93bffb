"""What one call of ChatTryage asks for: bound tools and schemas, requirements, the turn, flags."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableBinding
from pydantic import BaseModel

from tryage import Expert, Preferences
from tryage.errors import LibraryError, NoExpertError
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel


class FunctionCallModel(ScriptedChatModel):
    """A model with a tool format of its own, in which "any" is "must"."""

    def bind_tools(self, tools, *, tool_choice=None, **kwargs):
        bound = super().bind_tools(tools, tool_choice=tool_choice, **kwargs)
        functions = [tool["function"] for tool in bound.kwargs["tools"]]
        return self.bind(
            functions=functions, function_call="must" if tool_choice == "any" else None
        )


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def look(where: str) -> str:
    """Look somewhere."""
    return f"big nothing {where}"


@pytest.fixture
def chat_of_two_formats(router, small):
    models = {"small": small, "big": FunctionCallModel(model="antique")}
    return ChatTryage(models=models, router=router)


def model_of(answer):
    return answer.response_metadata["tryage"]["model"]


# Tools and schemas -------------------------------------------------------------------------------


async def test_each_model_gets_tools_in_its_own_format(
    method, call_chat, chat_of_two_formats, small
):
    bound = chat_of_two_formats.bind_tools([look], tool_choice="any")
    assert isinstance(bound, RunnableBinding)
    await call_chat(method, bound, "small question")
    await call_chat(method, bound, "big question")
    (first,), (second,) = small.calls, chat_of_two_formats.models["big"].calls
    assert first["tools"][0]["type"] == "function"
    assert first["tool_choice"] == "any"
    assert second["functions"][0]["name"] == "look"
    assert (second["function_call"], "tools" in second) == ("must", False)


@pytest.mark.parametrize("include_raw", [False, True])
def test_the_chosen_model_makes_the_structured_output(chat, recorder, include_raw):
    structured = chat.with_structured_output(Person, include_raw=include_raw)
    answer = structured.invoke("big question", {"callbacks": [recorder]})
    person = answer["parsed"] if include_raw else answer
    assert person == Person(name="你好 客户 こんにちは", age=3)
    if include_raw:
        assert answer["raw"].response_metadata["tryage"]["model"] == "big"
    (model,) = recorder.of_kind("model")
    assert model["metadata"]["tryage_model"] == "big"
    assert "tryage:big" in model["tags"]


async def test_structured_output_is_streamed_and_awaited(chat):
    structured = chat.with_structured_output(Person)
    assert (await structured.ainvoke("small one")).age == 3
    assert list(structured.stream("big one"))[-1].age == 3
    assert [p async for p in structured.astream("big one")][-1].age == 3


def test_a_config_after_bind_tools_is_kept(chat, big):
    bound = chat.bind_tools([look]).with_config(tags=["mine"]).bind(stop=["\n"])
    bound.invoke("small question", {"configurable": {"tryage_model": "big"}})
    assert big.calls[0]["stop"] == ["\n"]
    assert big.calls[0]["tools"]


def test_an_agent_gets_structured_answers(chat):
    agent = create_agent(chat, [], response_format=Person)
    result = agent.invoke({"messages": [("user", "big question")]})
    assert result["structured_response"].age == 3


# Requirements ------------------------------------------------------------------------------------


def test_a_model_without_tools_or_vision_is_not_asked_for_them(router, small, big):
    facts = [Expert("big", capabilities=[])]
    chat = ChatTryage(models={"small": small, "big": big}, router=router, experts=facts)
    assert model_of(chat.invoke("big question")) == "big"
    assert model_of(chat.bind_tools([look]).invoke("big question")) == "small"
    with pytest.raises(NoExpertError, match="capabilities lack vision"):
        ChatTryage(models={"big": big}, router=router, experts=facts).invoke(
            [HumanMessage([{"type": "image", "url": "data:image/png;base64,AA"}])]
        )


def test_a_long_conversation_goes_to_a_model_with_enough_context(router, small, big):
    short = [Expert("big", context_length=1_000)]
    chat = ChatTryage(models={"small": small, "big": big}, router=router, experts=short)
    assert model_of(chat.invoke("big question")) == "big"
    talk = [("human", "one word " * 600), ("ai", "yes"), ("human", "big question")]
    assert model_of(chat.invoke(talk)) == "small"
    assert model_of(chat.invoke("big question two", max_tokens=2_000)) == "small"


# The turn ----------------------------------------------------------------------------------------


TOOL_LOOP = [
    HumanMessage("small question"),
    AIMessage("", tool_calls=[{"name": "look", "args": {"where": "here"}, "id": "1"}]),
    ToolMessage("big answer of a tool", tool_call_id="1"),
]


@pytest.mark.parametrize("sticky", ["turn", "thread", "call"])
def test_the_users_request_is_routed_not_the_output_of_a_tool(router, small, big, sticky):
    chat = ChatTryage(models={"small": small, "big": big}, router=router, sticky=sticky)
    assert model_of(chat.invoke(TOOL_LOOP)) == "small"


def test_a_tool_result_in_a_user_message_and_a_summary_are_not_routed(chat):
    output = {"type": "tool_result", "tool_use_id": "1", "content": "big"}
    summary = HumanMessage("big summary", additional_kwargs={"lc_source": "summarization"})
    for last in (HumanMessage([output]), summary):
        talk = [HumanMessage("small question"), AIMessage("hm"), last]
        assert model_of(chat.invoke(talk)) == "small"


async def test_a_turn_is_decided_once_through_a_tool_loop(method, call_chat, chat, perception):
    bound = chat.bind_tools([look])
    await call_chat(method, bound, TOOL_LOOP[:1])
    answer = await call_chat(method, bound, TOOL_LOOP)
    assert answer.response_metadata["tryage"]["how"] == "kept for the turn"
    assert len(perception.passes) == 1
    later = await call_chat(
        method, bound, [*TOOL_LOOP, AIMessage("done"), HumanMessage("big next")]
    )
    assert model_of(later) == "big"


def test_an_agent_with_chattryage_keeps_one_model_per_turn(chat, perception, small):
    agent = create_agent(chat, [look])
    result = agent.invoke({"messages": [("user", "small question")]})
    assert result["messages"][-1].text == "Hello from scripted-small today"
    assert len(small.calls) == 2
    assert len(perception.passes) == 1
    again = agent.invoke({"messages": [*result["messages"], ("user", "big question")]})
    assert model_of(again["messages"][-1]) == "big"


def test_a_thread_stays_with_its_model(make_chat):
    chat, thread = make_chat(sticky="thread"), {"configurable": {"thread_id": "1"}}
    first = chat.invoke("small one", thread)
    talk = [("human", "small one"), first, ("human", "big two")]
    later = chat.invoke(talk, thread)
    assert (model_of(later), later.response_metadata["tryage"]["how"]) == (
        "small", "kept for the thread",
    )  # fmt: skip
    other = [("human", "small one"), ("ai", "not ours"), ("human", "big two")]
    assert model_of(chat.invoke(other, {"configurable": {"thread_id": "2"}})) == "big"


# What a call asks for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [Preferences(only=["small"]), Preferences(only=["small"]).to_dict()]
)
async def test_preferences_hold_for_all_calls_or_for_one(method, call_chat, make_chat, given):
    config = {"configurable": {"tryage_preferences": given}}
    for answer in (
        await call_chat(method, make_chat(preferences=given), "big question"),
        await call_chat(method, make_chat(), "big question", config),
    ):
        assert model_of(answer) == "small"


async def test_a_model_may_be_named_in_three_ways(method, call_chat, make_chat):
    config = {"configurable": {"tryage_model": "big"}}
    for answer in (
        await call_chat(method, make_chat(model="big"), "small question"),
        await call_chat(method, make_chat(), "small question", model="big"),
        await call_chat(method, make_chat(), "small question", config),
    ):
        assert model_of(answer) == "big"
        assert answer.response_metadata["tryage"]["how"] == "asked for"
    with pytest.raises(LibraryError, match="huge"):
        await call_chat(method, make_chat(), "small question", model="huge")


async def test_the_default_answers_if_no_choice_is_possible(method, call_chat, make_chat):
    nobody = {"configurable": {"tryage_preferences": Preferences(only=["nobody"])}}
    chat = make_chat(default="small", default_exempt=True)
    answer = await call_chat(method, chat, "big question", nobody)
    assert answer.response_metadata["tryage"]["reason"].startswith("default: ")
    for strict in (make_chat(), make_chat(default="small")):
        with pytest.raises(NoExpertError):
            await call_chat(method, strict, "big question", nobody)


def test_flags_choose_and_do_not_reach_the_model(flag_router, small, big):
    chat = ChatTryage(models={"small": small, "big": big}, router=flag_router)
    chat.invoke([("system", "Be brief."), ("human", "[Flag: model=small] big question")])
    (call,) = small.calls
    assert [message.text for message in call["messages"]] == ["Be brief.", "big question"]
