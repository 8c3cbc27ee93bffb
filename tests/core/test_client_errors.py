"""Which errors of model clients another model may recover from."""

from __future__ import annotations

import httpx
import openai
import pytest

from tryage.core.client_errors import (
    error_scope,
    marks_unhealthy,
    retry_after,
    should_fall_back,
    status_of,
)
from tryage.core.error_phrases import ErrorScope
from tryage.core.redaction import describe_error
from tryage.errors import (
    AttemptTimeoutError,
    DeadlineExceededError,
    InvalidAnswerError,
    MissingExtraError,
)

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def openai_error(status, body=None):
    """Return the error that the openai client raises for a response."""
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
    response = httpx.Response(status, request=REQUEST, json={"error": body or {}})
    return client._make_status_error_from_response(response)


def error_like(name, base=Exception, **attributes):
    """Return an error of another library: a class of that name with these attributes."""
    return type(name, (base,), attributes)("message")


class GoogleCode(int):
    """As in google.api_core: the code is an HTTPStatus."""


RECOVERABLE = [
    *(openai_error(status) for status in (401, 402, 403, 404, 408, 409, 413, 429, 500, 502, 529)),
    openai_error(400, {"code": "context_length_exceeded"}),
    openai.APIConnectionError(request=REQUEST),
    openai.APITimeoutError(request=REQUEST),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("peer closed connection"),
    httpx.HTTPStatusError("no", request=REQUEST, response=httpx.Response(503)),
    TimeoutError(),
    ConnectionResetError(),
    NotImplementedError("no tools here"),
    MissingExtraError("langchain_openai is not installed"),
    error_like("ResourceExhausted", code=GoogleCode(429)),
    error_like("ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 429}}),
    error_like("ConnectTimeout", ValueError),
    ValueError("No generation chunks were returned"),
    error_like("ContextOverflowError", ValueError, status_code=400),
    RuntimeError("CUDA out of memory"),
]
FINAL = [
    openai_error(400),
    openai_error(422),
    openai_error(403, {"code": "content_policy_violation"}),
    openai_error(400, {"code": "content_filter"}),
    openai.ContentFilterFinishReasonError(),
    error_like("ModelInvalidRequestError"),
    error_like("ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 400}}),
    error_like("GraphInterrupt", error_like("GraphBubbleUp").__class__),
    TypeError("mistake"),
    ValueError("mistake"),
    KeyError("mistake"),
]


def name_and_status(error):
    return f"{type(error).__name__}-{status_of(error)}"


@pytest.mark.parametrize("error", RECOVERABLE, ids=name_and_status)
def test_an_error_that_concerns_one_model_leads_to_the_next(error):
    assert should_fall_back(error)


@pytest.mark.parametrize("error", FINAL, ids=name_and_status)
def test_an_error_that_every_model_would_raise_is_final(error):
    assert not should_fall_back(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()], ids=repr)
def test_an_interrupt_is_final(error):
    assert not should_fall_back(error)


def test_a_model_with_unverified_abilities_may_refuse_a_request_that_the_next_accepts():
    assert should_fall_back(openai_error(400), unverified=True)
    assert not should_fall_back(openai_error(400, {"code": "content_filter"}), unverified=True)


# What an error concerns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "scope"),
    [
        (InvalidAnswerError("no answer"), ErrorScope.PAIR),
        (AttemptTimeoutError("slow"), ErrorScope.MODEL),
        (DeadlineExceededError("late"), ErrorScope.FINAL),
        (NotImplementedError("no tools here"), ErrorScope.PAIR),
        (TimeoutError(), ErrorScope.MODEL),
        (RuntimeError("CUDA out of memory"), ErrorScope.MODEL),
        (openai_error(413), ErrorScope.PAIR),
        (openai_error(503), ErrorScope.MODEL),
        (openai_error(400), ErrorScope.REQUEST),
        (KeyError("mistake"), ErrorScope.FINAL),
    ],
    ids=repr,
)
def test_an_error_concerns_the_model_or_the_request_or_both(error, scope):
    assert error_scope(error) is scope
    assert marks_unhealthy(error) is (scope is ErrorScope.MODEL)


