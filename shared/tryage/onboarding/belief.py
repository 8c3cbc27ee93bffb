"""The joint belief about the abilities of new models and about how hard the questions are.

An answer of model `m` to the question `z` at position `x` has the loss

    L = a_m . x + d_z + e,    d_z ~ N(0, shared_z),    e ~ N(0, own_z)

`d_z` is what the text of the question does not tell of its difficulty: it is the same for all
models, and two fifths of the noise. So models that answer the same questions are compared without
it. The state is `[a_1 ... a_M, d_1 ... d_n]`, one Gaussian; an answer is one step of a Kalman
filter (Kalman, 1960; Bishop 2006, eq. 3.50-3.51).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import InputError
from tryage.perception.abilities import Gaussian

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import Float64Array
    from tryage.perception.abilities import Link

SHARED_NOISE = 0.4
"""The share of the noise of a loss that all models have in common on a question.

Measured by the residuals of known models in seven outcome sets: 0.28 to 0.55, mean 0.39
(`benchmarks/onboarding.py --noise`).
"""

PRIOR_CORRELATION = 0.25
"""How far the errors of what facts tell of models agree, because all are judged on one set."""


@dataclass(frozen=True, slots=True)
class QuestionPlaces:
    """Where questions lie in the ability space, and how noisy answers to them are.

    `positions` is `(n_questions, k)`; `shared` and `own` `(n_questions,)` are variances of a loss:
    of the difficulty that all models share, and of one model's answer beside that.
    """

    positions: Float64Array
    shared: Float64Array
    own: Float64Array

    def __len__(self) -> int:
        """Count the questions."""
        return len(self.positions)

    @staticmethod
    def from_text(
        positions: Float64Array, link: Link, noise: float, priors: Sequence[Gaussian]
    ) -> QuestionPlaces:
        """Return the places of questions of which only the text is known.

        `noise` is the variance of a loss around what is predicted from the text. Where the
        `priors` of the models expect that nearly all are right, or wrong, it is lower: there one
        answer that is otherwise tells more.
        """
        y = positions @ np.array([prior.mean for prior in priors]).T
        best = y.min(axis=1, keepdims=True)
        variances = link.outcome_variance(y, best, noise).mean(axis=1)
        return QuestionPlaces(positions, SHARED_NOISE * variances, (1 - SHARED_NOISE) * variances)


class AbilityBelief:
    """One Gaussian over the abilities of several models and the difficulties of the questions.

    Args:
        priors: The belief about each model before the test.
        places: The questions.
        correlation: How far the errors of the priors agree between models.
    """

    def __init__(
        self,
        priors: Sequence[Gaussian],
        places: QuestionPlaces,
        correlation: float = PRIOR_CORRELATION,
    ) -> None:
        self.places = places
        self.n_models, self.size = len(priors), places.positions.shape[1]
        self.mean = np.concatenate([np.asarray(one.mean, np.float64) for one in priors])
        self.covariance = np.zeros((len(self.mean), len(self.mean)))
        roots = [_square_root(np.asarray(one.covariance, np.float64)) for one in priors]
        for m, prior in enumerate(priors):
            for other in range(m):
                cross = correlation * roots[m] @ roots[other].T
                self.covariance[self._block(m), self._block(other)] = cross
                self.covariance[self._block(other), self._block(m)] = cross.T
            self.covariance[self._block(m), self._block(m)] = prior.covariance
        self._rows: dict[int, int] = {}  # question -> row of its difficulty in the state
        self._answers: list[tuple[int, int, float]] = []  # question, model and loss

    def copy(self) -> AbilityBelief:
        """Return a belief that changes apart from this one."""
        other = copy.copy(self)
        other.mean, other.covariance = self.mean.copy(), self.covariance.copy()
        other._rows = dict(self._rows)  # noqa: SLF001 - the same class
        other._answers = list(self._answers)  # noqa: SLF001 - the same class
        return other

    @property
    def means(self) -> Float64Array:
        """The expected abilities, `(n_models, k)`."""
        return self.mean[: self.n_models * self.size].reshape(self.n_models, self.size)

    def ability(self, model: int) -> Gaussian:
        """Return the belief about one model."""
        block = self._block(model)
        return Gaussian(self.mean[block].copy(), self.covariance[block, block].copy())

    @property
    def abilities_covariance(self) -> Float64Array:
        """The joint covariance of all abilities, `(n_models * k, n_models * k)`."""
        n = self.n_models * self.size
        return self.covariance[:n, :n]

    def answers(self, model: int) -> dict[int, float]:
        """Return the loss of a model on each question that it answered."""
        return {question: loss for question, other, loss in self._answers if other == model}

    def calibrated_ability(self, model: int, link: Link) -> Gaussian:
        """Return the belief about one model, with the level that its answers have on average."""
        ability, answers = self.ability(model), self.answers(model)
        if not answers:
            return ability
        noise = float((self.places.shared + self.places.own).mean())
        y = self.places.positions[np.array(list(answers), np.intp)] @ ability.mean
        losses = np.array(list(answers.values()), np.float64)
        ability.mean[0] += link.level_shift(y, losses, noise)
        return ability

    def update(self, question: int, losses: Mapping[int, float]) -> None:
        """Learn from the losses of some models, by their positions, on one question.

        Raises:
            InputError: a loss is not finite.
        """
        values = np.array(list(losses.values()), np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"losses {values.tolist()} on a question; expected finite numbers")
        expected, gain_rows, cross = self._innovation(question, list(losses))
        self.mean += gain_rows.T @ (values - expected)
        self._answers += [(question, model, float(loss)) for model, loss in losses.items()]
        self.covariance -= gain_rows.T @ cross

    def shrink(self, question: int, models: Sequence[int]) -> None:
        """Make the belief as certain as the answers of some models will; the mean stays."""
        _, gain_rows, cross = self._innovation(question, models)
        self.covariance -= gain_rows.T @ cross

    def _innovation(
        self, question: int, models: Sequence[int]
    ) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return what is expected of answers `(n,)`, the gain and the cross-covariance `(n, d)`."""
        row, position = self._difficulty_row(question), self.places.positions[question]
        cross = np.array([position @ self.covariance[self._block(m)] for m in models])
        cross += self.covariance[row]
        variance = np.stack(
            [cross[:, self._block(m)] @ position + cross[:, row] for m in models], axis=1
        )
        variance[np.diag_indices(len(models))] += self.places.own[question]
        expected = np.array([position @ self.mean[self._block(m)] for m in models]) + self.mean[row]
        return expected, np.linalg.solve(variance, cross), cross

    def _difficulty_row(self, question: int) -> int:
        """Return the row of a question's difficulty in the state; a new one is appended."""
        if question not in self._rows:
            n = len(self.mean)
            covariance = np.zeros((n + 1, n + 1))
            covariance[:n, :n] = self.covariance
            covariance[n, n] = self.places.shared[question]
            self.mean, self.covariance = np.append(self.mean, 0.0), covariance
            self._rows[question] = n
        return self._rows[question]

    def _block(self, model: int) -> slice:
        return slice(model * self.size, (model + 1) * self.size)


def _square_root(covariance: Float64Array) -> Float64Array:
    """Return the symmetric root of a covariance `(k, k)`."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)
