"""Cascades: an answer is kept or the next expert is asked, and every step is billed and told."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from copy import deepcopy

import pytest

from tryage import Preferences
from tryage.chat import ChatRouter, Conversation, Turn
from tryage.chat.clients import ClientPool
from tryage.chat.fallback import (
    ChatRequest,
    FallbackSession,
    arun_steps,
    fallback_steps,
    run_steps,
)
from tryage.chat.hooks import FallbackHooks
from tryage.chat.streams import apeek_stream, aresume_stream, peek_stream, resume_stream
from tryage.core.policy_change import CallPlan, CallStep, Verdict
from tryage.core.usage import TokenUsage
from tryage.errors import InputError, InvalidAnswerError
from tryage.policies import Hedge
from tryage.policies.evidence import AnswerEvidence
from tryage.testing import FixedPolicy

USAGE = TokenUsage(1_000_000, 0)  # one million input tokens: the prices of the experts


def cascade(**step):
    """Return a policy that asks "small", and "big" if the answer of "small" is not kept."""
    return FixedPolicy("small", CallPlan((CallStep("small", **step), CallStep("big"))))


class TextPool(ClientPool[str]):
    client_type = str
    source_description = "a text"


def refuse(_):
    return Verdict(False, "it is too short")


def keep(_):
    return Verdict(True, "it is long enough")


@pytest.fixture
def make_session(router):
    def make_session(policy, max_attempts=None):
        clients = TextPool({name: name for name in router.library.names})
        return FallbackSession(ChatRouter(router.with_policy(policy)), clients, max_attempts)

    return make_session


def read_evidence(answer):
    chunks = getattr(answer, "first_chunks", None)
    return AnswerEvidence(text=answer if chunks is None else "".join(chunks))


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Return the answer, the record and the events of one call, made either way."""

    async def ask(session, answers, preferences=None, deadline=None, **fields):
        events = []

        def call(client, record):
            answer = answers[client]
            if callable(answer):
                answer = answer(record)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        def awaited(function):
            async def wait(*arguments):
                await asyncio.sleep(0)
                return function(*arguments)

            return wait

        is_async = request.param == "async"
        wrap = awaited if is_async else lambda function: function
        hooks = FallbackHooks(
            wrap(session.clients.get_client),
            wrap(lambda record: events.append(deepcopy(record))),
            wrap(call),
            read_usage=lambda _: USAGE,
            read_evidence=read_evidence,
        )
        conversation = Conversation([Turn("user", "small question")], **fields)
        request_ = ChatRequest(conversation, preferences, None)
        steps = fallback_steps(session, session.plan(request_), hooks, deadline)
        answer, record = await arun_steps(steps) if is_async else run_steps(steps)
        return answer, record, events

    return ask


async def test_an_answer_that_is_kept_ends_the_call(ask, make_session):
    policy = cascade(verify=keep)
    answer, record, events = await ask(make_session(policy), {"small": "short"})
    assert answer == "short"
    assert [event["model"] for event in events] == ["small"]
    (step,) = record["cost"]["steps"]
    assert step.pop("seconds") >= 0
    assert step == {"model": "small", "billed": 1.0, "kept": True, "reason": "it is long enough"}
    assert record["cost"]["billed"] == 1.0
    assert policy.settled == [(record["id"], "small", 1.0)]


async def test_an_answer_that_is_not_kept_is_billed_and_the_next_step_is_asked(ask, make_session):
    policy = cascade(verify=refuse)
    session = make_session(policy)
    answer, record, events = await ask(session, {"small": "short", "big": "long"}, thread="7")
    assert answer == "long"
    assert record["model"] == "big"
    assert record["reason"] == "the answer of small was not kept: it is too short"
    assert "failed" not in record
    assert [event["model"] for event in events] == ["small", "big"]
    assert [step["model"] for step in events[1]["cost"]["steps"]] == ["small"]
    told = [(one["model"], one["billed"], one["kept"]) for one in record["cost"]["steps"]]
    assert told == [("small", 1.0, False), ("big", 10.0, True)]
    assert record["cost"]["billed"] == 11.0
    assert policy.settled == [(record["id"], "big", 11.0)]
    assert session.savings().billed == 11.0
    assert (
        session.chat_router.last_served_by(
            Conversation([Turn("user", "small question")], thread="7")
        )
        == "big"
    )
    assert session.is_available("small")


