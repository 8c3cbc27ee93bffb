"""Replies as clients return them: text, tokens and cost; and which errors are retried."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace as Object

import pytest

from tryage.core.expert import Expert
from tryage.errors import InputError
from tryage.scoring.replies import (
    Answer,
    as_callable,
    call_with_retries,
    is_prompt_error,
    is_transient,
    parse_reply,
    reply_cost,
)

PRICED = Expert("gpt", input_price=2.0, output_price=10.0, cached_input_price=0.5)
OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 40},
}


def langchain():
    messages = pytest.importorskip("langchain_core.messages")
    return messages.AIMessage(
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "hello"}],
        usage_metadata={
            "input_tokens": 100,
            "output_tokens": 20,
            "total_tokens": 120,
            "input_token_details": {"cache_read": 40},
        },
    )


def llamaindex():
    llms = pytest.importorskip("llama_index.core.llms")
    return llms.CompletionResponse(text="hello", raw={"usage": OPENAI})


def llamaindex_chat():
    llms = pytest.importorskip("llama_index.core.llms")
    message = llms.ChatMessage(role="assistant", content="hello")
    return llms.ChatResponse(message=message, raw=Object(usage=Object(**OPENAI)))


@pytest.mark.parametrize(
    "reply",
    [
        langchain,
        llamaindex,
        llamaindex_chat,
        lambda: {"text": "hello", "usage": OPENAI},
        lambda: Object(content="hello", usage=Object(**OPENAI)),
        lambda: Object(content="hello", response_metadata={"token_usage": OPENAI}),
        lambda: Answer("hello", 100, 20, 40),
    ],
)
def test_text_tokens_and_cost_are_read_from_every_shape(reply):
    found = parse_reply(reply())
    assert found == Answer("hello", 100, 20, 40)
    assert reply_cost(found, PRICED) == pytest.approx((60 * 2 + 40 * 0.5 + 20 * 10) / 1e6)


GOOGLE = {
    "prompt_token_count": 50,
    "candidates_token_count": 7,
    "thoughts_token_count": 11,
    "total_token_count": 68,
}
ANTHROPIC = {
    "input_tokens": 5,
    "cache_read_input_tokens": 60,
    "cache_creation_input_tokens": 30,
    "output_tokens": 9,
}


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Object(text="hello", raw={"usage_metadata": GOOGLE}), Answer("hello", 50, 18, 0)),
        (Object(content="hello", usage=Object(**ANTHROPIC)), Answer("hello", 95, 9, 60)),
    ],
    ids=["Google's thoughts", "Anthropic's cache"],
)
def test_tokens_that_a_provider_counts_apart_are_among_the_others(reply, answer):
    assert parse_reply(reply) == answer


def test_tokens_that_are_not_reported_are_unknown_and_so_is_the_cost():
    found = parse_reply("hello")
    assert found == Answer("hello")
    assert reply_cost(found, PRICED) is None
    assert reply_cost(Answer("hello", 100, 20), Expert("gpt")) is None
    assert reply_cost(Answer("hello", 100, 20), Expert("gpt", input_price=1.0)) is None


def test_without_a_cached_price_cached_tokens_cost_the_full_price():
    plain = Expert("gpt", input_price=2.0, output_price=10.0)
    assert reply_cost(Answer("", 100, 20, 40), plain) == pytest.approx(400 / 1e6)


def test_the_cost_that_the_provider_reports_comes_first_and_free_is_free():
    answer = parse_reply({"content": "hi", "usage": {"cost": 0.25, "prompt_tokens": 3}})
    assert reply_cost(answer, PRICED) == 0.25
    assert reply_cost(Answer("hi"), Expert("local", input_price=0, output_price=0)) == 0.0


@pytest.mark.parametrize(
    "details",
    [
        {"service_tier": "flex"},
        {"output_token_details": {"priority": 20}},
        {"prompt_tokens_details": {"audio_tokens": 40}},
    ],
)
def test_what_tokens_of_other_rates_cost_is_unknown(details):
    usage = {"prompt_tokens": 100, "completion_tokens": 20, **details}
    answer = parse_reply({"text": "hello", "usage": usage})
    assert (answer.input_tokens, answer.output_tokens) == (100, 20)
    assert reply_cost(answer, PRICED) is None
    assert reply_cost(replace(answer, cost=0.01), PRICED) == 0.01  # as the provider reports it
    assert reply_cost(answer, Expert("local", input_price=0, output_price=0)) == 0.0


@pytest.mark.parametrize("reply", [None, 3, {}, {"usage": OPENAI}, Object()])
def test_a_reply_without_text_is_rejected(reply):
    with pytest.raises(InputError, match="without text"):
        parse_reply(reply)


def test_runnables_llms_and_functions_can_be_asked():
    assert as_callable(Object(invoke=str.upper))("a") == "A"
    assert as_callable(Object(complete=str.upper))("a") == "A"
    assert as_callable(str.upper)("a") == "A"
    for wrong in ("gpt-4", None, Object(), Object):
        with pytest.raises(InputError, match="cannot be asked"):
            as_callable(wrong)


class StatusError(Exception):
    def __init__(self, status, headers=None):
        super().__init__(f"status {status}")
        self.status_code, self.response = status, Object(headers=headers or {})


def waits_before_success(*errors, retries=9):
    """Return the waits of a call that raises some errors and then succeeds."""
    left, waits = list(errors), []

    def call():
        if left:
            raise left.pop(0)
        return "done"

    assert call_with_retries(call, retries, lambda seconds: waits.append(seconds) or True) == "done"
    return waits


def test_each_wait_is_about_twice_the_one_before_and_at_most_a_minute():
    waits = waits_before_success(*[StatusError(503)] * 9)
    for seconds, full in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert full / 2 <= seconds <= full


def test_the_wait_is_at_least_retry_after_if_that_is_a_number():
    limited = [StatusError(429, {"retry-after": value}) for value in ("7", "900", "tomorrow")]
    first, second, third = waits_before_success(*limited)
    assert (first, second) == (7, 60)
    assert 2 <= third <= 4


def test_the_wait_is_at_least_the_date_of_retry_after():
    headers = {
        "retry-after": "Sat, 28 Nov 2026 12:00:30 GMT",
        "date": "Sat, 28 Nov 2026 12:00:00 GMT",
    }
    assert waits_before_success(StatusError(429, headers)) == [30]


def test_an_account_without_credit_is_no_error_of_the_prompt():
    error = StatusError(400)
    error.body = {"error": {"message": "Your credit balance is too low to access the API."}}
    assert not is_prompt_error(error)
    error.body = {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}}
    assert is_prompt_error(error)


def test_the_last_error_is_raised_after_all_retries_or_when_the_run_stops():
    def fail():
        raise StatusError(503)

    for retries, goes_on, calls in ((2, True, 2), (2, False, 1), (0, True, 0)):
        waits = []
        with pytest.raises(StatusError):
            call_with_retries(fail, retries, lambda s, w=waits, g=goes_on: w.append(s) or g)
        assert len(waits) == calls


def test_errors_are_transient_of_the_prompt_or_neither():
    class ContentFilterError(Exception):
        pass

    kinds = [
        (StatusError(429), True, False),
        (StatusError(500), True, False),
        (TimeoutError(), True, False),
        (StatusError(400), False, True),
        (ContentFilterError(), False, True),
        (StatusError(401), False, False),
        (TypeError("a mistake"), False, False),
    ]
    for error, transient, of_prompt in kinds:
        assert (is_transient(error), is_prompt_error(error)) == (transient, of_prompt), error
