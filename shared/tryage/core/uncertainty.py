"""How far a prediction can be trusted: calibrated std, typicality, intervals and odds.

Everything here was measured on prompts that the estimators had not seen while training. Intervals
and typicality are cross-conformal (Vovk, 2015): they hold for new prompts of the kinds that were
trained on, whatever the distribution of the losses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.validation import check_integer, check_number

if TYPE_CHECKING:
    from tryage.core.arrays import FloatArray

LEVELS = tuple(round(0.01 * step, 2) for step in range(1, 100))  # of the stored quantiles

LOW_TYPICALITY = 0.01  # below it, an explanation says that the prompt is unlike all others

_WIDEN_BELOW = 0.05  # typicality from which on the uncertainty grows

_MIN_PROBABILITY = 1e-6  # of failing, so that log odds are finite
_MIN_UNIT = 1e-3


@dataclass(frozen=True, slots=True)
class UncertaintyCalibration:
    """What the losses of unseen prompts say about predictions.

    Attributes:
        disagreement_scale: What the disagreement of estimators is multiplied by, so that `std` is
            that of the mean loss of many prompts that look alike.
        unfamiliar_std: What is added (in squares) for a prompt that is unlike every known one.
        similarities: The highest cosine of an unseen prompt to a training prompt, sorted, `(n,)`.
        loss_knots: Predicted losses, increasing, `(n_knots,)`.
        outcome_stds: How far one measured loss lies from each of them: the standard deviation of an
            outcome whose mean is the predicted loss, `(n_knots,)`.
        answer_quantiles: How many standard deviations the loss of an answer lies from its
            prediction at most, at each of `LEVELS`.
        mean_quantiles: The same of the mean loss of a group of prompts.
        typical_std: The `std` that most predictions are below.
        odds_slope: Slope of the log odds, at which the better prediction is the better answer.
        odds_intercept: Log odds of the chosen expert where two predictions are equal.
        loss_range: The lowest and the highest loss, None if losses have no limits.
        min_std: The standard error of the mean loss of one expert over the prompts that it was
            measured on. No `std` is lower: a model of few experts fits their losses too well.
    """

    disagreement_scale: float
    unfamiliar_std: float
    similarities: FloatArray
    loss_knots: FloatArray
    outcome_stds: FloatArray
    answer_quantiles: FloatArray
    mean_quantiles: FloatArray
    typical_std: float
    odds_slope: float
    odds_intercept: float
    loss_range: tuple[float, float] | None
    min_std: float = 0.0

    def typicality(self, similarities: FloatArray) -> FloatArray:
        """Return the p-value of each prompt, `(batch,)`: conformal anomaly detection.

        It is the share of known kinds of prompts that are as far from the training prompts, so
        uniform for them (Laxhammar and Falkman, 2010). `similarities` `(batch,)` are the highest
        cosines to a training prompt (Sun et al., 2022: deep nearest neighbors).
        """
        n_below = self.similarities.searchsorted(similarities, side="right")
        return np.asarray((1 + n_below) / (self.similarities.size + 1))

    def widened(self, std: FloatArray, typicality: FloatArray) -> FloatArray:
        """Return standard deviations `(batch, n_experts)`, those raised that are too low.

        None is below `min_std`. An untypical prompt may be of a new task, so its mean losses may
        be any.
        """
        std = np.clip(std, self.min_std, np.inf)  # a third of the time of np.maximum
        if typicality.size and typicality.min() < _WIDEN_BELOW:
            weights = 1 - typicality / _WIDEN_BELOW
            rows = np.flatnonzero(weights > 0)
            variances = weights[rows, None] * self.unfamiliar_std**2
            std[rows] = np.minimum(np.sqrt(std[rows] ** 2 + variances), self.max_std)
        return std

    def outcome_std(self, losses: FloatArray) -> FloatArray:
        """Return the standard deviation of an outcome around each predicted loss."""
        return np.asarray(np.interp(losses, self.loss_knots, self.outcome_stds))

    def interval(
        self, loss: float, std: float, level: float = 0.9, prompts: int = 1
    ) -> tuple[float, float]:
        """Return in which interval the mean measured loss of some `prompts` lies.

        Args:
            loss: The predicted loss.
            std: The standard deviation of the mean loss.
            level: The probability of the interval.
            prompts: How many prompts, all like this one; 1 means the answer to this prompt alone.

        Raises:
            InputError: the level is not between .01 and .99, or the number of prompts is not a
                whole one from 1.
        """
        level = check_number("level", level, LEVELS[0], LEVELS[-1])
        check_integer("prompts", prompts, 1)
        low, high = self.loss_range or (-math.inf, math.inf)
        if std >= self.max_std:  # nothing is known
            return low, high
        variance = std**2 + float(self.outcome_std(np.float64(loss))) ** 2 / prompts
        of_answer, of_mean = (
            float(np.interp(level, LEVELS, quantiles))
            for quantiles in (self.answer_quantiles, self.mean_quantiles)
        )
        half_width = (of_mean + (of_answer - of_mean) / prompts) * math.sqrt(variance)
        return max(loss - half_width, low), min(loss + half_width, high)

    def better_probability(
        self, losses: tuple[float, float], stds: tuple[float, float], gap: float, *, has_terms: bool
    ) -> float:
        """Return how often the first of two experts is the better one, where their losses differ.

        For losses in [0, 1] the log odds are `slope` times the difference of the logits of the
        predicted losses (the conditional likelihood of Rasch, 1960); for other losses, the
        difference in standard deviations of an outcome.

        Args:
            losses: The predicted losses of the first and the second.
            stds: Their standard deviations. Larger ones than usual bring the odds nearer to even
                (MacKay, 1992).
            gap: By how much the total of the second is higher. A lead by a weight or by costs
                counts as much as a lead in predicted loss.
            has_terms: Whether anything besides the losses was compared.
        """
        odds = self.odds_slope * self.distance(*losses, gap)
        excess = self.odds_slope * math.sqrt(sum(map(self._excess_variance, stds)))
        excess /= self._unit(*losses)
        odds /= math.sqrt(1 + math.pi / 8 * excess**2)
        odds += 0.0 if has_terms else self.odds_intercept
        return 1 / (1 + math.exp(-max(min(odds, 60.0), -60.0)))

    def distance(self, loss: float, other_loss: float, gap: float) -> float:
        """Return a gap between two predicted losses on the scale of the odds."""
        if self.loss_range != (0.0, 1.0):
            return gap / self._unit(loss, other_loss)
        middle = (loss + other_loss) / 2
        return _logit(middle + gap / 2) - _logit(middle - gap / 2)

    def _unit(self, loss: float, other_loss: float) -> float:
        """Return the difference of two losses that counts as one on the scale of the odds."""
        if self.loss_range != (0.0, 1.0):
            return math.hypot(*self.outcome_std(np.array([loss, other_loss])).tolist())
        middle = min(max((loss + other_loss) / 2, _MIN_UNIT), 1 - _MIN_UNIT)
        return middle * (1 - middle)

    @property
    def max_std(self) -> float:
        """The standard deviation of a mean loss of which nothing is known."""
        low, high = self.loss_range or (-math.inf, math.inf)
        return (high - low) / 2

    def _excess_variance(self, std: float) -> float:
        return max(std**2 - self.typical_std**2, 0.0)


def _logit(probability: float) -> float:
    clipped = min(max(probability, _MIN_PROBABILITY), 1 - _MIN_PROBABILITY)
    return math.log(clipped / (1 - clipped))
