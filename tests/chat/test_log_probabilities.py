"""Log probabilities as providers report them, and how they refuse to."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import openai
import pytest

from tryage.chat.log_probabilities import read_log_probabilities, refuses_log_probabilities

PLACES = [
    {"token": "A", "logprob": -0.1, "top_logprobs": [{"logprob": -2.5}, {"logprob": -0.1}]},
    {"token": "!", "logprob": -0.2, "top_logprobs": []},
]


def test_the_log_probabilities_of_openais_protocol_are_read_with_the_highest_first():
    known = read_log_probabilities([{"content": PLACES}])
    assert known.tokens == (-0.1, -0.2)
    assert known.top == ((-0.1, -2.5), ())


def test_the_reports_of_a_stream_are_joined_and_may_be_objects():
    reports = [SimpleNamespace(content=[SimpleNamespace(logprob=-1.0)]), None, {"content": PLACES}]
    assert read_log_probabilities(reports).tokens == (-1.0, -0.1, -0.2)


@pytest.mark.parametrize("report", [None, {}, {"content": None}, {"content": [{"logprob": None}]}])
def test_without_log_probabilities_nothing_is_known(report):
    assert read_log_probabilities([report]) is None


def server_error(status, message):
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
    request = httpx.Request("POST", "http://127.0.0.1/v1")
    response = httpx.Response(status, request=request, json={"error": {"message": message}})
    return client._make_status_error_from_response(response)


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        (server_error(400, "'logprobs' is not supported with this model."), True),
        (TypeError("create() got an unexpected keyword argument 'logprobs'"), True),
        (server_error(400, "The prompt is too long."), False),
        (server_error(500, "logprobs failed"), False),
        (ValueError("logprobs"), False),
    ],
)
def test_a_refusal_names_log_probabilities_and_is_the_callers_fault(error, is_refusal):
    assert refuses_log_probabilities(error) is is_refusal
