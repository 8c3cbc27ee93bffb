"""The Hub's words about its quota are read as it says them, and kept to."""

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


def quota(remaining, *, limit=500, reset=300.0, window=300.0):
    return RateLimit(remaining, resets_at=reset, next_allowed_at=0.0, limit=limit, window=window)


def test_the_headers_of_the_hub_say_what_is_left_and_until_when():
    assert RateLimit.from_headers(STATED, now=1000.0) == RateLimit(499, 1295.0, 1000.0, 500, 300)


def test_without_a_policy_the_size_of_the_window_is_unknown():
    stated = RateLimit.from_headers({"ratelimit": '"api";r=3;t=10'}, now=0.0)
    assert stated == RateLimit(3, 10.0, 0.0, None, None)
    assert stated.wait_seconds(0.0) == 0


@pytest.mark.parametrize(
    "header",
    ["", "api", '"api";r=;t=5', '"api";r=-1;t=5', '"api";t=5', '"api";r=5', "r=9" * 999, "é;r=x"],
)
def test_what_cannot_be_read_states_no_quota(header):
    assert RateLimit.from_headers({"ratelimit": header}, now=0.0) is None


def test_of_several_items_the_first_counts():
    stated = RateLimit.from_headers({"ratelimit": '"api";r=7;t=9, "pages";r=1;t=1'}, now=0.0)
    assert (stated.remaining, stated.resets_at) == (7, 9.0)


def test_while_much_is_left_nobody_waits():
    wait, after = quota(51).acquire(100.0)
    assert (wait, after.remaining, after.wait_seconds(100.0)) == (0.0, 50, 0.0)


def test_the_last_tenth_is_spread_over_the_rest_of_the_window():
    wait, after = quota(40, limit=400).acquire(100.0)  # 40 left for 200 seconds: one each 5 seconds
    assert (wait, after.wait_seconds(100.0)) == (0.0, 5.0)
    assert after.acquire(100.0)[1].wait_seconds(100.0) == pytest.approx(10.0)


def test_with_nothing_left_the_next_goes_when_the_window_resets():
    wait, after = quota(0).acquire(290.0)
    assert (wait, after.remaining, after.resets_at) == (10.0, 499, 600.0)
    assert after.wait_seconds(290.0) == 10.0  # whoever comes meanwhile waits for the same window


def test_when_its_time_is_over_a_window_counts_for_nothing():
    wait, after = quota(0).acquire(301.0)
    assert (wait, after.remaining, after.resets_at) == (0.0, 499, 601.0)


def test_replies_out_of_order_never_raise_what_is_left():
    early, late = quota(9, reset=300.4), quota(8, reset=299.6)
    assert late.merge(early).remaining == early.merge(late).remaining == 8


def test_a_new_window_replaces_the_old_one():
    fresh = quota(499, reset=600.0)
    assert quota(0).merge(fresh) == fresh


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
    state = quota(left, limit=limit, window=window, reset=float(window))
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


def test_pauses_double_up_to_a_cap_and_luck_takes_up_to_half():
    assert [backoff_seconds(attempt, 1.0) for attempt in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff_seconds(attempt, 0.0) for attempt in range(3)] == [0.25, 0.5, 1]
    assert backoff_seconds(10_000, 1.0) == MAX_BACKOFF
