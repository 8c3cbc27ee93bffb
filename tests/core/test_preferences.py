"""Preferences: weights, requirements and their reasons, and that tightening never loosens."""

from __future__ import annotations

import datetime
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.preferences import Preferences, Requirement
from tryage.core.ranking import Rejections, RequirementCheck
from tryage.errors import InputError

DATE = datetime.date(2025, 1, 1)
LIBRARY = Library(
    [
        Expert(
            "big",
            aliases=["grand"],
            parameters=7e9,
            released=datetime.date(2024, 7, 1),
            license="llama3",
            latency=1.5,
            context_length=8192,
            security=0.5,
            downloads=10,
            capabilities=[],
        ),
        Expert(
            "small",
            parameters=2e9,
            released=DATE,
            license="mit",
            latency=0.5,
            context_length=32768,
            security=1.0,
            downloads=1e6,
            capabilities=["tools", "vision"],
        ),
        Expert("unknown"),
    ]
)
COST = np.array([0.003, 0.002, np.nan])

# Each requirement is met by `small` alone; with the reasons against `big` and `unknown`.
CASES = [
    (("parameters", "<", 3e9), "parameters 7B is not < 3B", "parameters unknown, required < 3B"),
    (("parameters", "==", 2e9), "parameters 7B is not == 2B", "parameters unknown, required == 2B"),
    (
        ("released", ">=", DATE),
        "released 2024-07-01 is not >= 2025-01-01",
        "released unknown, required >= 2025-01-01",
    ),
    (
        ("license", "in", ("mit", "apache-2.0")),
        "license llama3 is not one of mit, apache-2.0",
        "license unknown, required one of mit, apache-2.0",
    ),
    (("cost", "<=", 0.002), "cost $0.003 is not <= $0.002", "cost unknown, required <= $0.002"),
    (("latency", "<", 1), "latency 1.5s is not < 1s", "latency unknown, required < 1s"),
    (
        ("context_length", ">", 8192),
        "context_length 8192 is not > 8192",
        "context_length unknown, required > 8192",
    ),
    (
        ("capabilities", "has", ("tools", "vision")),
        "capabilities lack tools, vision",
        "capabilities unknown, required tools, vision",
    ),
    (
        ("name", "in", ("SMALL",)),
        "name big is not one of SMALL",
        "name unknown is not one of SMALL",
    ),
]

amounts = st.floats(0, 1e13)
required = st.one_of(
    st.builds(
        Requirement,
        st.sampled_from(["parameters", "cost", "latency", "downloads"]),
        st.sampled_from(["<", "<=", ">", ">=", "=="]),
        amounts | st.sampled_from([0.002, 0.5, 2e9, 7e9]),
    ),
    st.builds(Requirement, st.just("released"), st.sampled_from(["<", ">="]), st.dates()),
    st.builds(
        Requirement,
        st.sampled_from(["license", "name"]),
        st.just("in"),
        st.sets(st.sampled_from(["mit", "llama3", "big", "small", "grand"])),
    ),
    st.builds(
        Requirement,
        st.just("capabilities"),
        st.just("has"),
        st.sets(st.sampled_from(["tools", "vision", "flight"])),
    ),
)
weights = st.dictionaries(st.sampled_from(["size", "cost", "mine"]), st.floats(0, 100))
preferences = st.builds(Preferences, weights, st.lists(required, max_size=4))


@pytest.mark.parametrize(("parts", "against_big", "against_unknown"), CASES)
def test_a_requirement_rejects_wrong_and_unknown_values_with_a_reason(
    parts: tuple[str, str, Any], against_big: str, against_unknown: str
) -> None:
    requirement = Requirement(*parts)
    assert Preferences(requirements=[requirement]).satisfied(LIBRARY, COST).tolist() == [
        False,
        True,
        False,
    ]
    assert requirement.reason(LIBRARY, 0, COST[0]) == against_big
    assert requirement.reason(LIBRARY, 2, COST[2]) == against_unknown


@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "=="])
def test_unknown_satisfies_no_comparison(op: str) -> None:
    for field in ("parameters", "readability", "cost"):
        assert not Requirement(field, op, 0).satisfied(LIBRARY, COST)[2]


@given(preferences)
def test_exactly_the_experts_that_fail_a_requirement_are_rejected_with_reasons(
    wanted: Preferences,
) -> None:
    checks = [
        RequirementCheck(requirement, requirement.satisfied(LIBRARY, COST), COST)
        for requirement in wanted.requirements
    ]
    rejected = {expert.name: expert.reasons for expert in Rejections(LIBRARY, checks)}
    met = wanted.satisfied(LIBRARY, COST)
    assert set(rejected) == {
        name for name, passed in zip(LIBRARY.names, met, strict=True) if not passed
    }
    assert all(rejected.values())


