"""The server as its callers see it: OpenAI's client, LangChain's class, and plain HTTP."""

from __future__ import annotations

import asyncio
import json
import threading

import httpx
import openai
import pytest
from langchain_core.runnables import RunnableLambda

from tryage.policies import AnswerCache
from tryage_langchain import ChatTryage
from tryage_langchain.testing import ScriptedChatModel
from tryage_server import app

HELLO = [{"role": "user", "content": "large, please say hello"}]

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


# OpenAI's client -------------------------------------------------------------------------------


def test_a_completion_says_which_model_answered_why_and_how_many_tokens(client):
    answer = client.chat.completions.create(model="tryage", messages=HELLO)
    assert answer.choices[0].message.content == "Hello from large today"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "large"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)
    assert answer.id == f"chatcmpl-{answer.tryage['id']}"
    assert answer.tryage["reason"] == "lowest total of 2"


def test_a_stream_has_the_text_in_parts_then_the_reason_and_the_tokens(client):
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model="tryage", messages=HELLO, stream=True, stream_options=options
        )
    )
    parts = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(parts) == "Hello from large today"
    assert len([part for part in parts if part]) == 4
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 15
    assert {chunk.id for chunk in chunks[1:]} == {f"chatcmpl-{chunks[-2].tryage['id']}"}


def test_a_stream_without_the_option_has_no_tokens(client):
    chunks = list(client.chat.completions.create(model="tryage", messages=HELLO, stream=True))
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_goes_back(client, stream):
    tool_choice = {"type": "function", "function": {"name": "weather"}}
    asked = {"model": "tryage", "tools": [WEATHER], "tool_choice": tool_choice}
    if stream:
        with client.chat.completions.stream(
            **asked | {"tool_choice": "required"}, messages=HELLO
        ) as events:
            answer = events.get_final_completion()
    else:
        answer = client.chat.completions.create(**asked, messages=HELLO)
    message = answer.choices[0].message
    (call,) = message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sun"}
    spoken = {"role": "assistant", "tool_calls": [call.model_dump()], "content": None}
    answer = client.chat.completions.create(
        model="tryage", messages=[*HELLO, spoken, result], tools=[WEATHER]
    )
    assert answer.choices[0].message.content == "Hello from large today"


def test_parameters_reach_the_model_in_its_words(client, models):
    client.chat.completions.create(
        model="tryage", messages=HELLO, max_completion_tokens=7, temperature=0.5, stop="END", seed=3
    )
    (call,) = models["large"].calls
    assert (call["max_tokens"], call["temperature"]) == (7, 0.5)
    assert (call["stop"], call["seed"]) == (["END"], 3)