async def test_what_a_check_costs_is_billed_and_an_unknown_cost_makes_all_unknown(
    ask, make_session
):
    for cost, billed in ((0.5, 11.5), (None, None)):
        policy = cascade(verify=lambda _, usd=cost: Verdict(False, "a judge says so", usd))
        _, record, _ = await ask(make_session(policy), {"small": "short", "big": "long"})
        assert record["cost"]["billed"] == billed
        assert record["cost"]["steps"][1]["billed"] == 10.0


@pytest.mark.parametrize("error", [ConnectionError(), ValueError("the request is wrong")])
async def test_an_answer_that_was_not_kept_is_returned_if_no_later_step_answers(
    ask, make_session, error
):
    policy = cascade(verify=refuse)
    answer, record, events = await ask(make_session(policy), {"small": "short", "big": error})
    assert answer == "short"
    assert record["model"] == "small"
    assert list(record["failed"]) == ["big"]
    assert [event["model"] for event in events] == ["small", "big"]
    (step,) = record["cost"]["steps"]
    assert (step["kept"], step["billed"]) == (True, 1.0)
    assert step["reason"] == "it is too short; no later step has answered"
    assert policy.settled == [(record["id"], "small", 1.0)]


async def test_an_answer_that_was_not_kept_is_returned_if_the_next_step_cools_down(
    ask, make_session
):
    session = make_session(cascade(verify=refuse))
    await ask(session, {"small": "short", "big": ConnectionError()})
    answer, record, events = await ask(session, {"small": "short", "big": "long"})
    assert answer == "short"
    assert record["reason"] == "no later step of the cascade has answered"
    assert record["cooling_down"] == ["big"]
    assert len(events) == 1


async def test_a_step_that_cools_down_is_not_forced_if_there_is_an_answer(ask, make_session):
    session = make_session(cascade(verify=refuse))
    await ask(session, {"small": "short", "big": ConnectionError()})
    answers = {"small": "short", "big": "long"}
    only = Preferences(only=["small", "big"])
    answer, _, events = await ask(session, answers, preferences=only)
    assert (answer, len(events)) == ("short", 1)


async def test_an_answer_that_is_not_kept_is_no_attempt_that_failed(ask, make_session):
    session = make_session(cascade(verify=refuse), 1)
    answer, _, _ = await ask(session, {"small": "short", "big": "long"})
    assert answer == "long"


async def test_an_answer_that_was_not_kept_is_returned_after_the_deadline(ask, make_session):
    returned = threading.Event()

    def slow(_):
        returned.wait(60)
        return Verdict(False, "it is too short")

    policy = cascade(verify=slow)
    answers = {"small": "short", "big": "long"}
    try:  # the first answer comes within a half of the deadline, also on a busy machine
        answer, record, _ = await ask(make_session(policy), answers, deadline=1.0)
    finally:
        returned.set()
    assert answer == "short"
    assert "its check failed" in record["cost"]["steps"][0]["reason"]


async def test_a_step_that_fails_leads_to_the_next_step(ask, make_session):
    policy = cascade(verify=keep)
    refused = InvalidAnswerError("It does not parse.", "refused", is_usable=True)
    answer, record, _ = await ask(make_session(policy), {"small": refused, "big": "long"})
    assert answer == "long"
    assert list(record["failed"]) == ["small"]
    assert record["cost"]["billed"] == 11.0
    assert [step["model"] for step in record["cost"]["steps"]] == ["big"]


async def test_a_check_that_fails_keeps_nothing(ask, make_session, caplog):
    def broken(_):
        raise RuntimeError("a secret")

    answers = {"small": "short", "big": "long"}
    answer, record, _ = await ask(make_session(cascade(verify=broken)), answers)
    assert answer == "long"
    assert "its check failed with RuntimeError" in record["reason"]
    assert "RuntimeError" in caplog.text
    assert "a secret" not in caplog.text
    with caplog.at_level(logging.DEBUG, "tryage.chat.cascade"):
        await ask(make_session(cascade(verify=broken)), answers)
    assert "a secret" in caplog.text  # where the author of the check looks for its mistake