@given(preferences, preferences)
def test_tightened_admits_exactly_what_both_admit(mine: Preferences, other: Preferences) -> None:
    both = mine.tightened(other)
    allowed = mine.satisfied(LIBRARY, COST) & other.satisfied(LIBRARY, COST)
    assert (both.satisfied(LIBRARY, COST) == allowed).all()


@given(preferences, preferences)
def test_tightened_takes_the_larger_weight(mine: Preferences, other: Preferences) -> None:
    both = mine.tightened(other).weights
    for name in {*mine.weights, *other.weights}:
        assert both[name] == max(mine.weights.get(name, 0), other.weights.get(name, 0))


@given(preferences)
def test_tightening_with_empty_or_equal_preferences_changes_nothing(wanted: Preferences) -> None:
    assert wanted.tightened(Preferences()) == wanted
    assert wanted.tightened(wanted) == wanted


@given(preferences)
def test_preferences_survive_json_and_pickle(wanted: Preferences) -> None:
    assert Preferences.from_dict(json.loads(json.dumps(wanted.to_dict()))) == wanted
    assert pickle.loads(pickle.dumps(wanted)) == wanted  # noqa: S301 - our own bytes
    assert hash(wanted) == hash(Preferences.from_dict(wanted.to_dict()))


def test_keywords_are_short_forms_of_requirements() -> None:
    wanted = Preferences(
        max_parameters=3e9,
        max_cost=0.01,
        max_latency=2,
        min_context=1000,
        min_security=0.9,
        min_downloads=5,
        released_since=DATE,
        licenses=["MIT"],
        capabilities={"tools"},
        only=["small"],
        ban=["big"],
    )
    assert wanted.requirements == (
        Requirement("parameters", "<=", 3e9),
        Requirement("cost", "<=", 0.01),
        Requirement("latency", "<=", 2),
        Requirement("context_length", ">=", 1000),
        Requirement("security", ">=", 0.9),
        Requirement("downloads", ">=", 5),
        Requirement("released", ">=", DATE),
        Requirement("license", "in", ("mit",)),
        Requirement("capabilities", "has", ("tools",)),
        Requirement("name", "in", ("small",)),
        Requirement("name", "not in", ("big",)),
    )
    assert wanted.satisfied(LIBRARY, COST).tolist() == [False, True, False]


def test_a_limit_of_zero_is_a_limit() -> None:
    assert Preferences(max_cost=0).requirements == (Requirement("cost", "<=", 0),)


def test_an_empty_list_of_names_or_licenses_admits_no_expert_and_of_capabilities_every_expert() -> (
    None
):
    assert not Preferences(only=[]).satisfied(LIBRARY).any()
    assert not Preferences(licenses=[]).satisfied(LIBRARY).any()
    assert Preferences(capabilities=[]).satisfied(LIBRARY).all()


def test_names_may_be_aliases_and_an_unknown_name_matches_no_expert() -> None:
    wanted = Preferences(only=["GRAND", "absent"])
    assert wanted.satisfied(LIBRARY).tolist() == [True, False, False]


def test_a_ban_leaves_the_others_and_names_may_be_aliases() -> None:
    ban = Requirement("name", "not in", ["GRAND", "absent"])
    assert Preferences(ban=["GRAND", "absent"]).requirements == (ban,)
    assert ban.satisfied(LIBRARY).tolist() == [False, True, True]
    assert ban.describe() == "name not in GRAND, absent"
    assert ban.reason(LIBRARY, 0) == "name big is banned: GRAND, absent"
    assert Preferences(ban=[]).satisfied(LIBRARY).all()


def test_licenses_take_no_ban_because_unknown_ones_would_pass() -> None:
    with pytest.raises(InputError, match="license takes in, got 'not in'"):
        Requirement("license", "not in", ["mit"])


def test_a_cost_per_prompt_is_compared_row_by_row() -> None:
    wanted = Preferences(max_cost=1, max_parameters=5e9)
    met = wanted.satisfied(LIBRARY, np.array([[0.5, 0.5, 0.5], [2.0, 2.0, 2.0]]))
    assert met.tolist() == [[False, True, False], [False, False, False]]


def test_a_missing_cost_is_refused_if_a_requirement_needs_it() -> None:
    assert Preferences(max_cost=1).needs_cost
    assert not Preferences(max_latency=1).needs_cost
    with pytest.raises(InputError, match="pass cost="):
        Preferences(max_cost=1).satisfied(LIBRARY)


