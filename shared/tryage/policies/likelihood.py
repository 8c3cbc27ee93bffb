"""How much the number that a verifier reads tells: its likelihood under right and wrong answers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

    from tryage.core.arrays import Float64Array, FloatArray, IndexArray

MIN_ANSWERS = 20  # labelled answers; fewer cannot tell three levels apart

_MAX_LEVELS = 12

_PRIOR_ANSWERS = 4.0  # that count as no evidence in each level: a level of few answers tells little

_NEWTON_STEPS = 30

_CLIP = 1e-6


@dataclass(frozen=True)
class Likelihood:
    """The probabilities of each level of evidence, for right and for wrong answers.

    `bounds` `(n_levels - 1,)` divide the numbers into levels, each bound belongs to the level
    above. `right` and `wrong` `(n_levels,)` are P(level | right) and P(level | wrong).

    Raises:
        InputError: the shapes do not fit, or something is no probability.
    """

    bounds: tuple[float, ...]
    right: tuple[float, ...]
    wrong: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the shapes and the sums."""
        n = len(self.bounds) + 1
        for name in ("right", "wrong"):
            values = np.asarray(getattr(self, name), np.float64)
            if values.shape != (n,) or not (values > 0).all() or abs(values.sum() - 1) > _CLIP:
                raise InputError(
                    f"{name} is {getattr(self, name)!r:.80} with {n - 1} bounds; expected {n} "
                    "probabilities above 0 that add up to 1."
                )

    @classmethod
    def fit(cls, evidence: FloatArray, right: FloatArray, priors: FloatArray | None = None) -> Self:
        """Fit the levels to labelled answers; higher evidence never counts for less.

        The answers are divided into up to 12 levels of equal size. The likelihood ratio of a level
        is what turns the priors of its answers into their share of right ones, so evidence counts
        only for what the priors do not say already: logistic regression with the priors as offset.
        Neighboring levels are pooled until the ratios rise (isotonic regression).

        Args:
            evidence: The numbers of the verifier, `(n_answers,)`, NaN where it said nothing.
            right: The measured quality of each answer, in [0, 1]; 1 is right.
            priors: P(right) before the evidence. Without them the share of right answers.

        Raises:
            InputError: fewer than 20 answers with evidence, or all right or all wrong.
        """
        known, labels, prior = _known_answers(evidence, right, priors)
        _check_labels(known, labels)
        order = np.argsort(known, kind="stable")
        known, labels, logits = known[order], labels[order], _logit(prior[order])
        groups = _pooled(_equal_groups(known), labels, logits)
        ratios = np.array([_log_ratio(labels[one], logits[one]) for one in groups])
        sizes = np.array([one.stop - one.start for one in groups])
        counts = [labels[one].sum() for one in groups] + _PRIOR_ANSWERS * sizes / len(labels)
        bounds = [(known[one.start] + known[one.start - 1]) / 2 for one in groups[1:]]
        return cls(
            tuple(map(float, bounds)), _normalized(counts), _normalized(counts / np.exp(ratios))
        )

    @property
    def n_levels(self) -> int:
        """How many levels there are."""
        return len(self.right)

    @property
    def log_ratios(self) -> Float64Array:
        """`log P(level | right) / P(level | wrong)`, `(n_levels,)`."""
        return np.asarray(np.log(self.right) - np.log(self.wrong))

    @property
    def auc(self) -> float:
        """The probability that a right answer has more evidence than a wrong one, ties half."""
        right, wrong = np.asarray(self.right), np.asarray(self.wrong)
        below = np.cumsum(wrong) - wrong
        return float(right @ (below + wrong / 2))

    def levels(self, evidence: FloatArray) -> IndexArray:
        """Return the level of each number, in the shape of `evidence`."""
        return np.searchsorted(np.asarray(self.bounds), evidence, side="right")

    def posteriors(self, priors: FloatArray) -> Float64Array:
        """Return P(right | level) for each prior, `(n_priors, n_levels)`, by Bayes' rule."""
        return _sigmoid(_logit(np.asarray(priors, np.float64))[:, None] + self.log_ratios)

    def posterior(self, prior: float, evidence: float | None) -> float:
        """Return P(right) after one number; the prior if there is none."""
        if evidence is None or np.isnan(evidence):
            return prior
        ratio = self.log_ratios[self.levels(np.asarray(evidence))]
        return float(_sigmoid(_logit(np.asarray(prior, np.float64)) + ratio))

    def level_probabilities(self, priors: FloatArray) -> Float64Array:
        """Return P(level) for each prior, `(n_priors, n_levels)`."""
        p = np.asarray(priors, np.float64)[:, None]
        return np.asarray(p * np.asarray(self.right) + (1 - p) * np.asarray(self.wrong))