async def test_the_log_of_a_check_that_fails_shows_no_key(ask, make_session, caplog):
    message = "refused: api_key=kwozqmtr"  # a traceback shows the line that raises

    def broken(_):
        raise RuntimeError(message)

    with caplog.at_level(logging.DEBUG, "tryage.chat.cascade"):
        await ask(make_session(cascade(verify=broken)), {"small": "short", "big": "long"})
    assert "refused: api_key=***" in caplog.text
    assert "kwozqmtr" not in caplog.text


async def test_only_the_first_step_is_hedged(ask, make_session):
    policy = cascade(verify=refuse) | Hedge(seconds=0.001, max_share=1.0)

    def late(_):
        time.sleep(0.05)
        return "long"

    answer, record, _ = await ask(make_session(policy), {"small": "short", "big": late})
    assert answer == "long"
    assert "hedge" not in record  # "big" is the second-best of "small": it would be asked twice
    assert "unused" not in record["cost"]


async def test_a_check_that_returns_no_verdict_is_refused(ask, make_session):
    with pytest.raises(InputError, match="returned True; expected a Verdict"):
        await ask(make_session(cascade(verify=lambda _: True)), {"small": "short"})


async def test_the_check_gets_the_answer_the_question_and_the_samples(ask, make_session):
    seen = []

    def verify(evidence):
        seen.append(evidence)
        return Verdict(True, "both agree")

    policy = cascade(verify=verify, samples=("small", "plain"))
    answers = {
        "small": lambda record: "a sample" if "sample" in record else "an answer",
        "plain": "another sample",
    }
    answer, record, events = await ask(make_session(policy), answers)
    assert answer == "an answer"
    (evidence,) = seen
    assert (evidence.text, evidence.question) == ("an answer", "small question")
    assert [sample.text for sample in evidence.samples] == ["a sample", "another sample"]
    assert record["cost"]["billed"] == 3.0
    assert [event["model"] for event in events] == ["small"]


async def test_samples_are_asked_at_the_same_time(make_session):
    barrier = threading.Barrier(2, timeout=5)
    session = make_session(cascade(verify=keep, samples=("small",)))
    hooks = FallbackHooks(
        session.clients.get_client, lambda _: None, lambda *_: str(barrier.wait())
    )
    request = ChatRequest(Conversation([Turn("user", "small question")]), None, None)
    answer, _ = run_steps(fallback_steps(session, session.plan(request), hooks))
    assert answer in "01"


async def test_a_sample_that_fails_is_no_evidence(ask, make_session):
    seen = []
    policy = cascade(
        verify=lambda evidence: seen.append(evidence) or keep(evidence), samples=("plain",)
    )
    answers = {"small": "an answer", "plain": ConnectionError()}
    answer, record, _ = await ask(make_session(policy), answers)
    assert answer == "an answer"
    assert seen[0].samples == ()
    assert record["cost"]["billed"] == 1.0


async def test_a_conversation_that_stays_with_its_expert_is_no_cascade(ask, make_session):
    session = make_session(cascade(verify=refuse))
    await ask(session, {"small": "short", "big": "long"}, thread="7")
    turns = [Turn("user", "small question"), Turn("assistant", "long"), Turn("tool", "42")]
    plan = session.plan(ChatRequest(Conversation(turns, thread="7"), None, None))
    assert plan.first == "big"
    assert plan.steps == ()


async def test_an_expert_that_is_asked_for_by_name_is_no_cascade(make_session):
    session = make_session(cascade(verify=refuse))
    request = ChatRequest(Conversation([Turn("user", "small question")]), None, "small")
    assert list(session.plan(request).order()) == ["small"]
    assert session.plan(request).steps == ()


# Streams ----------------------------------------------------------------------------------------


