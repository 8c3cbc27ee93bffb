"""When an expert fails: which is asked next, which errors are final, what the record holds."""

from __future__ import annotations

import logging
import traceback

import httpx
import openai
import pytest

from tryage.chat import Attempts, ChatRouter, Conversation, Turn
from tryage.chat.time_limits import CallTimer, TimeLimits
from tryage.errors import (
    AllFailedError,
    AttemptTimeoutError,
    DeadlineExceededError,
    InvalidAnswerError,
)
from tryage.traffic.health import HealthRegistry

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


class Clock:
    """A clock that a test sets."""

    seconds = 1_000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return HealthRegistry(clock, jitter=lambda: 1.0)


def run(attempts, answers):
    """Ask one expert after another, as the integrations do."""
    for name in attempts:
        if not isinstance(answers[name], Exception):
            attempts.add_success(name)
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
        "unknown": TimeoutError("slow with the key sk-abcdef123456"),
    }
    with pytest.raises(AllFailedError) as raised:
        run(Attempts(plan, library), errors)
    message = str(raised.value)
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == list(errors)
    assert raised.value.failures == tuple(errors.items())
    assert str(raised.value.__cause__).startswith("TimeoutError: slow with the key")
    logged = "".join(traceback.format_exception(raised.value))
    assert "sk-abc" not in logged
    assert "user:pass" not in logged
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


# Experts that cool down --------------------------------------------------------------------------


def ask(plan, library, health, answers=None, **settings):
    """Ask until one answers; return it and the record."""
    attempts = Attempts(plan, library, health=health, **settings)
    served_by = run(attempts, {**dict.fromkeys(library.names, "hello"), **(answers or {})})
    return served_by, attempts.record(served_by)


def test_an_expert_that_failed_is_passed_over_until_its_cool_down_ends(
    plan, library, health, clock
):
    assert ask(plan, library, health, {"small": openai_error(503)})[0] == "big"
    served_by, record = ask(plan, library, health)
    assert served_by == "big"
    assert record["reason"] == "small is cooling down"
    assert record["cooling_down"] == ["small"]
    assert "failed" not in record
    clock.seconds += 1
    served_by, record = ask(plan, library, health)
    assert served_by == "small"
    assert "cooling_down" not in record


def test_while_one_request_tries_an_expert_the_others_ask_the_next(plan, library, health, clock):
    health.record_failure("small", TimeoutError())
    clock.seconds += 1
    first, second = (Attempts(plan, library, health=health) for _ in range(2))
    assert next(iter(first)) == "small"
    assert next(iter(second)) == "big"
    first.add_success("small")
    assert next(iter(Attempts(plan, library, health=health))) == "small"


def test_a_caller_that_gives_up_leaves_the_trial_to_the_next(plan, library, health, clock):
    health.record_failure("small", TimeoutError())
    clock.seconds += 1
    attempts = Attempts(plan, library, health=health)
    assert next(iter(attempts)) == "small"
    attempts.end()
    assert next(iter(Attempts(plan, library, health=health))) == "small"


def test_experts_that_cool_down_are_asked_last_and_the_first_that_is_due_before_the_others(
    plan, library, health, clock
):
    for name in ("plain", "small", "big"):
        health.record_failure(name, TimeoutError())
        clock.seconds += 0.1
    attempts = Attempts(plan, library, health=health)
    order = []
    for name in attempts.names():
        order.append(name)
        attempts.add_failure(name, TimeoutError())
    assert order == ["unknown", "plain", "small", "big"]


def test_if_all_cool_down_the_pool_is_not_empty(plan, library, health):
    for name in library.names:
        health.record_failure(name, TimeoutError())
    served_by, record = ask(plan, library, health)
    assert served_by in library
    assert served_by not in record["cooling_down"]


def test_an_expert_that_the_caller_names_is_asked_all_the_same(router, library, health):
    health.record_failure("small", TimeoutError())
    named = ChatRouter(router).plan(talk(), model="small")
    served_by, record = ask(named, library, health)
    assert served_by == "small"
    assert "cooling_down" not in record
    assert health.is_available("small")


def test_max_attempts_counts_the_experts_that_are_asked(plan, library, health):
    health.record_failure("small", TimeoutError())
    served_by, _ = ask(plan, library, health, {"big": TimeoutError()}, max_attempts=2)
    assert served_by == "plain"


def test_an_error_of_the_request_leaves_the_expert_available(plan, library, health):
    with pytest.raises(openai.BadRequestError):
        ask(plan, library, health, {"small": openai_error(400)})
    assert health.is_available("small")


def test_a_stream_that_breaks_off_later_counts_as_a_failure(plan, library, health):
    attempts = Attempts(plan, library, health=health)
    attempts.add_success(next(iter(attempts)))
    attempts.late_failure("small")(ConnectionError())
    assert not health.is_available("small")


# Time --------------------------------------------------------------------------------------------


@pytest.fixture
def timed(plan, library, health, clock):
    """Make attempts with limits of time."""

    def make(**limits):
        timer = CallTimer(TimeLimits(**limits), clock)
        return Attempts(plan, library, health=health, timer=timer)

    return make


def test_each_expert_but_the_last_has_half_of_the_time_that_is_left(timed, clock):
    attempts, seconds = timed(deadline=16), []
    for name in attempts.names():
        seconds.append(attempts.seconds_left)
        clock.seconds += attempts.seconds_left
        attempts.add_failure(name, AttemptTimeoutError())
    assert seconds == [8, 4, 2, 2]
    assert isinstance(attempts.final_error(), DeadlineExceededError)


def test_an_expert_alone_has_all_of_the_time(router, library, clock):
    named = ChatRouter(router).plan(talk(), model="small")
    timer = CallTimer(TimeLimits(deadline=16), clock)
    attempts = Attempts(named, library, timer=timer)
    next(iter(attempts))
    assert attempts.seconds_left == 16


