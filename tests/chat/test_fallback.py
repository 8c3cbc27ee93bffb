"""When an expert fails: which is asked next, which errors are final, what the record holds."""

from __future__ import annotations

import asyncio

import httpx
import openai
import pytest

from tryage.chat import Attempts, ChatRouter, Conversation, Turn
from tryage.chat.clients import ClientPool
from tryage.chat.fallback import (
    ChatRequest,
    FallbackHooks,
    FallbackSession,
    apeek_stream,
    aresume_stream,
    arun_steps,
    fallback_steps,
    peek_stream,
    resume_stream,
    run_steps,
)
from tryage.errors import AllFailedError

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def openai_error(status, body=None):
    """Return the error that the openai client makes of a response."""
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
    response = httpx.Response(status, request=REQUEST, json={"error": body or {}})
    return client._make_status_error_from_response(response)


def talk(text="small question", **fields):
    return Conversation([Turn("user", text, **fields)])


@pytest.fixture
def plan(router):
    return ChatRouter(router).plan(talk())


# Attempts ----------------------------------------------------------------------------------------


def run(attempts, answers):
    """Ask one expert after another, as the integrations do."""
    for name in attempts:
        if not isinstance(answers[name], Exception):
            return name
        attempts.add_failure(name, answers[name])
    return None


def test_the_next_in_the_ranking_answers_and_the_record_names_all(plan, library):
    attempts = Attempts(plan, library)
    answers = {"small": openai_error(429), "big": TimeoutError(), "plain": "hello"}
    assert run(attempts, answers) == "plain"
    record = attempts.record("plain")
    assert (record["model"], record["reason"]) == ("plain", "small failed")
    assert list(record["failed"]) == ["small", "big"]
    assert record["failed"]["big"] == "TimeoutError"


def test_an_error_of_the_request_ends_the_attempts(plan, library):
    bad_request = openai_error(400)
    with pytest.raises(openai.BadRequestError) as raised:
        run(Attempts(plan, library), {"small": bad_request})
    assert raised.value is bad_request


def test_if_all_fail_one_error_lists_each_failure_without_secrets(plan, library):
    errors = {
        "small": openai_error(401, {"message": "Incorrect API key provided: sk-abcdef123456"}),
        "big": openai_error(503),
        "plain": ConnectionError("http://user:pass@host"),
        "unknown": TimeoutError("slow"),
    }
    with pytest.raises(AllFailedError) as raised:
        run(Attempts(plan, library), errors)
    message = str(raised.value)
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == list(errors)
    assert raised.value.failures == tuple(errors.items())
    assert raised.value.__cause__ is errors["unknown"]
    assert "sk-abc" not in message
    assert "user:pass" not in message


def test_if_only_one_expert_was_asked_its_own_error_is_raised(router, library):
    alone = ChatRouter(router).plan(talk("a"), model="small")
    with pytest.raises(TimeoutError):
        run(Attempts(alone, library), {"small": TimeoutError()})


def test_no_more_experts_are_asked_than_max_attempts(plan, library):
    with pytest.raises(AllFailedError, match="All 2 experts"):
        run(Attempts(plan, library, max_attempts=2), dict.fromkeys(library.names, TimeoutError()))


def test_a_client_that_cannot_be_made_is_a_failure_whatever_its_error(plan, library):
    attempts = Attempts(plan, library)
    attempts.add_failure("small", ValueError("no key was given"), client_called=False)
    assert [name for name, _ in attempts.failures] == ["small"]


def test_a_refusal_of_an_unverified_ability_leads_to_the_next(router, library):
    attempts = Attempts(ChatRouter(router).plan(talk("unknown what is it?", images=1)), library)
    assert run(attempts, {"unknown": openai_error(400), "big": "a cat"}) == "big"


# The steps of a call -----------------------------------------------------------------------------


class TextPool(ClientPool[str]):
    client_type = str
    source_description = "a text"


@pytest.fixture
def session(router):
    clients = TextPool({name: f"client of {name}" for name in router.library.names})
    return FallbackSession(ChatRouter(router), clients, None)


def hooks(session, events, answers):
    """Return hooks that answer, or raise, as `answers` says."""

    def call(client, record):
        answer = answers[record["model"]]
        if isinstance(answer, Exception):
            raise answer
        return f"{answer} from the {client}"

    return FallbackHooks(session.clients.get_client, events.append, call)


def async_hooks(session, events, answers):
    plain = hooks(session, events, answers)

    def awaitable(function):
        async def call(*arguments):
            await asyncio.sleep(0)
            return function(*arguments)

        return call

    return FallbackHooks(
        awaitable(plain.get_client), awaitable(plain.emit_event), awaitable(plain.call)
    )


@pytest.fixture(params=["sync", "async"])
def run_call(request, session):
    """Run the steps of one call, either way; return answer, record and events."""

    async def run_call(chat_request, answers):
        plan, events = session.plan(chat_request), []
        if request.param == "async":
            steps = fallback_steps(session, plan, async_hooks(session, events, answers))
            return *await arun_steps(steps), events
        return *run_steps(fallback_steps(session, plan, hooks(session, events, answers))), events

    return run_call


async def test_the_steps_report_each_expert_before_it_is_asked(run_call, session):
    answers = {"small": TimeoutError(), "big": "hello"}
    answer, record, events = await run_call(ChatRequest(talk(), None, None), answers)
    assert answer == "hello from the client of big"
    assert [event["model"] for event in events] == ["small", "big"]
    assert record == events[-1]
    assert list(record["failed"]) == ["small"]
    assert session.chat_router.last_served_by(talk()) == "big"


async def test_the_steps_end_with_an_error_of_the_request(run_call):
    with pytest.raises(openai.BadRequestError):
        await run_call(ChatRequest(talk(), None, None), {"small": openai_error(400)})


def test_a_batch_of_requests_is_planned_in_one_pass(session, perception):
    requests = [ChatRequest(talk(f"{name} one"), None, None) for name in ("big", "plain")]
    assert [plan.first for plan in session.plan_batch(requests)] == ["big", "plain"]
    assert len(perception.passes) == 1


# Streams -----------------------------------------------------------------------------------------


def test_a_stream_is_read_up_to_its_first_content_and_then_comes_whole():
    read = []

    def chunks():
        for chunk in ("", "", "a", "b"):
            read.append(chunk)
            yield chunk

    peeked = peek_stream(chunks(), bool)
    assert read == ["", "", "a"]
    assert list(resume_stream(peeked, str.upper)) == ["", "", "A", "B"]


async def test_an_async_stream_is_read_up_to_its_first_content_and_then_comes_whole():
    read = []

    async def chunks():
        for chunk in ("", "a", "b"):
            read.append(chunk)
            yield chunk

    peeked = await apeek_stream(chunks(), bool)
    assert read == ["", "a"]
    assert [chunk async for chunk in aresume_stream(peeked, str.upper)] == ["", "A", "B"]


async def test_a_reader_that_stops_early_closes_the_stream_of_the_client():
    closed = []

    def chunks():
        try:
            yield from "abc"
        finally:
            closed.append("sync")

    async def achunks():
        try:
            for chunk in "abc":
                yield chunk
        finally:
            closed.append("async")

    stream = resume_stream(peek_stream(chunks(), bool), str.upper)
    assert next(stream) == "A"
    stream.close()
    astream = aresume_stream(await apeek_stream(achunks(), bool), str.upper)
    assert await anext(astream) == "A"
    await astream.aclose()
    assert closed == ["sync", "async"]
