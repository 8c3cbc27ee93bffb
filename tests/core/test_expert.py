"""Expert: known and unknown facts, checks of every field, and JSON."""

from __future__ import annotations

import datetime
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.printable import has_control_characters
from tryage.core.validation import NUMBER_RANGES
from tryage.errors import InputError

DATE = datetime.date(2025, 1, 31)
FULL = Expert(
    "Org/Big-70B",
    aliases=("big", "provider/big"),
    parameters=70e9,
    active_parameters=12e9,
    released=DATE,
    license="apache-2.0",
    security=1.0,
    input_price=0.5,
    output_price=1.5,
    latency=2.0,
    cached_input_price=0.3,
    output_tokens=300.0,
    readability=-12.0,
    downloads=1e6,
    context_length=131072,
    capabilities=frozenset({"tools", "vision"}),
    metadata={"family": "big"},
    effort="low",
    about_as_good_as="claude-haiku-4-5",
)

counts = st.none() | st.floats(0, 1e13)
experts = st.builds(
    Expert,
    name=st.text(min_size=1).filter(lambda s: s.strip() and not has_control_characters(s)),
    parameters=counts,
    released=st.none() | st.dates(),
    license=st.none() | st.sampled_from(["mit", "apache-2.0"]),
    input_price=counts,
    context_length=st.none() | st.integers(0, 2**40),
    capabilities=st.none() | st.frozensets(st.sampled_from(["tools", "vision"])),
)


@given(experts)
def test_an_expert_survives_json(expert: Expert) -> None:
    assert Expert.from_dict(json.loads(json.dumps(expert.to_dict()))) == expert


def test_every_field_survives_json_and_pickle() -> None:
    assert set(FULL.to_dict()) == set(Expert.__dataclass_fields__)
    assert Expert.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL
    assert pickle.loads(pickle.dumps(FULL)) == FULL  # noqa: S301 - our own bytes
    assert hash(FULL) == hash(Expert.from_dict(FULL.to_dict()))


def test_unknown_fields_are_left_out_of_the_dict() -> None:
    assert Expert("bare").to_dict() == {"name": "bare"}


@pytest.mark.parametrize("field", [*NUMBER_RANGES])
@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), 10**400, "7B", True, False, [1]], ids=repr
)
def test_a_value_that_is_not_a_finite_number_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=field):
        Expert("a", **{field: value})


@pytest.mark.parametrize("field", sorted({*NUMBER_RANGES} - {"readability", "released"}))
def test_a_negative_number_is_refused_where_it_has_no_meaning(field: str) -> None:
    with pytest.raises(InputError, match=field):
        Expert("a", **{field: -1})


def test_security_is_at_most_one() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        Expert("a", security=1.5)


@pytest.mark.parametrize(
    "fields",
    [
        {"aliases": "gpt"},
        {"capabilities": "tools"},
        {"aliases": [""]},
        {"license": ["mit"]},
        {"license": ""},
        {"released": "2025-01-01"},
        {"metadata": [1]},
        {"name": ""},
        {"name": ["a"]},
    ],
)
def test_a_wrong_type_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Expert(**{"name": "a", **fields})


@pytest.mark.parametrize(
    "row", [[], {}, {"name": "a", "parmeters": 1}, {"name": "a", "released": "x"}]
)
def test_a_malformed_dict_is_refused(row: Any) -> None:
    with pytest.raises(InputError):
        Expert.from_dict(row)


def test_words_are_stored_in_lower_case() -> None:
    expert = Expert("a", license=" MIT ", capabilities=["Tools"])
    assert (expert.license, expert.capabilities) == ("mit", frozenset({"tools"}))


def test_a_datetime_loses_its_time() -> None:
    moment = datetime.datetime(2025, 1, 31, 12, tzinfo=datetime.timezone.utc)
    assert Expert("a", released=moment) == Expert("a", released=DATE)


def test_a_date_of_a_hundred_thousand_letters_is_refused_in_a_short_message():
    with pytest.raises(InputError, match="released must be YYYY-MM-DD") as caught:
        Expert.from_dict({"name": "a", "released": "a" * 100_000})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["a\x1b[2J", "a\nb", "a\x9b", "gpt\u202e", "gpt\u200b-4", "a\x00"])
@pytest.mark.parametrize(
    "field", ["name", "aliases", "license", "capabilities", "effort", "about_as_good_as"]
)
def test_a_text_that_could_control_a_terminal_or_a_log_is_refused(field: str, text: str) -> None:
    value: Any = [text] if field in ("aliases", "capabilities") else text
    with pytest.raises(InputError, match="control characters") as caught:
        Expert.from_dict({"name": "a", field: value})
    assert str(caught.value).isprintable()
    with pytest.raises(InputError, match="control characters"):
        Library.from_columns(
            [text] if field == "name" else ["a"], **{field: [value]} if field != "name" else {}
        )
