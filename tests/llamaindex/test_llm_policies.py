"""Policies in LlamaIndex: what they change is in responses, streams, events and selections."""

from __future__ import annotations

import gc
import pickle

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import FunctionTool, ToolMetadata

from tryage.core.policy import Policy, PolicyStage
from tryage.errors import InputError
from tryage.policies import Rule, Rules
from tryage.testing import FixedPolicy
from tryage_llamaindex import TryageLLM, TryageSelector

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
def policy_llm(router, small, big, policy):
    return TryageLLM(llms={"small": small, "big": big}, router=router, policy=policy)


async def test_an_answer_says_what_a_policy_changed_whichever_way_it_is_called(
    policy_llm, policy, call, method, observer
):
    answer = (await call(policy_llm, method, "small question"))[-1]
    record = answer.additional_kwargs["tryage"]
    assert record["policies"] == [CHANGE]
    assert [settled[:2] for settled in policy.settled] == [(record["id"], "big")]
    (event,) = observer.of("RoutingDecisionEvent")
    assert event.record["policies"] == [CHANGE]


def test_copies_have_the_policy(policy_llm):
    copied = policy_llm.model_copy(update={"system_prompt": "Be short."})
    answer = copied.chat([ChatMessage("small question")])
    assert answer.additional_kwargs["tryage"]["policies"] == [CHANGE]


def test_a_pickle_has_the_policy(small):
    llm = TryageLLM(llms={"small": small}, policy=Policy())
    again = pickle.loads(pickle.dumps(llm))  # noqa: S301 - our own pickle
    assert type(again.policy) is Policy


def test_a_stream_that_is_not_read_is_settled_with_an_unknown_cost(policy_llm, policy):
    stream = policy_llm.stream_chat([ChatMessage("small question")])
    assert policy.settled == []
    del stream
    gc.collect()
    assert policy.settled == [(policy.recorded[0], "big", None)]


def test_a_selector_takes_what_the_policy_of_its_router_takes(router, policy):
    choices = [ToolMetadata("the small engine", "small"), ToolMetadata("the big engine", "big")]
    selector = TryageSelector(router, policy=policy)
    selection = selector.select(choices, QueryBundle("small question"))
    assert selection.inds == [1]
    assert selection.reasons == ["FixedPolicy: big is on offer"]
    assert selection.decision.changes[0].to_dict() == CHANGE


def test_a_selector_refuses_a_policy_that_asks_several_experts(router):
    class Steps(Policy):
        stage = PolicyStage.CASCADE

    with pytest.raises(InputError, match="TryageSelector runs the chosen one alone"):
        TryageSelector(router, policy=Steps())


def test_a_selector_without_a_router_has_no_policy(policy):
    with pytest.raises(InputError, match="give the selector a router"):
        TryageSelector(policy=policy)


def double(n: int) -> int:
    """Double a number."""
    return 2 * n


async def test_a_rule_reads_the_names_of_tools(router, small, big, tool_method, call):
    rules = Rules([Rule(name="doubling", tool="double", ban="small")])
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, policy=rules)
    tools = [FunctionTool.from_defaults(double)]
    answer = (await call(llm, tool_method, tools, user_msg="small question"))[-1]
    assert answer.additional_kwargs["tryage"]["policies"] == [
        {"policy": "Rules", "reason": "doubling: not small", "before": None, "after": None}
    ]
    other = [FunctionTool.from_defaults(double, name="other")]
    answer = (await call(llm, tool_method, other, user_msg="small question"))[-1]
    assert answer.additional_kwargs["tryage"]["model"] == "small"
