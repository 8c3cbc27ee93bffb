"""Prompts of the user: which scorer rates the answers to each form, and what is malformed."""

import pytest

from tryage.errors import InputError
from tryage.onboarding.prompts import ScoredPrompts, collect_prompts, scored_prompt
from tryage.scoring.measurement import Prompt


def score(row, answer, judge=None):
    prompt, scorer, _ = scored_prompt(row, judge, sandbox=False)
    return scorer(prompt, answer)


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        ({"prompt": "p", "answer": "Paris"}, "paris.", "Rome"),
        ({"prompt": "p", "reference": ["a", "b"]}, "b", "c"),
        ({"prompt": "p", "answer": 42}, "The answer is 42.", "43"),
        ({"prompt": "p", "answer": "1,000"}, "It is 1000", "100"),
        ({"prompt": "p", "choices": ["red", "blue"], "answer": "B"}, "Answer: B", "A"),
        (Prompt("p", ("red",), ("red", "blue")), "A", "B"),
    ],
)
def test_the_form_of_a_prompt_says_what_a_right_answer_is(row, right, wrong):
    assert score(row, right) == 1.0
    assert score(row, wrong) == 0.0


def test_choices_are_sent_with_their_letters():
    row = {"prompt": "Which?", "choices": ["red", "blue"], "answer": "B"}
    assert "B. blue" in scored_prompt(row, None, sandbox=False)[2]


def test_a_schema_checks_json():
    row = {"prompt": "p", "schema": {"type": "object", "required": ["name"]}}
    prompt, scorer, _ = scored_prompt(row, None, sandbox=False)
    collected = ScoredPrompts()
    collected.add(prompt, scorer)
    assert collected(prompt, '{"name": "Ana"}').score == 1.0
    assert collected(prompt, "{}").score == 0.0


def test_tests_run_code_only_if_that_is_allowed():
    row = {"prompt": "p", "tests": ["assert f(2) == 4"]}
    with pytest.raises(InputError, match="sandbox"):
        scored_prompt(row, None, sandbox=False)
    with pytest.warns(UserWarning, match="run"):
        prompt, scorer, _ = scored_prompt(row, None, sandbox=True)
    assert scorer(prompt, "def f(x):\n    return x * x") == 1.0


def test_a_judge_rates_what_has_no_checked_answer_and_nothing_else():
    def judge(*_):
        return 0.25

    assert score("p", "anything", judge) == 0.25
    assert score({"prompt": "p", "choices": ["a", "b"], "answer": "B"}, "B", judge) == 1.0


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p"},
        {"answer": "x"},
        {"prompt": 3, "answer": "x"},
        {"prompt": "p", "answer": "x", "typo": 1},
        {"prompt": "p", "answer": None},
        7,
        None,
    ],
)
def test_a_malformed_prompt_is_refused(row):
    with pytest.raises(InputError):
        scored_prompt(row, None, sandbox=False)


@pytest.mark.parametrize("prompts", ["one text", {"prompt": "p", "answer": "x"}, 3])
def test_what_is_no_list_of_prompts_is_refused(prompts):
    with pytest.raises(InputError, match="give a list"):
        collect_prompts((), prompts, None, sandbox=False)


def test_no_question_at_all_is_refused():
    with pytest.raises(InputError, match="no question"):
        collect_prompts((), None, None, sandbox=False).question_set()
