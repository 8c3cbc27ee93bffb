"""The spans of a call: one for each attempt, ended once, without the words of an error."""

from __future__ import annotations

import asyncio
import time

import pytest

from tryage.telemetry.observer import TELEMETRY, CallFacts, TokenCounts

RECORD = {"model": "a", "cost": {"expected": None}}


def key_of(record):
    return record.get("sample", record["model"])


@pytest.fixture
def call(telemetry):  # noqa: ARG001 - it switches telemetry on
    return TELEMETRY.observer.begin_call(CallFacts("id", "a", "routed", None, {"a": "openai"}.get))


def asked(call, ask, record=RECORD, *, is_stream=False):
    return call.traced(ask, key_of, lambda _: is_stream)(None, record)


def test_a_call_is_a_span_with_one_below_it_for_each_attempt(telemetry, call):
    asked(call, lambda *_: "answer")
    call.settle({**RECORD, "how": "routed"}, TokenCounts(7, 3))
    attempt, whole = telemetry.spans()
    assert (attempt.name, whole.name) == ("chat a", "invoke_workflow tryage")
    assert attempt.parent.span_id == whole.context.span_id
    assert attempt.kind.name == "CLIENT"
    assert dict(attempt.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "a",
        "gen_ai.response.model": "a",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "tryage.attempt.outcome": "answered",
    }
    assert whole.attributes["gen_ai.response.model"] == "a"


def test_what_the_client_traces_is_below_the_attempt(telemetry, call):
    def ask(*_):
        with telemetry.caller("POST"):
            return "answer"

    asked(call, ask)
    call.settle(RECORD, None)
    inner, attempt, _ = telemetry.spans()
    assert inner.parent.span_id == attempt.context.span_id


async def test_what_an_awaited_client_traces_is_below_the_attempt(telemetry, call):
    async def ask(*_):
        await asyncio.sleep(0)
        with telemetry.caller("POST"):
            return "answer"

    assert await asked(call, ask) == "answer"
    call.settle(RECORD, None)
    inner, attempt, _ = telemetry.spans()
    assert inner.parent.span_id == attempt.context.span_id


async def test_an_attempt_that_is_cancelled_ends_its_span(telemetry, call):
    async def ask(*_):
        await asyncio.sleep(60)

    task = asyncio.ensure_future(asked(call, ask))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (attempt,) = telemetry.spans("chat a")
    assert attempt.attributes["error.type"] == "asyncio.exceptions.CancelledError"


def test_an_error_is_its_type_alone_and_counted_once(telemetry, call):
    error = ValueError("canary: what the user asked")

    def ask(*_):
        raise error

    with pytest.raises(ValueError, match="canary"):
        asked(call, ask)
    call.fail_attempt("a", error)
    call.fail(error)
    attempt, whole = telemetry.spans()
    for span in (attempt, whole):
        assert span.attributes["error.type"] == "ValueError"
        assert "canary" not in span.to_json()
        assert not span.events
    key = ("ValueError", "chat", "openai", "a")
    assert telemetry.values("gen_ai.client.operation.duration") == {key: 1}


def test_a_whole_answer_ends_when_it_comes_and_a_stream_when_it_has_been_read(telemetry, call):
    def wait():
        time.sleep(0.02)
        return time.time_ns()

    asked(call, lambda *_: "answer")
    checked_at = wait()
    call.end_unkept("a", None)
    asked(call, lambda *_: wait(), {"model": "b"}, is_stream=True)
    read_at = wait()
    call.settle({"model": "b"}, None)
    whole, stream, _ = telemetry.spans()
    assert whole.end_time < checked_at
    assert stream.end_time >= read_at - 1_000_000  # the clocks may differ by some microseconds
    duration = (stream.end_time - stream.start_time) / 1e9
    assert 0.02 <= stream.attributes["gen_ai.response.time_to_first_chunk"] < duration


def test_attempts_that_nobody_waits_for_end_with_the_call(telemetry, call):
    asked(call, lambda *_: "answer", {"model": "b"})
    asked(call, lambda *_: "evidence", {"model": "a", "sample": "a, sample 1"})
    asked(call, lambda *_: "answer")
    call.end_unkept("a, sample 1", TokenCounts(1, 1), is_sample=True)
    call.settle(RECORD, None)
    outcomes = [one.attributes.get("tryage.attempt.outcome") for one in telemetry.spans()]
    assert outcomes == ["sample", "answered", "unused", None]


def test_a_stream_that_breaks_off_marks_its_attempt_and_the_call(telemetry, call):
    asked(call, lambda *_: "beginning", is_stream=True)
    call.break_off(ConnectionError("canary"))
    call.settle(RECORD, None)
    assert [one.attributes["error.type"] for one in telemetry.spans()] == ["ConnectionError"] * 2
    assert telemetry.values("tryage.calls") == {("ConnectionError", "a", "routed"): 1}


def test_each_failure_before_a_further_attempt_is_one_fallback(telemetry, call):
    call.fail_attempt("a", TimeoutError())
    asked(call, lambda *_: "answer", {"model": "b", "failed": {"a": "TimeoutError: no"}})
    call.fail_attempt("b", ValueError())
    failed = {"a": "TimeoutError: no", "b": "ValueError: no"}
    asked(call, lambda *_: "answer", {"model": "c", "failed": failed})
    call.settle({"model": "c", "failed": failed}, None)
    assert telemetry.values("tryage.fallbacks") == {
        ("TimeoutError", "a"): 1,
        ("ValueError", "b"): 1,
    }
    (whole,) = telemetry.spans("invoke_workflow tryage")
    assert whole.attributes["tryage.failed"] == ("a", "b")


def test_a_cool_down_is_an_event_of_the_call(telemetry, call):
    call.cool_down("a", 1.5)
    call.settle(RECORD, None)
    (whole,) = telemetry.spans("invoke_workflow tryage")
    (event,) = whole.events
    assert event.name == "tryage.cool_down"
    assert dict(event.attributes) == {"gen_ai.request.model": "a", "tryage.cool_down.seconds": 1.5}
