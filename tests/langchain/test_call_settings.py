"""The settings of one call, from its config and from the context of a LangGraph graph."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from langchain.agents import create_agent
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from tryage import Expert, Preferences, Router
from tryage.errors import InputError
from tryage.testing import FixedPerception
from tryage_langchain import ChatTryage, TryageContext, TryageMiddleware, TryageRouter
from tryage_langchain._call_settings import CallSettings, read_call_settings


def model_of(answer):
    return answer.response_metadata["tryage"]["model"]


def configurable(**values):
    return {"configurable": values}


ALL = {
    "tryage_preferences": {"weights": {"cost": 0.5}},
    "tryage_model": "big",
    "tryage_query": "small question",
    "tryage_sticky": "thread",
    "tryage_deadline": 3,
}
READ = CallSettings(Preferences({"cost": 0.5}), "big", "small question", "thread", 3.0)


# Reading -----------------------------------------------------------------------------------------


@dataclass
class DataContext:
    tryage_model: str | None = None
    tryage_query: str | None = None
    user: str = "me"


@dataclass(slots=True)
class SlotContext:
    tryage_model: str | None = None
    user: str = "me"


class PydanticContext(BaseModel):
    tryage_model: str | None = None


def test_all_settings_are_read_from_the_config_or_from_a_context():
    assert read_call_settings(configurable(**ALL)) == READ
    assert read_call_settings({}, ALL) == READ
    assert read_call_settings({}) == read_call_settings(configurable(thread_id="1"))


@pytest.mark.parametrize("context", [DataContext, SlotContext, PydanticContext])
def test_a_context_may_be_an_object(context):
    assert read_call_settings({}, context(tryage_model="big")).model == "big"
    assert read_call_settings({}, context()) == CallSettings()


def test_the_config_of_a_call_wins_over_the_context_of_the_run():
    settings = read_call_settings(
        configurable(tryage_model="small"), TryageContext(tryage_model="big", tryage_query="q")
    )
    assert (settings.model, settings.query) == ("small", "q")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tryage_preference": {}}, "Did you mean tryage_preferences"),
        ({"tryage_preferences": 3}, "expected Preferences"),
        ({"tryage_model": 3}, "tryage_model is a int. Expected a string"),
        ({"tryage_query": ["q"]}, "tryage_query is a list"),
        ({"tryage_sticky": "forever"}, "'forever'; expected one of"),
        ({"tryage_deadline": "3"}, "tryage_deadline is '3'"),
        ({"tryage_deadline": -1}, "tryage_deadline is -1"),
        ({"tryage_deadline": True}, "tryage_deadline is True"),
    ],
)
def test_a_wrong_setting_says_what_is_expected(values, message):
    with pytest.raises(InputError, match=message):
        read_call_settings(configurable(**values))
    with pytest.raises(InputError, match=message):
        read_call_settings({}, values)


# In calls ----------------------------------------------------------------------------------------


async def test_the_query_decides_instead_of_the_message(chat_method, call_chat, chat):
    config = configurable(tryage_query="small question")
    assert model_of(await call_chat(chat_method, chat, "big question")) == "big"
    if chat_method in ("generate", "agenerate"):
        return  # LangChain gives these no config
    assert model_of(await call_chat(chat_method, chat, "big question", config)) == "small"


async def test_the_query_decides_in_a_router_of_runnables(method, call_runnable, router):
    decide = TryageRouter(router)
    answer = await call_runnable(
        decide, method, "big question", configurable(tryage_query="small question")
    )
    decision = answer[-1] if isinstance(answer, list) else answer
    assert decision.expert.name == "small"


def test_one_call_may_be_decided_anew(make_chat):
    chat, thread = make_chat(sticky="thread"), {"thread_id": "1"}
    talk = ["small one", chat.invoke("small one", configurable(**thread)), "big two"]
    stays = chat.invoke(talk, configurable(**thread))
    anew = chat.invoke(talk, configurable(**thread, tryage_sticky="call"))
    assert (model_of(stays), model_of(anew)) == ("small", "big")
    stays = make_chat().invoke(talk, configurable(**thread, tryage_sticky="thread"))
    assert model_of(stays) == "big", "nothing is remembered in another ChatTryage"


@pytest.fixture
def priced():
    """Of two experts the dear one is predicted better by two points, for three cents more."""
    experts = [
        Expert("small", input_price=0, output_price=0.1),
        Expert("big", input_price=0, output_price=60),
    ]
    return Router(FixedPerception({"small": 0.12, "big": 0.1}), experts)


def test_a_preset_is_given_by_its_name_to_a_model_and_to_a_call(priced, small, big):
    models = {"small": small, "big": big}
    assert model_of(ChatTryage(models=models, router=priced).invoke("hi")) == "small"
    chat = ChatTryage(models=models, router=priced, preferences="best")
    assert chat.preferences == Preferences.preset("best")
    assert model_of(chat.invoke("hi")) == "big"
    assert model_of(chat.invoke("hi", configurable(tryage_preferences="thrifty"))) == "small"
    by_value = {"answer_value": 0.1}
    assert model_of(chat.invoke("hi", configurable(tryage_preferences=by_value))) == "small"
    with pytest.raises(InputError, match="Did you mean thrifty"):
        chat.invoke("hi", configurable(tryage_preferences="thrify"))
    with pytest.raises(ValueError, match="Did you mean best"):
        ChatTryage(models=models, router=priced, preferences="bset")


ARGUMENTS = {
    "tryage_modle": r"'tryage_modle' is no setting of a call. Did you mean tryage_model",
    "tryage_model": r"Give it in the config: config=.*\"tryage_model\"",
}


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_an_argument_with_the_name_of_a_setting_is_refused(
    chat_method, call_chat, chat, name
):
    with pytest.raises(InputError, match=ARGUMENTS[name]):
        await call_chat(chat_method, chat, "small question", **{name: "big"})


@pytest.mark.parametrize("name", ["preferences", "sticky", "deadline"])
async def test_a_setting_without_its_prefix_is_no_argument_of_a_model(
    chat_method, call_chat, chat, name
):
    message = rf"'{name}' is no argument of a model. Give it in the config: .*tryage_{name}"
    with pytest.raises(InputError, match=message):
        await call_chat(chat_method, chat, "small question", **{name: "best"})


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_bound_argument_with_the_name_of_a_setting_is_refused(chat, name):
    bound = [
        chat.bind(**{name: "big"}),
        chat.bind_tools([], **{name: "big"}),
        chat.with_structured_output({"title": "t", "type": "object"}, **{name: "big"}),
    ]
    for model in bound:
        with pytest.raises(InputError, match=ARGUMENTS[name]):
            model.invoke("small question")


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_a_router_of_runnables_refuses_such_an_argument(method, call_chat, router, name):
    with pytest.raises(InputError, match=ARGUMENTS[name]):
        await call_chat(method, TryageRouter(router), "small question", **{name: "big"})


# In graphs ---------------------------------------------------------------------------------------


def make_graph(chat, schema):
    def ask(state):
        return {"messages": [chat.invoke(state["messages"])]}

    graph = StateGraph(MessagesState, context_schema=schema)
    return graph.add_node("ask", ask).add_edge(START, "ask").compile()


@pytest.mark.parametrize("schema", [TryageContext, DataContext, PydanticContext])
def test_a_node_of_a_graph_reads_the_context_of_the_run(chat, schema):
    graph, talk = make_graph(chat, schema), {"messages": ["small question"]}
    answer = graph.invoke(talk, context={"tryage_model": "big"})["messages"][-1]
    assert model_of(answer) == "big"
    assert model_of(graph.invoke(talk)["messages"][-1]) == "small"


def test_an_agent_reads_the_context_of_the_run(chat, user_input):
    agent = create_agent(chat, [], context_schema=TryageContext)
    state = agent.invoke(user_input("big question"), context={"tryage_query": "small question"})
    assert model_of(state["messages"][-1]) == "small"


@pytest.mark.parametrize(
    ("context", "name"),
    [
        ({"tryage_model": "big"}, "big"),
        ({"tryage_query": "big question"}, "big"),
        ({"tryage_preferences": {"requirements": []}}, "small"),
        (None, "small"),
    ],
)
async def test_the_middleware_reads_the_context_of_the_run(
    models, agent_model, router, user_input, context, name
):
    routing = TryageMiddleware(models, router)
    agent = create_agent(agent_model, [], middleware=[routing], context_schema=TryageContext)
    question = user_input("small question")
    assert agent.invoke(question, context=context)["tryage"]["served_by"] == name
    assert (await agent.ainvoke(question, context=context))["tryage"]["served_by"] == name


def test_a_name_in_the_context_is_not_meant_for_a_router_inside_the_chosen_model(router, make_chat):
    inner = make_chat()
    outer = ChatTryage.from_models({"big": inner}, router=router)
    graph = make_graph(outer, TryageContext)
    answer = graph.invoke({"messages": ["small question"]}, context={"tryage_model": "big"})
    assert answer["messages"][-1].text == "Hello from scripted-small today"
