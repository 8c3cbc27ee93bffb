"""Learns from known experts what traits tell of an ability, and how little: empirical Bayes.

How much each kind of trait may matter is chosen by the marginal likelihood of the experts' level,
their loss on the whole, under a weak belief of its own that steadies it where experts are few.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.metadata_prior import N_NUMBERS, Kinship, code_kinds, fit_scale, group_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.arrays import FloatArray
    from tryage.perception.abilities import Abilities
    from tryage.perception.metadata import Traits

_CANDIDATES = 10.0 ** np.arange(-3.0, 1.1, 0.5)

# Variances of the numbers' slopes, of flags, series and generations, in units of an expert's own.
_EXPECTED = (0.1, 0.1, 0.3, 0.1)

_DECADES = 0.5  # standard deviation of the belief in them

_ROUNDS = 3

_INTERCEPT = 1.0  # variance of the known experts' mean around the crowd's

_TRUST = 5.0  # known experts that the prior of their covariance counts for


@dataclass(frozen=True, slots=True)
class Regression:
    """Weighted sums of `count` targets `(n, k)` on a design `(n, d)`; `usual` is their variance."""

    gram: FloatArray
    cross: FloatArray
    square: FloatArray
    count: int
    usual: FloatArray

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
        scatter = _TRUST * self.usual[0] + rest[0, 0]
        return float(-0.5 * explained - 0.5 * (_TRUST + self.count) * np.log(scatter))


def fit_kinship(traits: Traits, abilities: Abilities) -> Kinship:
    """Learn what traits of the known experts tell of their abilities, both in the same order.

    An expert that was measured little counts less: by how wide its ability is beside all others.
    """
    scale = fit_scale(traits.numbers)
    groups, shares = _groups(traits)
    kinds, _ = code_kinds(traits, groups, shares)
    design = np.concatenate([scale(traits.numbers), kinds[traits.kinds]], axis=1, dtype=np.float64)
    targets = abilities.means - abilities.prior.mean
    doubts = np.einsum("ikk->ik", abilities.covariances)
    usual = (targets**2 + doubts).mean(axis=0)
    weights = 1 / (1 + (doubts / usual).mean(axis=1))
    weighted = design * weights[:, None]
    sums = Regression(
        weighted.T @ design,
        weighted.T @ targets,
        (targets * weights[:, None]).T @ targets,
        len(targets),
        usual,
    )
    roles = np.array(
        [0] * N_NUMBERS + [-1] + [1] * traits.flags.shape[1] + [2 + ("*" not in g) for g in groups]
    )
    chosen = _choose(sums, roles)
    slopes, doubt, rest = sums.solve(_variances(chosen, roles))
    rest += np.einsum("i,ikl->kl", weights, abilities.covariances)
    spread = (_TRUST * np.diag(usual) + rest) / (_TRUST + len(targets))
    effects = slopes[N_NUMBERS:]
    effects[0] += abilities.prior.mean
    slopes = slopes[:N_NUMBERS]
    level = spread[0, 0]
    ignorance = _ignorance(scale(traits.numbers)[:, :-1], slopes[:-1, 0]) / level
    kin = effects[-len(groups) :, 0] if groups else np.zeros(0)
    apart = (kinds[:, kinds.shape[1] - len(groups) :] @ kin)[traits.kinds].var() / level
    strangeness = np.array([*chosen[2:], apart])
    return Kinship(scale, groups, shares, slopes, effects, doubt, spread, strangeness, ignorance)


def _ignorance(known: FloatArray, slopes: FloatArray) -> FloatArray:
    """Say what numbers `(n, n_numbers)` contribute to the level's variance, where unknown.

    Numbers that go together add up: of a model of unknown size the price is mostly unknown too.
    """
    gram = known.T @ known + 1e-6 * np.eye(known.shape[1])
    alike = gram / np.sqrt(np.outer(gram.diagonal(), gram.diagonal()))
    return np.asarray(alike * np.outer(slopes, slopes))


def _groups(traits: Traits) -> tuple[tuple[str, ...], FloatArray]:
    """Name series and generations, and say which share of those with a name each has."""
    sizes = np.bincount(traits.kinds, minlength=len(traits.families))
    found: Counter[str] = Counter()
    for family, size in zip(traits.families, sizes.tolist(), strict=True):
        found.update(dict.fromkeys(group_names(family), size) if family[0] else {})
    groups = tuple(sorted(found))
    named = sum(found[name] for name in groups if name.endswith("*"))
    return groups, np.array([found[name] / named for name in groups])


def _choose(sums: Regression, roles: NDArray[np.intp]) -> FloatArray:
    """Choose the variance of each role, one after the other, a few times round."""
    expected: NDArray[np.float64] = np.array(_EXPECTED)
    chosen: FloatArray = expected.copy()

    def worth(role: int, value: float) -> float:
        tried = chosen.copy()
        tried[role] = value
        belief = np.log10(tried / expected) / _DECADES
        return sums.evidence(_variances(tried, roles)) - 0.5 * float(belief @ belief)

    for _ in range(_ROUNDS):
        for role in range(len(chosen)):
            chosen[role] = max(_CANDIDATES.tolist(), key=lambda value: worth(role, value))
    return chosen


def _variances(chosen: FloatArray, roles: NDArray[np.intp]) -> FloatArray:
    """Spread the roles' variances over the coefficients `(d,)`; role -1 is the intercept."""
    return np.asarray(np.where(roles < 0, _INTERCEPT, chosen[np.maximum(roles, 0)]))
