"""Policies in LangChain: what they change is in answers, streams, runs and the agents' state."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from pydantic import ValidationError

from tryage import Router
from tryage.core.policy import Policy, PolicyStage
from tryage.errors import InputError
from tryage.policies import Rule, Rules, Split
from tryage.testing import FixedPolicy
from tryage_langchain import ChatTryage, TryageMiddleware, TryageRouter
from tryage_langchain.testing import ScriptedChatModel

CHANGE = {
    "policy": "FixedPolicy",
    "reason": "big is on offer",
    "before": "small",
    "after": "big",
}


@pytest.fixture
def policy():
    return FixedPolicy("big")


@pytest.fixture
def policy_chat(router, small, big, policy):
    return ChatTryage(models={"small": small, "big": big}, router=router, policy=policy)


def record_of(answer):
    return answer.response_metadata["tryage"]


async def test_an_answer_says_what_a_policy_changed_whichever_way_it_is_called(policy_chat, policy):
    stream = policy_chat.stream("small question")
    whole = next(stream)
    for chunk in stream:
        whole += chunk
    answers = [
        policy_chat.invoke("small question"),
        await policy_chat.ainvoke("small question"),
        *policy_chat.batch(["small question"]),
        whole,
        policy_chat.generate([[HumanMessage("small question")]]).generations[0][0].message,
    ]
    records = [record_of(answer) for answer in answers]
    assert [record["model"] for record in records] == ["big"] * 5
    assert all(record["policies"] == [CHANGE] for record in records)
    settled = {decision_id: expert for decision_id, expert, _ in policy.settled}
    assert settled == {record["id"]: "big" for record in records}
    assert len(policy.settled) == len(policy.recorded) == 5


async def test_a_stream_that_is_not_read_to_its_end_is_settled_once_with_an_unknown_cost(
    policy_chat, policy
):
    stream = policy_chat.stream("small question")
    next(stream)
    stream.close()
    chunks = policy_chat.astream("small question")
    await anext(chunks)
    await chunks.aclose()
    expected = [(decision_id, "big", None) for decision_id in policy.recorded]
    assert policy.settled == expected
    assert len(expected) == 2


@pytest.mark.parametrize(
    "derive",
    [
        lambda chat: chat.with_config(tags=["t"]),
        lambda chat: chat.bind(stop=["x"]),
        lambda chat: chat.with_retry(),
        lambda chat: chat.model_copy(update={"temperature": 0.5}),
        deepcopy,
    ],
    ids=["with_config", "bind", "with_retry", "model_copy", "deepcopy"],
)
def test_copies_and_bindings_have_the_policy(policy_chat, derive):
    assert record_of(derive(policy_chat).invoke("small question"))["policies"] == [CHANGE]


def test_a_pickle_has_the_policy(small):
    chat = ChatTryage(models={"small": small}, policy=Policy())
    again = pickle.loads(pickle.dumps(chat))  # noqa: S301 - our own pickle
    assert type(again.policy) is Policy


def test_a_copy_with_another_policy_chooses_by_it(policy_chat):
    other = policy_chat.model_copy(update={"policy": FixedPolicy("small")})
    assert record_of(other.invoke("big question"))["model"] == "small"
    assert record_of(policy_chat.invoke("small question"))["model"] == "big"


def test_what_is_no_policy_is_refused(router, small):
    with pytest.raises(ValidationError, match="expected a policy"):
        ChatTryage(models={"small": small, "big": small}, router=router, policy="budget")


def test_the_models_run_and_the_event_tell_what_a_policy_changed(policy_chat, recorder):
    policy_chat.invoke("small question", {"callbacks": [recorder]})
    (run,) = recorder.of_kind("model")
    assert run["metadata"]["tryage_policies"] == ["FixedPolicy: big is on offer"]
    ((_, event, _),) = recorder.events
    assert event["policies"] == [CHANGE]


def test_the_state_of_an_agent_says_what_a_policy_changed(router, policy):
    models = {name: ScriptedChatModel(model=name) for name in ("small", "big")}
    middleware = TryageMiddleware(models, router, policy=policy)
    agent = create_agent(models["small"], middleware=[middleware])
    state = agent.invoke({"messages": [("user", "small question")]})
    assert state["tryage"]["served_by"] == "big"
    assert state["tryage"]["policies"] == record_of(state["messages"][-1])["policies"] == [CHANGE]
    assert policy.settled == [(state["tryage"]["id"], "big", None)]


def test_a_policy_is_told_of_every_call_of_a_tool_loop(router, policy):
    @tool
    def look_up(number: int) -> str:
        """Look something up."""
        return str(number)

    models = {name: ScriptedChatModel(model=name) for name in ("small", "big")}
    middleware = TryageMiddleware(models, router, policy=policy)
    agent = create_agent(models["small"], [look_up], middleware=[middleware])
    state = agent.invoke({"messages": [("user", "small question")]}, {"metadata": {"user_id": "u"}})
    assert state["tryage"]["how"] == "kept for the turn"
    assert state["tryage"]["policies"] == [CHANGE]
    ((kept, expert, keys),) = policy.kept
    assert (expert, keys) == ("big", {"user_id": "u"})
    assert [settled[0] for settled in policy.settled] == [policy.recorded[0], kept]


async def test_a_router_as_a_runnable_has_a_policy_and_tells_it_what_came_of_it(router, policy):
    models = {name: ScriptedChatModel(model=name) for name in ("small", "big")}
    runnable = TryageRouter(router, models, policy=policy)
    (batched,) = runnable.batch(["small question"])
    answers = [runnable.invoke("small question"), await runnable.ainvoke("small question"), batched]
    for answer in answers:
        assert record_of(answer)["policies"] == [CHANGE]
    assert sorted(settled[0] for settled in policy.settled) == sorted(policy.recorded)
    assert {settled[1] for settled in policy.settled} == {"big"}


def test_a_router_as_a_runnable_refuses_a_policy_that_asks_several_experts(router, small, big):
    class Steps(Policy):
        stage = PolicyStage.CASCADE

    models = {"small": small, "big": big}
    with pytest.raises(InputError, match="TryageRouter runs the chosen one alone"):
        TryageRouter(router, models, policy=Steps())
    with pytest.raises(InputError, match="TryageRouter runs the chosen one alone"):
        TryageRouter(router.with_policy(FixedPolicy("big") | Steps()), models)
    split = Split({"a": router, "b": router})
    with pytest.raises(InputError, match="TryageRouter runs the chosen one alone"):
        TryageRouter(split, models, policy=Steps())
    assert TryageRouter(router, policy=Steps()).invoke("small one").expert.name == "small"


def test_the_policy_of_the_router_holds_unless_the_model_has_its_own(perception, small, big):
    router = Router(perception, policy=FixedPolicy("big"))
    models = {"small": small, "big": big}
    assert record_of(ChatTryage(models=models, router=router).invoke("small one"))["policies"]
    own = ChatTryage(models=models, router=router, policy=FixedPolicy("small"))
    assert record_of(own.invoke("big one"))["model"] == "small"


def test_a_rule_reads_the_names_of_bound_tools(router):
    rules = Rules([Rule(name="search", tool="search", ban="small")])
    models = {name: ScriptedChatModel(model=name) for name in ("small", "big")}
    chat = ChatTryage(models=models, router=router, policy=rules)
    search = {"name": "search", "description": "Search.", "parameters": {"type": "object"}}
    assert record_of(chat.bind_tools([search]).invoke("small question"))["policies"] == [
        {"policy": "Rules", "reason": "search: not small", "before": None, "after": None}
    ]
    read = {**search, "name": "read"}
    assert record_of(chat.bind_tools([read]).invoke("small question"))["model"] == "small"


def test_a_rule_reads_tags_and_keys_of_the_config(policy_chat):
    rules = Rules([Rule(key={"thread_id": "7"}, ban="small"), Rule(tag="big", only="big")])
    chat = policy_chat.model_copy(update={"policy": rules})
    for config in ({"configurable": {"thread_id": 7}}, {"tags": ["big"]}):
        assert record_of(chat.invoke("small question", config))["model"] == "big"
    assert record_of(chat.invoke("small question"))["model"] == "small"


def test_a_rule_reads_the_names_of_an_agents_tools(router):
    def search(query: str) -> str:
        """Search."""
        return query

    models = {name: ScriptedChatModel(model=name) for name in ("small", "big")}
    rules = Rules([Rule(tool="search", ban="small")])
    middleware = TryageMiddleware(models, router, policy=rules)
    for tools, model in (([search], "big"), ([], "small")):
        agent = create_agent(models["small"], tools, middleware=[middleware])
        state = agent.invoke({"messages": [("user", "small question")]})
        assert state["tryage"]["served_by"] == model


def test_a_rule_reads_the_length_of_the_whole_conversation(policy_chat):
    rules = Rules([Rule(min_tokens=500, ban="small")])
    chat = policy_chat.model_copy(update={"policy": rules})
    history = [HumanMessage("word " * 600), AIMessage("Yes."), HumanMessage("small question")]
    assert record_of(chat.invoke(history))["model"] == "big"
    assert record_of(chat.invoke(history[2:]))["model"] == "small"
