"""Real clients and servers that fail in odd ways: the next model answers, in time."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager

import pytest

from tryage import Router
from tryage.errors import AttemptTimeoutError, DeadlineExceededError
from tryage.policies import AnswerCache, Hedge
from tryage.testing import FunctionPerception
from tryage.testing.hub.http import DROP_CONNECTION, FakeResponse, LoopbackServer
from tryage_langchain import ChatTryage

ChatOpenAI = pytest.importorskip("langchain_openai").ChatOpenAI


class ModelServer:
    """A server of OpenAI's protocol: each model answers with its name, or as `replies` says.

    A reply is a response, an event to wait for, or a function from the request's body to one.
    """

    def __init__(self):
        self.replies, self.requests = {}, []

    def __call__(self, request):
        body = request.json()
        self.requests.append(body["model"])
        reply = self.replies.get(body["model"])
        if isinstance(reply, threading.Event):
            reply.wait(30)
        if isinstance(reply, FakeResponse):
            return reply
        return stream_of(body["model"]) if body.get("stream") else completion(body["model"])


def completion(text, finish_reason="stop"):
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return reply_json({**HEAD, "choices": [choice]})


def stream_of(*words):
    deltas = [{"index": 0, "delta": {"role": "assistant", "content": word}} for word in words]
    lines = [json.dumps({**HEAD, "choices": [delta]}) for delta in deltas]
    return event_stream("".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]))


HEAD = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}


def reply_json(value):
    return FakeResponse(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def event_stream(text):
    return FakeResponse(200, text.encode("latin-1"), {"Content-Type": "text/event-stream"})


@pytest.fixture
def server():
    answers = ModelServer()
    with LoopbackServer(answers) as running:
        answers.url = f"{running.url}/v1"
        yield answers


@pytest.fixture
def make_chat(server):
    """Make ChatTryage over two models of the server; the first is the favourite."""

    def make(**settings):
        models = {
            name: ChatOpenAI(
                model=name, base_url=server.url, api_key="none", max_retries=0, timeout=30
            )
            for name in ("first", "second")
        }
        router = Router(FunctionPerception(["first", "second"], lambda _: [0.0, 1.0]))
        return ChatTryage.from_models(models, router=router, **settings)

    return make


@contextmanager
def hanging(server, model):
    """Let a model hang until the block ends."""
    server.replies[model] = threading.Event()
    try:
        yield
    finally:
        server.replies[model].set()


# Replies that are no answer ----------------------------------------------------------------------

HTML = FakeResponse(200, b"<html><body>Sign in</body></html>", {"Content-Type": "text/html"})

REPLIES = {
    "HTML": HTML,
    "null": reply_json(None),
    "a list": reply_json([]),
    "no choices": reply_json({**HEAD, "choices": []}),
    "choices that are null": reply_json({**HEAD, "choices": None}),
    "an error in a 200": reply_json({"error": {"message": "overloaded", "code": 503}}),
    "half of a JSON": FakeResponse(200, b'{"id": "1", "cho', {"Content-Type": "application/json"}),
    "an empty body": FakeResponse(200, b"", {"Content-Type": "application/json"}),
    "a dropped connection": FakeResponse(200, truncate_at=DROP_CONNECTION),
}

STREAM_REPLIES = {
    "HTML": HTML,
    "no event": event_stream(""),
    "an event that is no JSON": event_stream("data: {not json\n\n"),
    "bytes that are no text": event_stream("data: \xff\xfe\xfd\n\n"),
    "events without choices": event_stream('data: {"choices": []}\n\ndata: [DONE]\n\n'),
    "an event that is null": event_stream("data: null\n\n"),
    "an error event": event_stream('data: {"error": {"message": "overloaded", "code": 503}}\n\n'),
    "a dropped connection": FakeResponse(200, truncate_at=DROP_CONNECTION),
}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("kind", ["invoke", "ainvoke"])
async def test_a_reply_that_is_no_answer_asks_the_next_model(
    call_chat, make_chat, server, reply, kind
):
    server.replies["first"] = REPLIES[reply]
    answer = await call_chat(kind, make_chat(), "question")
    assert answer.text == "second"
    assert list(answer.response_metadata["tryage"]["failed"]) == ["first"]


@pytest.mark.parametrize("reply", STREAM_REPLIES)
@pytest.mark.parametrize("kind", ["stream", "astream"])
async def test_a_stream_that_is_no_answer_asks_the_next_model(
    call_chat, make_chat, server, reply, kind
):
    server.replies["first"] = STREAM_REPLIES[reply]
    answer = await call_chat(kind, make_chat(), "question")
    assert answer.text == "second"
    assert list(answer.response_metadata["tryage"]["failed"]) == ["first"]


@pytest.mark.parametrize("kind", ["stream", "astream"])
async def test_a_stream_without_choices_is_the_answer_if_no_model_has_a_better_one(
    call_chat, make_chat, server, kind
):
    server.replies["first"] = STREAM_REPLIES["events without choices"]
    server.replies["second"] = STREAM_REPLIES["HTML"]
    answer = await call_chat(kind, make_chat(), "question")
    assert answer.text == ""
    assert answer.response_metadata["tryage"]["model"] == "first"


# Empty and cut-off answers -----------------------------------------------------------------------


async def test_an_empty_answer_asks_the_next_model_on_request(call_chat, make_chat, server, method):
    is_stream = method.endswith("stream")
    server.replies["first"] = stream_of("", "") if is_stream else completion("")
    assert (await call_chat(method, make_chat(), "question")).text == ""
    answer = await call_chat(method, make_chat(retry_on={"empty"}), "question")
    assert answer.text == "second"


@pytest.mark.parametrize("kind", ["invoke", "ainvoke", "batch", "abatch", "generate", "agenerate"])
async def test_a_cut_off_answer_asks_the_next_model_on_request(call_chat, make_chat, server, kind):
    server.replies["first"] = completion("half an", finish_reason="length")
    chat = make_chat(retry_on={"length"})
    assert (await call_chat(kind, chat, "question")).text == "second"
    server.replies["second"] = completion("another half", finish_reason="length")
    answer = await call_chat(kind, chat, "question")
    assert answer.text == "half an"
    assert answer.response_metadata["tryage"]["model"] == "first"


# Cool-down ---------------------------------------------------------------------------------------


async def test_a_dead_model_is_not_asked_by_the_next_call(call_chat, make_chat, server, method):
    server.replies["first"] = FakeResponse(503, b"{}", {"Retry-After": "60"})
    for _ in range(3):
        assert (await call_chat(method, make_chat(), "question")).text == "second"
    assert server.requests.count("first") == 1
    health = make_chat().health()
    assert health["first"]["state"] == "cooling down"
    assert "503" in health["first"]["last_error"]


def test_retry_after_of_a_real_response_sets_the_time(make_chat, server):
    server.replies["first"] = FakeResponse(429, b"{}", {"Retry-After": "42"})
    make_chat().invoke("question")
    assert 41 < make_chat().health()["first"]["seconds_until_retry"] <= 42


def test_a_model_that_the_call_names_is_asked_all_the_same(make_chat, server):
    server.replies["first"] = FakeResponse(503, b"{}", {"Retry-After": "60"})
    make_chat().invoke("question")
    del server.replies["first"]
    answer = make_chat().invoke("question", {"configurable": {"tryage_model": "first"}})
    assert answer.text == "first"
    assert make_chat().invoke("question").text == "first"


# Time --------------------------------------------------------------------------------------------

ENOUGH = 4  # seconds in which a healthy model answers, also on a busy machine


@pytest.mark.parametrize("kind", ["invoke", "astream"])
async def test_a_model_that_hangs_is_left_after_its_time(call_chat, make_chat, server, kind):
    with hanging(server, "first"):
        answer = await call_chat(kind, make_chat(attempt_timeout=ENOUGH), "question")
    assert answer.text == "second"
    record = answer.response_metadata["tryage"]
    assert record["failed"]["first"].startswith("AttemptTimeoutError")


@pytest.mark.parametrize("kind", ["ainvoke", "stream"])
async def test_a_deadline_leaves_time_for_the_next_model(call_chat, make_chat, server, kind):
    with hanging(server, "first"):
        answer = await call_chat(kind, make_chat(deadline=2 * ENOUGH), "question")
    assert answer.text == "second"


async def test_if_all_hang_the_deadline_ends_the_call(call_chat, make_chat, server, method):
    chat, too_late = make_chat(deadline=0.3), pytest.raises(DeadlineExceededError, match="first: ")
    with hanging(server, "first"), hanging(server, "second"), too_late:
        await call_chat(method, chat, "question")


async def test_a_deadline_may_come_with_the_call(call_chat, make_chat, server, method):
    config = {"configurable": {"tryage_deadline": 0.3}}
    chat, too_late = make_chat(), pytest.raises(DeadlineExceededError)
    with hanging(server, "first"), hanging(server, "second"), too_late:
        await call_chat(method, chat, "question", config)


@pytest.mark.parametrize("kind", ["ainvoke", "stream"])
async def test_a_reply_that_drips_is_no_progress(call_chat, make_chat, server, kind):
    reply = stream_of("first") if kind == "stream" else completion("first")
    white_space = b"\n" if kind == "stream" else b" "
    body = white_space * len(reply.body) + reply.body
    server.replies["first"] = FakeResponse(200, body, reply.headers, stall_seconds=3 * ENOUGH)
    answer = await call_chat(kind, make_chat(attempt_timeout=ENOUGH), "question")
    assert answer.text == "second"


def test_a_stream_that_falls_silent_after_its_first_word_ends_with_an_error(make_chat, server):
    words = stream_of(*["word "] * 20)
    server.replies["first"] = FakeResponse(200, words.body, words.headers, stall_seconds=3 * ENOUGH)
    chat = make_chat(attempt_timeout=ENOUGH)
    chunks = chat.stream("question")
    assert next(chunk.text for chunk in chunks if chunk.text) == "word "
    with pytest.raises(AttemptTimeoutError):
        list(chunks)
    assert chat.health()["first"]["state"] == "cooling down"


# A server that is late ---------------------------------------------------------------------------


async def test_the_second_best_answers_for_a_server_that_is_late(
    call_chat, make_chat, server, chat_method
):
    chat = make_chat(policy=Hedge(seconds=0.05, max_share=1.0))
    with hanging(server, "first"):
        answer = await call_chat(chat_method, chat, "hello")
    record = answer.response_metadata["tryage"]
    assert answer.text == "second"
    assert (record["model"], record["reason"]) == ("second", "first was late")
    assert record["hedge"] == {"model": "second", "after": 0.05, "answered": True}
    assert "cooling_down" not in chat.invoke("hello").response_metadata["tryage"]


def test_a_schema_is_followed_by_the_second_best_too(make_chat, server):
    content = json.dumps({"value": 7})
    server.replies["second"] = completion(content)
    chat = make_chat(policy=Hedge(seconds=0.05, max_share=1.0))
    with hanging(server, "first"):
        answer = chat.with_structured_output(
            {"title": "a", "type": "object", "properties": {"value": {"type": "integer"}}},
            method="json_mode",
        ).invoke("hello")
    assert answer == {"value": 7}


def test_a_parsed_answer_is_kept_for_its_schema(make_chat, server):
    server.replies["first"] = completion(json.dumps({"value": 7}))
    chat = make_chat(policy=AnswerCache(shared=True))

    def ask(kind):
        schema = {"title": "a", "type": "object", "properties": {"value": {"type": kind}}}
        return chat.with_structured_output(schema, method="json_mode").invoke("hello")

    assert ask("integer") == ask("integer") == {"value": 7}
    assert server.requests == ["first"]
    assert ask("number") == {"value": 7}
    assert server.requests == ["first", "first"]
    assert chat.invoke("hello").text == '{"value": 7}'
    assert server.requests == ["first"] * 3
