"""The steps of a call: each expert is reported, then asked, until one answers."""

from __future__ import annotations

import asyncio

import httpx
import openai
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
