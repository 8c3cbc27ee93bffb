"""Which feedback rates an answer, and who gave it."""

from __future__ import annotations

from tryage.traffic.ratings import mean_rating, served_by
from tryage.traffic.records import DecisionRecord, Feedback, Outcome

RECORD = DecisionRecord("d", 0.0, "r", "chosen")


def feedback(score: float, kind: str = "thumb", expert: str | None = None) -> Feedback:
    return Feedback("f", "d", 0.0, score, kind, expert=expert)


def test_a_rating_is_the_mean_without_signals_that_only_bad_answers_get():
    given = [feedback(1.0), feedback(0.5, "judge"), feedback(0.0, "retry")]
    assert mean_rating(given) == 0.75
    assert mean_rating(given, "judge") == 0.5
    assert mean_rating(given[2:]) is None


def test_who_answered_is_whom_feedback_names_then_the_outcome_then_the_choice():
    outcome = Outcome("d", 0.0, "served")
    assert served_by(RECORD, outcome, [feedback(1.0, expert="named")]) == "named"
    assert served_by(RECORD, outcome, [feedback(1.0)]) == "served"
    assert served_by(RECORD, None, []) == "chosen"