@pytest.mark.parametrize(
    "given",
    [
        {"weights": {"cost": -1}},
        {"weights": {"cost": float("nan")}},
        {"weights": {"cost": float("inf")}},
        {"weights": {"cost": "0.3"}},
        {"weights": {"cost": None}},
        {"weights": {"": 1}},
        {"weights": "cost"},
        {"weights": [("cost", 1)]},
        {"requirements": "size<3B"},
        {"requirements": ["size<3B"]},
        {"licenses": "mit"},
        {"capabilities": "tools"},
        {"only": "gpt-4"},
        {"only": [3]},
        {"max_parameters": "3B"},
        {"max_cost": float("nan")},
        {"min_security": 2},
        {"released_since": "2025-01-01"},
    ],
)
def test_malformed_preferences_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Preferences(**given)


@pytest.mark.parametrize(
    "parts",
    [
        ("parameter", "<", 1),
        ("parameters", "=<", 1),
        ("parameters", "in", (1,)),
        ("license", "==", "mit"),
        ("license", "in", "mit"),
        ("capabilities", "in", ("tools",)),
        ("released", ">=", 2025),
        ("metadata", "==", 1),
        ("cost", "<", -1),
        (["cost"], "<", 1),
    ],
)
def test_a_malformed_requirement_is_refused(parts: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InputError):
        Requirement(*parts)


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"weight": {}},
        1,
        None,
        "max_cost",
        {"requirements": 1},
        {"requirements": None},
        {"requirements": "cost"},
        {"requirements": {}},
        {"requirements": {"field": "cost", "op": "<=", "value": 1}},
        {"requirements": [1, None]},
        {"weights": [["cost", 1]]},
        {"weights": {"cost": None}},
        {"requirements": [{"field": "cost"}]},
        {"requirements": [{"field": "released", "op": ">=", "value": "soon"}]},
    ],
)
def test_a_malformed_dict_is_refused(data: Any) -> None:
    with pytest.raises(InputError):
        Preferences.from_dict(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=4), part),
    max_leaves=8,
)
FIELDS = st.sampled_from(["cost", "parameters", "released", "license", "name", "capabilities"])
ROWS = st.fixed_dictionaries(
    {"field": FIELDS | JSON, "op": st.sampled_from(["<", "<=", "==", "in", "has"]), "value": JSON},
    optional={"unknown_passes": JSON},
)


@given(
    st.fixed_dictionaries(
        {}, optional={"weights": JSON, "requirements": JSON | st.lists(ROWS | JSON, max_size=3)}
    )
    | JSON
)
def test_any_json_is_read_or_refused_in_one_way(data: Any) -> None:
    try:
        preferences = Preferences.from_dict(data)
    except InputError:
        return
    assert Preferences.from_dict(preferences.to_dict()) == preferences


def test_nesting_and_size_do_not_break_the_message() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    for data in (
        {"requirements": [deep]},
        {"weights": deep},
        [deep],
        {"requirements": ["x" * 10**6]},
    ):
        with pytest.raises(InputError) as caught:
            Preferences.from_dict(data)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("requirements", [1, None, "cost", {}, Requirement("cost", "<", 1)])
def test_requirements_that_are_not_a_list_are_refused(requirements: Any) -> None:
    with pytest.raises(InputError, match="requirements must be a list of Requirement"):
        Preferences(requirements=requirements)


def test_weights_are_copied() -> None:
    source = {"cost": 0.3}
    wanted = Preferences(source)
    source["cost"] = 9
    assert wanted.weights == {"cost": 0.3}


def test_a_requirement_may_let_unknown_values_pass() -> None:
    library = Library(
        [
            Expert("sees", capabilities=["vision"], context_length=100),
            Expert("fails", capabilities=[], context_length=10),
            Expert("unknown"),
        ]
    )
    for parts in (("capabilities", "has", ["vision"]), ("context_length", ">=", 50)):
        assert Requirement(*parts).satisfied(library).tolist() == [True, False, False]
        lenient = Requirement(*parts, unknown_passes=True)
        assert lenient.satisfied(library).tolist() == [True, False, True]
        assert Requirement.from_dict(lenient.to_dict()) == lenient != Requirement(*parts)


@pytest.mark.parametrize("parts", [("cost", "<=", 1.0, True), ("size", ">", 1, "yes")])
def test_unknown_prices_cannot_pass(parts: tuple[Any, ...]) -> None:
    with pytest.raises(InputError):
        Requirement(*parts)


def test_a_date_of_a_hundred_thousand_letters_is_refused_in_a_short_message() -> None:
    row = {"field": "released", "op": ">=", "value": "a" * 100_000}
    with pytest.raises(InputError, match="released must be compared with") as caught:
        Requirement.from_dict(row)
    assert len(str(caught.value)) < 300