def _known_answers(
    evidence: FloatArray, right: FloatArray, priors: FloatArray | None
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return evidence, quality and priors of the answers that have evidence and a label."""
    columns = np.asarray(evidence, np.float64), np.asarray(right, np.float64)
    is_known = ~np.isnan(columns[0]) & ~np.isnan(columns[1])
    known, labels = columns[0][is_known], columns[1][is_known]
    if priors is None:
        return known, labels, np.full(len(labels), labels.mean() if len(labels) else 0.5)
    return known, labels, np.asarray(priors, np.float64)[is_known]


def _check_labels(evidence: Float64Array, right: Float64Array) -> None:
    if len(right) < MIN_ANSWERS:
        raise InputError(
            f"{len(right)} labelled answers have evidence; expected at least {MIN_ANSWERS}, and "
            "some hundred for fine levels."
        )
    if not np.isfinite(evidence).all() or right.min() < 0 or right.max() > 1:
        raise InputError("Evidence has to be finite, and the quality of answers from 0 to 1.")
    if right.max() <= 0 or right.min() >= 1:
        word = "wrong" if right.max() <= 0 else "right"
        raise InputError(f"All {len(right)} labelled answers are {word}; expected both kinds.")


def _equal_groups(evidence: Float64Array) -> list[slice]:
    """Divide sorted numbers into groups of about the same size; equal ones stay together."""
    n = len(evidence)
    wanted = np.linspace(0, n, min(_MAX_LEVELS, n // (MIN_ANSWERS // 2)) + 1).astype(int)[1:-1]
    starts = np.searchsorted(evidence, evidence[wanted], side="left")
    edges = [0, *np.unique(starts[starts > 0]).tolist(), n]
    return [slice(low, high) for low, high in pairwise(edges)]


def _pooled(groups: list[slice], right: Float64Array, logits: Float64Array) -> list[slice]:
    """Pool neighboring groups until the likelihood ratios rise: pool adjacent violators."""
    pooled: list[tuple[slice, float]] = []
    for one in groups:
        current, ratio = one, _log_ratio(right[one], logits[one])
        while pooled and pooled[-1][1] >= ratio:
            current = slice(pooled.pop()[0].start, current.stop)
            ratio = _log_ratio(right[current], logits[current])
        pooled.append((current, ratio))
    return [one for one, _ in pooled]


def _log_ratio(right: Float64Array, logits: Float64Array) -> float:
    """Return the shift of all logits that gives the measured number of right answers."""
    prior = _sigmoid(logits)
    target = right.sum() + _PRIOR_ANSWERS * prior.mean()
    scale = 1 + _PRIOR_ANSWERS / len(right)
    shift = 0.0
    for _ in range(_NEWTON_STEPS):
        shifted = _sigmoid(logits + shift)
        slope = scale * (shifted * (1 - shifted)).sum()
        shift += float(np.clip((target - scale * shifted.sum()) / max(slope, _CLIP), -1, 1))
    return shift


def _normalized(values: Float64Array) -> tuple[float, ...]:
    return tuple((values / values.sum()).tolist())


def _logit(p: Float64Array) -> Float64Array:
    p = np.clip(p, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p / (1 - p)))


def _sigmoid(x: Float64Array) -> Float64Array:
    return np.asarray(1 / (1 + np.exp(-x)))
