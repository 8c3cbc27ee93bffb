"""Real answers of providers, sent by a loopback server to the providers' own client packages."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import threading
from functools import cache
from pathlib import Path

import pytest

from tryage.core.client_errors import error_scope, marks_unhealthy, retry_after, should_fall_back
from tryage.core.error_phrases import ErrorScope
from tryage.testing.hub.http import FakeResponse, LoopbackServer, json_response

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ROWS = json.loads((FIXTURES / "provider_errors.json").read_text("utf-8"))


# The clients ----------------------------------------------------------------------------------

MESSAGES = [{"role": "user", "content": "hi"}]
KEY = "not-a-key"

# Whose bodies go through which clients; all others speak OpenAI's protocol.
CLIENTS_OF = {
    "Anthropic": ("anthropic", "ChatAnthropic"),
    "Azure": ("azure", "AzureChatOpenAI"),
    "DeepSeek": ("openai", "ChatDeepSeek"),
    "Google": ("google.genai", "ChatGoogleGenerativeAI"),
    "Groq": ("groq", "ChatGroq"),
    "Mistral": ("mistralai", "ChatMistralAI"),
    "Ollama": ("ollama", "ChatOllama"),
    "Together": ("openai", "ChatTogether"),
}
OPENAI_CLIENTS = ("openai", "ChatOpenAI")
PACKAGES = {
    "azure": "openai",
    "mistralai": "mistralai.client",
    "AzureChatOpenAI": "langchain_openai",
    "ChatAnthropic": "langchain_anthropic",
    "ChatDeepSeek": "langchain_deepseek",
    "ChatGoogleGenerativeAI": "langchain_google_genai",
    "ChatGroq": "langchain_groq",
    "ChatMistralAI": "langchain_mistralai",
    "ChatOllama": "langchain_ollama",
    "ChatOpenAI": "langchain_openai",
    "ChatTogether": "langchain_together",
}
CHAT_MODELS = tuple(name for name in PACKAGES if name[0].isupper())
CHAT_MODEL_SETTINGS = {
    "AzureChatOpenAI": {"azure_deployment": "m", "api_version": "2024-10-21", "max_retries": 0},
    "ChatGoogleGenerativeAI": {"model": "m", "max_retries": 1},
    "ChatMistralAI": {"model": "m", "max_retries": 1},
    "ChatOllama": {"model": "m"},
}
ADDRESS_SETTINGS = {"AzureChatOpenAI": "azure_endpoint", "ChatDeepSeek": "api_base"}


def package_of(client):
    return PACKAGES.get(client, client)


@cache
def chat_model(client, url):
    """Return a LangChain chat model of the server."""
    settings = dict(CHAT_MODEL_SETTINGS.get(client, {"model": "m", "max_retries": 0}))
    settings[ADDRESS_SETTINGS.get(client, "base_url")] = url
    if client != "ChatOllama":
        settings["api_key"] = KEY
    return getattr(importlib.import_module(package_of(client)), client)(**settings)


@cache
def caller(client, url):
    """Return what sends one message to the server through a client."""
    if client[0].isupper():
        model = chat_model(client, url)
        return lambda: model.invoke("hi")
    return RAW_CALLERS[client](importlib.import_module(package_of(client)), url)


def call_openai(openai, url):
    client = openai.OpenAI(api_key=KEY, base_url=url, max_retries=0)
    return lambda: client.chat.completions.create(model="m", messages=MESSAGES)


def call_azure(openai, url):
    client = openai.AzureOpenAI(
        api_key=KEY, azure_endpoint=url, api_version="2024-10-21", max_retries=0
    )
    return lambda: client.chat.completions.create(model="m", messages=MESSAGES)


def call_anthropic(anthropic, url):
    client = anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0)
    return lambda: client.messages.create(model="m", max_tokens=5, messages=MESSAGES)


def call_groq(groq, url):
    client = groq.Groq(api_key=KEY, base_url=url, max_retries=0)
    return lambda: client.chat.completions.create(model="m", messages=MESSAGES)


def call_google(genai, url):
    once = genai.types.HttpRetryOptions(attempts=1)
    options = genai.types.HttpOptions(base_url=url, retry_options=once)
    client = genai.Client(api_key=KEY, http_options=options)
    return lambda: client.models.generate_content(model="m", contents="hi")


def call_mistral(mistralai, url):
    client = mistralai.Mistral(api_key=KEY, server_url=url)
    return lambda: client.chat.complete(model="m", messages=MESSAGES)


def call_ollama(ollama, url):
    client = ollama.Client(host=url)
    return lambda: client.chat(model="m", messages=MESSAGES)


RAW_CALLERS = {
    "anthropic": call_anthropic,
    "azure": call_azure,
    "google.genai": call_google,
    "groq": call_groq,
    "mistralai": call_mistral,
    "ollama": call_ollama,
    "openai": call_openai,
}


# What they raise ------------------------------------------------------------------------------


class ClientError(Exception):
    """As botocore raises it: the parsed answer is in `response`."""

    def __init__(self, row):
        error = row["body"]["Error"]
        super().__init__(
            f"An error occurred ({error['Code']}) when calling the Converse operation: "
            f"{error['Message']}"
        )
        self.response = {**row["body"], "ResponseMetadata": {"HTTPStatusCode": row["status"]}}


@pytest.fixture(scope="module")
def server():
    """A server that answers everything with its `response`."""
    with LoopbackServer(lambda _: server.response) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


def error_of(client, server):
    """Return what a client raises."""
    pytest.importorskip(package_of(client))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any client package
        caller(client, server.url)()
    return caught.value


def error_of_row(row, client, server):
    if client == "botocore":
        return ClientError(row)
    server.response = json_response(row["body"], row["status"], row.get("headers"))
    return error_of(client, server)


def clients_of(row):
    if row["provider"] == "Bedrock":
        return ("botocore",)
    return CLIENTS_OF.get(row["provider"], OPENAI_CLIENTS)


CASES = [
    pytest.param(row, client, id=f"{row['provider']}-{row['status']}-{client}-{number}")
    for number, row in enumerate(ROWS)
    for client in clients_of(row)
]


@pytest.mark.parametrize(("row", "client"), CASES)
def test_an_error_leads_to_the_next_model_if_it_concerns_one_model(server, row, client):
    error = error_of_row(row, client, server)
    assert should_fall_back(error) is (row["scope"] in {"model", "pair"})
    assert marks_unhealthy(error) is (row["scope"] == "model")
    assert error_scope(error).value == row["scope"]
    assert retry_after(error) == row.get("retry_after")


@pytest.mark.parametrize(
    ("row", "client"), [case for case in CASES if case.values[0]["scope"] in {"final", "request"}]
)
def test_a_filtered_prompt_goes_to_nobody_else_even_if_requirements_are_unverified(
    server, row, client
):
    error = error_of_row(row, client, server)
    assert should_fall_back(error, unverified=True) is (row["scope"] == "request")


def test_the_table_has_every_provider_and_a_source_for_every_row():
    providers = {row["provider"] for row in ROWS}
    assert len(ROWS) >= 80
    assert set(CLIENTS_OF) | {"OpenAI", "vLLM", "OpenRouter", "Bedrock"} <= providers
    assert all(row["source"].startswith("https://") for row in ROWS)
    assert {row["scope"] for row in ROWS} == {scope.value for scope in ErrorScope}


# Answers with status 200 that are no answers. ---------------------------------------------------

UNREADABLE = {
    "html": b"<html><body>Bad gateway</body></html>",
    "null": b"null",
    "no choices": b'{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[]}',
    "no object": b"[]",
    "nothing": b"",
    "other keys": b"{}",
    "null choices": b'{"choices":null}',
    "text": b'"hi"',
    "undecodable": b"\xff\xfe\x00\x80",
}
# Google's chat model makes an empty message of these, as others do of an empty text.
EMPTY_MESSAGES = set(UNREADABLE) - {"html", "undecodable"}


@pytest.mark.parametrize("body", UNREADABLE)
@pytest.mark.parametrize("client", CHAT_MODELS)
def test_a_200_that_the_client_cannot_read_leads_to_the_next_model(server, client, body):
    if client == "ChatGoogleGenerativeAI" and body in EMPTY_MESSAGES:
        pytest.skip("it makes an empty message of this")
    server.response = FakeResponse(200, UNREADABLE[body], {"Content-Type": "application/json"})
    error = error_of(client, server)
    assert should_fall_back(error)
    if body in {"html", "nothing", "undecodable"}:
        assert marks_unhealthy(error)


@pytest.mark.parametrize("lines", [b"data: {no json\n\n", b"data: \xff\xfe\n\n", b"<html></html>"])
@pytest.mark.parametrize("client", CHAT_MODELS)
def test_a_stream_that_cannot_be_read_leads_to_the_next_model(server, client, lines):
    pytest.importorskip(package_of(client))
    server.response = FakeResponse(200, lines, {"Content-Type": "text/event-stream"})
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any client package
        list(chat_model(client, server.url).stream("hi"))
    assert should_fall_back(caught.value)
    assert marks_unhealthy(caught.value)


@pytest.mark.parametrize("client", ["ChatOpenAI", "ChatAnthropic", "ChatGroq"])
def test_an_argument_that_the_client_does_not_know_is_a_mistake_of_the_program(server, client):
    pytest.importorskip(package_of(client))
    with pytest.raises(TypeError, match="unexpected keyword") as caught:
        chat_model(client, server.url).invoke("hi", tryage_wrong_argument=1)
    assert not should_fall_back(caught.value)


def test_an_argument_that_is_no_json_is_a_mistake_of_the_program(server):
    with pytest.raises(TypeError) as caught:
        chat_model("ChatOpenAI", server.url).invoke("hi", user=object())
    assert not should_fall_back(caught.value)


def test_a_stream_that_is_refused_before_its_first_word_is_judged_by_its_words(server):
    event = {
        "error": {"message": "Failed to call a function.", "type": "invalid_request_error"},
    }
    server.response = FakeResponse(
        200, f"data: {json.dumps(event)}\n\n".encode(), {"Content-Type": "text/event-stream"}
    )
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any client package
        list(chat_model("ChatOpenAI", server.url).stream("hi"))
    assert error_scope(caught.value) is ErrorScope.PAIR


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Google's client needs Python 3.11")
def test_googles_client_is_among_the_tested_ones():
    assert importlib.util.find_spec("langchain_google_genai") is not None
