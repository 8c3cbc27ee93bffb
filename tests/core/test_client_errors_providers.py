"""Real answers of providers, sent by a loopback server to the providers' own client packages."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tryage.core.client_errors import error_scope, marks_unhealthy, retry_after, should_fall_back
from tryage.core.error_phrases import ErrorScope
from tryage.testing.hub.http import FakeResponse, LoopbackServer, json_response

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "provider_errors.py"


def load_benchmark():
    """The script that counts what is judged right has the clients."""
    spec = importlib.util.spec_from_file_location("provider_errors", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()


@pytest.fixture(scope="module")
def server():
    """A server that answers everything with its `response`."""
    with LoopbackServer(lambda _: server.response) as server:
        yield server


def error_of(client, server):
    """Return what a client raises."""
    pytest.importorskip(benchmark.package_of(client))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any client package
        benchmark.caller(client, server.url)()
    return caught.value


def error_of_row(row, client, server):
    if client == "botocore":
        return benchmark.ClientError(row)
    server.response = json_response(row["body"], row["status"], row.get("headers"))
    return error_of(client, server)


CASES = [
    pytest.param(row, client, id=f"{row['provider']}-{row['status']}-{client}-{number}")
    for number, row in enumerate(benchmark.ROWS)
    for client in benchmark.clients_of(row)
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
    providers = {row["provider"] for row in benchmark.ROWS}
    assert len(benchmark.ROWS) >= 80
    assert set(benchmark.CLIENTS_OF) | {"OpenAI", "vLLM", "OpenRouter", "Bedrock"} <= providers
    assert all(row["source"].startswith("https://") for row in benchmark.ROWS)
    assert {row["scope"] for row in benchmark.ROWS} == {scope.value for scope in ErrorScope}


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
@pytest.mark.parametrize("client", benchmark.CHAT_MODELS)
def test_a_200_that_the_client_cannot_read_leads_to_the_next_model(server, client, body):
    if client == "ChatGoogleGenerativeAI" and body in EMPTY_MESSAGES:
        pytest.skip("it makes an empty message of this")
    server.response = FakeResponse(200, UNREADABLE[body], {"Content-Type": "application/json"})
    error = error_of(client, server)
    assert should_fall_back(error)
    if body in {"html", "nothing", "undecodable"}:
        assert marks_unhealthy(error)


@pytest.mark.parametrize("lines", [b"data: {no json\n\n", b"data: \xff\xfe\n\n", b"<html></html>"])
@pytest.mark.parametrize("client", benchmark.CHAT_MODELS)
def test_a_stream_that_cannot_be_read_leads_to_the_next_model(server, client, lines):
    pytest.importorskip(benchmark.package_of(client))
    server.response = FakeResponse(200, lines, {"Content-Type": "text/event-stream"})
    # A client of its own: the collector closes what is left of the stream at any time, and waits
    # forever for a lock if that client is in its next request (encode/httpcore#1003).
    model = benchmark.chat_model.__wrapped__(client, server.url)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any client package
        list(model.stream("hi"))
    assert should_fall_back(caught.value)
    assert marks_unhealthy(caught.value)


@pytest.mark.parametrize("client", ["ChatOpenAI", "ChatAnthropic", "ChatGroq"])
def test_an_argument_that_the_client_does_not_know_is_a_mistake_of_the_program(server, client):
    pytest.importorskip(benchmark.package_of(client))
    with pytest.raises(TypeError, match="unexpected keyword") as caught:
        benchmark.chat_model(client, server.url).invoke("hi", tryage_wrong_argument=1)
    assert not should_fall_back(caught.value)


def test_an_argument_that_is_no_json_is_a_mistake_of_the_program(server):
    with pytest.raises(TypeError) as caught:
        benchmark.chat_model("ChatOpenAI", server.url).invoke("hi", user=object())
    assert not should_fall_back(caught.value)


def test_a_stream_that_is_refused_before_its_first_word_is_judged_by_its_words(server):
    event = {
        "error": {"message": "Failed to call a function.", "type": "invalid_request_error"},
    }
    server.response = FakeResponse(
        200, f"data: {json.dumps(event)}\n\n".encode(), {"Content-Type": "text/event-stream"}
    )
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any client package
        list(benchmark.chat_model("ChatOpenAI", server.url).stream("hi"))
    assert error_scope(caught.value) is ErrorScope.PAIR


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Google's client needs Python 3.11")
def test_googles_client_is_among_the_tested_ones():
    pytest.importorskip("langchain_groq")  # where the clients of providers are installed
    assert importlib.util.find_spec("langchain_google_genai") is not None
