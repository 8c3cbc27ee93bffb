"""Real clients and servers that fail in odd ways: the next LLM answers, in time."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager

import pytest

from tryage import Router
from tryage.errors import DeadlineExceededError
from tryage.policies import Hedge
from tryage.testing import FunctionPerception
from tryage.testing.hub.http import DROP_CONNECTION, FakeResponse, LoopbackServer
from tryage.traffic import health
from tryage_llamaindex import TryageLLM

Ollama = pytest.importorskip("llama_index.llms.ollama").Ollama

CHATS = ("chat", "achat", "stream_chat", "astream_chat")


class ModelServer:
    """A server of Ollama's protocol: each model answers with its name, or as `replies` says.

    A reply is a response, or an event to wait for.
    """

    def __init__(self):
        self.replies, self.requests = {}, []

    def __call__(self, request):
        body = request.json()
        self.requests.append(body["model"])
        reply = self.replies.get(body["model"])
        if isinstance(reply, threading.Event):
            reply.wait(30)
        return reply if isinstance(reply, FakeResponse) else answer_of(body["model"])


def answer_of(text, done_reason="stop"):
    message = {"role": "assistant", "content": text}
    return reply({"message": message, "done": True, "done_reason": done_reason})


def reply(value):
    body = json.dumps({"model": "m", "created_at": "2026-01-01T00:00:00Z", **value})
    return FakeResponse(200, body.encode(), {"Content-Type": "application/json"})


@pytest.fixture
def server():
    answers = ModelServer()
    with LoopbackServer(answers) as running:
        answers.url = running.url
        yield answers


@pytest.fixture
def make_llm(server):
    """Make TryageLLM over two models of the server; the first is the favourite."""

    def make(**settings):
        llms = {
            name: Ollama(model=name, base_url=server.url, context_window=8_000)
            for name in ("first", "second")
        }
        router = Router(FunctionPerception(["first", "second"], lambda _: [0.0, 1.0]))
        return TryageLLM.from_llms(llms, router=router, **settings)

    return make


@contextmanager
def hanging(server, *models):
    """Let models hang until the block ends."""
    event = threading.Event()
    server.replies.update(dict.fromkeys(models, event))
    try:
        yield
    finally:
        event.set()


def text_and_record(chunks):
    last = chunks[-1]
    return last.message.content, chunks[0].additional_kwargs["tryage"]


HTML = FakeResponse(200, b"<html><body>Sign in</body></html>", {"Content-Type": "text/html"})

REPLIES = {
    "HTML": HTML,
    "null": FakeResponse(200, b"null", {"Content-Type": "application/json"}),
    "no message": reply({}),
    "half of a JSON": FakeResponse(200, b'{"model": "m", "mess'),
    "bytes that are no text": FakeResponse(200, b"\xff\xfe\xfd\n"),
    "an error in a 200": FakeResponse(200, b'{"error": "overloaded"}'),
    "a dropped connection": FakeResponse(200, truncate_at=DROP_CONNECTION),
    "an error": FakeResponse(503, b"{}"),
}


@pytest.mark.parametrize("kind", REPLIES)
@pytest.mark.parametrize("chat", CHATS)
async def test_a_reply_that_is_no_answer_asks_the_next_llm(call, make_llm, server, kind, chat):
    server.replies["first"] = REPLIES[kind]
    text, record = text_and_record(await call(make_llm(), chat, "question"))
    assert text == "second"
    assert list(record["failed"]) == ["first"]


@pytest.mark.parametrize("chat", ["achat", "stream_chat"])
async def test_an_llm_that_hangs_is_left_after_its_time(call, make_llm, server, chat):
    enough = 4  # seconds in which a healthy model answers, also on a busy machine
    with hanging(server, "first"):
        llm = make_llm(attempt_timeout=enough)
        text, record = text_and_record(await call(llm, chat, "question"))
    assert text == "second"
    assert record["failed"]["first"].startswith("AttemptTimeoutError")


@pytest.mark.parametrize("chat", CHATS)
async def test_if_all_hang_the_deadline_ends_the_call(call, make_llm, server, chat):
    too_late = pytest.raises(DeadlineExceededError, match="first: AttemptTimeoutError")
    with hanging(server, "first", "second"), too_late:
        await call(make_llm(), chat, "question", tryage_deadline=0.4)


async def test_a_dead_llm_is_not_asked_by_the_next_call(
    call, make_llm, server, method, monkeypatch
):
    monkeypatch.setattr(health, "FIRST_COOL_DOWN", 60.0)  # also on a busy machine
    server.replies["first"] = FakeResponse(503, b"{}")
    for _ in range(2):
        await call(make_llm(), method, "question")
    assert server.requests.count("first") == 1
    assert make_llm().health()["first"]["state"] == "cooling down"
    assert make_llm().health()["second"]["state"] == "healthy"


@pytest.mark.parametrize("chat", CHATS)
async def test_an_empty_answer_asks_the_next_llm_on_request(call, make_llm, server, chat):
    server.replies["first"] = answer_of("")
    assert text_and_record(await call(make_llm(), chat, "question"))[0] in ("", None)
    llm = make_llm(retry_on={"empty"})
    assert text_and_record(await call(llm, chat, "question"))[0] == "second"


@pytest.mark.parametrize("chat", CHATS[:2])
async def test_a_cut_off_answer_asks_the_next_llm_on_request(call, make_llm, server, chat):
    server.replies["first"] = answer_of("half an", done_reason="length")
    llm = make_llm(retry_on={"length"})
    assert text_and_record(await call(llm, chat, "question"))[0] == "second"


@pytest.mark.parametrize("method", CHATS)
async def test_the_second_best_answers_for_a_server_that_is_late(make_llm, server, call, method):
    llm = make_llm(policy=Hedge(seconds=0.05, max_share=1.0))
    with hanging(server, "first"):
        text, record = text_and_record(await call(llm, method, "hello"))
    assert text == "second"
    assert (record["model"], record["reason"]) == ("second", "first was late")
    assert record["hedge"] == {"model": "second", "after": 0.05, "answered": True}