def test_a_schema_is_followed_and_the_answer_is_its_json(client):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    asked = {"model": "tryage", "messages": HELLO, "response_format": form}
    answer = client.chat.completions.create(**asked)
    assert set(json.loads(answer.choices[0].message.content)) == {"city"}
    chunks = list(client.chat.completions.create(**asked, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert set(json.loads(text)) == {"city"}


@pytest.mark.parametrize("model", ["small", "SMALL"])
def test_the_name_of_a_model_asks_that_one(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO)
    assert answer.choices[0].message.content == "Hello from small today"


def test_the_name_of_a_preset_sets_the_preferences(client):
    answer = client.chat.completions.create(model="tryage/best", messages=HELLO)
    assert answer.model == "large"


def test_the_field_tryage_holds_preferences_of_one_call(client):
    body = {"tryage": {"preferences": {"requirements": [
        {"field": "name", "op": "in", "value": ["small"]}]}}}  # fmt: skip
    answer = client.chat.completions.create(model="tryage", messages=HELLO, extra_body=body)
    assert answer.model == "small"


def test_the_models_are_listed_with_the_presets(client):
    names = [model.id for model in client.models.list()]
    assert names == ["tryage", "tryage/best", "tryage/balanced", "tryage/thrifty", "small", "large"]


@pytest.mark.parametrize("name", ["tryage", "tryage/best", "large"])
def test_a_model_can_be_looked_up(client, name):
    assert client.models.retrieve(name).id == name


def test_a_model_that_is_looked_up_and_unknown_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="Did you mean small"):
        client.models.retrieve("smal")


def test_the_next_model_answers_where_the_first_fails(client, models):
    models["large"].fails.append(ConnectionError("down"))
    answer = client.chat.completions.create(model="tryage", messages=HELLO)
    assert answer.model == "small"
    assert list(answer.tryage["failed"])


def test_many_clients_get_their_own_answers(url):
    async def ask_all():
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            calls = [
                client.chat.completions.create(
                    model="tryage", messages=[{"role": "user", "content": f"{name} {i}"}]
                )
                for i in range(20)
                for name in ("small", "large")
            ]
            return [answer.model for answer in await asyncio.gather(*calls)]

    assert asyncio.run(ask_all()) == ["small", "large"] * 20


# Errors ----------------------------------------------------------------------------------------


def test_an_unknown_model_is_not_found_with_the_nearest_name(client):
    with pytest.raises(openai.NotFoundError, match="Did you mean small") as caught:
        client.chat.completions.create(model="smal", messages=HELLO)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"messages": []}, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "nobody", "content": "secret words"}]}, "messages are malformed"),
        ({"temperature": "warm"}, "temperature: Input should be a valid number"),
        ({"n": 2}, "n: Input should be 1"),
        ({"temprature": 1}, "temprature: Extra inputs are not permitted"),
        ({"tool_choice": "sometimes", "tools": [WEATHER]}, "expected auto, none or required"),
        ({"response_format": {"type": "json_object"}}, "expected \"text\", or \"json_schema\""),
        ({"tryage": {"preferences": {"colour": 1}}}, "colour"),
        ({"tryage": {"preferences": "cheapest"}}, "is not a preset"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_a_malformed_request_is_told_what_is_wrong(url, change, said, stream):
    body = {"model": "tryage", "messages": HELLO, "stream": stream, **change}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"
    assert "secret words" not in answer.text


def test_a_body_that_is_not_json_is_told_where_it_stops_to_be(url):
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{url}/v1/chat/completions", content=b'{"model":', headers=headers)
    assert answer.status_code == 400
    assert "the body is not JSON: Expecting value, at character 9" in answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_failures_of_all_models_are_a_bad_gateway(url, models, stream):
    for model in models.values():
        model.fails.extend([ConnectionError("down")] * 2)
    body = {"messages": HELLO, "stream": stream}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert answer.status_code == 502
    assert "All 2 experts that were asked have failed" in answer.json()["error"]["message"]


def test_an_error_of_the_server_shows_no_words_of_it(start_server, make_chat, caplog):
    def fail(_):
        raise ZeroDivisionError("the prompt was large, please say hello")

    url = start_server(make_chat({"small": RunnableLambda(fail)}))
    answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO})
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "The server failed with ZeroDivisionError."
    assert "hello" not in caplog.text


def test_a_stream_that_breaks_off_ends_with_an_error(url, models):
    models["large"].breaks_after = 3
    with httpx.stream(
        "POST", f"{url}/v1/chat/completions", json={"messages": HELLO, "stream": True}
    ) as answer:
        *_, last = [line for line in answer.iter_lines() if line]
    assert json.loads(last.removeprefix("data: "))["error"]["message"].startswith("The answer has")


# Deciding, health ------------------------------------------------------------------------------


def test_a_decision_asks_no_model_and_repeats_no_prompt(url, models):
    answer = httpx.post(f"{url}/v1/decide", json={"messages": HELLO, "top": 1}).json()
    assert answer["model"] == answer["decision"]["expert"] == "large"
    assert len(answer["decision"]["ranking"]) == 1
    assert answer["decision"]["prompt"] is None
    assert all(not model.calls for model in models.values())


def test_a_decision_says_that_the_answer_is_cached(start_server, make_chat, models):
    url = start_server(make_chat(models, policy=AnswerCache(shared=True)))
    httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO}).raise_for_status()
    decided = httpx.post(f"{url}/v1/decide", json={"messages": HELLO}).json()
    assert (decided["how"], decided["cost"]["expected"]) == ("cached", 0.0)


def test_health_and_readiness_need_no_key(start_server, chat):
    url = start_server(chat, keys=["a key of some length"])
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    assert httpx.get(f"{url}/ready").json() == {"models": ["small", "large"]}


def test_an_unknown_address_is_not_found(url):
    answer = httpx.get(f"{url}/v1/completions")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


# Limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong key of a length"}, 401),
        ({"Authorization": "Bearer second key of length"}, 200),
        ({"Authorization": "Bearer first key of some length"}, 200),
        ({"Authorization": "bearer first key of some length"}, 200),
    ],
)
def test_only_a_known_key_is_let_in(start_server, chat, header, status):
    url = start_server(chat, keys=["first key of some length", "second key of length"])
    assert httpx.get(f"{url}/v1/models", headers=header).status_code == status


def test_a_body_that_is_too_large_is_refused_also_without_a_stated_length(start_server, chat):
    url = start_server(chat, max_body=1_000)
    content = json.dumps({"messages": [{"role": "user", "content": "x" * 2_000}]}).encode()
    for body in (content, iter([content[:500], content[500:]])):
        answer = httpx.post(f"{url}/v1/chat/completions", content=body)
        assert answer.status_code == 413
        assert answer.json()["error"]["message"] == "The body is larger than 1,000 bytes."


def test_more_requests_than_allowed_at_a_time_are_told_to_come_again(start_server, make_chat):
    started, go_on = threading.Event(), threading.Event()

    def wait(_):
        started.set()
        go_on.wait(10)
        return ScriptedChatModel(model="small").invoke("hello")

    url = start_server(make_chat({"small": RunnableLambda(wait)}), max_requests=1)
    first = threading.Thread(
        target=httpx.post,
        args=(f"{url}/v1/chat/completions",),
        kwargs={"json": {"messages": HELLO}},
    )
    first.start()
    try:
        assert started.wait(10)
        answer = httpx.get(f"{url}/v1/models")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    finally:
        go_on.set()
        first.join(10)
    assert httpx.get(f"{url}/v1/models").status_code == 200


def test_an_answer_that_takes_too_long_is_a_timeout(start_server, make_chat):
    go_on = threading.Event()
    url = start_server(make_chat({"small": RunnableLambda(lambda _: go_on.wait(10))}), deadline=0.2)
    try:
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": HELLO}, timeout=10)
        assert answer.status_code == 504
    finally:
        go_on.set()


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_is_too_busy_to_choose_a_model_in_time_says_so(
    start_server, make_chat, models, monkeypatch, stream
):
    async def never(*_):
        await asyncio.sleep(60)

    monkeypatch.setattr(app, "_GRACE", 0.1)
    monkeypatch.setattr(ChatTryage, "_aplan_call", never)
    url = start_server(make_chat(models), deadline=0.1)
    body = {"messages": HELLO, "stream": stream}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=10)
    assert answer.status_code == 504


async def test_nothing_is_chosen_for_a_client_that_is_gone_when_its_turn_comes(chat, monkeypatch):
    planned = []

    async def plan(*_):
        planned.append(True)

    monkeypatch.setattr(ChatTryage, "_aplan_call", plan)
    body = json.dumps({"messages": HELLO}).encode()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    sent = []

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers,
             "query_string": b"", "http_version": "1.1", "client": ("127.0.0.1", 1)}  # fmt: skip
    await app.create_app(chat)(scope, receive, send)
    assert (sent[0]["status"], planned) == (499, [])


async def test_a_stream_is_closed_for_a_client_that_is_gone_before_its_first_event():
    closed = []

    async def parts():
        try:
            yield "first"
            yield "second"
        finally:
            closed.append(True)

    async def events():
        yield "never read"

    async def receive():
        await asyncio.Event().wait()

    async def send(_):
        raise OSError("The connection is closed.")

    answer = parts()
    await anext(answer)
    response = app._ClosingResponse(events(), answer)
    with pytest.raises(Exception):  # noqa: B017, PT011 - a group in older versions of starlette
        await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
    assert closed == [True]


# LangChain's own class --------------------------------------------------------------------------


def test_langchains_class_of_openai_gets_answers_streams_and_tools(url):
    chat = pytest.importorskip("langchain_openai").ChatOpenAI(
        model="tryage", base_url=f"{url}/v1", api_key="none", max_retries=0
    )
    answer = chat.invoke("large, say hello")
    assert answer.content == "Hello from large today"
    assert answer.usage_metadata["total_tokens"] == 15
    assert "".join(part.text for part in chat.stream("large")) == "Hello from large today"
    (call,) = chat.bind_tools([WEATHER]).invoke("large").tool_calls
    assert call["name"] == "weather"
