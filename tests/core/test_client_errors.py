"""Which errors of model clients another model may recover from."""

from __future__ import annotations

import httpx
import openai
import pytest

from tryage.core.client_errors import should_fall_back, status_of
from tryage.errors import MissingExtraError

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
