"""A model that fails is left out for a time that grows, then tried by one request at a time."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import httpx
import openai
import pytest

from tryage.errors import InputError
from tryage.traffic.health import LONGEST_COOL_DOWN, HealthRegistry, process_health

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")


@lru_cache(maxsize=1)
def openai_client():
    return openai.OpenAI(api_key="none", base_url="http://127.0.0.1/v1")


def server_error(status=503, **headers):
    """Return the error that the openai client makes of a response."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx.Response(status, request=REQUEST, json={"error": {}}, headers=headers)
    return openai_client()._make_status_error_from_response(response)


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.seconds = 1_000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return HealthRegistry(clock, jitter=lambda: 1.0)


def fail_in_a_row(health, clock, times):
    """Fail as soon as the model may be asked; return the seconds of each cool-down."""
    waits = []
    for _ in range(times):
        started = health.begin("m")
        waits.append(health.record_failure("m", server_error(), started))
        clock.seconds += waits[-1]
    return waits


def test_the_cool_down_doubles_from_one_second_up_to_a_minute(health, clock):
    assert fail_in_a_row(health, clock, 8) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_model_is_left_out_until_its_cool_down_ends(health, clock):
    assert health.is_available("m")
    health.record_failure("m", server_error())
    clock.seconds += 0.999
    assert not health.is_available("m")
    assert health.begin("m") is None
    clock.seconds += 0.001
    assert health.is_available("m")
    assert health.is_available("another")


def test_after_the_cool_down_one_request_tries_the_model(health, clock):
    health.record_failure("m", server_error())
    clock.seconds += 1
    started = health.begin("m")
    assert started == clock.seconds
    assert not health.is_available("m")
    assert health.begin("m") is None
    health.record_success("m", started)
    assert health.begin("m") is not None
    assert health.begin("m") is not None


def test_a_success_forgets_all_failures(health, clock):
    fail_in_a_row(health, clock, 5)
    assert health.record_success("m", health.begin("m")) is True
    assert health.describe("m")["state"] == "healthy"
    assert health.record_success("m") is False
    assert health.record_failure("m", server_error()) == 1


def test_failures_of_calls_made_at_the_same_time_count_once(health, clock):
    started = [health.begin("m") for _ in range(20)]
    clock.seconds += 3
    waits = [health.record_failure("m", TimeoutError(), start) for start in started]
    assert waits == [1, *[None] * 19]
    clock.seconds += 2  # the cool-down is over; calls from before it still say nothing new
    assert health.record_failure("m", TimeoutError(), started[0]) is None
    assert health.describe("m")["failures"] == 1


def test_a_late_success_of_a_call_from_before_the_failure_does_not_count(health, clock):
    early = health.begin("m")
    clock.seconds += 1
    health.record_failure("m", server_error(429, retry_after="30"), clock.seconds)
    assert health.record_success("m", early) is False
    assert not health.is_available("m")


@pytest.mark.parametrize("seconds", [1, 7, 90])
def test_retry_after_is_honored_to_the_second(health, clock, seconds):
    health.record_failure("m", server_error(429, retry_after=str(seconds)))
    clock.seconds += seconds - 0.001
    assert not health.is_available("m")
    clock.seconds += 0.001
    assert health.is_available("m")


def test_a_longer_retry_after_during_the_cool_down_counts(health, clock):
    health.record_failure("m", server_error())
    assert health.record_failure("m", server_error(429, retry_after="9")) is None
    clock.seconds += 8
    assert not health.is_available("m")


@pytest.mark.parametrize("value", ["0", "-3", "nan"])
def test_a_retry_after_without_a_wait_leaves_the_growing_cool_down(health, value):
    assert health.record_failure("m", server_error(429, retry_after=value)) == 1


def test_an_absurd_retry_after_is_at_most_an_hour(health):
    assert health.record_failure("m", server_error(429, retry_after="99999999")) == 3_600


