"""The steps of a call: each expert is reported, then asked, until one answers."""

from __future__ import annotations

import asyncio
import threading

import httpx
import openai
import pytest

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
from tryage.chat.streams import peek_stream, resume_stream
from tryage.chat.time_limits import TimeLimits
from tryage.errors import AllFailedError, AttemptTimeoutError, DeadlineExceededError
from tryage.traffic.health import HealthRegistry

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def openai_error(status, body=None):
    """Return the error that the openai client makes of a response."""
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
    response = httpx.Response(status, request=REQUEST, json={"error": body or {}})
    return client._make_status_error_from_response(response)


def talk(text="small question", **fields):
    return Conversation([Turn("user", text, **fields)])


def talk_in_thread():
    return Conversation([Turn("user", "small question")], thread="7")


class TextPool(ClientPool[str]):
    client_type = str
    source_description = "a text"


@pytest.fixture
def make_session(router):
    """Make a session with settings over the same clients."""
    clients = TextPool({name: f"client of {name}" for name in router.library.names})
    return lambda **settings: FallbackSession(ChatRouter(router), clients, None, **settings)


@pytest.fixture
def session(make_session):
    return make_session()


def hooks(session, events, answers, problems=lambda _: ()):
    """Return hooks that answer, hang while an event is not set, or raise, as `answers` says."""

    def call(client, record):
        answer = answers[record["model"]]
        if isinstance(answer, threading.Event):
            answer.wait(10)
        if isinstance(answer, Exception):
            raise answer
        return f"{answer} from the {client}"

    return FallbackHooks(session.clients.get_client, events.append, call, problems)


def async_hooks(session, events, answers, problems=lambda _: ()):
    plain = hooks(session, events, answers)

    def awaitable(function):
        async def call(*arguments):
            await asyncio.sleep(0)
            return function(*arguments)

        return call

    async def call(client, record):
        answer = answers[record["model"]]
        if isinstance(answer, threading.Event):
            await asyncio.Event().wait()
        return plain.call(client, record)

    return FallbackHooks(awaitable(plain.get_client), awaitable(plain.emit_event), call, problems)


@pytest.fixture(params=["sync", "async"])
def run_call(request, session):
    """Run the steps of one call, either way; return answer, record and events."""

    async def run_call(chat_request, answers, session=session, problems=lambda _: ()):
        plan, events = session.plan(chat_request), []
        make_hooks = async_hooks if request.param == "async" else hooks
        call_hooks = make_hooks(session, events, answers, problems)
        steps = fallback_steps(session, plan, call_hooks, chat_request.deadline)
        result = await arun_steps(steps) if request.param == "async" else run_steps(steps)
        return *result, events

    return run_call


async def test_the_steps_report_each_expert_before_it_is_asked(run_call, session):
    answers = {"small": TimeoutError(), "big": "hello"}
    conversation = talk_in_thread()
    answer, record, events = await run_call(ChatRequest(conversation, None, None), answers)
    assert answer == "hello from the client of big"
    assert [event["model"] for event in events] == ["small", "big"]
    assert record == events[-1]
    assert list(record["failed"]) == ["small"]
    assert session.chat_router.last_served_by(conversation) == "big"


async def test_the_steps_end_with_an_error_of_the_request(run_call):
    with pytest.raises(openai.BadRequestError):
        await run_call(ChatRequest(talk(), None, None), {"small": openai_error(400)})


def test_a_batch_of_requests_is_planned_in_one_pass(session, perception):
    requests = [ChatRequest(talk(f"{name} one"), None, None) for name in ("big", "plain")]
    assert [plan.first for plan in session.plan_batch(requests)] == ["big", "plain"]
    assert len(perception.passes) == 1


# Health ------------------------------------------------------------------------------------------


async def test_the_health_of_a_client_is_shared_by_all_sessions_over_it(run_call, make_session):
    await run_call(ChatRequest(talk(), None, None), {"small": openai_error(503), "big": "hello"})
    other = make_session()
    answers = {"small": "hello", "big": "hello"}
    answer, record, _ = await run_call(ChatRequest(talk(), None, None), answers, other)
    assert answer == "hello from the client of big"
    assert record["cooling_down"] == ["small"]
    assert other.health()["small"]["state"] == "cooling down"
    assert other.health()["big"]["state"] == "healthy"
    assert list(other.health()) == ["small", "big", "plain", "unknown"]


