"""The limits of an assignment: what is refused, and the numbers in messages are possible."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tryage.core.library import Library
from tryage.errors import InputError, LibraryError
from tryage.policies.assignment_limits import budget_error, quality_error, read_limits

LIBRARY = Library(["small", "large"])


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"budget": -1}, "budget must be"),
        ({"budget": "5"}, "budget must be a number"),
        ({"budget": float("nan")}, "budget must be"),
        ({"min_quality": 2}, "min_quality must be"),
        ({"capacity": {"large": 1.5}}, "must be a whole number"),
        ({"capacity": {"large": -1}}, "must be a whole number"),
        ({"capacity": ["large"]}, "expected a dict"),
    ],
)
def test_limits_of_the_wrong_kind_are_refused(limits, message):
    with pytest.raises(InputError, match=message):
        read_limits(LIBRARY, **limits)


def test_a_capacity_of_an_unknown_expert_names_the_nearest():
    with pytest.raises(LibraryError, match="Did you mean large"):
        read_limits(LIBRARY, capacity={"lage": 3})


def test_what_is_not_named_has_no_limit():
    limits = read_limits(LIBRARY, capacity={"large": np.int64(3)})
    assert limits.capacity.tolist() == [np.inf, 3]
    assert limits.budget is limits.min_quality is None


@pytest.mark.parametrize("least", [1.23456789, 0.000123456789, 98765.4321, 5.0])
def test_the_budget_in_the_message_is_enough(least):
    message = str(budget_error(read_limits(LIBRARY, 1e-9), least))
    said = float(re.search(r"cost is (\S+)", message)[1])
    assert least <= said <= least * 1.00001


def test_the_quality_in_the_message_is_possible():
    message = str(quality_error(read_limits(LIBRARY, min_quality=0.99), 0.123456789))
    assert float(re.search(r"predicted is (\d\.\d+)", message)[1]) == 0.123456