def test_after_the_deadline_nobody_is_asked_and_the_error_lists_the_attempts(timed, clock):
    attempts, asked = timed(deadline=5), []
    for name in attempts.names():
        asked.append(name)
        clock.seconds += 3
        attempts.add_failure(name, openai_error(503))
    error = attempts.final_error()
    assert asked == ["small", "big"]
    assert [name for name, _ in error.failures] == asked
    message, *lines = str(error).splitlines()
    assert "within the deadline of 5 seconds" in message
    assert [line.split(":")[0].strip() for line in lines] == asked
    assert isinstance(error, TimeoutError)


def test_an_expert_that_is_not_asked_for_want_of_time_stays_available(timed, clock, health):
    health.record_failure("big", TimeoutError())
    clock.seconds += 1
    attempts = timed(deadline=5)
    for name in attempts.names():
        clock.seconds += 5
        attempts.add_failure(name, TimeoutError())
    assert [name for name, _ in attempts.failures] == ["small"]
    assert health.is_available("big")


def test_the_deadline_is_the_error_even_if_one_expert_was_asked(router, library, clock):
    named = ChatRouter(router).plan(talk(), model="small")
    attempts = Attempts(named, library, timer=CallTimer(TimeLimits(deadline=5), clock))
    for name in attempts.names():
        clock.seconds += 5
        attempts.add_failure(name, AttemptTimeoutError("No answer within 5 seconds."))
    assert isinstance(attempts.final_error(), DeadlineExceededError)


@pytest.mark.parametrize(
    ("limits", "is_failing"),
    [
        ({"deadline": 1}, False),  # .5 seconds for the first of four
        ({"deadline": 2}, True),
        ({"attempt_timeout": 0.1}, True),
        ({"attempt_timeout": 0.1, "deadline": 0.05}, False),
    ],
)
def test_an_expert_that_a_hasty_caller_cuts_off_is_not_unhealthy(
    timed, clock, health, limits, is_failing
):
    attempts = timed(**limits)
    name = next(iter(attempts))
    clock.seconds += attempts.seconds_left
    attempts.add_failure(name, AttemptTimeoutError())
    assert health.is_available(name) is not is_failing


# Answers that were refused -----------------------------------------------------------------------


def test_if_no_answer_is_better_the_first_usable_one_is_returned(plan, library):
    attempts = Attempts(plan, library)
    errors = [TimeoutError(), InvalidAnswerError("cut", "so", is_usable=True)]
    errors += [InvalidAnswerError("cut", "other", is_usable=True), TimeoutError()]
    for name, error in zip(attempts.names(), errors, strict=True):
        attempts.add_failure(name, error)
    answer, record = attempts.refused_answer()
    assert answer == "so"
    assert record["model"] == "big"
    assert list(record["failed"]) == ["small", "plain", "unknown"]


def test_without_a_usable_answer_the_failures_are_raised(plan, library):
    attempts = Attempts(plan, library)
    for name in attempts.names():
        attempts.add_failure(name, InvalidAnswerError("not JSON", answer="x"))
    with pytest.raises(AllFailedError, match="All 4 experts"):
        attempts.refused_answer()


def test_one_answer_that_does_not_parse_raises_the_error_of_its_parser(router, library):
    named = ChatRouter(router).plan(talk(), model="small")
    attempts = Attempts(named, library)
    parser_error = ValueError("expected a number")
    refusal = InvalidAnswerError("not JSON")
    refusal.__cause__ = parser_error
    attempts.add_failure(next(iter(attempts)), refusal)
    with pytest.raises(ValueError, match="expected a number") as raised:
        attempts.refused_answer()
    assert raised.value is parser_error


# Log records -------------------------------------------------------------------------------------


def messages_of(caplog):
    assert all(record.name.startswith("tryage.") for record in caplog.records)
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_each_fallback_and_each_cool_down_is_one_record_with_the_id(
    plan, library, health, clock, caplog
):
    caplog.set_level(logging.INFO, "tryage")
    error = openai_error(429, {"message": "the prompt was: small question", "code": "quota"})
    ask(plan, library, health, {"small": error})
    clock.seconds += 1
    ask(plan, library, health)
    label = "RateLimitError (429, quota)"
    assert messages_of(caplog) == [
        ("WARNING", f"Decision {plan.id}: small cools down for 1.0 seconds after {label}."),
        ("WARNING", f"Decision {plan.id}: small failed with {label}; big is asked next."),
        ("INFO", f"Decision {plan.id}: small answers again."),
    ]
    assert {record.decision_id for record in caplog.records} == {plan.id}


def test_a_deadline_that_has_passed_is_one_record(timed, clock, plan, caplog):
    attempts = timed(deadline=2)
    clock.seconds += 2
    attempts.failures.append(("small", TimeoutError()))
    attempts.final_error()
    ((_, message),) = messages_of(caplog)
    assert message == f"Decision {plan.id}: the deadline of 2 seconds has passed; asked: small."


def test_a_record_holds_neither_the_prompt_nor_a_key(plan, library, caplog):
    caplog.set_level(logging.DEBUG, "tryage")
    error = RuntimeError("cannot answer 'small question' with the key sk-abcdef123456")
    ask(
        plan, library, None, {"small": error, "big": openai_error(401, {"code": "sk-abcdef123456"})}
    )
    text = " ".join(str(vars(record)) for record in caplog.records)
    assert "small question" not in text
    assert "sk-abc" not in text


def test_without_failures_nothing_is_logged(plan, library, health, caplog):
    caplog.set_level(logging.DEBUG, "tryage")
    ask(plan, library, health)
    assert caplog.records == []
