"""What feedback of each kind says about the loss of an answer, and how far it is believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tryage.traffic.records import Feedback

# If a signal is wrong with probability f, the same information takes 1 / (1 - 2 f)^2 as many of
# them. These are the factors for the f that each kind is taken to have.
NOISE_FACTORS: Mapping[str, float] = MappingProxyType(
    {
        "test": 1.0,  # checked against the right answer
        "label": 1.0,  # a person who was asked to check
        "score": 1.5,  # f = .10
        "judge": 2.0,  # f = .15, a language model
        "thumb": 3.0,  # f = .21, a user in passing
        "parse": 1.5,
        "retry": 6.0,  # f = .30
        "error": 6.0,
    }
)

UNKNOWN_KIND_FACTOR = 3.0

# How many times as often these signals come after a bad answer as after a good one. They never come
# as good news, so each of them moves the belief only as far as this ratio says.
LIKELIHOOD_RATIOS: Mapping[str, float] = MappingProxyType(
    {"parse": 9.0, "retry": 3.0, "error": 3.0}
)

LEVEL_STD_KNOWN = 0.03
LEVEL_STD_UNKNOWN = 0.15
COMMON_LEVEL_STD = 0.15
COMMON_SHARE = 0.25


@dataclass(frozen=True)
class FeedbackModel:
    """How far each kind of feedback is believed, and how far traffic may differ from training.

    `noise_factors` multiply the variance of a checked answer. Kinds in `likelihood_ratios` are
    one-sided: they come only when something is wrong.

    Traffic differs from what a router was trained on. All experts together may be better or worse
    there than expected, by a standard deviation of `common_level_std`, in loss, and more so on some
    kinds of prompts, with a covariance of `common_share` of that among experts. A single expert may
    differ from that by `level_std_known` if it was measured, else by `level_std_unknown`.
    """

    noise_factors: Mapping[str, float] = field(default_factory=lambda: dict(NOISE_FACTORS))
    likelihood_ratios: Mapping[str, float] = field(default_factory=lambda: dict(LIKELIHOOD_RATIOS))
    level_std_known: float = LEVEL_STD_KNOWN
    level_std_unknown: float = LEVEL_STD_UNKNOWN
    common_level_std: float = COMMON_LEVEL_STD
    common_share: float = COMMON_SHARE

    def noise_factor(self, kind: str) -> float:
        """Return what the variance of a checked answer is multiplied by."""
        return self.noise_factors.get(kind, UNKNOWN_KIND_FACTOR)

    def is_one_sided(self, kind: str) -> bool:
        """Return whether feedback of this kind comes only when something is wrong."""
        return kind in self.likelihood_ratios

    def measured_loss(self, feedback: Feedback, first_expected: float) -> float:
        """Return the loss that feedback reports.

        A one-sided signal reports the probability that the answer was bad, by Bayes' rule from
        `first_expected`, the loss that was expected before any feedback. So a thousand retries
        cannot say more than that.
        """
        loss = 1.0 - feedback.score
        ratio = self.likelihood_ratios.get(feedback.kind)
        if ratio is None or loss <= 0:
            return loss
        p = min(max(first_expected, 0.0), 1.0)
        return p * ratio / (p * ratio + 1 - p)
