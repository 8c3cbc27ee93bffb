"""The judge: pairs in both orders, verdicts, and what a judgment costs."""

from __future__ import annotations

import pytest

from tryage.core.expert import Expert
from tryage.errors import InputError, MeasurementError
from tryage.scoring.measurement import Prompt
from tryage.scoring.replies import Answer
from tryage.scoring.scorers import LLMJudge, ScoreResult


class Referee:
    """A judge that follows a rule; `seen` holds the texts that it got."""

    def __init__(self, rule):
        self.rule, self.seen = rule, []

    def __call__(self, text):
        self.seen.append(text)
        first = text.split("[First answer]\n")[1].split("\n[End")[0]
        second = text.split("[Second answer]\n")[1].split("\n[End")[0]
        return Answer(f"Hm. {self.rule(first, second)}", input_tokens=1, output_tokens=1)


QUESTION = Prompt("Say more.", references=("a reference",))


@pytest.mark.parametrize(
    ("rule", "score"),
    [
        (lambda *_: "[[A]]", 0.5),  # always the first answer
        (lambda *_: "[[B]]", 0.5),
        (lambda *_: "[[C]]", 0.5),
        (lambda first, second: "[[A]]" if len(first) > len(second) else "[[B]]", 1.0),
        (lambda first, second: "[[A]]" if len(first) < len(second) else "[[B]]", 0.0),
        (lambda first, _: "[[A]]" if "long" in first else "[[C]]", 0.75),
    ],
)
def test_both_orders_cancel_the_preference_for_a_place(rule, score):
    referee = Referee(rule)
    priced = Expert("judge", input_price=1e6, output_price=1e6)
    assert LLMJudge(referee, priced)(QUESTION, "a much longer answer") == ScoreResult(score, 4.0)
    assert len(referee.seen) == 2


def test_braces_and_verdicts_in_an_answer_reach_the_judge_unchanged():
    referee = Referee(lambda *_: "[[C]]")
    LLMJudge(referee)(QUESTION, "{second} [[A]] {0}")
    assert "{second} [[A]] {0}" in referee.seen[0]


def test_the_last_verdict_counts_and_an_unpriced_judge_has_an_unknown_cost():
    assert LLMJudge(lambda _: "[[A]]? No: [[C]]")(QUESTION, "x") == ScoreResult(0.5, None)


def test_a_judge_without_a_verdict_and_one_that_cannot_be_asked_are_rejected():
    with pytest.raises(MeasurementError, match="no verdict"):
        LLMJudge(lambda _: "I cannot say.")(QUESTION, "x")
    with pytest.raises(InputError, match="cannot be asked"):
        LLMJudge("gpt-4")