@pytest.fixture(params=["sync", "async"])
def read_stream(request):
    """Return the chunks and the record of a stream, and how many were read before the first one."""

    async def read_stream(session, texts):
        taken = []

        def chunks(text):
            for chunk in text.split():
                taken.append(chunk)
                yield chunk

        async def achunks(text):
            for chunk in chunks(text):
                yield chunk

        async def acall(client, _):
            return await apeek_stream(achunks(texts[client]), bool)

        async def get_client(name):
            return name

        async def emit(_):
            pass

        conversation = Conversation([Turn("user", "small question")])
        plan = session.plan(ChatRequest(conversation, None, None))
        usage = {"read_usage": lambda _: USAGE, "read_evidence": read_evidence}
        if request.param == "async":
            hooks = FallbackHooks(get_client, emit, acall, **usage)
            stream, record = await arun_steps(fallback_steps(session, plan, hooks))
            before = len(taken)
            return [chunk async for chunk in aresume_stream(stream, str)], record, before
        hooks = FallbackHooks(
            str, lambda _: None, lambda client, _: peek_stream(chunks(texts[client]), bool), **usage
        )
        stream, record = run_steps(fallback_steps(session, plan, hooks))
        before = len(taken)
        return list(resume_stream(stream, str)), record, before

    return read_stream


async def test_a_stream_is_passed_on_when_the_whole_answer_is_checked(read_stream, make_session):
    texts = {"small": "one two three"}
    policy = cascade(verify=keep)
    chunks, record, before = await read_stream(make_session(policy), texts)
    assert (chunks, before) == (["one", "two", "three"], 3)
    assert record["cost"]["steps"][0]["kept"]
    assert policy.settled == [(record["id"], "small", None)]  # the chunks tell no tokens


async def test_nothing_of_a_stream_that_is_not_kept_is_passed_on(read_stream, make_session):
    texts = {"small": "one two three", "big": "four five six"}
    chunks, record, before = await read_stream(make_session(cascade(verify=refuse)), texts)
    assert chunks == ["four", "five", "six"]
    assert before == 3 + 1  # the answer of the last step streams live
    assert [step["billed"] for step in record["cost"]["steps"]] == [1.0, None]


async def test_a_stream_is_passed_on_from_where_it_is_sure_to_be_kept(read_stream, make_session):
    policy = cascade(verify=keep, is_certain=lambda evidence: "two" in evidence.text)
    chunks, _, before = await read_stream(make_session(policy), {"small": "one two three four"})
    assert (chunks, before) == (["one", "two", "three", "four"], 2)


def test_a_whole_answer_is_billed_though_its_stream_is_not_read_to_the_end(make_session):
    policy = cascade(verify=keep)
    session = make_session(policy)
    usage = {"read_usage": lambda _: USAGE, "read_evidence": read_evidence}
    hooks = FallbackHooks(
        str, lambda _: None, lambda *_: peek_stream(["one", "two"], bool), **usage
    )
    plan = session.plan(ChatRequest(Conversation([Turn("user", "small question")]), None, None))
    stream, record = run_steps(fallback_steps(session, plan, hooks))
    chunks = resume_stream(stream, str)
    next(chunks)
    chunks.close()
    assert policy.settled == [(record["id"], "small", 1.0)]


def test_a_stream_that_was_not_kept_is_passed_on_if_no_later_step_answers(make_session):
    policy = cascade(verify=refuse)
    session = make_session(policy)

    def call(client, _):
        if client == "big":
            raise ConnectionError
        return peek_stream(["one", "two"], bool)

    usage = {"read_usage": lambda answer: USAGE if answer.first_chunks else None}
    hooks = FallbackHooks(str, lambda _: None, call, read_evidence=read_evidence, **usage)
    plan = session.plan(ChatRequest(Conversation([Turn("user", "small question")]), None, None))
    stream, record = run_steps(fallback_steps(session, plan, hooks))
    assert list(resume_stream(stream, str)) == ["one", "two"]
    assert [(step["billed"], step["kept"]) for step in record["cost"]["steps"]] == [(1.0, True)]
    assert record["cost"]["dearest"] == 10.0  # by its tokens, which the end of a stream lacks
    assert policy.settled == [(record["id"], "small", 1.0)]


async def test_a_stream_that_breaks_off_before_it_is_sure_leads_to_the_next_step(
    make_session,
):
    def breaking():
        yield "one"
        raise ConnectionError

    session = make_session(cascade(verify=keep))
    streams = {"small": breaking, "big": lambda: iter(["two"])}
    hooks = FallbackHooks(
        str, lambda _: None, lambda client, _: peek_stream(streams[client](), bool)
    )
    plan = session.plan(ChatRequest(Conversation([Turn("user", "small question")]), None, None))
    stream, record = run_steps(fallback_steps(session, plan, hooks))
    assert list(resume_stream(stream, str)) == ["two"]
    assert list(record["failed"]) == ["small"]