def test_a_wrapped_error_is_judged_by_its_cause():
    wrapper = RuntimeError("calling the model failed")
    wrapper.__cause__ = openai_error(400, {"code": "content_filter"})
    assert error_scope(wrapper) is ErrorScope.FINAL
    wrapper.__cause__ = openai_error(400, {"message": "Your credit balance is too low"})
    assert error_scope(wrapper) is ErrorScope.MODEL


def test_causes_in_a_circle_are_read_once():
    first, second = RuntimeError("one"), RuntimeError("two")
    first.__cause__, second.__cause__ = second, first
    assert should_fall_back(first)
    assert retry_after(first) is None


def test_words_that_the_provider_echoes_from_the_prompt_do_not_count():
    body = {
        "message": "messages: at least one message is required",
        "input": "Is my credit balance too low? Is this against the usage policy?",
    }
    assert error_scope(openai_error(400, body)) is ErrorScope.REQUEST
    long_message = "malformed messages: " + "x" * 5_000 + " your credit balance is too low"
    assert error_scope(openai_error(400, {"message": long_message})) is ErrorScope.REQUEST


def test_a_body_that_httpx_read_is_judged_by_its_words():
    response = httpx.Response(
        400, request=REQUEST, json={"error": {"message": "Insufficient Balance"}}
    )
    error = httpx.HTTPStatusError("400 Bad Request", request=REQUEST, response=response)
    assert error_scope(error) is ErrorScope.MODEL


@pytest.mark.parametrize("body", ["{" * 100_000, "[" * 100_000, "\ud800", "", b"\xff", 5, [None]])
def test_a_body_of_any_form_is_no_error(body):
    assert should_fall_back(error_like("Odd", status_code=503, body=body, details=body))


class UnreadableError(Exception):
    """An error whose attributes and message raise."""

    @property
    def response(self):
        raise RuntimeError("not read")

    body = headers = code = response

    def __str__(self):
        raise RuntimeError("no message")


def test_an_error_that_cannot_be_read_concerns_the_model():
    assert error_scope(UnreadableError()) is ErrorScope.MODEL
    assert retry_after(UnreadableError()) is None
    assert describe_error(UnreadableError()) == "UnreadableError"


# When to ask again ------------------------------------------------------------------------------

SENT = {"Date": "Sat, 28 Nov 2026 12:00:00 GMT"}


def error_with(headers):
    response = httpx.Response(429, request=REQUEST, headers=headers)
    return httpx.HTTPStatusError("no", request=REQUEST, response=response)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "50"}, 50.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5),
        ({"Retry-After": "Sat, 28 Nov 2026 12:01:30 GMT", **SENT}, 90.0),
        ({"Retry-After": "Sat, 28 Nov 2026 11:00:00 GMT", **SENT}, 0.0),
        ({"Retry-After": "Sat, 28 Nov 2026 12:01:30 GMT"}, None),
        # https://platform.openai.com/docs/guides/rate-limits, with its formats
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "172ms"}, 0.172),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "1s"}, None),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "1m0.5s",
            },
            60.5,
        ),
        # https://docs.anthropic.com/en/api/rate-limits: an RFC 3339 time
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-28T12:00:45Z",
                **SENT,
            },
            45.0,
        ),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9" * 5_000}, None),
        ({}, None),
    ],
)
def test_the_headers_say_when_to_ask_again(headers, seconds):
    assert retry_after(error_with(headers)) == (seconds and pytest.approx(seconds))


def test_the_headers_of_a_cause_count():
    wrapper = RuntimeError("wrapped")
    wrapper.__cause__ = error_with({"Retry-After": "7"})
    assert retry_after(wrapper) == 7.0


def test_google_says_when_to_ask_again_in_the_body():
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "57.238747106s"}
    error = error_like("APIError", code=429, details={"error": {"details": [info]}})
    assert retry_after(error) == pytest.approx(57.238747106)


def test_boto_keeps_the_headers_in_a_mapping():
    response = {"ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "3"}}}
    assert retry_after(error_like("ClientError", response=response)) == 3.0


def test_the_number_that_an_error_carries_counts():
    assert retry_after(error_like("Busy", retry_after=4)) == 4.0
    assert retry_after(error_like("Busy", retry_after=True)) is None
