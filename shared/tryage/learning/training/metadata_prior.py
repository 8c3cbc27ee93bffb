"""Learns from known experts what traits tell of an ability, and how little: empirical Bayes.

How much each kind of trait may matter is chosen by the marginal likelihood of the experts' level,
their loss on the whole, under a weak belief of its own that steadies it where experts are few.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.perception.metadata import metadata_features
from tryage.perception.metadata_prior import (
    N_INPUTS,
    MetadataPrior,
    encode_profiles,
    fit_metadata_scaler,
    group_names,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import FloatArray
    from tryage.perception.abilities import Abilities
    from tryage.perception.metadata import MetadataFeatures
    from tryage.perception.model import LearnedPerception

_VARIANCE_GRID = 10.0 ** np.arange(-3.0, 1.1, 0.5)

# Variances of the numbers' slopes, of flags, series and generations, in units of an expert's own.
_EXPECTED_VARIANCES = (0.1, 0.1, 0.3, 0.1)

_LOG10_STD = 0.5  # standard deviation of the belief in them

_ROUNDS = 3

_INTERCEPT_VARIANCE = 1.0  # variance of the known experts' mean around the crowd's

_PRIOR_DEGREES_OF_FREEDOM = 5.0  # known experts that the prior of their covariance counts for


@dataclass(frozen=True, slots=True)
class BayesianRegression:
    """Weighted sums of `count` targets `(n, k)` on a design `(n, d)`; `usual` is their variance."""

    gram: FloatArray
    cross: FloatArray
    square: FloatArray
    count: int
    target_variances: FloatArray

    def solve(self, variances: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return coefficients `(d, k)`, their covariance `(d, d)` and what they leave, `(k, k)`.

        `variances` `(d,)` are those of the coefficients before any data.
        """
        doubt = np.linalg.inv(self.gram + np.diag(1 / variances))
        doubt = (doubt + doubt.T) / 2
        coefficients = doubt @ self.cross
        return coefficients, doubt, self.square - self.cross.T @ coefficients

    def evidence(self, variances: FloatArray) -> float:
        """Return the log marginal likelihood of the first target, up to a constant.

        A matrix-t density: the targets' covariance is integrated out (Rowe 2003, ch. 8).
        """
        _, doubt, rest = self.solve(variances)
        explained = np.log(variances).sum() - np.linalg.slogdet(doubt)[1]
        scatter = _PRIOR_DEGREES_OF_FREEDOM * self.target_variances[0] + rest[0, 0]
        return float(
            -0.5 * explained - 0.5 * (_PRIOR_DEGREES_OF_FREEDOM + self.count) * np.log(scatter)
        )


def with_metadata_prior(perception: LearnedPerception, library: Library) -> LearnedPerception:
    """Return a perception with the prior for unmeasured experts that its own experts suggest.

    The prior is fitted to their abilities as they are now. An expert that is not in the library is
    known by its name alone.
    """
    known = [library[name] if name in library else Expert(name) for name in perception.experts]
    own = Library(
        [replace(e, name=n, aliases=()) for e, n in zip(known, perception.experts, strict=True)]
    )
    prior = fit_metadata_prior(metadata_features(own), perception.abilities)
    return perception.replace(metadata_prior=prior)


