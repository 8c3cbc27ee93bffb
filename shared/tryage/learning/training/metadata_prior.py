"""Learns what metadata says about the ability of an unmeasured expert (empirical Bayes).

How much each kind of metadata may matter is chosen by the marginal likelihood of the experts'
level, their mean loss on all prompts. A weak prior over these variances steadies the choice where
experts are few. Before any expert was measured, the better published results and the higher price
are expected to mean the lower loss.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.perception.metadata import NUMERIC_FEATURES, metadata_features
from tryage.perception.metadata_prior import (
    N_INPUTS,
    MetadataPrior,
    complete_numbers,
    condition,
    encode_profiles,
    fit_metadata_scaler,
    group_names,
    with_square,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import BoolArray, Float32Array, FloatArray
    from tryage.perception.abilities import Abilities
    from tryage.perception.metadata import MetadataFeatures
    from tryage.perception.metadata_prior import MetadataScaler
    from tryage.perception.model import LearnedPerception

# The roles of coefficients; each role has one variance. The intercept has its own, fixed one.
_INTERCEPT, _NUMBER, _FLAG, _SERIES, _GENERATION = -1, 0, 1, 2, 3

# Variances of numbers' slopes, flags, series and generations, in units of an expert's own.
EXPECTED_VARIANCES = (0.1, 0.1, 0.3, 0.1)

# The same where published results are known, with the standard deviation of the prior over them:
# other facts say little more then, and how a series did on the prompts of the known experts would
# mislead about other prompts. Chosen on whole sets of outcomes with whole generations left out.
VARIANCES_BESIDE_RESULTS = (0.01, 0.01, 0.01, 0.003)

_LOG10_STD_BESIDE_RESULTS = 0.1

# The share of known experts from which on published results count as known.
_MIN_SHARE_OF_RESULTS = 0.3

# How far the level falls if a number rises by one deviation, in deviations of the level.
EXPECTED_SLOPES = {"index": -1.0, "price": -0.5, "tier": -0.2}

_VARIANCE_GRID = 10.0 ** np.arange(-3.0, 1.1, 0.5)

_LOG10_STD = 0.5  # standard deviation of the prior over these variances, in decades

_INDEX = NUMERIC_FEATURES.index("index")

_ROUNDS = 3  # how many times each variance is chosen again, with the others fixed

_INTERCEPT_VARIANCE = 1.0  # variance of the known experts' mean around the prior mean

PRIOR_DEGREES_OF_FREEDOM = 5.0  # how many known experts the prior of their covariance counts for

_INDEPENDENT_EXPERTS = (
    5.0  # how many experts the prior of no correlation between numbers counts for
)

_CORRELATION_ROUNDS = 25


def with_metadata_prior(perception: LearnedPerception, library: Library) -> LearnedPerception:
    """Return the perception with a prior for unmeasured experts, learned from its own experts.

    The prior is learned from the current abilities. An expert that is not in the library counts
    with its name alone.
    """
    names = perception.experts
    known_experts = [library[name] if name in library else Expert(name) for name in names]
    own_library = Library(
        [
            replace(expert, name=name, aliases=())
            for expert, name in zip(known_experts, names, strict=True)
        ]
    )
    prior = fit_metadata_prior(metadata_features(own_library), perception.abilities)
    return perception.replace(metadata_prior=prior)


def fit_metadata_prior(
    features: MetadataFeatures,
    abilities: Abilities,
    *,
    expected_variances: Sequence[float] | None = None,
) -> MetadataPrior:
    """Learn what the metadata of known experts says about their abilities, both in the same order.

    An expert with few measurements counts less: its weight falls with the variance of its ability,
    relative to the spread of all abilities. `expected_variances` `(4,)` are the centers of the
    prior over the variances of the four roles; by default they depend on whether published results
    of the experts are known.
    """
    scaler = fit_metadata_scaler(features.numeric)
    z, is_known = scaler.standardize(features.numeric), _informative(features, scaler)
    correlation = fit_correlation(z, is_known)
    numbers = with_square(complete_numbers(z, is_known, correlation))
    groups, frequencies = _family_groups(features)
    profiles, _ = encode_profiles(features, groups, frequencies)
    design = np.concatenate([numbers, profiles[features.profile_index]], axis=1, dtype=np.float64)
    has_results = bool(is_known[:, _INDEX].mean() >= _MIN_SHARE_OF_RESULTS)
    is_telling = scaler.varies & (has_results | (np.arange(len(scaler.mean)) != _INDEX))
    expected = _expected_coefficients(design, abilities, is_telling)
    regression, weights = _weighted_regression(design, abilities, expected)
    roles = _coefficient_roles(features.binary.shape[1], groups)
    usual = VARIANCES_BESIDE_RESULTS if has_results else EXPECTED_VARIANCES
    centers = np.array(usual if expected_variances is None else expected_variances)
    log10_std = _LOG10_STD_BESIDE_RESULTS if has_results else _LOG10_STD
    variances = _maximize_evidence(regression, roles, centers, log10_std)
    coefficients, covariance, residual_squares = regression.solve(
        _coefficient_variances(variances, roles)
    )
    residual_squares += np.einsum("i,ikl->kl", weights, abilities.covariances)
    residual_covariance = regression.residual_covariance(residual_squares)
    coefficients += expected
    slopes, effects = coefficients[:N_INPUTS], coefficients[N_INPUTS:]
    effects[0] += abilities.prior.mean
    level_variance = residual_covariance[0, 0]
    group_levels = effects[-len(groups) :, 0] if groups else np.zeros(0)
    group_columns = profiles[:, profiles.shape[1] - len(groups) :]
    unnamed_variance = (group_columns @ group_levels)[features.profile_index].var() / level_variance
    return MetadataPrior(
        scaler,
        groups,
        frequencies,
        slopes,
        effects,
        covariance,
        residual_covariance,
        np.array([*variances[_SERIES:], unnamed_variance]),
        _missing_value_covariance(z, slopes[:-1, 0]) / level_variance,
        correlation,
    )


def _informative(features: MetadataFeatures, scaler: MetadataScaler) -> BoolArray:
    """Mark the numbers that are known and that differ among the experts, `(n, n_numbers)`."""
    return np.asarray(~np.isnan(features.numeric) & scaler.varies)


def fit_correlation(z: Float32Array, is_known: BoolArray) -> FloatArray:
    """Return the correlation of scaled numbers `(n, n_numbers)` of which many are unknown.

    Expectation maximization for a normal distribution with gaps (Little and Rubin 2019, ch. 11);
    where experts are few, the numbers are nearly independent.
    """
    identity = np.eye(z.shape[1])
    correlation = identity
    for _ in range(_CORRELATION_ROUNDS):
        complete = complete_numbers(z, is_known, correlation).astype(np.float64)
        scatter = complete.T @ complete + _sum_of_gap_covariances(is_known, correlation)
        covariance = scatter + _INDEPENDENT_EXPERTS * identity
        scale = np.sqrt(covariance.diagonal())
        correlation = covariance / np.outer(scale, scale)
    return correlation


def _sum_of_gap_covariances(is_known: BoolArray, correlation: FloatArray) -> FloatArray:
    """Sum the covariances of the unknown numbers given the known ones over all experts."""
    total = np.zeros_like(correlation)
    patterns, counts = np.unique(is_known, axis=0, return_counts=True)
    for known, count in zip(patterns, counts.tolist(), strict=True):
        _, covariance = condition(known, correlation)
        total[np.ix_(~known, ~known)] += count * covariance
    return total


def _expected_coefficients(
    design: FloatArray, abilities: Abilities, is_telling: BoolArray
) -> FloatArray:
    """Return what the coefficients `(d, k)` are expected to be: those of the level alone.

    `is_telling` `(n_numbers,)` marks the numbers of which something is expected.
    """
    expected = np.zeros((design.shape[1], abilities.means.shape[1]))
    spread = abilities.means[:, 0].std()
    for name, slope in EXPECTED_SLOPES.items():
        column = NUMERIC_FEATURES.index(name)
        expected[column, 0] = slope * spread if is_telling[column] else 0.0
    return expected


def _family_groups(features: MetadataFeatures) -> tuple[tuple[str, ...], FloatArray]:
    """Return the names of series and generations, and each one's share of the named experts."""
    sizes = np.bincount(features.profile_index, minlength=len(features.families))
    group_counts: Counter[str] = Counter()
    for family, size in zip(features.families, sizes.tolist(), strict=True):
        group_counts.update(dict.fromkeys(group_names(family), size) if family[0] else {})
    groups = tuple(sorted(group_counts))
    n_named = sum(group_counts[name] for name in groups if name.endswith("*"))
    return groups, np.array([group_counts[name] / n_named for name in groups])