async def test_a_thread_whose_expert_cools_down_is_decided_anew(run_call, session):
    request = ChatRequest(talk_in_thread(), None, None)
    await run_call(request, {"small": "hello"})
    assert session.plan(request).reason_kind == "kept for the turn"
    session.health_registry.record_failure(session.clients.health_key("small"), TimeoutError())
    assert session.plan(request).reason_kind == "routed"
    assert [plan.reason_kind for plan in session.plan_batch([request])] == ["routed"]


async def test_a_thread_forgets_an_expert_that_fails(run_call, session):
    request = ChatRequest(talk_in_thread(), None, None)
    await run_call(request, {"small": "hello"})
    assert session.chat_router.last_served_by(request.conversation) == "small"
    with pytest.raises(AllFailedError):
        await run_call(request, dict.fromkeys(session.clients, TimeoutError()))
    assert session.chat_router.last_served_by(request.conversation) is None


async def test_a_session_may_have_a_health_of_its_own(run_call, make_session):
    own = make_session(health_registry=HealthRegistry())
    answers = {"small": openai_error(503), "big": "hello"}
    await run_call(ChatRequest(talk(), None, None), answers, own)
    assert own.health()["small"]["state"] == "cooling down"
    assert make_session().health()["small"]["state"] == "healthy"


def test_an_observer_that_fails_ends_the_call_and_no_expert_is_blamed(session):
    def fail(_):
        raise RuntimeError("the observer is broken")

    plan = session.plan(ChatRequest(talk(), None, None))
    broken = FallbackHooks(session.clients.get_client, fail, lambda *_: "hello")
    with pytest.raises(RuntimeError, match="observer"):
        run_steps(fallback_steps(session, plan, broken))
    assert session.health()["small"]["state"] == "healthy"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
def test_a_call_that_is_interrupted_ends_the_trial_of_its_expert(make_session, interruption):
    clock = iter(range(1_000, 2_000, 2)).__next__  # each look is two seconds later
    session = make_session(health_registry=HealthRegistry(clock, jitter=lambda: 1.0))
    session.health_registry.record_failure(session.clients.health_key("small"), TimeoutError())

    def interrupt(*_):
        raise interruption

    plan = session.plan(ChatRequest(talk(), None, None))
    interrupted = FallbackHooks(session.clients.get_client, lambda _: None, interrupt)
    with pytest.raises(interruption) as raised:
        run_steps(fallback_steps(session, plan, interrupted))
    assert session.is_available("small"), raised  # the error keeps its frames alive


# Limits of time ----------------------------------------------------------------------------------


@pytest.fixture
def hanging():
    """An answer that hangs until the test is over."""
    event = threading.Event()
    yield event
    event.set()


async def test_an_expert_that_hangs_leaves_time_for_the_next(run_call, make_session, hanging):
    session = make_session(limits=TimeLimits(attempt_timeout=0.05))
    answers = {"small": hanging, "big": "hello"}
    answer, record, _ = await run_call(ChatRequest(talk(), None, None), answers, session)
    assert answer == "hello from the client of big"
    assert record["failed"]["small"].startswith("AttemptTimeoutError: No answer within 0.0")
    assert session.health()["small"]["state"] == "cooling down"


async def test_a_deadline_of_the_call_holds_instead_of_the_common_one(
    run_call, make_session, hanging
):
    session = make_session(limits=TimeLimits(deadline=5))
    request = ChatRequest(talk(), None, None, deadline=0.05)
    answers = dict.fromkeys(session.clients, hanging)
    with pytest.raises(DeadlineExceededError, match=r"within the deadline of 0\.05 seconds"):
        await run_call(request, answers, session)


async def test_a_hanging_expert_gets_half_of_the_deadline(run_call, make_session, hanging):
    session = make_session(limits=TimeLimits(deadline=0.2))
    answers = {"small": hanging, "big": "hello"}
    answer, _, _ = await run_call(ChatRequest(talk(), None, None), answers, session)
    assert answer == "hello from the client of big"


def test_a_stream_may_not_fall_silent_for_longer_than_an_attempt_may_take(make_session, hanging):
    def chunks():
        yield "a"
        hanging.wait(10)

    session = make_session(limits=TimeLimits(attempt_timeout=0.5))
    plan = session.plan(ChatRequest(talk(), None, None))
    call = FallbackHooks(
        session.clients.get_client, lambda _: None, lambda *_: peek_stream(chunks(), bool)
    )
    stream, _ = run_steps(fallback_steps(session, plan, call))
    with pytest.raises(AttemptTimeoutError):
        list(resume_stream(stream, str))


