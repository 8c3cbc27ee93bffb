"""Cached answers in agents: nobody is called, and only exactly the same call is answered."""

from __future__ import annotations

from functools import partial

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRequest, ModelResponse
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from tryage.core.request_key import NOT_COMPARABLE
from tryage.policies import AnswerCache
from tryage_langchain import TryageMiddleware
from tryage_langchain._agent_answers import AGENT_CACHE, AgentAnswer, answer_settings
from tryage_langchain._agent_calls import conversation_from_request

ANN = {"configurable": {"user_id": "ann"}}
BOB = {"configurable": {"user_id": "bob"}}


@pytest.fixture
def make_agent(router, models, agent_model):
    """Make an agent that shares a cache with the others."""
    middleware = TryageMiddleware(models, router, policy=AnswerCache())

    def make(tools=(), **settings):
        return create_agent(agent_model, list(tools), middleware=[middleware], **settings)

    return make


@pytest.mark.usefixtures("needs_run_config")
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_same_call_is_answered_without_a_model_or_cost(
    make_agent, models, user_input, asynchronous
):
    agent = make_agent()
    first = agent.invoke(user_input("big question"), ANN)
    again = user_input("big question")
    second = await agent.ainvoke(again, ANN) if asynchronous else agent.invoke(again, ANN)
    assert len(models["big"].seen) == 1
    assert first["tryage"]["how"] == "routed"
    assert (second["tryage"]["how"], second["tryage"]["cost"]["billed"]) == ("cached", 0.0)
    assert second["tryage"]["served_by"] == "big"
    old, new = first["messages"][-1], second["messages"][-1]
    assert new.content == old.content == "I am big"
    assert new.id != old.id
    assert new.response_metadata["tryage"]["how"] == "cached"


@pytest.mark.usefixtures("needs_run_config")
def test_users_do_not_share_answers(make_agent, models, user_input):
    agent = make_agent()
    for config in (ANN, BOB, {}, {}):
        assert agent.invoke(user_input("big one"), config)["tryage"]["how"] == "routed"
    assert len(models["big"].seen) == 4


def test_another_system_prompt_or_tool_is_another_call(make_agent, models, user_input, lookup):
    for agent in (make_agent(), make_agent(system_prompt="Be short."), make_agent([lookup])):
        assert agent.invoke(user_input("small one"), ANN)["tryage"]["model"] == "small"
    assert len(models["small"].seen) >= 3


def test_a_cached_tool_call_calls_the_tool_again(make_agent, models, user_input, lookup):
    models["big"].loops = 1
    agent = make_agent([lookup])
    for _ in range(2):
        state = agent.invoke(user_input("big question"), ANN)
        assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert len(models["big"].seen) == 3, "only the first call of the turn comes from the cache"


def test_an_answer_of_a_model_that_replaced_the_asked_one_is_not_kept(
    router, models, agent_model, user_input
):
    models["big"].fails = ConnectionError("down")
    cache = AnswerCache()
    middleware = [
        TryageMiddleware({"big": models["big"]}, router.subset(["big"]), policy=cache),
        ModelFallbackMiddleware(models["small"]),
    ]
    agent = create_agent(agent_model, middleware=middleware)
    state = agent.invoke(user_input("big question"), ANN)
    assert state["messages"][-1].content == "I am small"
    assert len(cache) == 0


def test_a_kept_answer_is_a_copy():
    message = AIMessage("yes", id="1")
    answer = AgentAnswer(ModelResponse([message]), is_of_asked_model=True)
    kept = AGENT_CACHE.to_cache(answer)
    message.content = "changed"
    found = AGENT_CACHE.from_cache(kept)
    assert (found.response.result[0].content, found.response.result[0].id) == ("yes", None)


class City(BaseModel):
    name: str


class Town(City):
    pass


def test_schemas_choices_and_settings_tell_calls_apart(agent_model):
    make_request = partial(ModelRequest, model=agent_model, messages=[])
    requests = [
        make_request(),
        make_request(tool_choice="any"),
        make_request(model_settings={"temperature": 0.5}),
        make_request(response_format=ToolStrategy(City)),
        make_request(response_format=ToolStrategy({"title": "City", "type": "object"})),
    ]
    settings = [str(answer_settings(request)) for request in requests]
    assert len(set(settings)) == len(settings)
    either = conversation_from_request(make_request(response_format=ToolStrategy(City | Town)), {})
    assert either.request_key == NOT_COMPARABLE