def test_an_error_of_the_request_says_nothing_about_the_model(health, clock):
    assert health.record_failure("m", server_error(400)) is None
    assert health.is_available("m")
    health.record_failure("m", server_error())
    clock.seconds += 1
    started = health.begin("m")
    health.record_failure("m", server_error(400), started)
    assert health.is_available("m")  # the next request is the trial
    assert health.describe("m")["state"] == "half-open"


def test_a_trial_that_is_given_up_leaves_the_place_to_the_next(health, clock):
    health.record_failure("m", server_error())
    clock.seconds += 1
    started = health.begin("m")
    health.release("m", started - 0.5)  # an older call
    assert not health.is_available("m")
    health.release("m", started)
    assert health.is_available("m")


def test_a_trial_that_never_ends_blocks_the_next_for_a_minute_at_most(health, clock):
    health.record_failure("m", server_error())
    clock.seconds += 1
    health.begin("m")
    clock.seconds += 59
    assert not health.is_available("m")
    clock.seconds += 1
    assert health.begin("m") is not None


def test_the_health_is_plain_values_without_secrets(health, clock):
    error = server_error()
    error.args = ("the key sk-abcdef123456 is wrong",)
    health.record_failure("m", ConnectionError("no way to http://user:secret@host"))
    clock.seconds += 0.25
    assert health.describe("m") == health.snapshot()["m"]
    described = health.describe("m")
    assert described.pop("last_error").startswith("ConnectionError: no way to http://")
    assert described == {"state": "cooling down", "failures": 1, "seconds_until_retry": 0.75}
    assert "secret" not in str(health.snapshot())
    assert health.describe("healthy") == {
        "state": "healthy", "failures": 0, "seconds_until_retry": None, "last_error": None,
    }  # fmt: skip
    clock.seconds += 1
    assert health.describe("m")["state"] == "half-open"
    assert health.seconds_until_due("m") == 0
    health.clear()
    assert health.snapshot() == {}


def test_cool_downs_are_spread_by_a_fifth(clock):
    health = HealthRegistry(clock)
    waits = {health.record_failure(i, server_error()) for i in range(200)}
    assert len(waits) > 100
    assert 0.8 <= min(waits) < 0.9
    assert 1.1 < max(waits) <= 1.2


def test_no_more_than_size_models_are_remembered(clock):
    health = HealthRegistry(clock, size=3)
    for i in range(10):
        health.record_failure(i, server_error())
    assert list(health.snapshot()) == [7, 8, 9]


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
def test_a_wrong_size_is_refused(size):
    with pytest.raises(InputError, match="at least 1"):
        HealthRegistry(size=size)


def test_a_thousand_failures_in_a_row_overflow_nothing(health, clock):
    assert fail_in_a_row(health, clock, 1_200)[-1] == LONGEST_COOL_DOWN


def test_of_many_threads_one_gets_the_trial(health, clock):
    health.record_failure("m", server_error())
    clock.seconds += 1
    barrier = threading.Barrier(16)

    def begin(_):
        barrier.wait(5)
        return health.begin("m")

    with ThreadPoolExecutor(16) as pool:
        starts = list(pool.map(begin, range(16)))
    assert sum(start is not None for start in starts) == 1


def test_the_process_has_one_registry():
    assert process_health() is process_health()


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork"
)
def test_a_child_process_knows_the_failures_and_inherits_neither_lock_nor_trial(health, clock):
    health.record_failure("cooling", server_error())
    clock.seconds += 0.5
    health.record_failure("tried", server_error())
    clock.seconds += 1
    health.begin("tried")
    health.record_failure("cooling", server_error())

    def report(connection):
        connection.send([health.is_available(key) for key in ("cooling", "tried")])

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=report, args=(sender,))
    with health._lock:  # another thread of the parent may hold it
        child.start()
    try:
        assert receiver.poll(10), "the child hangs"
        assert receiver.recv() == [False, True]
    finally:
        child.kill()
        child.join()
