"""TryageToolSelectorMiddleware shows the model of an agent the tools that a turn needs."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from tryage import Preferences
from tryage.errors import InputError, NoExpertError
from tryage.tools import Tool
from tryage_langchain import TryageContext, TryageToolSelectorMiddleware

DESCRIPTIONS = {
    "get_weather": "Current weather of a city",
    "stock_price": "Price of a share on the stock exchange",
    "send_mail": "Send an e-mail to somebody",
    "translate": "Translate a text into another language",
    "delete_file": "Delete a file from the disk",
    "book_flight": "Book a flight between two airports",
}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def make_tool(name: str) -> StructuredTool:
    def use(q: str = "") -> str:
        return f"{name} did {q}"

    return StructuredTool.from_function(use, name=name, description=DESCRIPTIONS[name])


@pytest.fixture
def tools():
    return [make_tool(name) for name in DESCRIPTIONS]


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request):
    return request.param


@pytest.fixture
def run(asynchronous, agent_model, tools):
    """Run an agent with the middleware; return its state and the tools of every model call."""

    async def run(middleware, query, *, more=(), config=None, agent=None):
        agent = agent or create_agent(agent_model, [*tools, *more], middleware=[middleware])
        given = {"messages": [HumanMessage(query)]}
        state = await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)
        calls = [kwargs.get("tools", []) for _, kwargs in agent_model.seen]
        return state, [[getattr(t, "name", t) for t in call] for call in calls]

    return run


async def test_the_model_sees_the_needed_tool_and_few_others(run):
    state, (first, _) = await run(TryageToolSelectorMiddleware(k=2), "Will it rain in Rome?")
    assert len(first) == 2
    assert state["tryage_tools"]["tools"][0] == "get_weather"
    assert set(state["tryage_tools"]["tools"]) == set(first)


async def test_a_turn_has_one_choice_and_keeps_the_called_tools(run, agent_model):
    agent_model.loops = 3
    _, calls = await run(TryageToolSelectorMiddleware(k=1), "Will it rain in Rome?")
    assert calls == [["get_weather"]] * 4


async def test_always_included_tools_and_provider_tools_stay(run):
    middleware = TryageToolSelectorMiddleware(k=1, always_include=["send_mail"])
    _, (first, *_) = await run(middleware, "Will it rain in Rome?", more=[SEARCH])
    assert [name for name in first if isinstance(name, str)] == ["get_weather", "send_mail"]
    assert SEARCH in first


async def test_a_short_list_of_tools_reaches_the_model_unchanged(run):
    state, (first, *_) = await run(TryageToolSelectorMiddleware(k=6), "Will it rain in Rome?")
    assert first == list(DESCRIPTIONS)
    assert "tryage_tools" not in state


async def test_by_default_it_never_abstains(run):
    _, (first, *_) = await run(TryageToolSelectorMiddleware(k=1), "Hello, how are you?")
    assert len(first) == 1


async def test_with_abstain_below_it_shows_no_tool_for_small_talk(run):
    middleware = TryageToolSelectorMiddleware(k=1, abstain_below=0.3)
    state, (first,) = await run(middleware, "Hello, how are you?")
    assert first == []
    assert state["tryage_tools"]["abstained"] is True


async def test_known_facts_about_tools_count(run):
    known = [Tool(name, risk=float(name == "delete_file"), cost=0.0) for name in DESCRIPTIONS]
    safe = Preferences(weights={"security": 5.0})
    middleware = TryageToolSelectorMiddleware(k=1, known=known, preferences=safe)
    _, (first, *_) = await run(middleware, "Delete the file notes.txt")
    assert first != ["delete_file"]


async def test_a_tool_that_needs_a_permission_is_left_out_even_of_a_short_list(run):
    known = [Tool("delete_file", permissions={"disk"})]
    middleware = TryageToolSelectorMiddleware(k=10, known=known, granted=["network"])
    state, (first, *_) = await run(middleware, "Delete the file notes.txt")
    assert "delete_file" not in first
    assert len(first) == len(DESCRIPTIONS) - 1
    assert state["tryage_tools"]["rejected"][0]["name"] == "delete_file"


async def test_if_no_tool_is_left_the_error_says_why(run):
    known = [Tool(name, permissions={"root"}) for name in DESCRIPTIONS]
    with pytest.raises(NoExpertError, match="permission root"):
        await run(TryageToolSelectorMiddleware(known=known, granted=[]), "anything")


async def test_a_new_turn_of_a_thread_gets_its_own_choice(run, agent_model, tools):
    middleware = TryageToolSelectorMiddleware(k=1)
    agent = create_agent(agent_model, tools, middleware=[middleware], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    await run(middleware, "Will it rain in Rome?", config=config, agent=agent)
    state, calls = await run(middleware, "Book a flight to Oslo", config=config, agent=agent)
    assert [call[0] for call in calls] == ["get_weather"] * 2 + ["book_flight"] * 2
    assert isinstance(state["messages"][-1], AIMessage)


async def test_a_turn_with_an_id_that_was_used_before_gets_its_own_choice(
    asynchronous, agent_model, tools
):
    agent = create_agent(agent_model, tools, middleware=[TryageToolSelectorMiddleware(k=1)])
    for query in ("Will it rain in Rome?", "Book a flight to Oslo"):
        given = {"messages": [HumanMessage(query, id="1")]}
        await agent.ainvoke(given) if asynchronous else agent.invoke(given)
    shown = [kwargs["tools"][0].name for _, kwargs in agent_model.seen]
    assert shown == ["get_weather"] * 2 + ["book_flight"] * 2


async def test_an_unknown_name_in_always_include_is_refused(run):
    with pytest.raises(InputError, match=r"always_include names \['sned_mail'\]"):
        await run(TryageToolSelectorMiddleware(always_include=["sned_mail"]), "Mail Ann")


class ForceToolMiddleware(AgentMiddleware):
    """Makes the model call one tool."""

    def __init__(self, choice):
        self.choice = choice

    def wrap_model_call(self, request, handler):
        return handler(request.override(tool_choice=self.choice))

    async def awrap_model_call(self, request, handler):
        return await handler(request.override(tool_choice=self.choice))


@pytest.mark.parametrize(
    "choice", ["translate", {"type": "function", "function": {"name": "translate"}}]
)
async def test_the_tool_that_a_call_forces_is_shown(asynchronous, agent_model, tools, choice):
    chain = [ForceToolMiddleware(choice), TryageToolSelectorMiddleware(k=1)]
    agent, given = (
        create_agent(agent_model, tools, middleware=chain),
        {"messages": [HumanMessage("Rain?")]},
    )
    await agent.ainvoke(given) if asynchronous else agent.invoke(given)
    assert "translate" in [tool.name for tool in agent_model.seen[0][1]["tools"]]


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": "5"}, {"known": ["x"]}, {"always_include": 3}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(InputError):
        TryageToolSelectorMiddleware(**wrong)


def test_of_two_tools_of_one_name_the_model_sees_the_one_that_serves(agent_model):
    twins = [
        StructuredTool.from_function(lambda q="": q, name="search", description=description)
        for description in ("Find songs and albums", "Find flights and hotels")
    ]
    request = ModelRequest(
        model=agent_model, messages=[HumanMessage("Find me a flight and a hotel")], tools=twins
    )
    seen = []
    TryageToolSelectorMiddleware(k=1).wrap_model_call(
        request, lambda reduced: seen.append(reduced.tools) or ModelResponse([AIMessage("done")])
    )
    assert len(seen[0]) == 1
    assert seen[0][0] is twins[1]


# Settings of a run -------------------------------------------------------------------------------


async def test_max_tools_is_the_name_that_langchain_gives_to_k(run):
    _, (first, _) = await run(TryageToolSelectorMiddleware(max_tools=2), "Will it rain in Rome?")
    assert len(first) == 2
    with pytest.raises(InputError, match="k is 3 and max_tools 2"):
        TryageToolSelectorMiddleware(k=3, max_tools=2)
    with pytest.raises(InputError, match="k"):
        TryageToolSelectorMiddleware(max_tools=0)


@pytest.mark.usefixtures("needs_run_config")
async def test_a_run_may_have_fewer_tools_and_preferences_of_its_own(run):
    config = {"configurable": {"tryage_max_tools": 1}}
    _, (first, _) = await run(TryageToolSelectorMiddleware(k=4), "Will it rain?", config=config)
    assert first == ["get_weather"]
    only = {"configurable": {"tryage_tool_preferences": Preferences(only=["send_mail"])}}
    state, _ = await run(TryageToolSelectorMiddleware(k=4), "Will it rain?", config=only)
    assert state["tryage_tools"]["tools"] == ["send_mail"]
    wrong = {"configurable": {"tryage_max_tools": "two"}}
    with pytest.raises(InputError, match="tryage_max_tools is 'two'"):
        await run(TryageToolSelectorMiddleware(k=4), "Will it rain?", config=wrong)


def test_the_context_of_a_run_counts_too(agent_model, tools):
    middleware = TryageToolSelectorMiddleware(k=4)
    agent = create_agent(agent_model, tools, middleware=[middleware], context_schema=TryageContext)
    value = {"messages": [HumanMessage("Hello there")]}
    context = {"tryage_max_tools": 1, "tryage_query": "Will it rain in Rome?"}
    state = agent.invoke(value, context=context)
    assert state["tryage_tools"]["tools"] == ["get_weather"]
