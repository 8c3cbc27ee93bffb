"""Settings that a budget refuses, each with what is expected."""

from __future__ import annotations

import pytest

from tryage.errors import InputError
from tryage.policies import Budget
from tryage.policies.budget_settings import check_limit


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "one limit, got 0"),
        ({"usd_per_day": 1, "usd_per_month": 2}, "one limit, got 2"),
        ({"usd_per_day": -1}, "usd_per_day"),
        ({"usd_per_day": float("nan")}, "usd_per_day"),
        ({"usd_per_day": "5"}, "usd_per_day"),
        ({"usd_per_request": 1, "hard": True}, "average cannot be hard"),
        ({"usd_per_day": 1, "fallback": "small"}, "hard=True"),
        ({"usd_per_day": 1, "hard": "yes"}, "hard is"),
        ({"usd_per_day": 1, "requests": 0}, "requests"),
        ({"usd_per_day": 1, "by": ""}, "by is"),
        ({"usd_per_day": 1, "timezone": "Mars"}, "Europe/Berlin"),
    ],
)
def test_a_wrong_setting_is_an_error_that_says_what_is_expected(settings, words):
    with pytest.raises(InputError, match=words):
        Budget(**settings)


def test_a_limit_has_its_period():
    assert check_limit(0.5, {"day": None}) == (0.5, None)
    assert check_limit(None, {"day": None, "month": 500}) == (500.0, "month")