def _weighted_regression(
    design: FloatArray, abilities: Abilities, expected: FloatArray
) -> tuple[BayesianRegression, FloatArray]:
    """Return the regression of abilities on the design `(n, d)`, and the weights `(n,)`.

    Its targets are what the `expected` coefficients `(d, k)` leave to explain.
    """
    targets = abilities.means - abilities.prior.mean - design @ expected
    ability_variances = np.einsum("ikk->ik", abilities.covariances)
    target_variances = (targets**2 + ability_variances).mean(axis=0)
    weights = 1 / (1 + (ability_variances / target_variances).mean(axis=1))
    weighted_design = design * weights[:, None]
    regression = BayesianRegression(
        weighted_design.T @ design,
        weighted_design.T @ targets,
        (targets * weights[:, None]).T @ targets,
        len(targets),
        target_variances,
    )
    return regression, weights


@dataclass(frozen=True, slots=True)
class BayesianRegression:
    """Weighted sums of `count` targets `(n, k)` on a design `(n, d)`.

    `gram` is `(d, d)`, `cross_products` `(d, k)`, `target_gram` `(k, k)`; `target_variances` `(k,)`
    are the variances that the targets are expected to have.
    """

    gram: FloatArray
    cross_products: FloatArray
    target_gram: FloatArray
    count: int
    target_variances: FloatArray

    def solve(self, variances: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return coefficients `(d, k)`, their covariance `(d, d)` and residual squares `(k, k)`.

        `variances` `(d,)` are the prior variances of the coefficients.
        """
        covariance = np.linalg.inv(self.gram + np.diag(1 / variances))
        covariance = (covariance + covariance.T) / 2
        coefficients = covariance @ self.cross_products
        return coefficients, covariance, self.target_gram - self.cross_products.T @ coefficients

    def evidence(self, variances: FloatArray) -> float:
        """Return the log marginal likelihood of the first target, up to a constant.

        A matrix-t density: the targets' covariance is integrated out (Rowe 2003, ch. 8).
        """
        _, covariance, residual_squares = self.solve(variances)
        complexity = np.log(variances).sum() - np.linalg.slogdet(covariance)[1]
        scatter = PRIOR_DEGREES_OF_FREEDOM * self.target_variances[0] + residual_squares[0, 0]
        return float(
            -0.5 * complexity - 0.5 * (PRIOR_DEGREES_OF_FREEDOM + self.count) * np.log(scatter)
        )

    def residual_covariance(self, residual_squares: FloatArray) -> FloatArray:
        """Return the covariance `(k, k)` of targets around predictions, from residual squares."""
        prior = PRIOR_DEGREES_OF_FREEDOM * np.diag(self.target_variances)
        return np.asarray((prior + residual_squares) / (PRIOR_DEGREES_OF_FREEDOM + self.count))


def _coefficient_roles(n_flags: int, groups: tuple[str, ...]) -> NDArray[np.intp]:
    """Return the role of every coefficient, `(d,)`: numbers, intercept, flags and groups."""
    return np.array(
        [_NUMBER] * N_INPUTS
        + [_INTERCEPT]
        + [_FLAG] * n_flags
        + [_SERIES if name.endswith("*") else _GENERATION for name in groups]
    )


def _maximize_evidence(
    regression: BayesianRegression,
    roles: NDArray[np.intp],
    expected_variances: FloatArray,
    log10_std: float,
) -> FloatArray:
    """Choose the variance of each role by coordinate ascent over a grid, `(4,)`."""
    variances: FloatArray = expected_variances.copy()

    def log_posterior(role: int, value: float) -> float:
        candidate_variances = variances.copy()
        candidate_variances[role] = value
        z = np.log10(candidate_variances / expected_variances) / log10_std
        evidence = regression.evidence(_coefficient_variances(candidate_variances, roles))
        return evidence - 0.5 * float(z @ z)

    for _ in range(_ROUNDS):
        for role in range(len(variances)):
            variances[role] = max(
                _VARIANCE_GRID.tolist(), key=lambda value: log_posterior(role, value)
            )
    return variances


def _coefficient_variances(variances: FloatArray, roles: NDArray[np.intp]) -> FloatArray:
    """Return the variance of every coefficient, `(d,)`, from those of the roles."""
    return np.asarray(
        np.where(roles == _INTERCEPT, _INTERCEPT_VARIANCE, variances[np.maximum(roles, 0)])
    )


def _missing_value_covariance(numbers: FloatArray, slopes: FloatArray) -> FloatArray:
    """Return the variance of the level due to unknown numbers, `(n_numbers, n_numbers)`.

    Correlated numbers add up: if the size of a model is unknown, its price mostly is, too.
    """
    gram = numbers.T @ numbers + 1e-6 * np.eye(numbers.shape[1])
    correlation = gram / np.sqrt(np.outer(gram.diagonal(), gram.diagonal()))
    return np.asarray(correlation * np.outer(slopes, slopes))
