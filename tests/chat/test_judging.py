"""AnswerJudge: a share of the answers, within a budget, and never an error for the caller."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from tryage import Expert
from tryage.chat.conversation import Conversation, Turn
from tryage.chat.judging import AnswerJudge, JudgedAnswer, simple_judge
from tryage.core.decision import new_id
from tryage.errors import InputError
from tryage.onboarding.judge import RatingJudge
from tryage.scoring import Answer
from tryage.scoring.scorers import ScoreResult

LOW_ID = "0" * 16


@dataclass
class Plan:
    id: str
    conversation: Any


class Log:
    def __init__(self):
        self.signals = []

    def add_signal(self, feedback):
        self.signals.append(feedback)


def submit(judge, plan_id=LOW_ID):
    log, turns = Log(), [Turn("system", "Be brief."), Turn("user", "How are you?")]
    judge.submit(log, Plan(plan_id, Conversation(turns)), "small", "Well.")
    assert judge.flush(10)
    return log.signals


def test_a_judge_reads_the_question_the_prompt_and_the_answer():
    seen = []
    submit(AnswerJudge(seen.append, share=1.0))
    assert seen == [JudgedAnswer("How are you?", "Be brief.\n\nHow are you?", "Well.")]


def test_a_score_is_feedback_of_the_kind_judge_with_an_id_of_its_own():
    (feedback,) = submit(AnswerJudge(lambda _: True, share=1.0))
    assert (feedback.kind, feedback.score, feedback.expert) == ("judge", 1.0, "small")
    assert feedback.id == f"{LOW_ID}:judge:small"


@pytest.mark.parametrize("score", [None, float("nan")])
def test_a_judge_that_cannot_tell_gives_no_feedback(score):
    assert submit(AnswerJudge(lambda _: score, share=1.0)) == []


def test_about_the_share_of_random_ids_is_drawn():
    judge = AnswerJudge(lambda _: 1.0, share=0.2)
    drawn = sum(judge.draws(new_id()) for _ in range(5_000))
    assert 850 < drawn < 1_150  # five standard deviations
    assert not any(AnswerJudge(lambda _: 1.0, share=0.0).draws(new_id()) for _ in range(100))
    assert all(AnswerJudge(lambda _: 1.0, share=1.0).draws(new_id()) for _ in range(100))


def test_judging_ends_before_the_budget_is_exceeded():
    judge = AnswerJudge(lambda _: ScoreResult(1.0, 0.4), share=1.0, budget=1.0, cost=0.4)
    assert [len(submit(judge)) for _ in range(4)] == [1, 1, 0, 0]
    assert judge.spent == pytest.approx(0.8)


def test_a_budget_without_a_known_cost_ends_the_judging_and_says_why(caplog):
    judge = AnswerJudge(lambda _: 1.0, share=1.0, budget=1.0)
    assert [len(submit(judge)) for _ in range(2)] == [1, 0]
    assert "judge_cost" in caplog.text


def test_a_language_model_rates_an_answer_at_the_price_of_its_tokens():
    asked = []

    def model(text):
        asked.append(text)
        return Answer("Good. [[10]]", input_tokens=1_000, output_tokens=100)

    expert = Expert("judge", input_price=1.0, output_price=10.0)
    judge = AnswerJudge(simple_judge(RatingJudge(model, expert)), share=1.0, budget=1.0)
    (feedback,) = submit(judge)
    assert feedback.score == 1.0
    assert "How are you?" in asked[0]
    assert judge.spent == pytest.approx((1_000 * 1.0 + 100 * 10.0) / 1e6)


def test_a_judge_that_fails_is_a_warning_without_the_text_of_its_error(caplog):
    def fail(_):
        raise ValueError("my secret answer")

    with caplog.at_level(logging.WARNING):
        assert submit(AnswerJudge(fail, share=1.0)) == []
    assert "The judge failed: ValueError." in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(("score", "given"), [(4.0, "4"), (-1, "-1"), ("secret", "a str")])
def test_a_score_that_is_not_from_0_to_1_is_a_warning_and_no_feedback(score, given, caplog):
    with caplog.at_level(logging.WARNING):
        assert submit(AnswerJudge(lambda _: score, share=1.0)) == []
    assert f"The judge returned {given}, expected a score from 0 to 1." in caplog.text
    assert "secret" not in caplog.text


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InputError, match="judge_share"):
        AnswerJudge(lambda _: 1.0, share=1.5)
    with pytest.raises(InputError, match="judge_budget"):
        AnswerJudge(lambda _: 1.0, budget=-1)


def test_a_pickle_has_the_settings_and_a_new_budget():
    judge = AnswerJudge(len, share=0.5)
    judge.spent = 1.0
    again = pickle.loads(pickle.dumps(judge))  # noqa: S301 - our own pickle
    assert (again.share, again.spent) == (0.5, 0.0)


def rate(_):
    return "Good. [[10]]"


def test_a_model_that_rates_travels_in_a_pickle():
    judge = pickle.loads(pickle.dumps(simple_judge(RatingJudge(rate))))  # noqa: S301 - our own pickle
    assert judge(JudgedAnswer("question", "prompt", "answer")).score == 1.0