def test_a_client_that_takes_long_to_make_counts_too(router, hanging):
    def make():
        hanging.wait(10)
        return "late"

    sources = {"small": make, "big": "client", "plain": "client", "unknown": "client"}
    limits = TimeLimits(attempt_timeout=0.05)
    session = FallbackSession(ChatRouter(router), TextPool(sources), None, limits=limits)
    answers = dict.fromkeys(sources, "hello")
    plan = session.plan(ChatRequest(talk(), None, None))
    answer, record = run_steps(fallback_steps(session, plan, hooks(session, [], answers)))
    assert answer == "hello from the client"
    assert list(record["failed"]) == ["small"]


# Answers that are refused ------------------------------------------------------------------------


def problems_of(answer):
    return [problem for problem in ("empty", "length") if problem in answer]


@pytest.mark.parametrize("refused", ["empty", "length"])
async def test_an_answer_that_is_refused_asks_the_next_expert(run_call, make_session, refused):
    session = make_session(retry_on=frozenset({refused}))
    answers = {"small": f"an {refused} answer", "big": "hello"}
    request = ChatRequest(talk(), None, None)
    answer, record, _ = await run_call(request, answers, session, problems_of)
    assert answer == "hello from the client of big"
    assert record["failed"]["small"].startswith("InvalidAnswerError: The answer ")
    assert session.health()["small"]["state"] == "healthy"


async def test_without_the_option_no_answer_is_refused(run_call, make_session):
    answers = {"small": "an empty answer"}
    request = ChatRequest(talk(), None, None)
    answer, _, _ = await run_call(request, answers, make_session(), problems_of)
    assert answer == "an empty answer from the client of small"


async def test_only_the_problems_that_the_option_names_are_refused(run_call, make_session):
    session = make_session(retry_on=frozenset({"empty"}))
    request = ChatRequest(talk(), None, None)
    answers = {"small": "an answer of much length"}
    answer, _, _ = await run_call(request, answers, session, problems_of)
    assert answer == "an answer of much length from the client of small"


async def test_if_all_answers_are_refused_the_first_is_returned(run_call, make_session):
    session = make_session(retry_on=frozenset({"empty", "length"}))
    answers = dict.fromkeys(session.clients, "an empty answer of much length")
    request = ChatRequest(talk(), None, None)
    answer, record, _ = await run_call(request, answers, session, problems_of)
    assert answer.endswith("from the client of small")
    assert record["model"] == "small"
    assert list(record["failed"]) == ["big", "plain", "unknown"]


def test_a_stream_without_content_is_refused_as_empty(make_session):
    session = make_session(retry_on=frozenset({"empty"}))
    streams = {"small": ["", ""], "big": ["", "hello"]}

    def call(_, record):
        return peek_stream(streams[record["model"]], bool)

    plan = session.plan(ChatRequest(talk(), None, None))
    stream_hooks = FallbackHooks(session.clients.get_client, lambda _: None, call)
    stream, record = run_steps(fallback_steps(session, plan, stream_hooks))
    assert record["model"] == "big"
    assert list(resume_stream(stream, str)) == ["", "hello"]


def test_a_stream_without_a_chunk_is_no_answer(session):
    streams = {"small": [], "big": [""]}

    def call(_, record):
        return peek_stream(streams[record["model"]], bool)

    plan = session.plan(ChatRequest(talk(), None, None))
    stream_hooks = FallbackHooks(session.clients.get_client, lambda _: None, call)
    stream, record = run_steps(fallback_steps(session, plan, stream_hooks))
    assert list(resume_stream(stream, str)) == [""]
    assert "without a chunk" in record["failed"]["small"]


def test_a_stream_that_breaks_off_after_its_first_word_makes_its_expert_cool_down(session):
    def chunks():
        yield "a"
        raise ConnectionError

    plan = session.plan(ChatRequest(talk(), None, None))
    call = FallbackHooks(
        session.clients.get_client, lambda _: None, lambda *_: peek_stream(chunks(), bool)
    )
    stream, _ = run_steps(fallback_steps(session, plan, call))
    assert session.is_available("small")
    with pytest.raises(ConnectionError):
        list(resume_stream(stream, str))
    assert not session.is_available("small")
