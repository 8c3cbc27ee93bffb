"""One item of a flag: its meaning, what is refused, and the nearest valid form."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.flag_items import (
    MAX_WEIGHT,
    NATURAL_PHRASES,
    NATURAL_WEIGHT,
    FlagItem,
    closest_form,
    parse_item,
)
from tryage.core.preferences import Requirement


@pytest.mark.parametrize(
    ("item", "constraint"),
    [
        ("smallest model", "size"), ("newest", "recency"), ("cheapest", "cost"),
        ("fastest", "latency"), ("safest", "security"), ("most popular", "popularity"),
        ("concise", "verbosity"), ("readable", "readability"), ("the Latest  MODEL", "recency"),
        ("low-cost", "cost"),
    ],
)  # fmt: skip
def test_a_natural_phrase_sets_the_documented_weight(item: str, constraint: str) -> None:
    assert parse_item(item) == FlagItem(weight=(constraint, NATURAL_WEIGHT))


@pytest.mark.parametrize(
    ("item", "field", "op", "value"),
    [
        ("size<3B", "parameters", "<", 3e9),
        ("SIZE <= 350 m", "parameters", "<=", 350e6),
        ("license=apache-2.0|MIT", "license", "in", ("apache-2.0", "mit")),
        ("licence=mit", "license", "in", ("mit",)),
        ("since=2025-01-31", "released", ">=", datetime.date(2025, 1, 31)),
        ("since=2025", "released", ">=", datetime.date(2025, 1, 1)),
        ("cost<=$0.002", "cost", "<=", 0.002),
        ("model=Org/Name-7B", "name", "in", ("Org/Name-7B",)),
        ("latency<=500ms", "latency", "<=", 0.5),
        ("context>=32k", "context_length", ">=", 32e3),
        ("downloads>=1e4", "downloads", ">=", 1e4),
        ("needs=Tools | vision", "capabilities", "has", ("tools", "vision")),
        ("security>=0.9", "security", ">=", 0.9),
        ("verbosity<=200", "output_tokens", "<=", 200),
        ("readability>=60", "readability", ">=", 60),
    ],
)
def test_an_expression_is_a_requirement(item: str, field: str, op: str, value: object) -> None:
    assert parse_item(item) == FlagItem(requirement=Requirement(field, op, value))


@pytest.mark.parametrize("name", NATURAL_PHRASES)
def test_every_constraint_takes_an_exact_weight(name: str) -> None:
    assert parse_item(f"{name} = 0.25") == FlagItem(weight=(name, 0.25))


@pytest.mark.parametrize("item", ["most accurate", "best", "the highest quality answer"])
def test_a_phrase_for_accuracy_is_neither_a_weight_nor_a_requirement(item: str) -> None:
    parsed = parse_item(item)
    assert parsed == FlagItem()
    assert parsed.prefers_accuracy


@pytest.mark.parametrize(
    "weight", ["-1", "nan", "inf", "1e999", f"{MAX_WEIGHT + 1}", "0x", "\u0661"]
)
def test_a_weight_that_is_not_a_number_from_0_to_the_maximum_is_refused(weight: str) -> None:
    assert parse_item(f"size={weight}") is None


@pytest.mark.parametrize("item", ["security>=2", "size<1e999", "readability<1e999"])
def test_a_bound_outside_the_range_of_its_field_is_refused(item: str) -> None:
    assert parse_item(item) is None


@pytest.mark.parametrize(
    ("item", "form"),
    [
        ("smalest model", "smallest model"),
        ("size=3B", "size<=3B"),
        ("siez<3B", "size<3B"),
        ("since=last year", "since=2025-01-01"),
        ("licens=mit", "license=apache-2.0|mit"),
        ("needs=tols", "needs=tools|vision"),
        ("", "smallest model"),
    ],
)
def test_the_nearest_valid_form_of_a_malformed_item(item: str, form: str) -> None:
    assert parse_item(item) is None
    assert closest_form(item) == form


@given(st.text(st.characters(exclude_characters="[],"), max_size=40))
def test_the_suggested_form_is_valid(item: str) -> None:
    assert parse_item(closest_form(item)) is not None


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("price<1", "cost<1"), ("Dollars <= 0.5", "cost <= 0.5"), ("params<3B", "size<3b"),
        ("ctx>=32k", "context>=32k"), ("vision", "needs=vision"), ("name=gpt-4o", "model=gpt-4o"),
        ("price", "cost=0.5"), ("price=low", "cost=0.5"), ("pdf", "needs=pdf"),
        ("max_latency<2s", "latency<2s"), ("licenses=mit", "license=mit"),
        ("max_cost=0.001", "cost<=0.001"), ("min_context = 32k", "context>= 32k"),
    ],
)  # fmt: skip
def test_the_nearest_form_understands_the_words_that_people_use(item: str, expected: str) -> None:
    assert closest_form(item) == expected
    assert parse_item(expected) is not None


def test_the_nearest_form_has_no_control_characters_of_the_item() -> None:
    assert closest_form("name=\x1b]0;title\x07") == "model=NAME"