def fit_metadata_prior(features: MetadataFeatures, abilities: Abilities) -> MetadataPrior:
    """Learn what traits of the known experts tell of their abilities, both in the same order.

    An expert that was measured little counts less: by how wide its ability is beside all others.
    """
    scale = fit_metadata_scaler(features.numeric)
    groups, shares = _family_groups(features)
    kinds, _ = encode_profiles(features, groups, shares)
    design = np.concatenate(
        [scale(features.numeric), kinds[features.profile_index]], axis=1, dtype=np.float64
    )
    targets = abilities.means - abilities.prior.mean
    doubts = np.einsum("ikk->ik", abilities.covariances)
    target_variances = (targets**2 + doubts).mean(axis=0)
    weights = 1 / (1 + (doubts / target_variances).mean(axis=1))
    weighted = design * weights[:, None]
    sums = BayesianRegression(
        weighted.T @ design,
        weighted.T @ targets,
        (targets * weights[:, None]).T @ targets,
        len(targets),
        target_variances,
    )
    prior_groups = np.array(
        [0] * N_INPUTS
        + [-1]
        + [1] * features.binary.shape[1]
        + [2 + ("*" not in g) for g in groups]
    )
    chosen = _maximize_evidence(sums, prior_groups)
    slopes, doubt, rest = sums.solve(_coefficient_variances(chosen, prior_groups))
    rest += np.einsum("i,ikl->kl", weights, abilities.covariances)
    spread = (_PRIOR_DEGREES_OF_FREEDOM * np.diag(target_variances) + rest) / (
        _PRIOR_DEGREES_OF_FREEDOM + len(targets)
    )
    effects = slopes[N_INPUTS:]
    effects[0] += abilities.prior.mean
    slopes = slopes[:N_INPUTS]
    level = spread[0, 0]
    ignorance = _missing_value_covariance(scale(features.numeric)[:, :-1], slopes[:-1, 0]) / level
    group_levels = effects[-len(groups) :, 0] if groups else np.zeros(0)
    unnamed_variance = (kinds[:, kinds.shape[1] - len(groups) :] @ group_levels)[
        features.profile_index
    ].var() / level
    strangeness = np.array([*chosen[2:], unnamed_variance])
    return MetadataPrior(
        scale, groups, shares, slopes, effects, doubt, spread, strangeness, ignorance
    )


def _missing_value_covariance(known: FloatArray, slopes: FloatArray) -> FloatArray:
    """Say what numbers `(n, n_numbers)` contribute to the level's variance, where unknown.

    Numbers that go together add up: of a model of unknown size the price is mostly unknown too.
    """
    gram = known.T @ known + 1e-6 * np.eye(known.shape[1])
    alike = gram / np.sqrt(np.outer(gram.diagonal(), gram.diagonal()))
    return np.asarray(alike * np.outer(slopes, slopes))


def _family_groups(features: MetadataFeatures) -> tuple[tuple[str, ...], FloatArray]:
    """Name series and generations, and say which share of those with a name each has."""
    sizes = np.bincount(features.profile_index, minlength=len(features.families))
    found: Counter[str] = Counter()
    for family, size in zip(features.families, sizes.tolist(), strict=True):
        found.update(dict.fromkeys(group_names(family), size) if family[0] else {})
    groups = tuple(sorted(found))
    named = sum(found[name] for name in groups if name.endswith("*"))
    return groups, np.array([found[name] / named for name in groups])


def _maximize_evidence(sums: BayesianRegression, prior_groups: NDArray[np.intp]) -> FloatArray:
    """Choose the variance of each role, one after the other, a few times round."""
    expected: NDArray[np.float64] = np.array(_EXPECTED_VARIANCES)
    chosen: FloatArray = expected.copy()

    def log_posterior(role: int, value: float) -> float:
        tried = chosen.copy()
        tried[role] = value
        belief = np.log10(tried / expected) / _LOG10_STD
        return sums.evidence(_coefficient_variances(tried, prior_groups)) - 0.5 * float(
            belief @ belief
        )

    for _ in range(_ROUNDS):
        for role in range(len(chosen)):
            chosen[role] = max(
                _VARIANCE_GRID.tolist(), key=lambda value: log_posterior(role, value)
            )
    return chosen


def _coefficient_variances(chosen: FloatArray, prior_groups: NDArray[np.intp]) -> FloatArray:
    """Spread the roles' variances over the coefficients `(d,)`; role -1 is the intercept."""
    return np.asarray(
        np.where(prior_groups < 0, _INTERCEPT_VARIANCE, chosen[np.maximum(prior_groups, 0)])
    )
