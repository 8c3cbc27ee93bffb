"""Which questions tell most about the choices to come, and when further answers change none.

A choice between two models depends on the difference of their totals, `L_m(x) - L_b(x)`, on a
typical prompt `x`. What perfect knowledge of it is worth is `s f(-|d| / s)` for a difference with
mean `d` and standard deviation `s`, `f(u) = phi(u) + u Phi(u)` (the knowledge gradient of Frazier,
Powell and Dayanik, 2009). It falls with the variance at the rate `phi(d / s) / (2 s)`. So the next
question is the one whose answers lower the variances of all differences most, each weighted by
that rate: a model is asked where it competes.

A linear model learns most from the ends of its space, where it is least right. So a part of each
batch are the next questions of a fixed random order, which stand for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import BoolArray, Float64Array, IndexArray
    from tryage.onboarding.belief import AbilityBelief
    from tryage.perception.abilities import Link

N_SAMPLES = 400  # of the abilities; the share of 5% is then known to 1%

REPRESENTATIVE_SHARE = 0.6  # of the questions of a batch

_MAX_CANDIDATES = 300  # questions among which the most informative are sought, for speed

_SEED = 0  # the same belief has the same samples, so that a resumed test goes on as it was

_LEVEL_WEIGHT = 0.05  # of the mean loss of each model, beside the differences

_MIN_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class TypicalChoices:
    """The choices that the test is for.

    `positions` `(n_prompts, k)` are those of typical prompts, `costs` `(n_prompts, n_models)` what
    an answer costs, in loss: the USD divided by the value of a right answer. `rival`
    `(n_prompts,)` is the lowest total of the experts that are known already, inf without any.
    """

    positions: Float64Array
    costs: Float64Array
    rival: Float64Array
    link: Link

    def totals(self, abilities: Float64Array) -> Float64Array:
        """Return loss plus costs `(..., n_prompts, n_models)` of abilities `(..., n_models, k)`."""
        y = np.einsum("xk,...mk->...xm", self.positions, abilities)
        return np.asarray(self.link.losses(y, y.min(axis=-1, keepdims=True)) + self.costs)


@dataclass(frozen=True, slots=True)
class Regret:
    """What the present choices may lose against the best ones, by samples of the belief.

    `samples` `(n_samples,)` are mean losses over the typical prompts; `by_model` `(n_models,)` is
    the share of the mean that comes from prompts where that model would be the better choice.
    """

    samples: Float64Array
    by_model: Float64Array

    def exceeds(self, tolerance: float) -> float:
        """Return the probability that the present choices lose more than `tolerance`."""
        return float((self.samples > tolerance).mean())

    def quantile(self, probability: float) -> float:
        """Return what the present choices lose at most, with a probability."""
        return float(np.quantile(self.samples, probability))


def expected_regret(belief: AbilityBelief, choices: TypicalChoices) -> Regret:
    """Return the regret of choosing by the expected losses of today."""
    sampled = choices.totals(_sample(belief))
    chosen = _with_rival(choices.totals(belief.means), choices.rival).argmin(axis=-1)
    all_totals = _with_rival(sampled, choices.rival)
    rows = np.arange(len(chosen))
    lost = np.maximum(all_totals[:, rows, chosen] - all_totals.min(axis=-1), 0.0)
    best = all_totals.argmin(axis=-1)
    by_model = [np.where(best == m, lost, 0.0).mean() for m in range(belief.n_models)]
    by_choice = [np.where(chosen == m, lost, 0.0).mean() for m in range(belief.n_models)]
    return Regret(lost.mean(axis=1), np.maximum(by_model, by_choice))


def _sample(belief: AbilityBelief) -> Float64Array:
    """Return abilities `(n_samples, n_models, k)` drawn from the belief."""
    covariance = belief.abilities_covariance
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    noise = np.random.default_rng(_SEED).standard_normal((N_SAMPLES, len(values)))
    flat = belief.means.ravel() + noise @ root.T
    return np.asarray(flat.reshape(N_SAMPLES, belief.n_models, belief.size))


def _with_rival(totals: Float64Array, rival: Float64Array) -> Float64Array:
    """Append the column of the known experts."""
    column = np.broadcast_to(rival[..., None], (*totals.shape[:-1], 1))
    return np.concatenate([totals, column], axis=-1)


def choose_questions(
    belief: AbilityBelief,
    choices: TypicalChoices,
    can_answer: BoolArray,
    n: int,
    order: Sequence[int],
) -> list[int]:
    """Return the next `n` questions: the first ones of an `order`, then the most informative ones.

    `REPRESENTATIVE_SHARE` of them come from the order of all questions; the others lower the
    expected regret most. All models that may answer a question `(n_questions, n_models)` are asked
    it: what is hard about it for all of them then does not count.
    """
    importance, planned = _importance(belief, choices), belief.copy()
    is_open: BoolArray = np.asarray(can_answer.any(axis=1))
    n_representative = round(REPRESENTATIVE_SHARE * n)
    chosen = [question for question in order if is_open[question]][:n_representative]
    for question in chosen:
        is_open[question] = False
        planned.shrink(question, np.flatnonzero(can_answer[question]).tolist())
    others = np.array([question for question in order if is_open[question]], np.intp)
    others = others if others.size else np.flatnonzero(is_open)
    others = others[:_MAX_CANDIDATES]
    while len(chosen) < n and is_open[others].any():
        candidates = others[is_open[others]]
        gains = _gains(planned, importance, candidates, can_answer[candidates])
        best = int(candidates[gains.argmax()])
        chosen.append(best)
        is_open[best] = False
        planned.shrink(best, np.flatnonzero(can_answer[best]).tolist())
    return chosen


def representative_order(kinds: Sequence[str | None]) -> list[int]:
    """Return the positions of questions of some `kinds` in random order, each kind in turn."""
    rng = np.random.default_rng(_SEED)
    shuffled = rng.permutation(len(kinds)).tolist()
    rank: dict[str | None, int] = {}
    turns = {}
    for i in shuffled:
        turns[i] = rank[kinds[i]] = rank.get(kinds[i], -1) + 1
    return sorted(shuffled, key=turns.__getitem__)  # stable: random within a turn


def _importance(belief: AbilityBelief, choices: TypicalChoices) -> Float64Array:
    """Return how much each pair of directions of the abilities matters, `(M * k, M * k)`.

    The trace of its product with a covariance is the weighted sum of the variances of differences.
    """
    n_models, k, n = belief.n_models, belief.size, len(choices.positions)
    totals, slopes = choices.totals(belief.means), _slopes(belief, choices)
    best = totals.argmin(axis=1)
    has_rival = choices.rival < totals.min(axis=1)
    importance = np.zeros((n_models, k, n_models, k))
    covariance = belief.abilities_covariance.reshape(n_models, k, n_models, k)
    for b in range(-1, n_models):
        rows = np.flatnonzero(has_rival if b < 0 else ~has_rival & (best == b))
        rival = choices.rival[rows] if b < 0 else totals[rows, b]
        for m in range(n_models):
            if m == b or not rows.size:
                continue
            own = choices.positions[rows] * slopes[rows, m, None]
            other = choices.positions[rows] * (0.0 if b < 0 else slopes[rows, b, None])
            variance = _quadratic(own, covariance[m, :, m])
            variance += _quadratic(other, covariance[b, :, b])
            variance -= 2 * np.einsum("ij,jk,ik->i", own, covariance[m, :, b], other)
            rate = _rate(totals[rows, m] - rival, variance)[:, None] / n
            importance[m, :, m] += (own * rate).T @ own
            importance[b, :, b] += (other * rate).T @ other
            importance[m, :, b] -= (own * rate).T @ other
            importance[b, :, m] -= (other * rate).T @ own
    for m in range(n_models):
        mean = (choices.positions * slopes[:, m, None]).mean(axis=0)
        importance[m, :, m] += _LEVEL_WEIGHT * np.outer(mean, mean)
    return importance.reshape(n_models * k, n_models * k)


def _slopes(belief: AbilityBelief, choices: TypicalChoices) -> Float64Array:
    """Return how far a loss rises with its linear prediction, `(n_prompts, n_models)`."""
    y = choices.positions @ belief.means.T
    return np.asarray(choices.link.std(y, np.ones_like(y), y.min(axis=1, keepdims=True)))


def _quadratic(rows: Float64Array, matrix: Float64Array) -> Float64Array:
    return np.asarray(((rows @ matrix) * rows).sum(axis=1))


def _rate(difference: Float64Array, variance: Float64Array) -> Float64Array:
    """Return how fast the value of perfect knowledge falls with the variance, `(n,)`."""
    std = np.sqrt(np.maximum(variance, _MIN_VARIANCE))
    density = np.exp(-0.5 * (difference / std) ** 2) / np.sqrt(2 * np.pi)
    return np.asarray(density / (2 * std))


def _gains(
    belief: AbilityBelief, importance: Float64Array, questions: IndexArray, can_answer: BoolArray
) -> Float64Array:
    """Return how far the answers to each of some new questions lower what matters, `(n,)`."""
    n_models, k, places = belief.n_models, belief.size, belief.places
    covariance = belief.abilities_covariance
    spread = (covariance @ importance @ covariance).reshape(n_models, k, n_models, k)
    shape = (n_models, k, n_models, k)
    positions = places.positions[questions]
    reduction = _per_question(positions, spread)
    variance = _per_question(positions, covariance.reshape(shape))
    variance += places.shared[questions, None, None]
    diagonal = np.arange(n_models)
    variance[:, diagonal, diagonal] += places.own[questions, None]
    is_pair = can_answer[:, :, None] & can_answer[:, None, :]
    reduction = np.where(is_pair, reduction, 0.0)
    variance = np.where(is_pair, variance, np.eye(n_models))
    return np.asarray(np.trace(np.linalg.solve(variance, reduction), axis1=1, axis2=2))


def _per_question(positions: Float64Array, matrix: Float64Array) -> Float64Array:
    """Return `(n_questions, M, M)`: the form `(M, k, M, k)` at the position of each question."""
    half = np.tensordot(positions, matrix, axes=(1, 1))  # (n_questions, M, M, k)
    return np.asarray(np.einsum("zmnk,zk->zmn", half, positions))
