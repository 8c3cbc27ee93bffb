"""The nearest miss of each requirement, in hand-worked cases."""

from __future__ import annotations

import datetime

import pytest

from tryage.core.expert import Expert
from tryage.core.preferences import Preferences, Requirement
from tryage.errors import NoExpertError
from tryage.router import Router
from tryage.testing import LearningPerception

EXPERTS = [
    Expert(
        "mini",
        parameters=8e9,
        license="proprietary",
        input_price=0.9,
        output_price=0.0,
        capabilities={"tools"},
        context_length=8_000,
        released=datetime.date(2024, 7, 18),
    ),
    Expert(
        "open",
        parameters=7e10,
        license="apache-2.0",
        input_price=2.0,
        output_price=0.0,
        capabilities={"tools", "vision"},
        context_length=32_000,
    ),
    Expert("secret"),
]


def lines(**requirements):
    perception = LearningPerception({"mini": 0.3, "open": 0.2, "secret": 0.1})
    with pytest.raises(NoExpertError) as caught:
        Router(perception, EXPERTS).route("word " * 1_000, Preferences(**requirements))
    return str(caught.value).splitlines()[1:-1]


def test_the_nearest_miss_of_a_price_is_the_cheapest_expert():
    assert lines(max_cost=0.0005) == [
        "cost <= $0.0005: 0 of 3 experts meet it; the nearest is mini with $0.0009 "
        "(everything else is met)."
    ]


def test_the_nearest_miss_meets_everything_else_if_an_expert_does():
    assert lines(max_cost=0.001, licenses=["apache-2.0"]) == [
        "cost <= $0.001: 1 of 3 experts meet it; the nearest is open with $0.002 "
        "(everything else is met).",
        "license in apache-2.0: 1 of 3 experts meet it; the others have proprietary (1) "
        "(everything else is met).",
    ]


def test_where_nobody_meets_the_rest_the_nearest_of_all_is_named_without_that_claim():
    assert lines(max_parameters=1e9, min_context=64_000) == [
        "parameters <= 1B: 0 of 3 experts meet it; the nearest is mini with 8B.",
        "context_length >= 64000: 0 of 3 experts meet it; the nearest is open with 32000.",
    ]


def test_a_capability_is_missed_least_by_the_expert_that_lacks_the_fewest():
    (line,) = lines(capabilities=["vision", "tools", "audio"])
    assert line.endswith(
        "the nearest is open, whose capabilities lack audio (everything else is met)."
    )


def test_a_similar_license_is_the_nearest_and_otherwise_the_frequent_ones_are_listed():
    (line,) = lines(licenses=["apache"])
    assert "the nearest is open with apache-2.0 (everything else is met)." in line
    (line,) = lines(licenses=["gpl"])
    assert "0 of 3 experts meet it; the others have proprietary (1), apache-2.0 (1) (" in line


def test_a_tiny_cost_is_written_without_an_exponent():
    assert lines(max_cost=1e-7)[0].startswith("cost <= $0.0000001: 0 of 3")


def test_a_name_that_nobody_has_is_missed_by_a_similar_one_or_by_none():
    assert lines(only=["minni"]) == ["name in minni: 0 of 3 experts meet it. Did you mean mini?"]
    assert lines(only=["none"]) == ["name in none: 0 of 3 experts meet it."]
    lines_of_two = lines(only=["open", "minni"], max_parameters=1e9)
    assert "name in open, minni: 1 of 3 experts meet it. Did you mean mini?" in lines_of_two


def test_a_name_that_an_expert_has_is_no_spelling_of_another():
    assert "name in mini: 1 of 3 experts meet it." in lines(only=["mini"], max_parameters=1e9)


def test_a_date_is_written_as_one():
    (line,) = lines(released_since=datetime.date(2025, 1, 1))
    assert (
        "released >= 2025-01-01: 0 of 3 experts meet it; the nearest is mini with 2024-07-18"
        in (line)
    )


def test_a_value_that_no_expert_has_is_said_to_be_unknown():
    (line,) = lines(max_latency=1.0)
    assert line.startswith(
        "latency <= 1s: 0 of 3 experts meet it; latency of the others is unknown, such as of mini"
    )


def test_a_requirement_that_everybody_meets_is_not_listed():
    met = Requirement("capabilities", "has", ("tools",), unknown_passes=True)
    (line,) = lines(requirements=[met], max_parameters=1e9)
    assert line.startswith("parameters <= 1B")
