"""When a child fails: who is asked next, which errors are passed on, and what is told."""

from __future__ import annotations

import httpx
import openai
import pytest

from tryage.chat import Attempts, ChatRouter, Conversation, Turn
from tryage.core.client_errors import describe_error, redact, should_fall_back, status_of
from tryage.errors import AllFailedError, MissingExtraError

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def openai_error(status, body=None):
    """Return the error that the openai client makes of a response."""
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
    response = httpx.Response(status, request=REQUEST, json={"error": body or {}})
    return client._make_status_error_from_response(response)


def error_like(name, base=Exception, **parts):
    """Return an error of another library: a class of that name with these attributes."""
    return type(name, (base,), parts)("told")


class GoogleCode(int):
    """As in google.api_core: the code is an HTTPStatus."""


NEXT = [
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
PASSED_ON = [
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


def kind(error):
    return f"{type(error).__name__}-{status_of(error)}"


@pytest.mark.parametrize("error", NEXT, ids=kind)
def test_what_concerns_one_model_leads_to_the_next(error):
    assert should_fall_back(error)


@pytest.mark.parametrize("error", PASSED_ON, ids=kind)
def test_what_another_model_would_refuse_too_is_passed_on(error):
    assert not should_fall_back(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()], ids=repr)
def test_who_leaves_is_let_go(error):
    assert not should_fall_back(error)


def test_who_was_taken_on_trust_may_refuse_what_the_next_accepts():
    assert should_fall_back(openai_error(400), unverified=True)
    assert not should_fall_back(openai_error(400, {"code": "content_filter"}), unverified=True)


@pytest.fixture
def plan(router):
    return ChatRouter(router).plan(Conversation([Turn("user", "small question")]))


def run(attempts, answers):
    """Ask one after another, as the integrations do."""
    for name in attempts:
        if not isinstance(answers[name], Exception):
            return name
        attempts.add_failure(name, answers[name])
    return None


def test_the_next_in_the_ranking_answers_and_the_record_has_both(plan, library):
    attempts = Attempts(plan, library)
    answers = {"small": openai_error(429), "big": TimeoutError(), "plain": "hello"}
    assert run(attempts, answers) == "plain"
    record = attempts.record("plain")
    assert (record["model"], record["reason"]) == ("plain", "small failed")
    assert list(record["failed"]) == ["small", "big"]
    assert record["failed"]["big"] == "TimeoutError"


def test_an_error_that_is_passed_on_ends_it_at_once(plan, library):
    bad = openai_error(400)
    with pytest.raises(openai.BadRequestError) as raised:
        run(Attempts(plan, library), {"small": bad})
    assert raised.value is bad


def test_everything_failing_is_one_error_that_lists_each_without_secrets(plan, library):
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


def test_the_only_one_that_was_asked_raises_its_own_error(router, library):
    alone = ChatRouter(router).plan(Conversation([Turn("user", "a")]), model="small")
    with pytest.raises(TimeoutError):
        run(Attempts(alone, library), {"small": TimeoutError()})


def test_no_more_are_asked_than_allowed(plan, library):
    with pytest.raises(AllFailedError, match="All 2 experts"):
        run(Attempts(plan, library, max_attempts=2), dict.fromkeys(library.names, TimeoutError()))


def test_a_client_that_cannot_be_made_leads_to_the_next(plan, library):
    attempts = Attempts(plan, library)
    attempts.add_failure("small", ValueError("no key was given"), client_called=False)
    assert [name for name, _ in attempts.failures] == ["small"]


def test_who_refuses_what_it_was_not_known_to_do_is_no_end(router, library):
    seen = Conversation([Turn("user", "unknown what is it?", images=1)])
    attempts = Attempts(ChatRouter(router).plan(seen), library)
    assert run(attempts, {"unknown": openai_error(400), "big": "a cat"}) == "big"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "sk-ant-api03-abcdefghijklmnop",
        "hf_abcdefghijklmnop",
        "Bearer abc.def-ghi",
        "api_key=abcdef",
        '"api-key": "abcdef"',
        "https://me:hunter2@host/v1",
        "https://host/v1?key=abcdef&x=1",
        "0123456789abcdef0123456789abcdef",
        "AIzaSyA1234567890abcdefghi",
    ],
)
def test_what_looks_like_a_credential_is_blotted_out(secret):
    text = redact(f"The server said {secret} and stopped")
    assert "***" in text
    assert not {"abcdef", "hunter2", "abc.def", "1234567890"} & {
        word for word in ("abcdef", "hunter2", "abc.def", "1234567890") if word in text
    }
    assert text.startswith("The server said ")
    assert text.endswith("and stopped")


def test_an_error_is_told_in_one_short_line():
    assert describe_error(ValueError("a\n b" + "x" * 1_000)) == "ValueError: a b" + "x" * 297
    assert describe_error(TimeoutError()) == "TimeoutError"
    assert redact("tokens per minute: the tokenization failed") == (
        "tokens per minute: the tokenization failed"
    )
