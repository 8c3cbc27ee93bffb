"""Facts of a library become numbers and flags; what it does not say is unknown."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.perception.metadata import (
    BINARY_FEATURES,
    NUMERIC_FEATURES,
    metadata_features,
    model_family,
)


def test_numbers_are_logarithms_and_years_and_unknown_is_nan():
    known = Expert(
        "a",
        parameters=1e10,
        active_parameters=1e9,
        released=datetime.date(2024, 1, 1),
        downloads=999,
        output_price=0.1,
        context_length=10_000,
    )
    numbers = metadata_features(Library([known, "b"])).numeric
    expected = [10, -1, 365 / 365.25, 3, -1, 4, np.nan, np.nan, 0]
    np.testing.assert_allclose(numbers[0], expected, rtol=1e-6)
    is_unknown = [name not in {"share", "tier"} for name in NUMERIC_FEATURES]
    assert np.isnan(numbers[1]).tolist() == is_unknown


def test_zero_parameters_or_a_price_of_zero_has_no_logarithm():
    odd = Expert("odd", parameters=0, active_parameters=0, output_price=0, context_length=0)
    numbers = metadata_features(Library([odd])).numeric[0]
    assert np.isnan(numbers[[0, 4, 5]]).all()
    assert numbers[1] == 0


def test_more_active_than_all_parameters_counts_as_all():
    odd = Expert("odd", parameters=1e9, active_parameters=1e10)
    assert metadata_features(Library([odd])).numeric[0, 1] == 0


def test_experts_of_the_same_family_and_flags_share_a_profile():
    library = Library(["x/llama-3-8b-chat", "y/Llama-3-70B-instruct", "llama-3-8b", "z"])
    features = metadata_features(library)
    assert features.profile_index.tolist() == [0, 0, 1, 2]
    assert features.families == (("llama", "llama-3"), ("llama", "llama-3"), ("", ""))
    assert features.binary[:, BINARY_FEATURES.index("instruct")].tolist() == [True, False, False]


def test_a_closed_model_is_one_with_a_proprietary_license():
    library = Library([Expert("a", license="proprietary"), Expert("b", license="mit"), "c"])
    closed = metadata_features(library).binary[:, BINARY_FEATURES.index("closed")]
    assert closed.tolist() == [True, False]


@pytest.mark.parametrize(
    ("bases", "flags"),
    [
        ([{"name": "a/b", "relation": "quantized"}], {"quantized"}),
        ([{"name": "a/b", "relation": "merge"}, {"name": "c", "relation": "merge"}], {"merge"}),
        ([{"name": "a/b", "relation": "finetune"}, "c", None], set()),
        (7, set()),
    ],
)
def test_the_hub_tells_a_variant_that_the_name_does_not(bases, flags):
    features = metadata_features(Library([Expert("me/thing", metadata={"hub": {"bases": bases}})]))
    found = features.binary[0].tolist()
    assert {name for name, flag in zip(BINARY_FEATURES, found, strict=True) if flag} == flags


@pytest.mark.parametrize(
    ("name", "metadata", "series"),
    [
        ("me/thing", {}, ""),
        ("mistralai/thing", {}, "mistral"),
        ("mistralai/Mixtral-8x7B", {}, "mixtral"),
        (
            "me/gemma",
            {"hub": {"bases": [{"name": "mistralai/Mixtral-8x7B", "key": None}]}},
            "mixtral",
        ),
        ("me/gemma", {"hub": {"bases": ["me/thing", "Qwen/Qwen2-7B"]}}, "qwen"),
        ("me/gemma", {"hub": {"bases": []}}, "gemma"),
        ("me/gemma", {"family": "phi", "hub": {"bases": ["llama"]}}, "phi"),
        ("me/thing", {"hub": {"model_type": "falcon", "tags": ["llama"]}}, "falcon"),
        ("me/thing", {"hub": {"architectures": ["LlamaForCausalLM"]}}, "llama"),
        ("me/thing", {"hub": {"tags": ["en", "llama"]}}, "llama"),
        ("me/thing", {"hub": "nonsense", "family": 7}, ""),
        ("me/thing", {"hub": {"bases": 7, "tags": {"llama": 1}}}, ""),
    ],
)
def test_the_base_decides_before_the_name_and_that_before_owner_and_tags(name, metadata, series):
    assert model_family(name, metadata)[0] == series


def test_features_are_computed_once_per_library():
    library = Library(["a"])
    assert metadata_features(library) is metadata_features(library)


def test_published_results_and_the_tier_are_numbers_too():
    results = {"results": {"index": 0.5, "overall": 1450.0}}
    expert = Expert("gpt-9-mini", output_price=1.0, metadata=results)
    numbers = dict(
        zip(NUMERIC_FEATURES, metadata_features(Library([expert])).numeric[0], strict=True)
    )
    assert (numbers["index"], numbers["rating"], numbers["tier"]) == (0.5, 1.0, -1.0)


@pytest.mark.parametrize(
    "results", [None, 7, [], {"index": "high"}, {"index": 1e300}, {"overall": None}]
)
def test_results_that_are_no_numbers_are_unknown(results):
    expert = Expert("thing", metadata={"results": results})
    numbers = metadata_features(Library([expert])).numeric[0]
    assert np.isnan(
        numbers[[NUMERIC_FEATURES.index("index"), NUMERIC_FEATURES.index("rating")]]
    ).all()


def test_the_effort_in_a_name_is_no_part_of_its_tier():
    tiers = metadata_features(Library(["gpt-9-mini@high", "gpt-9@high"])).numeric[:, -1]
    assert tiers.tolist() == [-1.0, 0.0]


def test_a_known_name_alone_has_the_numbers_of_public_tables():
    numbers = metadata_features(Library(["gpt-5", "gpt-4o-mini"])).numeric
    assert np.isfinite(numbers[:, [2, 4, 5, 6, 7]]).all()
    index = NUMERIC_FEATURES.index("index")
    assert numbers[0, index] > numbers[1, index]


def test_a_stranger_is_an_expert_of_which_neither_a_number_nor_a_family_is_known():
    experts = [
        *("me/thing", "me/thing-chat", "llama-x", "me/thing-mini"),
        *(Expert("a", downloads=3), Expert("b", license="proprietary")),
    ]
    assert metadata_features(Library(experts)).is_stranger.tolist() == [True, *[False] * 5]


@pytest.mark.parametrize("levels", [2, 900, 50_000])
def test_names_in_many_levels_of_lists_are_read_or_left_out(levels):
    family = "llama-3"
    for _ in range(levels):
        family = [family]
    expected = ("llama", "llama-3") if levels == 2 else ("", "")
    assert model_family("thing", {"family": family}) == expected


def test_a_relation_that_is_no_text_says_nothing():
    bases = [{"relation": ["merge"]}, {"relation": "quantized"}]
    expert = Expert("thing", metadata={"hub": {"bases": bases}})
    flags = metadata_features(Library([expert])).binary[0]
    assert [name for name, flag in zip(BINARY_FEATURES, flags, strict=True) if flag] == [
        "quantized"
    ]
