"""The prior from metadata is the posterior of a matrix-normal regression on the known experts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.learning.training.metadata_prior import (
    PRIOR_DEGREES_OF_FREEDOM,
    BayesianRegression,
    fit_correlation,
    fit_metadata_prior,
)
from tryage.perception.abilities import Abilities, Gaussian
from tryage.perception.metadata import metadata_features

SERIES = ("llama", "qwen", "gemma", "phi", "falcon", "yi", "olmo", "bloom")


def make(n, rng, *, unknown=0.0):
    """Experts whose level falls by a tenth per decade of parameters, and depends on the family."""
    size = rng.uniform(8, 12, n)
    series = rng.choice(SERIES, n)
    effect = dict(zip(SERIES, rng.normal(0, 0.05, len(SERIES)), strict=True))
    level = 0.5 - 0.1 * (size - 10) + [effect[name] for name in series] + rng.normal(0, 0.03, n)
    hidden = rng.random(n) < unknown
    library = Library(
        Expert(f"me/{name}-x{i}", parameters=None if hide else 10.0**decades)
        for i, (name, decades, hide) in enumerate(zip(series, size, hidden, strict=True))
    )
    means = np.stack([level, rng.normal(0, 0.1, n)], axis=1)
    return library, make_abilities(means)


def make_abilities(means, own=1e-4):
    n, k = means.shape
    prior = Gaussian(means.mean(axis=0), np.cov(means.T).reshape(k, k) + 1e-6 * np.eye(k))
    return Abilities(means, np.repeat(own * np.eye(k)[None], n, axis=0), prior, 0.2)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# The closed form


def test_one_expert_and_one_number_give_the_textbook_posterior():
    # y = 3 at x = 2, slope ~ N(0, 0.5 s), residual ~ N(0, s): precision 1/0.5 + 4 = 6, mean 6 / 6
    sums = BayesianRegression(
        np.array([[4.0]]), np.array([[6.0]]), np.array([[9.0]]), 1, np.ones(1)
    )
    slope, covariance, residual = sums.solve(np.array([0.5]))
    assert slope[0, 0] == pytest.approx(1.0)
    assert covariance[0, 0] == pytest.approx(1 / 6)
    assert residual[0, 0] == pytest.approx(9 / (1 + 4 * 0.5))  # y (1 + x v x)^-1 y


def test_the_solution_is_the_gaussian_process_over_experts(rng):
    x, y, v = rng.normal(size=(7, 3)), rng.normal(size=(7, 2)), np.array([0.1, 2.0, 0.5])
    kernel = x @ np.diag(v) @ x.T + np.eye(7)
    regression = BayesianRegression(x.T @ x, x.T @ y, y.T @ y, 7, np.ones(2))
    slopes, covariance, residual = regression.solve(v)
    new = rng.normal(size=3)
    across = x @ np.diag(v) @ new
    solved = np.linalg.solve(kernel, across)
    np.testing.assert_allclose(new @ slopes, solved @ y)
    assert new @ covariance @ new == pytest.approx(new @ np.diag(v) @ new - across @ solved)
    np.testing.assert_allclose(residual, y.T @ np.linalg.solve(kernel, y), atol=1e-12)


def test_the_evidence_is_the_matrix_t_density(rng):
    x, y, v = rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), np.array([0.3, 1.0])
    sums = BayesianRegression(x.T @ x, x.T @ y, y.T @ y, 6, np.array([0.7]))

    def density(variances):
        kernel = x @ np.diag(variances) @ x.T + np.eye(6)
        scatter = PRIOR_DEGREES_OF_FREEDOM * 0.7 + (y.T @ np.linalg.solve(kernel, y)).item()
        freedom = PRIOR_DEGREES_OF_FREEDOM + 6
        return -0.5 * np.linalg.slogdet(kernel)[1] - 0.5 * freedom * np.log(scatter)

    other = np.array([2.0, 0.01])
    difference = sums.evidence(v) - sums.evidence(other)
    assert difference == pytest.approx(density(v) - density(other))


# What is learned


def test_where_known_experts_improve_with_size_so_do_new_ones(rng):
    library, abilities = make(80, rng)
    prior = fit_metadata_prior(metadata_features(library), abilities)
    new = Library([Expert("a/llama-a", parameters=1e9), Expert("a/llama-b", parameters=1e11)])
    small, big = (prior.predict(metadata_features(new))[i] for i in range(2))
    assert small.mean[0] - big.mean[0] == pytest.approx(0.2, abs=0.06)


def test_correlated_numbers_add_more_variance_when_both_are_unknown(rng):
    library, abilities = make(80, rng)
    rows = [replace(e, output_price=e.parameters / 1e9) for e in library]
    prior = fit_metadata_prior(metadata_features(Library(rows)), abilities)
    both = {"parameters": 1e10, "output_price": 10.0}
    new = [
        Expert(f"a/llama-{i}", **facts)
        for i, facts in enumerate((both, {"parameters": 1e10}, {"output_price": 10.0}, {}))
    ]
    variances = prior.predict(metadata_features(Library(new))).std_factors ** 2
    single = variances[1] - variances[0] + variances[2] - variances[0]
    assert variances[3] - variances[0] > 1.3 * single


def test_an_unknown_size_is_no_sign_of_quality():
    rng = np.random.default_rng(1)
    library, abilities = make(60, rng, unknown=0.5)
    prior = fit_metadata_prior(metadata_features(library), abilities)
    sizes = [e.parameters for e in library if e.parameters]
    usual = 10 ** float(np.mean(np.log10(sizes)))
    two = metadata_features(Library([Expert("a/phi-a", parameters=usual), "a/phi-b"]))
    known, unknown = (prior.predict(two)[i].mean[0] for i in range(2))
    assert known == pytest.approx(unknown, abs=1e-3)


@pytest.mark.parametrize("n_known", [10, 30, 95])
def test_intervals_hold_for_families_never_seen(n_known):
    inside, better = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        library, abilities = make(n_known + 40, rng, unknown=0.2)
        features = metadata_features(library)
        series = np.array([family for family, _ in features.families])
        is_unseen = np.isin(series[features.profile_index], SERIES[:2])
        first = np.flatnonzero(~is_unseen)[:n_known]
        prior = fit_metadata_prior(
            metadata_features(library.subset(first)), abilities.take(first.tolist())
        )
        found = prior.predict(metadata_features(library.subset(is_unseen)))
        truth = abilities.means[is_unseen, 0]
        mean = np.array([found[i].mean[0] for i in range(len(found))])
        std = np.array([found[i].covariance[0, 0] ** 0.5 for i in range(len(found))])
        inside.append(np.abs(truth - mean) < 1.96 * std)
        errors, of_the_mean = truth - mean, truth - abilities.means[first, 0].mean()
        better.append(np.mean(errors**2) / np.mean(of_the_mean**2))
    assert 0.9 <= np.concatenate(inside).mean() <= 1.0
    assert np.mean(better) < 0.8


def test_an_expert_with_few_measurements_counts_less(rng):
    library, abilities = make(40, rng)
    outlier = abilities.means.copy()
    outlier[0, 0] += 1.0
    covariances = abilities.covariances.copy()
    features = metadata_features(library)
    certain = fit_metadata_prior(features, Abilities(outlier, covariances, abilities.prior, 0.2))
    covariances[0] = 100 * abilities.prior.covariance
    unsure = fit_metadata_prior(features, Abilities(outlier, covariances, abilities.prior, 0.2))
    without = fit_metadata_prior(features, abilities)
    near, far = (
        np.abs(p.predict(features)[0].mean[0] - without.predict(features)[0].mean[0])
        for p in (unsure, certain)
    )
    assert near < far / 2


def test_one_known_expert_is_enough():
    library = Library([Expert("a/llama-a", parameters=1e9)])
    abilities = make_abilities(np.array([[0.4, 0.1]] * 2)).take([0])
    prior = fit_metadata_prior(metadata_features(library), abilities)
    found = prior.predict(metadata_features(Library(["x", "y"])))
    assert np.isfinite(found[1].mean).all()
    assert (np.linalg.eigvalsh(found[1].covariance) > 0).all()


# Published results


def with_index(name, index, **facts):
    return Expert(name, metadata={"hub": {}, "results": {"index": index}}, **facts)


def test_better_published_results_mean_a_lower_loss_before_anything_was_learned(rng):
    library = Library([with_index("a/x", 0.0), with_index("a/y", 1.0), with_index("a/z", 0.5)])
    prior = fit_metadata_prior(metadata_features(library), make_abilities(rng.normal(size=(3, 2))))
    found = prior.predict(
        metadata_features(Library([with_index("a/weak", 0.2), with_index("a/strong", 0.9)]))
    )
    assert found[1].mean[0] < found[0].mean[0]


def test_an_expert_without_results_is_expected_to_have_those_of_its_price_and_date(rng):
    index = rng.normal(size=60)
    price = 10 ** (0.5 * index + rng.normal(0, 0.1, 60))
    library = Library(
        with_index(f"a/x{i}", one, output_price=cost)
        for i, (one, cost) in enumerate(zip(index, price, strict=True))
    )
    means = np.stack([0.4 - 0.1 * index, rng.normal(0, 0.1, 60)], axis=1)
    prior = fit_metadata_prior(metadata_features(library), make_abilities(means))
    stranger = {"metadata": {"hub": {}}}
    cheap, dear, known = (
        prior.predict(metadata_features(Library([expert])))
        for expert in (
            Expert("a/cheap", output_price=0.2, **stranger),
            Expert("a/dear", output_price=5.0, **stranger),
            with_index("a/known", 1.4, output_price=5.0),
        )
    )
    assert dear[0].mean[0] < cheap[0].mean[0] - 0.1
    assert dear[0].mean[0] == pytest.approx(known[0].mean[0], abs=0.04)
    assert dear.std_factors[0] > known.std_factors[0]


def test_the_correlation_of_numbers_is_found_again_though_half_of_them_are_unknown(rng):
    x = rng.normal(size=4_000)
    z = np.stack([x, 0.8 * x + 0.6 * rng.normal(size=4_000)], axis=1).astype(np.float32)
    is_known = rng.random(z.shape) < 0.7
    correlation = fit_correlation(np.where(is_known, z, 0), is_known)
    np.testing.assert_allclose(correlation, [[1, 0.8], [0.8, 1]], atol=0.03)


def test_numbers_of_few_experts_are_nearly_independent():
    z = np.array([[1, 1], [-1, -1]], np.float32)
    assert fit_correlation(z, np.ones((2, 2), bool))[0, 1] < 0.5


def test_results_of_one_expert_in_ten_do_not_count_as_known(rng):
    index = np.where(np.arange(40) % 10, np.nan, rng.normal(size=40))
    library = Library(
        Expert(f"a/x{i}", metadata={"hub": {}, "results": {} if np.isnan(one) else {"index": one}})
        for i, one in enumerate(index)
    )
    means = rng.normal(size=(40, 2)) * 1e-3
    prior = fit_metadata_prior(metadata_features(library), make_abilities(means))
    found = prior.predict(
        metadata_features(Library([with_index("a/y", 2.0), with_index("b/y", -2.0)]))
    )
    assert abs(found[0].mean[0] - found[1].mean[0]) < 2 * means[:, 0].std()
