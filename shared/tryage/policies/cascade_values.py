"""What asking models one after another is worth: a dynamic program over the steps, in pure numpy.

Values are in right answers: 1 is a right answer, and prices are divided by what one is worth. With
`q` = P(the answer is right) after the evidence, keeping it is worth `q`, and asking on is worth

    W_j(m) = -price_j + max(m, -check_j + E[max(q, max_{k > j} W_k(m_k(q)))])

where `m` is the prior of step j: `m_j(q) = q P(j right | i right) + (1 - q) P(j right | i wrong)`,
so an answer that is probably wrong also says that the prompt is hard. `W` is computed backwards, on
a grid of `m`, for one call left, then two, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import Float64Array, IndexArray
    from tryage.policies.likelihood import Likelihood

NO_STEP = -1

DEFAULT_MAX_CALLS = 2  # for which the odds ratios of pairs say all; three count evidence twice

_GRID: Float64Array = np.linspace(0.0, 1.0, 65)  # of P(right)

_LOG_ODDS_RATIOS: Float64Array = np.linspace(-2.0, 5.0, 71)

_CLIP = 1e-6

_Following: TypeAlias = "tuple[IndexArray, Float64Array, Float64Array, Float64Array]"
"""For each prompt: the next step, its prior, the threshold of the answer before, and how often it
is asked."""


@dataclass(frozen=True, eq=False)
class CascadeSteps:
    """The steps that a cascade may ask, in their order, for a batch of prompts.

    `priors` `(batch, n_steps)` are P(right) of each step's answer by the prediction, NaN where the
    expert may not be asked. `prices` and `check_prices`, of the same shape, are what the call and
    the check of its answer cost, in right answers. `likelihoods` say how much each check tells,
    None where an answer cannot be checked. `odds_ratios` `(n_steps, n_steps)` are those of both
    being right, given the priors: 1 if one tells nothing of the other.
    """

    priors: Float64Array
    prices: Float64Array
    check_prices: Float64Array
    likelihoods: Sequence[Likelihood | None]
    odds_ratios: Float64Array

    @property
    def n_steps(self) -> int:
        """How many steps there are."""
        return len(self.likelihoods)

    def rows(self, prompts: slice | IndexArray) -> CascadeSteps:
        """Return the steps for some prompts of the batch."""
        tables = self.priors[prompts], self.prices[prompts], self.check_prices[prompts]
        return CascadeSteps(*tables, self.likelihoods, self.odds_ratios)


@dataclass(frozen=True, eq=False)
class CascadePaths:
    """Which steps are asked for each prompt, one after another.

    `values` `(batch,)` is what that is worth, -inf where no expert may be asked. `steps`
    `(batch, n_steps)` are the positions of the steps, then `NO_STEP`. `priors` of the same shape
    are P(right) of each one's answer before its evidence. An answer is kept if P(right) after its
    evidence is at least the one in `thresholds`, NaN for an answer that is not checked. `shares`
    are the probabilities that the answer is not kept, 0 where it is not checked.
    """

    values: Float64Array
    steps: IndexArray
    priors: Float64Array
    thresholds: Float64Array
    shares: Float64Array

    def expected_costs(self, costs: Float64Array, check_costs: Float64Array) -> Float64Array:
        """Return what each path costs on average, `(batch,)`.

        `costs` and `check_costs` `(batch, n_steps)` are those of each step's call and check.
        """
        at = np.maximum(self.steps, 0)
        each = np.take_along_axis(costs, at, axis=1)
        each += np.where(
            np.isnan(self.thresholds), 0.0, np.take_along_axis(check_costs, at, axis=1)
        )
        reached = np.cumprod(self.shares, axis=1)[:, :-1]
        reached = np.concatenate([np.ones((len(each), 1)), reached], axis=1)
        return np.asarray(np.where(self.steps == NO_STEP, 0.0, reached * each).sum(axis=1))


def best_paths(steps: CascadeSteps, max_calls: int = DEFAULT_MAX_CALLS) -> CascadePaths:
    """Return the steps to ask for each prompt, at most `max_calls` one after another."""
    tables = _backward(steps, min(max_calls, steps.n_steps))
    at_start = [_interpolate(one, steps.priors[:, [s]]) for s, one in enumerate(tables[-1].asked)]
    values = np.concatenate(at_start, axis=1)
    values = np.where(np.isnan(values), -np.inf, values)
    first = values.argmax(axis=1)
    prior = np.take_along_axis(steps.priors, first[:, None], 1)[:, 0]
    path = np.where(np.isnan(prior), NO_STEP, first)
    shape = (len(path), len(tables))
    numbers = [np.full(shape, np.nan) for _ in range(3)]
    found = CascadePaths(values.max(axis=1), np.full(shape, NO_STEP), *numbers)
    for place in range(len(tables)):
        found.steps[:, place], found.priors[:, place] = path, prior
        left = tables[: len(tables) - place]
        after = _next_steps(steps, left, path, prior)
        path, prior, found.thresholds[:, place], found.shares[:, place] = after
    return found


def conditional_probabilities(
    first: Float64Array, second: Float64Array, odds_ratio: float
) -> tuple[Float64Array, Float64Array]:
    """Return P(second right | first right) and P(second right | first wrong), by their priors.

    The joint distribution has the priors as marginals and a constant odds ratio (Plackett, 1965).
    """
    p, q = (np.clip(one, _CLIP, 1 - _CLIP) for one in (first, second))
    if abs(odds_ratio - 1) < _CLIP:
        return q, q
    total = 1 + (p + q) * (odds_ratio - 1)
    root = np.sqrt(total**2 - 4 * odds_ratio * (odds_ratio - 1) * p * q)
    both = (total - root) / (2 * (odds_ratio - 1))
    return np.clip(both / p, 0, 1), np.clip((q - both) / (1 - p), 0, 1)


def fit_odds_ratio(
    first: Float64Array, second: Float64Array, first_right: Float64Array, second_right: Float64Array
) -> float:
    """Return the odds ratio of two experts being right, all arguments `(n_prompts,)`.

    It is the one under which the quality of the first best predicts the mean quality of the second
    (maximum quasi-likelihood, so qualities may be graded). `first` and `second` are the priors,
    qualities are in [0, 1]. Prompts with NaN are left out; without any the result is 1.
    """
    columns = np.stack([first, second, first_right, second_right])
    p, q, x, y = columns[:, ~np.isnan(columns).any(axis=0)]
    if not p.size:
        return 1.0
    found = []
    for log_ratio in _LOG_ODDS_RATIOS:
        if_right, if_wrong = conditional_probabilities(p, q, float(np.exp(log_ratio)))
        mean = np.clip(x * if_right + (1 - x) * if_wrong, _CLIP, 1 - _CLIP)
        found.append((y * np.log(mean) + (1 - y) * np.log(1 - mean)).sum())
    return float(np.exp(_LOG_ODDS_RATIOS[int(np.argmax(found))]))


@dataclass(frozen=True, eq=False)
class _Tables:
    """`asked[s]` `(batch, n_grid)` is `W_s`; `gains[s]` is what checking its answer adds."""

    asked: list[Float64Array]
    gains: list[Float64Array]


def _backward(steps: CascadeSteps, max_calls: int) -> list[_Tables]:
    """Return the values of all steps where 1, 2, ... `max_calls` calls are left."""
    grid = np.where(np.isnan(steps.priors)[:, :, None], np.nan, _GRID)
    kept = [grid[:, s] - steps.prices[:, [s]] for s in range(steps.n_steps)]
    tables = [_Tables(kept, [np.zeros_like(one) for one in kept])]
    for _ in range(max_calls - 1):
        gains = [_gain_of_checking(steps, tables[-1], s) for s in range(steps.n_steps)]
        asked = [one + np.fmax(gain, 0) for one, gain in zip(kept, gains, strict=True)]
        tables.append(_Tables(asked, gains))
    return tables


def _gain_of_checking(steps: CascadeSteps, later: _Tables, s: int) -> Float64Array:
    """Return what checking the answer of step s adds to keeping it, `(batch, n_grid)`."""
    likelihood = steps.likelihoods[s]
    if likelihood is None or s + 1 == steps.n_steps:
        return np.zeros((len(steps.priors), len(_GRID)))
    values = [_value_of_asking(steps, later, s, j, _GRID) for j in range(s + 1, steps.n_steps)]
    ahead = np.fmax(_GRID, np.fmax.reduce(values))
    return np.asarray(ahead @ _expectation(likelihood).T - steps.check_prices[:, [s]] - _GRID)


@lru_cache(maxsize=256)
def _expectation(likelihood: Likelihood) -> Float64Array:
    """Return the matrix from values on the grid of posteriors to their means on that of priors."""
    posteriors = likelihood.posteriors(_GRID)
    probabilities = likelihood.level_probabilities(_GRID)
    low, share = _locate(posteriors)
    matrix = np.zeros((len(_GRID), len(_GRID)))
    rows = np.arange(len(_GRID))[:, None]
    np.add.at(matrix, (rows, low), probabilities * (1 - share))
    np.add.at(matrix, (rows, low + 1), probabilities * share)
    return matrix


def _value_of_asking(
    steps: CascadeSteps, tables: _Tables, i: int, j: int, posteriors: Float64Array
) -> Float64Array:
    """Return `W_j` after step i; `posteriors` are `(batch, m)` or the same for all, `(m,)`."""
    return _interpolate(tables.asked[j], _prior_after(steps, i, j, posteriors))


def _prior_after(steps: CascadeSteps, i: int, j: int, posteriors: Float64Array) -> Float64Array:
    """Return P(j right) `(batch, m)` after the evidence of step i."""
    ratio = float(steps.odds_ratios[i, j])
    if_right, if_wrong = conditional_probabilities(steps.priors[:, i], steps.priors[:, j], ratio)
    return posteriors * if_right[:, None] + (1 - posteriors) * if_wrong[:, None]


def _next_steps(
    steps: CascadeSteps, tables: list[_Tables], path: IndexArray, prior: Float64Array
) -> _Following:
    """Return which step follows each one, the prior of its answer, and when it is asked.

    `tables` are those of the calls that are left. The prior of the later answer is the one after
    the mean of the evidence that leads there.
    """
    following = np.full(len(path), NO_STEP)
    priors, thresholds = np.full(len(path), np.nan), np.full(len(path), np.nan)
    shares = np.zeros(len(path))
    for s in range(steps.n_steps - 1):
        rows = np.flatnonzero(path == s)
        likelihood = steps.likelihoods[s]
        if likelihood is None or len(tables) < 2 or not rows.size:
            continue
        rows = rows[_interpolate(tables[-1].gains[s][rows], prior[rows, None])[:, 0] > 0]
        if rows.size:
            some = steps.rows(rows), _Tables([one[rows] for one in tables[-2].asked], [])
            found = _next_of_step(*some, s, prior[rows], likelihood)
            following[rows], priors[rows], thresholds[rows], shares[rows] = found
    return following, priors, thresholds, shares


def _next_of_step(
    steps: CascadeSteps, tables: _Tables, s: int, prior: Float64Array, likelihood: Likelihood
) -> _Following:
    """Return what follows step s, for prompts that all ask it and check its answer."""
    posteriors, weights = likelihood.posteriors(prior), likelihood.level_probabilities(prior)
    candidates = range(s + 1, steps.n_steps)
    after = np.stack([_value_of_asking(steps, tables, s, j, posteriors) for j in candidates])
    after = np.where(np.isnan(after), -np.inf, after)
    best = (weights * np.fmax(posteriors, after)).sum(axis=2).argmax(axis=0)
    rows = np.arange(len(prior))
    goes_on = weights * (after[best, rows] > posteriors)
    share = goes_on.sum(axis=1)
    mean = (goes_on * posteriors).sum(axis=1) / np.where(share > 0, share, 1)
    following = np.where(share > 0, s + 1 + best, NO_STEP)
    priors, thresholds = np.full(len(prior), np.nan), np.full(len(prior), np.nan)
    for j in candidates:
        chosen = np.flatnonzero(following == j)
        some = steps.rows(chosen), _Tables([one[chosen] for one in tables.asked], [])
        priors[chosen] = _prior_after(some[0], s, j, mean[chosen, None])[:, 0]
        thresholds[chosen] = _crossing(_GRID[None] - _value_of_asking(*some, s, j, _GRID))
    return following, priors, thresholds, share


def _crossing(gains: Float64Array) -> Float64Array:
    """Return where gains `(batch, n_grid)` of keeping, which rise, pass zero; 1 if they do not."""
    high = np.where((gains >= 0).any(axis=1), (gains >= 0).argmax(axis=1), len(_GRID) - 1)
    low = np.maximum(high - 1, 0)
    rows = np.arange(len(gains))
    below, above = gains[rows, low], gains[rows, high]
    share = np.where(above > below, -below / np.where(above > below, above - below, 1), 1.0)
    crossing = _GRID[low] + np.clip(share, 0, 1) * (_GRID[high] - _GRID[low])
    return np.where(gains[:, 0] >= 0, 0.0, crossing)


def _locate(points: Float64Array) -> tuple[IndexArray, Float64Array]:
    """Return the place on the grid below each point, and how far the point is to the next one."""
    position = np.clip(np.nan_to_num(points), 0, 1) * (len(_GRID) - 1)
    low = np.minimum(position.astype(np.intp), len(_GRID) - 2)
    return low, position - low


def _interpolate(values: Float64Array, points: Float64Array) -> Float64Array:
    """Return values `(batch, n_grid)` between the places of the grid, at points `(batch, m)`."""
    low, share = _locate(points)
    below, above = (np.take_along_axis(values, at, axis=1) for at in (low, low + 1))
    return np.asarray(below + share * (above - below))
