"""The prior of an unmeasured expert is linear in its metadata, and wider where less is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.errors import InputError
from tryage.learning.training.metadata_prior import fit_metadata_prior
from tryage.perception.abilities import Abilities, Gaussian
from tryage.perception.metadata import BINARY_FEATURES, NUMERIC_FEATURES, metadata_features
from tryage.perception.metadata_prior import (
    N_INPUTS,
    MetadataScaler,
    complete_numbers,
    encode_profiles,
    fit_metadata_scaler,
    gap_variances,
    group_names,
    pooled_prior,
)

SERIES = ("llama", "qwen", "gemma", "phi", "falcon", "yi", "olmo", "bloom")


@pytest.fixture(scope="module")
def known():
    """Eighty experts of known size and series."""
    rng = np.random.default_rng(0)
    sizes, series = 10.0 ** rng.uniform(8, 12, 80), rng.choice(SERIES, 80)
    return Library(
        Expert(f"me/{name}-x{i}", parameters=size)
        for i, (name, size) in enumerate(zip(series, sizes, strict=True))
    )


@pytest.fixture(scope="module")
def prior(known):
    """A prior in which the loss falls with the size, and depends on the series."""
    rng = np.random.default_rng(1)
    effects = dict(zip(SERIES, rng.normal(0, 0.05, len(SERIES)), strict=True))
    level = [
        0.5 - 0.1 * (np.log10(e.parameters) - 10) + effects[e.name[3:].split("-")[0]] for e in known
    ]
    means = np.stack([level, rng.normal(0, 0.1, 80)], axis=1)
    shared = Gaussian(means.mean(axis=0), np.cov(means.T) + 1e-6 * np.eye(2))
    covariances = np.repeat(1e-4 * np.eye(2)[None], 80, axis=0)
    abilities = Abilities(means, covariances, shared, 0.2)
    return fit_metadata_prior(metadata_features(known), abilities)


def predict(prior, *experts):
    return prior.predict(metadata_features(Library(experts)))


# The explicit form


def test_mean_and_covariance_are_those_of_the_explicit_design(prior, known):
    features = metadata_features(known)
    found = prior.predict(features)
    for i in (0, 5, 17):
        design = np.zeros(len(prior.coefficient_covariance))
        design[:N_INPUTS] = prior.scaler(features.numeric[i : i + 1])[0]
        design[N_INPUTS] = 1
        series = features.families[features.profile_index[i]][0]
        for name in (f"{series}*", series):
            design[N_INPUTS + 1 + len(BINARY_FEATURES) + prior.groups.index(name)] = 1
        missing = np.isnan(features.numeric[i])
        unknown = missing @ prior.missing_value_covariance @ missing
        mean = design @ np.concatenate([prior.slopes, prior.effects])
        np.testing.assert_allclose(found[i].mean, mean, atol=1e-5)
        variance = 1 + design @ prior.coefficient_covariance @ design + unknown
        np.testing.assert_allclose(
            found[i].covariance, variance * prior.residual_covariance, rtol=1e-4
        )


def test_profiles_are_an_intercept_flags_and_groups():
    features = metadata_features(Library(["llama-3-8b-chat", "qwen2-7b", "mamba-1b", "thing"]))
    groups, frequencies = ("llama*", "llama-3", "qwen*"), np.array([0.5, 0.25, 0.5])
    design, unseen = encode_profiles(features, groups, frequencies)
    np.testing.assert_array_equal(design[:, 0], 1)
    np.testing.assert_array_equal(design[:, 1 : 1 + len(BINARY_FEATURES)], features.binary)
    half = frequencies / 2
    np.testing.assert_array_equal(design[:, -3:], [[1, 1, 0], [0, 0, 1], half, frequencies])
    unseen_series, unseen_generation, without_name = unseen.T.tolist()
    assert unseen_series == [False, False, True, False]
    assert unseen_generation == [False, True, True, False]
    assert without_name == [False, False, False, True]


def test_the_group_of_a_series_has_a_star_as_saved_files_have():
    assert group_names(("llama", "llama-3.1")) == ("llama*", "llama-3.1")
    assert group_names(("yi", "yi")) == ("yi*", "yi")


# What is unknown


def test_unknown_facts_and_unseen_families_make_the_prior_wider(prior):
    std = predict(
        prior,
        Expert("a/llama-a", parameters=1e10),
        "a/llama-b",
        Expert("a/nobody-a", parameters=1e10),
        "a/nobody-b",
    ).std_factors
    assert std[0] < std[1] < std[3]
    assert std[0] < std[2] < std[3]


def test_an_expert_without_a_known_family_gets_the_average_group_effect(prior, known):
    named = [Expert(f"a/{name}-a", parameters=1e10) for name in SERIES]
    found = predict(prior, *named, Expert("a/nobody", parameters=1e10))
    counts = [sum(f"/{name}-" in expert.name for expert in known) for name in SERIES]
    average = np.average([found[i].mean for i in range(len(SERIES))], axis=0, weights=counts)
    np.testing.assert_allclose(found[len(SERIES)].mean, average, atol=1e-5)
    assert found.std_factors[-1] > found.std_factors[:-1].max()


def test_an_unseen_series_gets_half_of_the_average_group_effect(prior):
    found = predict(prior, Expert("a/mamba", parameters=1e10), Expert("a/nobody", parameters=1e10))
    plain = found.inputs[:, 0] @ prior.slopes + prior.effects[0]
    np.testing.assert_allclose(found[0].mean, (plain + found[1].mean) / 2, atol=1e-6)


def test_a_size_above_the_largest_known_one_counts_as_that(prior, known):
    largest = max(e.parameters for e in known)
    found = predict(
        prior, Expert("a/llama-a", parameters=largest), Expert("b/llama-b", parameters=1e30)
    )
    np.testing.assert_allclose(found[0].mean, found[1].mean, atol=1e-6)


def test_a_number_that_never_varied_among_the_known_experts_plays_no_part(prior):
    found = predict(
        prior,
        Expert("a/llama-a", parameters=1e10),
        Expert("a/llama-b", parameters=1e10, output_price=99.0),
    )
    np.testing.assert_array_equal(found[0].mean, found[1].mean)
    assert found.std_factors[0] == found.std_factors[1]


# Other shapes


def test_no_deviation_is_below_one_and_every_number_is_finite_for_many_experts(prior):
    n, rng = 100_000, np.random.default_rng(3)
    parameters = 10 ** rng.uniform(0, 15, n)
    parameters[::7] = np.nan
    many = Library.from_columns([f"o/{SERIES[i % 8]}-{i}" for i in range(n)], parameters=parameters)
    found = prior.predict(metadata_features(many))
    assert found.inputs.shape == (N_INPUTS, n)
    assert found.inputs.dtype == found.std_factors.dtype == np.float32
    assert len(found) == n
    assert (found.std_factors >= 1).all()
    assert np.isfinite(found.inputs).all()
    assert np.isfinite(found.std_factors).all()


def test_a_pooled_prior_believes_the_same_of_every_expert():
    shared = Gaussian(np.array([0.4, 0.1]), np.array([[0.2, 0.1], [0.1, 0.3]]))
    found = predict(pooled_prior(shared), Expert("a/llama-a", parameters=1e9), "b")
    for i in range(2):
        np.testing.assert_allclose(found[i].mean, shared.mean)
        np.testing.assert_allclose(found[i].covariance, shared.covariance)


def test_a_scaler_standardizes_known_numbers_and_makes_unknown_ones_zero():
    scaler = fit_metadata_scaler(np.array([[1.0, 5.0], [3.0, np.nan]]), lower_margin=1.0)
    scaled = scaler(np.array([[3.0, 5.0], [np.nan, np.nan], [-99.0, 7.0], [99.0, 5.0]]))
    np.testing.assert_allclose(scaled, [[1, 0, 1], [0, 0, 0], [-2, 0, 4], [1, 0, 1]])


def test_a_scaler_without_any_known_number_gives_zeros():
    scaler = fit_metadata_scaler(np.full((3, len(NUMERIC_FEATURES)), np.nan))
    np.testing.assert_array_equal(scaler(np.full((2, len(NUMERIC_FEATURES)), 5.0)), 0)


# Gaps are filled from what is known


def test_an_unknown_number_is_the_conditional_mean_of_the_known_ones():
    # Worked by hand: E[x3 | x1 = 1, x2 = 0] with r12 = 0, r13 = 0.6, r23 = 0.5 is 0.6.
    correlation = np.array([[1, 0, 0.6], [0, 1, 0.5], [0.6, 0.5, 1]])
    z = np.array([[1, 0, 9], [1, 0, 0.3], [9, 9, 9]], np.float32)
    is_known = np.array([[True, True, False], [True, True, True], [False, False, False]])
    complete = complete_numbers(z, is_known, correlation)
    np.testing.assert_allclose(complete, [[1, 0, 0.6], [1, 0, 0.3], [0, 0, 0]], atol=1e-6)


def test_the_variance_of_a_gap_is_what_the_known_numbers_leave_open():
    correlation = np.array([[1, 0.6], [0.6, 1]])
    is_known = np.array([[True, False], [False, False], [True, True]])
    variances = gap_variances(is_known, correlation, np.array([0.0, 2.0]))
    np.testing.assert_allclose(variances, [4 * (1 - 0.36), 4, 0])


def test_no_expert_has_no_gaps():
    complete = complete_numbers(np.zeros((0, 2), np.float32), np.zeros((0, 2), bool), np.eye(2))
    assert complete.shape == (0, 2)


def test_a_prior_of_fewer_numbers_reads_the_first_ones():
    shared = Gaussian(np.array([0.4]), np.array([[0.2]]))
    old = replace(
        pooled_prior(shared),
        scaler=fit_metadata_scaler(np.array([[8.0] + [np.nan] * 5, [10.0] + [np.nan] * 5])),
        slopes=np.array([[-0.1], *[[0.0]] * 6]),
        coefficient_covariance=np.zeros((8 + len(BINARY_FEATURES),) * 2),
        missing_value_covariance=np.zeros((6, 6)),
    )
    found = predict(old, Expert("a", parameters=1e8), Expert("b", parameters=1e10))
    assert [found[i].mean[0] for i in range(2)] == pytest.approx([0.5, 0.3])


def test_a_prior_of_more_numbers_than_there_are_is_refused():
    with pytest.raises(InputError, match="reads 99 numbers"):
        MetadataScaler(*np.zeros((4, 99)))
