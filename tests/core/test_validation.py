"""Checks of values and columns, suggestions for misspelt names, and optional extras."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from tryage.core.validation import (
    check_bools,
    check_integer,
    check_keywords,
    check_number,
    check_number_column,
    check_object_column,
    check_strings,
    did_you_mean,
    is_loopback,
    require_extra,
)
from tryage.errors import InputError, MissingExtraError


def test_similar_names_are_found_among_many():
    many = [f"org/model-{i}" for i in range(20_000)]
    assert "org/model-19" in did_you_mean("ORG/model-19x", many, limit=5)
    assert did_you_mean("zzzz", many) == ""


def test_the_suggestion_has_the_spelling_of_the_choice():
    assert did_you_mean("siez", ["Size", "cost"]) == " Did you mean Size?"


def test_a_name_is_near_to_one_behind_a_provider():
    names = ["openai:gpt-5", "anthropic:claude-haiku-4-5", "Qwen/Qwen3-8B"]
    assert did_you_mean("gpt5", names) == " Did you mean openai:gpt-5?"
    assert did_you_mean("qwen3-8", names) == " Did you mean Qwen/Qwen3-8B?"
    assert did_you_mean("openai:gpt5", names) == " Did you mean openai:gpt-5?"


def test_an_unknown_argument_is_refused_with_the_nearest_name():
    check_keywords("load", ["strict"], ["strict", "default"])
    with pytest.raises(InputError, match=r"load has no argument 'strickt'. Did you mean strict\?"):
        check_keywords("load", ["default", "strickt"], ["strict", "default"])


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_a_switch_is_true_or_false(value):
    check_bools(strict=True, flags=False)
    with pytest.raises(InputError, match=r"flags is .*; expected True or False"):
        check_bools(strict=True, flags=value)


def test_a_number_within_its_range_is_returned_as_a_float():
    assert check_number("x", np.float32(0.5), 0, 1) == 0.5
    with pytest.raises(InputError, match="x must be between 0 and 1, got 2"):
        check_number("x", 2, 0, 1)
    with pytest.raises(InputError, match="x must be finite and at least 0, got -1"):
        check_number("x", -1)
    with pytest.raises(InputError, match="x must be finite, got inf"):
        check_number("x", 10**400, -np.inf)


def test_a_set_of_strings_is_sorted_and_other_orders_stay():
    assert check_strings("x", {"b", "a"}) == ("a", "b")
    assert check_strings("x", ["b", "a"]) == ("b", "a")
    for wrong in ("a", b"a", {"a": 1}, None, ["a", ""], [3]):
        with pytest.raises(InputError, match="x must"):
            check_strings("x", wrong)


def test_dates_in_a_numeric_column_are_ordinal_days():
    day = datetime.date(2025, 1, 31)
    for dates in ([day, None], np.array(["2025-01-31", "NaT"], "datetime64[D]")):
        np.testing.assert_array_equal(
            check_number_column("released", dates), [day.toordinal(), np.nan]
        )


def test_a_numeric_column_names_its_wrong_value():
    with pytest.raises(InputError, match=r"between 0 and 1, got 1\.5"):
        check_number_column("security", [0.5, 1.5])
    with pytest.raises(InputError, match="holds '7B'; expected a number or None"):
        check_number_column("parameters", ["7B"])


def test_equal_values_of_an_object_column_are_one_object():
    licenses = check_object_column("license", ["MIT", None, "mit ", "x"])
    assert licenses.tolist() == ["mit", None, "mit", "x"]
    assert licenses[0] is licenses[2]
    shared = {"task": "chat"}
    metadata = check_object_column("metadata", [shared, shared, {"task": "chat"}])
    assert metadata[0] is metadata[1] is not metadata[2]


def test_a_missing_package_is_reported_with_the_command_that_installs_it():
    require_extra("numpy", "train")
    with pytest.raises(MissingExtraError) as raised:
        require_extra("no_such_package", "train")
    assert str(raised.value) == (
        "no_such_package is not installed. Install it with: pip install 'tryage[train]'"
    )


def test_a_package_with_a_missing_parent_counts_as_missing():
    with pytest.raises(MissingExtraError, match=r"nowhere\.at_all is not installed"):
        require_extra("nowhere.at_all", "langchain")


@pytest.mark.parametrize("value", [2.0, "2", True, None, np.float64(2), 0, -1])
def test_a_count_is_a_whole_number_that_is_high_enough(value):
    assert check_integer("n", np.int64(3), 1) == 3
    with pytest.raises(InputError, match="n must be a whole number from 1, got"):
        check_integer("n", value, 1)


@pytest.mark.parametrize(
    ("host", "expected"), [("::1", True), ("[::1]", True), ("10.0.0.1", False)]
)
def test_loopback_is_this_computer_alone(host, expected):
    assert is_loopback(host) is expected
    assert is_loopback("localhost")
    assert not is_loopback("example.com")
