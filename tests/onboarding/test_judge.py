"""The judge of single answers: ratings as scores, and what is no rating."""

import pytest

from tryage.core.expert import Expert
from tryage.errors import MeasurementError
from tryage.onboarding.judge import RatingJudge
from tryage.scoring.measurement import Prompt
from tryage.scoring.replies import Answer


@pytest.mark.parametrize(("rating", "score"), [("1", 0.0), ("10", 1.0), ("5.5", 0.5)])
def test_ratings_from_1_to_10_are_scores_from_0_to_1(rating, score):
    judge = RatingJudge(lambda _: f"Well. [[{rating}]]")
    assert judge(Prompt("p"), "a").score == pytest.approx(score)


def test_the_last_rating_counts_and_costs_what_the_judge_costs():
    reply = Answer("[[1]] would be too low: [[10]]", 1e6, 0.0)
    judge = RatingJudge(lambda _: reply, Expert("j", input_price=2.0, output_price=0.0))
    assert judge(Prompt("p"), "a").score == 1.0
    assert judge(Prompt("p"), "a").cost == 2.0


def test_the_judge_sees_prompt_answer_and_reference_with_braces_as_they_are():
    seen = []
    judge = RatingJudge(lambda text: seen.append(text) or "[[10]]")
    judge(Prompt("say {answer}", ("{prompt}",)), "an {answer}")
    assert "say {answer}" in seen[0]
    assert "an {answer}" in seen[0]
    assert "[A right answer]\n{prompt}" in seen[0]


@pytest.mark.parametrize("text", ["good", "[[11]]", "[[0]]", "[[x]]"])
def test_what_is_no_rating_is_an_error_of_this_answer(text):
    with pytest.raises(MeasurementError, match="no rating"):
        RatingJudge(lambda _: text)(Prompt("p"), "a")
