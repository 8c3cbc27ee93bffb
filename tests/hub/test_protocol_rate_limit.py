"""`RateLimit`: the Hub's headers about its quota are read, and the quota is never exceeded."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.hub.protocol import MAX_BACKOFF, RateLimit, backoff_seconds, retry_after

# As huggingface.co/docs/hub/rate-limits shows them.
STATED = {
    "ratelimit": '"api";r=499;t=295',
    "ratelimit-policy": '"fixed window";"api";q=500;w=300',
}
NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)


def rate_limit(remaining, *, limit=500, reset=300.0, window=300.0):
    return RateLimit(remaining, resets_at=reset, next_allowed_at=0.0, limit=limit, window=window)


def wait_seconds(limit, now):
    return limit.acquire(now)[0]


def test_the_headers_give_what_is_left_and_until_when():
    assert RateLimit.from_headers(STATED, now=1000.0) == RateLimit(499, 1295.0, 1000.0, 500, 300)


def test_without_a_policy_the_size_of_the_window_is_unknown():
    stated = RateLimit.from_headers({"ratelimit": '"api";r=3;t=10'}, now=0.0)
    assert stated == RateLimit(3, 10.0, 0.0, None, None)
    assert wait_seconds(stated, 0.0) == 0


@pytest.mark.parametrize(
    "header",
    ["", "api", '"api";r=;t=5', '"api";r=-1;t=5', '"api";t=5', '"api";r=5', "r=9" * 999, "é;r=x"],
)
def test_an_unreadable_header_gives_no_rate_limit(header):
    assert RateLimit.from_headers({"ratelimit": header}, now=0.0) is None


def test_of_several_items_the_first_counts():
    stated = RateLimit.from_headers({"ratelimit": '"api";r=7;t=9, "pages";r=1;t=1'}, now=0.0)
    assert (stated.remaining, stated.resets_at) == (7, 9.0)


def test_while_much_is_left_requests_do_not_wait():
    wait, after = rate_limit(51).acquire(100.0)
    assert (wait, after.remaining, wait_seconds(after, 100.0)) == (0.0, 50, 0.0)


def test_the_last_tenth_is_spread_over_the_rest_of_the_window():
    wait, after = rate_limit(40, limit=400).acquire(
        100.0
    )  # 40 left for 200 seconds: one each 5 seconds
    assert (wait, wait_seconds(after, 100.0)) == (0.0, 5.0)
    assert wait_seconds(after.acquire(100.0)[1], 100.0) == pytest.approx(10.0)


def test_with_nothing_left_the_next_request_waits_for_the_reset():
    wait, after = rate_limit(0).acquire(290.0)
    assert (wait, after.remaining, after.resets_at) == (10.0, 499, 600.0)
    assert wait_seconds(after, 290.0) == 10.0  # another request waits for the same window


def test_a_window_that_has_ended_no_longer_counts():
    wait, after = rate_limit(0).acquire(301.0)
    assert (wait, after.remaining, after.resets_at) == (0.0, 499, 601.0)


def test_answers_out_of_order_never_raise_what_is_left():
    early, late = rate_limit(9, reset=300.4), rate_limit(8, reset=299.6)
    assert late.merge(early).remaining == early.merge(late).remaining == 8


def test_a_new_window_replaces_the_old_one():
    fresh = rate_limit(499, reset=600.0)
    assert rate_limit(0).merge(fresh) == fresh


@settings(deadline=None, max_examples=60)
@given(
    remaining=st.integers(0, 60),
    limit=st.integers(1, 60),
    window=st.integers(1, 300),
    asks=st.lists(st.floats(0, 20), max_size=150),
    together=st.booleans(),
)
def test_no_window_gets_more_requests_than_it_allows(remaining, limit, window, asks, together):
    left = min(remaining, limit)
    state = rate_limit(left, limit=limit, window=window, reset=float(window))
    now, sent = 0.0, {}
    for pause_before in asks:
        now += pause_before
        wait, state = state.acquire(now)
        assert wait >= 0
        now += 0 if together else wait  # many threads ask while one waits, or one asks alone
        sent[state.resets_at] = sent.get(state.resets_at, 0) + 1
    for reset, count in sent.items():
        assert count <= (left if reset == window else limit)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "17"}, 17.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:01:30 GMT"}, 90.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon", **STATED}, 295.0),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        (STATED, 295.0),
        ({}, None),
    ],
)
def test_a_refusal_says_how_long_to_wait(headers, seconds):
    assert retry_after(headers, NOW) == seconds


def test_pauses_double_up_to_a_cap_and_jitter_takes_up_to_half():
    assert [backoff_seconds(attempt, 1.0) for attempt in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff_seconds(attempt, 0.0) for attempt in range(3)] == [0.25, 0.5, 1]
    assert backoff_seconds(10_000, 1.0) == MAX_BACKOFF
