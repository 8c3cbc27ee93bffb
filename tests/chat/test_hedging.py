"""Two experts at the same time: the first answer counts, and both are billed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tryage.chat import ChatRouter, Conversation, Turn
from tryage.chat.clients import ClientPool
from tryage.chat.fallback import (
    ChatRequest,
    FallbackHooks,
    FallbackSession,
    arun_steps,
    fallback_steps,
    run_steps,
)
from tryage.chat.streams import peek_stream, resume_stream
from tryage.chat.time_limits import TimeLimits
from tryage.core.usage import TokenUsage
from tryage.errors import AttemptTimeoutError
from tryage.policies import Hedge
from tryage.traffic.health import HealthRegistry

USAGE = TokenUsage(1_000_000, 0)  # one million input tokens: the prices of the experts
SOON, LATE = 0.01, 5.0  # seconds


class TextPool(ClientPool[str]):
    client_type = str
    source_description = "a text"


@pytest.fixture
def hedge():
    return Hedge(seconds=SOON, max_share=1.0)


@pytest.fixture
def health():
    return HealthRegistry()


@pytest.fixture
def session(router, hedge, health):
    clients = TextPool({name: f"client of {name}" for name in router.library.names})
    chat_router = ChatRouter(router.with_policy(hedge))
    return FallbackSession(chat_router, clients, None, health_registry=health)


class Answers:
    """Answers of experts: each takes some seconds, or until `ended` is set."""

    def __init__(self, delays, errors=None):
        self.delays, self.errors, self.asked, self.cancelled = delays, errors or {}, [], []
        self.ended, self.events, self.read_for = threading.Event(), [], []

    def call(self, _, record):
        name = record["model"]
        self.asked.append(name)
        self.ended.wait(self.delays[name])
        return self._result(name)

    async def acall(self, _, record):
        name = record["model"]
        self.asked.append(name)
        try:
            await asyncio.sleep(self.delays[name])
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        return self._result(name)

    def _result(self, name):
        if name in self.errors:
            raise self.errors[name]
        return f"answer of {name}"


@pytest.fixture(params=["sync", "async"])
def ask(request, session):
    """Return a function that asks with some answers, either way."""

    async def ask(answers, text="small question", deadline=None, session=session):
        plan = session.plan(ChatRequest(Conversation([Turn("user", text)]), None, None))
        if request.param == "sync":
            hooks = FallbackHooks(
                session.clients.get_client,
                answers.events.append,
                answers.call,
                read_usage=lambda _: USAGE,
                answered_by=answers.read_for.append,
            )
            try:
                return run_steps(fallback_steps(session, plan, hooks, deadline))
            finally:
                answers.ended.set()

        async def get_client(name):
            return session.clients.get_client(name)

        async def emit(record):
            answers.events.append(record)

        hooks = FallbackHooks(
            get_client,
            emit,
            answers.acall,
            read_usage=lambda _: USAGE,
            answered_by=answers.read_for.append,
        )
        return await arun_steps(fallback_steps(session, plan, hooks, deadline))

    ask.mode = request.param
    return ask


async def test_the_second_best_answers_if_the_first_is_late(ask):
    answers = Answers({"small": LATE, "big": 0.0})
    answer, record = await ask(answers)
    assert answer == "answer of big"
    assert (record["model"], record["reason"]) == ("big", "small was late")
    assert record["hedge"] == {"model": "big", "after": SOON, "answered": True}
    assert [event["model"] for event in answers.events] == ["small", "big"]
    assert answers.read_for == ["big"]
    if ask.mode == "async":
        await asyncio.sleep(0)
        assert answers.cancelled == ["small"]


async def test_both_are_billed_and_the_unused_one_by_what_it_was_expected_to_cost(ask, session):
    _, record = await ask(Answers({"small": LATE, "big": 0.0}))
    unused = record["cost"]["unused"]
    assert unused["model"] == "small"
    assert unused["is_estimate"]
    assert 0 < unused["usd"] < 0.01
    assert record["cost"]["billed"] == pytest.approx(10.0 + unused["usd"])
    assert session.savings().billed == pytest.approx(record["cost"]["billed"])


async def test_an_answer_in_time_is_the_only_one(ask):
    answers = Answers({"small": 0.0, "big": 0.0})
    answer, record = await ask(answers)
    assert (answer, answers.asked) == ("answer of small", ["small"])
    assert "hedge" not in record
    assert "unused" not in record["cost"]


async def test_the_first_may_still_win_after_the_second_was_asked(ask):
    answers = Answers({"small": 0.2, "big": LATE})
    answer, record = await ask(answers)
    assert answer == "answer of small"
    assert record["hedge"] == {"model": "big", "after": SOON, "answered": False}
    assert record["cost"]["unused"]["model"] == "big"
    assert record["reason"] == "lowest total of 4"


async def test_a_call_that_is_not_waited_for_is_no_failure(ask, health):
    await ask(Answers({"small": LATE, "big": 0.0}))
    await ask(Answers({"small": 0.2, "big": LATE}))
    assert not health.snapshot()


async def test_a_trial_that_is_not_waited_for_leaves_the_model_to_the_next(ask, session):
    now = [0.0]
    health = HealthRegistry(lambda: now[0])
    session = FallbackSession(session.chat_router, session.clients, None, health_registry=health)
    health.record_failure(session.clients.health_key("big"), ConnectionError("down"), None)
    now[0] = 1_000.0
    answers = Answers({"small": 0.1, "big": LATE})
    await ask(answers, session=session)
    assert answers.asked == ["small", "big"]
    assert session.is_available("big")


async def test_the_second_is_waited_for_if_the_first_fails_after_it_was_asked(ask, session):
    answers = Answers({"small": 0.1, "big": 0.3}, {"small": ConnectionError("down")})
    answer, record = await ask(answers)
    assert answer == "answer of big"
    assert not session.is_available("small")
    assert "unused" not in record["cost"]


async def test_the_first_is_waited_for_if_the_second_fails(ask, session):
    answers = Answers({"small": 0.3, "big": 0.0}, {"big": ConnectionError("down")})
    answer, record = await ask(answers)
    assert answer == "answer of small"
    assert not session.is_available("big")
    assert "hedge" not in record


async def test_the_next_expert_is_asked_if_both_fail(ask):
    errors = {"small": ConnectionError("down"), "big": ConnectionError("down")}
    answers = Answers({"small": 0.1, "big": 0.0, "plain": 0.0}, errors)
    answer, record = await ask(answers)
    assert answer == "answer of plain"
    assert record["failed"]["small"].startswith("ConnectionError")


async def test_an_early_failure_is_a_fallback_and_no_hedge(ask):
    answers = Answers({"small": 0.0, "big": 0.1}, {"small": ConnectionError("down")})
    answer, record = await ask(answers)
    assert answer == "answer of big"
    assert record["reason"] == "small failed"
    assert "hedge" not in record


async def test_a_cooling_expert_is_not_asked_too(ask, session):
    session.health_registry.record_failure(
        session.clients.health_key("big"), ConnectionError("down"), None
    )
    answers = Answers({"small": 0.1})
    answer, _ = await ask(answers)
    assert (answer, answers.asked) == ("answer of small", ["small"])


async def test_an_outage_is_not_hedged_beyond_the_share(ask, session, router):
    limited = Hedge(seconds=SOON, max_share=0.2)
    session = FallbackSession(
        ChatRouter(router.with_policy(limited)), session.clients, None,
        health_registry=HealthRegistry(),
    )  # fmt: skip
    asked = []
    for _ in range(10):
        answers = Answers({"small": 0.03, "big": 0.0})
        await ask(answers, session=session)
        asked.append("big" in answers.asked)
    assert 1 <= sum(asked) <= 3


async def test_the_deadline_holds_for_both(ask):
    names = ("small", "big", "plain", "unknown")
    with pytest.raises(Exception, match="deadline"):
        await ask(Answers(dict.fromkeys(names, LATE)), deadline=0.3)


async def test_the_latencies_of_answers_are_learned(ask, session, router):
    learner = Hedge(quantile=0.5)
    session = FallbackSession(ChatRouter(router.with_policy(learner)), session.clients, None)
    for _ in range(20):
        await ask(Answers({"small": 0.002}), session=session)
    assert learner.delay("small") >= 0.002


def test_a_stream_is_hedged_until_it_begins_and_the_late_one_is_closed(session):
    began, closed, streams = threading.Event(), threading.Event(), []

    def chunks(name):
        try:
            if name == "small":
                began.wait(LATE)
            yield f"begin of {name}"
            yield "end"
        finally:
            if name == "small":
                closed.set()

    def call(_, record):
        streams.append(chunks(record["model"]))  # nobody else closes it
        return peek_stream(streams[-1], bool)

    hooks = FallbackHooks(session.clients.get_client, lambda _: None, call)
    plan = session.plan(ChatRequest(Conversation([Turn("user", "small question")]), None, None))
    stream, record = run_steps(fallback_steps(session, plan, hooks))
    assert list(resume_stream(stream, str)) == ["begin of big", "end"]
    assert record["model"] == "big"
    began.set()
    assert closed.wait(LATE)


def test_an_attempt_without_an_answer_in_time_fails_as_without_a_hedge(session):
    limited = FallbackSession(
        session.chat_router, session.clients, 1, limits=TimeLimits(attempt_timeout=0.05)
    )
    answers = Answers({"small": LATE, "big": LATE})
    hooks = FallbackHooks(session.clients.get_client, lambda _: None, answers.call)
    plan = limited.plan(ChatRequest(Conversation([Turn("user", "small question")]), None, None))
    with pytest.raises(AttemptTimeoutError):
        run_steps(fallback_steps(limited, plan, hooks))
    answers.ended.set()
