"""TryageToolSelectorMiddleware: the model of an agent sees the tools that a turn needs."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from tryage import Preferences
from tryage.errors import InputError, NoExpertError
from tryage.tools import Tool
from tryage_langchain import TryageToolSelectorMiddleware

pytestmark = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])

WHAT = {
    "get_weather": "Current weather of a city",
    "stock_price": "Price of a share on the stock exchange",
    "send_mail": "Send an e-mail to somebody",
    "translate": "Translate a text into another language",
    "delete_file": "Delete a file from the disk",
    "book_flight": "Book a flight between two airports",
}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def made(name: str) -> StructuredTool:
    def use(q: str = "") -> str:
        return f"{name} did {q}"

    return StructuredTool.from_function(use, name=name, description=WHAT[name])


@pytest.fixture
def tools():
    return [made(name) for name in WHAT]


@pytest.fixture
def run(asynchronous, own, tools):
    """Run an agent with the middleware; return its state and the tools of every model call."""

    async def go(middleware, asked, *, more=(), config=None, agent=None):
        agent = agent or create_agent(own, [*tools, *more], middleware=[middleware])
        given = {"messages": [HumanMessage(asked)]}
        state = await agent.ainvoke(given, config) if asynchronous else agent.invoke(given, config)
        calls = [kwargs.get("tools", []) for _, kwargs in own.seen]
        return state, [[getattr(t, "name", t) for t in call] for call in calls]

    return go


async def test_the_model_sees_the_tool_that_serves_and_few_others(run):
    state, (first, _) = await run(TryageToolSelectorMiddleware(k=2), "Will it rain in Rome?")
    assert len(first) == 2
    assert state["tryage_tools"]["tools"][0] == "get_weather"
    assert set(state["tryage_tools"]["tools"]) == set(first)


async def test_a_turn_has_one_choice_and_keeps_what_was_called(run, own):
    own.loops = 3
    _, calls = await run(TryageToolSelectorMiddleware(k=1), "Will it rain in Rome?")
    assert calls == [["get_weather"]] * 4


async def test_what_is_always_included_stays_and_provider_tools_too(run):
    middleware = TryageToolSelectorMiddleware(k=1, always_include=["send_mail"])
    _, (first, *_) = await run(middleware, "Will it rain in Rome?", more=[SEARCH])
    assert [name for name in first if isinstance(name, str)] == ["get_weather", "send_mail"]
    assert SEARCH in first


async def test_few_tools_reach_the_model_as_they_are(run):
    state, (first, *_) = await run(TryageToolSelectorMiddleware(k=6), "Will it rain in Rome?")
    assert first == list(WHAT)
    assert "tryage_tools" not in state


async def test_it_abstains_only_when_allowed_to(run):
    _, (first, *_) = await run(TryageToolSelectorMiddleware(k=1), "Hello, how are you?")
    assert len(first) == 1


async def test_when_allowed_to_it_shows_no_tool_for_small_talk(run):
    middleware = TryageToolSelectorMiddleware(k=1, abstain_below=0.3)
    state, (first,) = await run(middleware, "Hello, how are you?")
    assert first == []
    assert state["tryage_tools"]["abstained"] is True


async def test_what_is_known_of_tools_counts(run):
    known = [Tool(name, risk=float(name == "delete_file"), cost=0.0) for name in WHAT]
    safe = Preferences(weights={"security": 5.0})
    middleware = TryageToolSelectorMiddleware(k=1, known=known, preferences=safe)
    _, (first, *_) = await run(middleware, "Delete the file notes.txt")
    assert first != ["delete_file"]


async def test_what_needs_a_permission_is_left_out_even_of_few_tools(run):
    known = [Tool("delete_file", permissions={"disk"})]
    middleware = TryageToolSelectorMiddleware(k=10, known=known, granted=["network"])
    state, (first, *_) = await run(middleware, "Delete the file notes.txt")
    assert "delete_file" not in first
    assert len(first) == len(WHAT) - 1
    assert state["tryage_tools"]["rejected"][0]["name"] == "delete_file"


async def test_without_any_tool_left_the_error_says_why(run):
    known = [Tool(name, permissions={"root"}) for name in WHAT]
    with pytest.raises(NoExpertError, match="permission root"):
        await run(TryageToolSelectorMiddleware(known=known, granted=[]), "anything")


async def test_a_new_turn_of_a_thread_gets_its_own_choice(run, own, tools):
    middleware = TryageToolSelectorMiddleware(k=1)
    agent = create_agent(own, tools, middleware=[middleware], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t"}}
    await run(middleware, "Will it rain in Rome?", config=config, agent=agent)
    state, calls = await run(middleware, "Book a flight to Oslo", config=config, agent=agent)
    assert [call[0] for call in calls] == ["get_weather"] * 2 + ["book_flight"] * 2
    assert isinstance(state["messages"][-1], AIMessage)


async def test_a_turn_whose_id_was_used_before_gets_its_own_choice(asynchronous, own, tools):
    agent = create_agent(own, tools, middleware=[TryageToolSelectorMiddleware(k=1)])
    for asked in ("Will it rain in Rome?", "Book a flight to Oslo"):
        given = {"messages": [HumanMessage(asked, id="1")]}
        await agent.ainvoke(given) if asynchronous else agent.invoke(given)
    shown = [kwargs["tools"][0].name for _, kwargs in own.seen]
    assert shown == ["get_weather"] * 2 + ["book_flight"] * 2


async def test_a_name_that_is_always_included_and_not_there_is_refused(run):
    with pytest.raises(InputError, match=r"always_include names \['sned_mail'\]"):
        await run(TryageToolSelectorMiddleware(always_include=["sned_mail"]), "Mail Ann")


class Forcing(AgentMiddleware):
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
async def test_a_tool_that_the_call_forces_is_shown(asynchronous, own, tools, choice):
    chain = [Forcing(choice), TryageToolSelectorMiddleware(k=1)]
    agent, given = create_agent(own, tools, middleware=chain), {"messages": [HumanMessage("Rain?")]}
    await agent.ainvoke(given) if asynchronous else agent.invoke(given)
    assert "translate" in [tool.name for tool in own.seen[0][1]["tools"]]


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": "5"}, {"known": ["x"]}, {"always_include": 3}])
def test_wrong_arguments_are_refused(asynchronous, wrong):  # noqa: ARG001 - of all tests here
    with pytest.raises(InputError):
        TryageToolSelectorMiddleware(**wrong)
