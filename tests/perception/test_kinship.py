"""The prior of a stranger is the posterior of a matrix-normal regression on the known experts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.learning.training import metadata_prior as heredity
from tryage.learning.training.metadata_prior import BayesianRegression, fit_metadata_prior
from tryage.perception.abilities import Abilities, Gaussian
from tryage.perception.metadata import NUMERIC_FEATURES, metadata_features
from tryage.perception.metadata_prior import N_INPUTS, fit_metadata_scaler, pooled_prior

SERIES = ("llama", "qwen", "gemma", "phi", "falcon", "yi", "olmo", "bloom")


def made(n, rng, *, unknown=0.0, families=SERIES):
    """Experts whose level falls by a tenth per decade of parameters, and by family."""
    size = rng.uniform(8, 12, n)
    series = rng.choice(families, n)
    effect = dict(zip(SERIES, rng.normal(0, 0.05, len(SERIES)), strict=True))
    level = 0.5 - 0.1 * (size - 10) + [effect[name] for name in series] + rng.normal(0, 0.03, n)
    hidden = rng.random(n) < unknown
    library = Library(
        Expert(f"me/{name}-x{i}", parameters=None if hide else 10.0**decades)
        for i, (name, decades, hide) in enumerate(zip(series, size, hidden, strict=True))
    )
    means = np.stack([level, rng.normal(0, 0.1, n)], axis=1)
    return library, abilities(means)


def abilities(means, own=1e-4):
    n, k = means.shape
    prior = Gaussian(means.mean(axis=0), np.cov(means.T).reshape(k, k) + 1e-6 * np.eye(k))
    return Abilities(means, np.repeat(own * np.eye(k)[None], n, axis=0), prior, 0.2)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def learned_kin(rng):
    library, known = made(80, rng)
    return fit_metadata_prior(metadata_features(library), known), library, known


# --- closed form ---


def test_one_expert_and_one_number_is_the_textbook_posterior():
    # y = 3 at x = 2, slope ~ N(0, 0.5 s), own part ~ N(0, s): precision 1/0.5 + 4 = 6, mean 6 / 6
    sums = BayesianRegression(
        np.array([[4.0]]), np.array([[6.0]]), np.array([[9.0]]), 1, np.ones(1)
    )
    slope, doubt, rest = sums.solve(np.array([0.5]))
    assert slope[0, 0] == pytest.approx(1.0)
    assert doubt[0, 0] == pytest.approx(1 / 6)
    assert rest[0, 0] == pytest.approx(9 / (1 + 4 * 0.5))  # y (1 + x v x)^-1 y


def test_the_solution_is_the_gaussian_process_over_experts(rng):
    x, y, v = rng.normal(size=(7, 3)), rng.normal(size=(7, 2)), np.array([0.1, 2.0, 0.5])
    kernel = x @ np.diag(v) @ x.T + np.eye(7)
    slopes, doubt, rest = BayesianRegression(x.T @ x, x.T @ y, y.T @ y, 7, np.ones(2)).solve(v)
    new = rng.normal(size=3)
    across = x @ np.diag(v) @ new
    solved = np.linalg.solve(kernel, across)
    np.testing.assert_allclose(new @ slopes, solved @ y)
    assert new @ doubt @ new == pytest.approx(new @ np.diag(v) @ new - across @ solved)
    np.testing.assert_allclose(rest, y.T @ np.linalg.solve(kernel, y), atol=1e-12)


def test_the_evidence_is_the_matrix_t_density(rng):
    x, y, v = rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), np.array([0.3, 1.0])
    sums = BayesianRegression(x.T @ x, x.T @ y, y.T @ y, 6, np.array([0.7]))

    def density(variances):
        kernel = x @ np.diag(variances) @ x.T + np.eye(6)
        scatter = (
            heredity.PRIOR_DEGREES_OF_FREEDOM * 0.7 + (y.T @ np.linalg.solve(kernel, y)).item()
        )
        freedom = heredity.PRIOR_DEGREES_OF_FREEDOM + 6
        return -0.5 * np.linalg.slogdet(kernel)[1] - 0.5 * freedom * np.log(scatter)

    other = np.array([2.0, 0.01])
    difference = sums.evidence(v) - sums.evidence(other)
    assert difference == pytest.approx(density(v) - density(other))


def test_mean_and_width_are_those_of_the_explicit_design(learned_kin):
    kin, library, _ = learned_kin
    traits = metadata_features(library)
    found = kin.predict(traits)
    for i in (0, 5, 17):
        design = np.zeros(len(kin.coefficient_covariance))
        design[:N_INPUTS] = kin.scaler(traits.numeric[i : i + 1])[0]
        design[N_INPUTS] = 1
        series = traits.families[traits.profile_index[i]][0]
        for name in (f"{series}*", series):
            design[N_INPUTS + 9 + kin.groups.index(name)] = 1
        missing = np.isnan(traits.numeric[i])
        unknown = missing @ kin.missing_value_covariance @ missing
        mean = design @ np.concatenate([kin.slopes, kin.effects])
        np.testing.assert_allclose(found[i].mean, mean, atol=1e-5)
        width = 1 + design @ kin.coefficient_covariance @ design + unknown
        np.testing.assert_allclose(found[i].covariance, width * kin.residual_covariance, rtol=1e-4)


# --- what it means ---


def test_a_bigger_expert_is_believed_better_as_the_known_ones_are(learned_kin):
    kin, *_ = learned_kin
    library = Library([Expert("a/llama-a", parameters=1e9), Expert("a/llama-b", parameters=1e11)])
    small, big = (kin.predict(metadata_features(library))[i] for i in range(2))
    assert small.mean[0] - big.mean[0] == pytest.approx(0.2, abs=0.06)


def test_unknown_facts_and_unknown_families_widen_the_guess(learned_kin):
    kin, *_ = learned_kin
    library = Library(
        [
            Expert("a/llama-a", parameters=1e10),
            "a/llama-b",
            Expert("a/nobody-a", parameters=1e10),
            "a/nobody-b",
        ]
    )
    widths = kin.predict(metadata_features(library)).std_factors
    assert widths[0] < widths[1] < widths[3]
    assert widths[0] < widths[2] < widths[3]


def test_numbers_that_go_together_widen_the_guess_more_when_both_are_unknown(rng):
    library, known = made(80, rng)
    rows = [replace(e, output_price=e.parameters / 1e9) for e in library]
    kin = fit_metadata_prior(metadata_features(Library(rows)), known)
    base = {"parameters": 1e10, "output_price": 10.0}
    strangers = [
        Expert(f"a/llama-{i}", **kept)
        for i, kept in enumerate((base, {"parameters": 1e10}, {"output_price": 10.0}, {}))
    ]
    found = kin.predict(metadata_features(Library(strangers))).std_factors ** 2
    assert found[3] - found[0] > 1.3 * (found[1] - found[0] + found[2] - found[0])


def test_an_expert_of_no_named_family_is_a_bit_of_every_family(learned_kin):
    kin, library, _ = learned_kin
    named = [Expert(f"a/{name}-a", parameters=1e10) for name in SERIES]
    found = kin.predict(metadata_features(Library([*named, Expert("a/nobody", parameters=1e10)])))
    counts = [sum(f"/{name}-" in expert.name for expert in library) for name in SERIES]
    mixed = np.average([found[i].mean for i in range(len(SERIES))], axis=0, weights=counts)
    np.testing.assert_allclose(found[len(SERIES)].mean, mixed, atol=1e-5)
    assert found.std_factors[-1] > found.std_factors[:-1].max()


def test_a_series_never_seen_is_between_the_mean_series_and_that_of_the_mean_expert(learned_kin):
    kin, *_ = learned_kin
    new, unnamed = Expert("a/mamba", parameters=1e10), Expert("a/nobody", parameters=1e10)
    found = kin.predict(metadata_features(Library([new, unnamed])))
    plain = found.inputs[:, 0] @ kin.slopes + kin.effects[0]
    np.testing.assert_allclose(found[0].mean, (plain + found[1].mean) / 2, atol=1e-6)


def test_an_unknown_size_is_no_sign_of_quality():
    rng = np.random.default_rng(1)
    library, known = made(60, rng, unknown=0.5)
    kin = fit_metadata_prior(metadata_features(library), known)
    sizes = [e.parameters for e in library if e.parameters]
    usual = 10 ** float(np.mean(np.log10(sizes)))
    two = metadata_features(Library([Expert("a/phi-a", parameters=usual), "a/phi-b"]))
    there, absent = (kin.predict(two)[i].mean[0] for i in range(2))
    assert there == pytest.approx(absent, abs=1e-3)


def test_nobody_is_believed_beyond_the_biggest_known(learned_kin):
    kin, library, _ = learned_kin
    biggest = max(e.parameters for e in library)
    huge = metadata_features(
        Library([Expert("a/llama-a", parameters=biggest), Expert("b/llama-b", parameters=1e30)])
    )
    found = kin.predict(huge)
    np.testing.assert_allclose(found[0].mean, found[1].mean, atol=1e-6)


def test_what_never_varied_among_the_known_tells_nothing(learned_kin):
    kin, *_ = learned_kin
    priced = Library([Expert("a/llama-a", parameters=1e10, output_price=p) for p in (None,)])
    dear = Library([Expert("a/llama-a", parameters=1e10, output_price=99.0)])
    one, two = (kin.predict(metadata_features(x)) for x in (priced, dear))
    np.testing.assert_array_equal(one[0].mean, two[0].mean)
    assert one.std_factors[0] == two.std_factors[0]


@pytest.mark.parametrize("known_experts", [10, 30, 95])
def test_intervals_hold_for_families_never_seen(known_experts):
    inside, better = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        library, every = made(known_experts + 40, rng, unknown=0.2)
        series = np.array([family for family, _ in metadata_features(library).families])
        strange = np.isin(series[metadata_features(library).profile_index], SERIES[:2])
        first = np.flatnonzero(~strange)[:known_experts]
        kin = fit_metadata_prior(
            metadata_features(library.subset(first)), every.take(first.tolist())
        )
        found = kin.predict(metadata_features(library.subset(strange)))
        truth = every.means[strange, 0]
        mean = np.array([found[i].mean[0] for i in range(len(found))])
        std = np.array([found[i].covariance[0, 0] ** 0.5 for i in range(len(found))])
        inside.append(np.abs(truth - mean) < 1.96 * std)
        better.append(
            np.mean((truth - mean) ** 2) / np.mean((truth - every.means[first, 0].mean()) ** 2)
        )
    assert 0.9 <= np.concatenate(inside).mean() <= 1.0
    assert np.mean(better) < 0.8


def test_an_expert_that_was_measured_little_counts_less(rng):
    library, known = made(40, rng)
    odd = known.means.copy()
    odd[0, 0] += 1.0
    wide = known.covariances.copy()
    traits = metadata_features(library)
    before = fit_metadata_prior(traits, Abilities(odd, wide, known.prior, 0.2))
    wide[0] = 100 * known.prior.covariance
    after = fit_metadata_prior(traits, Abilities(odd, wide, known.prior, 0.2))
    usual = fit_metadata_prior(traits, known)
    near, far = (
        np.abs(k.predict(traits)[0].mean[0] - usual.predict(traits)[0].mean[0])
        for k in (after, before)
    )
    assert near < far / 2


def test_the_crowd_is_what_a_perception_without_kinship_believes(rng):
    _, known = made(20, rng)
    found = pooled_prior(known.prior).predict(
        metadata_features(Library([Expert("a/llama-a", parameters=1e9), "b"]))
    )
    for i in range(2):
        np.testing.assert_allclose(found[i].mean, known.prior.mean)
        np.testing.assert_allclose(found[i].covariance, known.prior.covariance)


def test_one_known_expert_is_enough_not_to_fail():
    library = Library([Expert("a/llama-a", parameters=1e9)])
    kin = fit_metadata_prior(
        metadata_features(library), abilities(np.array([[0.4, 0.1]] * 2)).take([0])
    )
    found = kin.predict(metadata_features(Library(["x", "y"])))
    assert np.isfinite(found[1].mean).all()
    assert (np.linalg.eigvalsh(found[1].covariance) > 0).all()


# --- any shape ---


def test_no_width_is_below_one_and_no_number_is_lost_on_many_experts(learned_kin):
    kin, *_ = learned_kin
    n, rng = 100_000, np.random.default_rng(3)
    parameters = 10 ** rng.uniform(0, 15, n)
    parameters[::7] = np.nan
    many = Library.from_columns([f"o/{SERIES[i % 8]}-{i}" for i in range(n)], parameters=parameters)
    found = kin.predict(metadata_features(many))
    assert found.inputs.shape == (N_INPUTS, n)
    assert found.inputs.dtype == found.std_factors.dtype == np.float32
    assert len(found) == n
    assert (found.std_factors >= 1).all()
    assert np.isfinite(found.inputs).all()
    assert np.isfinite(found.std_factors).all()


def test_a_scale_without_any_known_number_gives_zeros():
    scale = fit_metadata_scaler(np.full((3, len(NUMERIC_FEATURES)), np.nan))
    np.testing.assert_array_equal(scale(np.full((2, len(NUMERIC_FEATURES)), 5.0)), 0)
