"""When an expert fails: which is asked next, which errors are final, what the record holds."""

from __future__ import annotations

import httpx
import openai
import pytest

from tryage.chat import Attempts, ChatRouter, Conversation, Turn
from tryage.errors import AllFailedError

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


def openai_error(status, body=None):
    """Return the error that the openai client makes of a response."""
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")
    response = httpx.Response(status, request=REQUEST, json={"error": body or {}})
    return client._make_status_error_from_response(response)


def talk(text="small question", **fields):
    return Conversation([Turn("user", text, **fields)])


@pytest.fixture
def plan(router):
    return ChatRouter(router).plan(talk())


def run(attempts, answers):
    """Ask one expert after another, as the integrations do."""
    for name in attempts:
        if not isinstance(answers[name], Exception):
            return name
        attempts.add_failure(name, answers[name])
    return None


def test_the_next_in_the_ranking_answers_and_the_record_names_all(plan, library):
    attempts = Attempts(plan, library)
    answers = {"small": openai_error(429), "big": TimeoutError(), "plain": "hello"}
    assert run(attempts, answers) == "plain"
    record = attempts.record("plain")
    assert (record["model"], record["reason"]) == ("plain", "small failed")
    assert list(record["failed"]) == ["small", "big"]
    assert record["failed"]["big"] == "TimeoutError"


def test_an_error_of_the_request_ends_the_attempts(plan, library):
    bad_request = openai_error(400)
    with pytest.raises(openai.BadRequestError) as raised:
        run(Attempts(plan, library), {"small": bad_request})
    assert raised.value is bad_request


def test_if_all_fail_one_error_lists_each_failure_without_secrets(plan, library):
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


def test_if_only_one_expert_was_asked_its_own_error_is_raised(router, library):
    alone = ChatRouter(router).plan(talk("a"), model="small")
    with pytest.raises(TimeoutError):
        run(Attempts(alone, library), {"small": TimeoutError()})


def test_no_more_experts_are_asked_than_max_attempts(plan, library):
    with pytest.raises(AllFailedError, match="All 2 experts"):
        run(Attempts(plan, library, max_attempts=2), dict.fromkeys(library.names, TimeoutError()))


def test_a_client_that_cannot_be_made_is_a_failure_whatever_its_error(plan, library):
    attempts = Attempts(plan, library)
    attempts.add_failure("small", ValueError("no key was given"), client_called=False)
    assert [name for name, _ in attempts.failures] == ["small"]


def test_a_refusal_of_an_unverified_ability_leads_to_the_next(router, library):
    attempts = Attempts(ChatRouter(router).plan(talk("unknown what is it?", images=1)), library)
    assert run(attempts, {"unknown": openai_error(400), "big": "a cat"}) == "big"
