"""What a policy is told of the calls of chat models: once each, with the USD of all attempts."""

from __future__ import annotations

import pytest

from tryage.chat import ChatRouter, Conversation, Turn
from tryage.chat.clients import ClientPool
from tryage.chat.fallback import (
    ChatRequest,
    FallbackSession,
    fallback_steps,
    run_steps,
)
from tryage.chat.hooks import FallbackHooks
from tryage.chat.streams import abandon_if_unread, peek_stream, resume_stream
from tryage.core.policy import Policy
from tryage.core.usage import TokenUsage
from tryage.errors import InvalidAnswerError
from tryage.policies import Threshold
from tryage.testing import FixedPolicy

USAGE = TokenUsage(1_000_000, 0)  # one million input tokens: the prices of the experts


class TextPool(ClientPool[str]):
    client_type = str
    source_description = "a text"


@pytest.fixture
def policy():
    return FixedPolicy("big")


@pytest.fixture
def session(router, policy):
    clients = TextPool({name: f"client of {name}" for name in router.library.names})
    return FallbackSession(ChatRouter(router.with_policy(policy)), clients, 2)


def ask(session, answers, text="small question", **fields):
    """Return the answer and the record of one call; an error among the answers is raised."""

    def call(_, record):
        answer = answers[record["model"]]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    request = ChatRequest(Conversation([Turn("user", text)], **fields), None, None)
    hooks = FallbackHooks(
        session.clients.get_client, lambda _: None, call, read_usage=lambda _: USAGE
    )
    return run_steps(fallback_steps(session, session.plan(request), hooks))


def test_a_policy_is_told_the_usd_of_an_answer_and_the_record_says_what_it_changed(session, policy):
    _, record = ask(session, {"big": "hello"})
    assert policy.recorded == [record["id"]]
    assert policy.settled == [(record["id"], "big", 10.0)]
    assert record["policies"] == [
        {"policy": "FixedPolicy", "reason": "big is on offer", "before": "small", "after": "big"}
    ]
    assert record["reason"] == "FixedPolicy: big is on offer"


def test_a_policy_is_told_the_usd_of_refused_answers_too(session, policy):
    refused = InvalidAnswerError("It does not parse.", "a refused answer")
    _, record = ask(session, {"big": refused, "small": "hello"})
    assert record["policies"][0]["after"] == "big"
    assert policy.settled == [(record["id"], "small", 11.0)]


def test_a_policy_is_told_of_a_call_without_any_answer_what_its_attempts_cost(session, policy):
    refused = InvalidAnswerError("It does not parse.", "a refused answer")
    with pytest.raises(Exception, match="All 2 experts"):
        ask(session, {"big": refused, "small": ConnectionError()})
    assert policy.settled == [(policy.recorded[0], None, 10.0)]


def test_a_call_that_the_caller_ends_has_an_unknown_cost(session, policy):
    with pytest.raises(KeyboardInterrupt):
        ask(session, {"big": KeyboardInterrupt()})
    assert policy.settled == [(policy.recorded[0], None, None)]


def test_a_stream_is_settled_when_it_is_read_and_once(session, policy):
    stream, record = ask(session, {"big": peek_stream(["hel", "lo"], bool)})
    assert policy.settled == []
    assert list(resume_stream(stream, str)) == ["hel", "lo"]
    stream.settle(USAGE)
    assert policy.settled == [(record["id"], "big", None)]


def test_a_stream_that_nobody_begins_to_read_is_settled_when_it_is_gone(session, policy):
    stream, record = ask(session, {"big": peek_stream(["hel", "lo"], bool)})
    chunks = abandon_if_unread(resume_stream(stream, str), stream)
    assert policy.settled == []
    del chunks
    assert policy.settled == [(record["id"], "big", None)]


def test_a_policy_is_told_of_the_calls_of_a_turn_that_continues(session, policy):
    ask(session, {"big": "hello"}, thread="7", keys={"user_id": "u"})
    turns = [Turn("user", "small question"), Turn("assistant", "hello"), Turn("tool", "42")]
    conversation = Conversation(turns, thread="7", keys={"user_id": "u"})
    plan = session.plan(ChatRequest(conversation, None, None))
    hooks = FallbackHooks(
        session.clients.get_client,
        lambda _: None,
        lambda *_: "hello again",
        read_usage=lambda _: USAGE,
    )
    _, record = run_steps(fallback_steps(session, plan, hooks))
    assert record["how"] == "kept for the turn"
    ((kept, expert, keys),) = policy.kept
    assert (kept, expert, keys["user_id"]) == (record["id"], "big", "u")
    assert policy.settled[-1] == (record["id"], "big", 10.0)


class NotingPolicy(Policy):
    """Keeps the decisions that it is told of, and changes none."""

    def __init__(self):
        self.told = []

    def choose(self, _):
        return None

    def record(self, decision):
        self.told.append(decision)


def test_a_policy_is_told_the_expert_with_which_a_thread_stays(router):
    noted = NotingPolicy()
    chat = ChatRouter(router.with_policy(noted), sticky="thread")
    first = Conversation([Turn("user", "small one")], thread="1")
    then = Conversation(
        [Turn("user", "small one"), Turn("assistant", "answer"), Turn("user", "big two")],
        thread="1",
    )
    plan = chat.plan(first)
    chat.record(plan)
    chat.mark_served(plan, "small")
    kept = chat.plan(then)
    chat.record(kept)
    assert (kept.reason_kind, kept.decision.expert.name) == ("kept for the thread", "big")
    told = noted.told[-1]
    assert (told.id, told.expert.name, told.chosen.name) == (kept.id, "small", "small")
    assert told.chosen.cost == kept.expected_cost("small")
    assert [one.name for one in told.ranking][:2] == ["small", "big"]


def test_the_share_of_a_threshold_counts_the_expert_with_which_a_thread_stays(router):
    threshold = Threshold("big", "small", share=0.5)
    bound = router.with_policy(threshold)
    (decision,) = bound.decide_batch(["big one"])
    level = threshold._tracker.level
    other = {"big": "small", "small": "big"}[decision.expert.name]
    bound.record(decision, chosen=other)
    assert (threshold._tracker.level > level) == (other == "big")