class OpenStream:
    """A stream of words that is open until somebody reads or closes all of it; it may break."""

    def __init__(self, *words, error=None, seconds=0.0):
        self.words, self.error, self.seconds, self.is_open = words, error, seconds, False

    def chunks(self):
        self.is_open = True
        try:
            for i, word in enumerate(self.words):
                if i:
                    time.sleep(self.seconds)
                yield word
            if self.error is not None:
                raise self.error
        finally:
            self.is_open = False

    async def achunks(self):
        self.is_open = True
        try:
            for i, word in enumerate(self.words):
                if i:
                    await asyncio.sleep(self.seconds)
                yield word
            if self.error is not None:
                raise self.error
        finally:
            self.is_open = False


@pytest.fixture(params=["sync", "async"])
def ask_streams(request):
    """Return the text and the record of a call of `OpenStream`s, by the key of each call."""

    async def ask_streams(session, streams, deadline=None):
        plan = session.plan(ChatRequest(Conversation([Turn("user", "small question")]), None, None))

        def key(record):
            return record.get("sample", record["model"])

        async def acall(_, record):
            return await apeek_stream(streams[key(record)].achunks(), bool)

        async def get_client(name):
            return name

        async def emit(_):
            pass

        usage = {"read_usage": lambda _: USAGE, "read_evidence": read_evidence}
        if request.param == "async":
            hooks = FallbackHooks(get_client, emit, acall, **usage)
            stream, record = await arun_steps(fallback_steps(session, plan, hooks, deadline))
            return [chunk async for chunk in aresume_stream(stream, str)], record

        def call(_, record):
            return peek_stream(streams[key(record)].chunks(), bool)

        hooks = FallbackHooks(str, lambda _: None, call, **usage)
        stream, record = run_steps(fallback_steps(session, plan, hooks, deadline))
        return list(resume_stream(stream, str)), record

    return ask_streams


async def test_the_streams_of_samples_are_closed_when_the_answer_breaks_off(
    ask_streams, make_session
):
    streams = {
        "small": OpenStream("one", error=ConnectionError()),
        "plain, sample 1": OpenStream("two", "three"),
        "big": OpenStream("four"),
    }
    policy = cascade(verify=keep, samples=("plain",))
    chunks, record = await ask_streams(make_session(policy), streams)
    assert (chunks, list(record["failed"])) == (["four"], ["small"])
    assert [stream.is_open for stream in streams.values()] == [False, False, False]


async def test_a_stream_that_is_surely_not_kept_is_closed_when_a_later_step_answers(
    ask_streams, make_session
):
    streams = {"small": OpenStream("one", "two", "three"), "big": OpenStream("four")}
    policy = cascade(verify=refuse, is_certain=lambda _: True)
    chunks, _ = await ask_streams(make_session(policy), streams)
    assert chunks == ["four"]
    assert not streams["small"].is_open


async def test_a_stream_that_was_not_kept_is_read_on_if_no_later_step_answers(
    ask_streams, make_session
):
    streams = {"small": OpenStream("one", "two"), "big": OpenStream(error=ConnectionError())}
    policy = cascade(verify=refuse, is_certain=lambda _: True)
    chunks, record = await ask_streams(make_session(policy), streams)
    assert (chunks, record["model"]) == (["one", "two"], "small")


async def test_a_sample_whose_stream_breaks_off_is_no_evidence(ask_streams, make_session, caplog):
    streams = {
        "small": OpenStream("one"),
        "plain, sample 1": OpenStream("two", error=ConnectionError()),
    }
    policy = cascade(verify=keep, samples=("plain",))
    chunks, _ = await ask_streams(make_session(policy), streams)
    assert chunks == ["one"]
    assert "a sample of plain is no evidence" in caplog.text


async def test_a_sample_whose_stream_falls_silent_is_no_evidence_after_the_time_of_the_attempt(
    ask_streams, make_session, caplog
):
    streams = {"small": OpenStream("one"), "plain, sample 1": OpenStream("two", "x", seconds=3)}
    policy = cascade(verify=keep, samples=("plain",))
    chunks, _ = await ask_streams(make_session(policy), streams, deadline=0.6)
    assert chunks == ["one"]
    assert "a sample of plain is no evidence (AttemptTimeoutError)" in caplog.text
