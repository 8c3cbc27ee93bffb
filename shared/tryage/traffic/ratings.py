"""Who gave a logged answer, and which feedback counts as a rating of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.traffic.feedback_model import LIKELIHOOD_RATIOS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.traffic.records import DecisionRecord, Feedback, Outcome

SIGNAL_KINDS = frozenset(LIKELIHOOD_RATIOS)
"""Kinds of feedback that only bad answers get: their mean says nothing about quality."""


def served_by(
    record: DecisionRecord, outcome: Outcome | None, given: Sequence[Feedback]
) -> str | None:
    """Return the expert that answered; the chosen one where no outcome says another."""
    named = next((one.expert for one in given if one.expert is not None), None)
    if named is not None:
        return named
    return record.chosen if outcome is None else outcome.served_by


def is_rating(one: Feedback, kind: str | None = None) -> bool:
    """Return whether feedback is a rating: of one kind, or of any kind but `SIGNAL_KINDS`."""
    return one.kind not in SIGNAL_KINDS if kind is None else one.kind == kind


def mean_rating(given: Sequence[Feedback], kind: str | None = None) -> float | None:
    """Return the mean score of the ratings of a decision, None without any."""
    scores = [one.score for one in given if is_rating(one, kind)]
    return sum(scores) / len(scores) if scores else None
