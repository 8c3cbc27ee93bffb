"""Scorers: which answers count as right."""

from __future__ import annotations

import pytest

from tryage.errors import InputError
from tryage.scoring.measurement import Prompt
from tryage.scoring.scorers import (
    ScoreResult,
    check_required_fields,
    exact_match,
    format_choices,
    multiple_choice,
    numeric,
)

CAPITALS = ("Paris", "London", "New York", "York")


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Paris", 1),
        (" paris.\n", 1),
        ("\uff30aris", 1),
        ("Paris, France", 1),
        ("London", 0),
        ("", 0),
    ],
)
def test_an_exact_match_ignores_case_spaces_and_surrounding_punctuation(answer, score):
    assert exact_match(Prompt("?", references=("Paris", "paris, france")), answer) == score


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("b", None),
        ("B. London", "B"),
        ("The answer is B.", "B"),
        ("The answer is (B), not A", "B"),
        ("Answer: C", "C"),
        ("The answer is A. No, wait: the answer is C.", "C"),
        (r"so \boxed{D}", "D"),
        ("A is wrong, and C is not it.\nThe answer is: B", "B"),
        ("A. no\nB. yes, that is it\n\nAnswer: **B**", "B"),
        ("I think it is London", "B"),
        ("new york", "C"),
        ("London or Paris", None),
        ("A dog ran", None),
        ("The answer is Excellent", None),
        ("E", None),
        ("", None),
    ],
)
def test_the_choice_is_read_from_its_letter_or_its_text(answer, letter):
    for place, right in enumerate("ABCD"):
        prompt = Prompt("Capital?", references=(right,), choices=CAPITALS)
        assert multiple_choice(prompt, answer) == float(right == letter), right
        by_text = Prompt("Capital?", references=(CAPITALS[place],), choices=CAPITALS)
        assert multiple_choice(by_text, answer) == float(right == letter)


def test_a_reference_that_is_not_a_choice_is_rejected():
    with pytest.raises(InputError, match="not one of the choices"):
        multiple_choice(Prompt("?", references=("Rome",), choices=CAPITALS), "A")


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("42", "42", 1),
        ("It is 42.", "42", 1),
        ("1 + 1 = 2, so the answer is 3 of 7", "3", 1),
        ("reasoning 5\n#### 1,234", "1234", 1),
        (r"\boxed{-7}", "-7", 1),
        ("\u22127", "-7", 1),
        ("3/4", "0.75", 1),
        ("12.5%", "0.125", 1),
        ("1e3", "1000", 1),
        ("0.3333333333", "1/3", 1),
        ("0.33", "1/3", 0),
        ("0", "0", 1),
        ("5/0", "5", 0),
        ("no number", "1", 0),
        ("v2", "2", 0),
        ("", "1", 0),
    ],
)
def test_a_number_counts_by_its_value(answer, reference, score):
    assert numeric(Prompt("?", references=(reference,)), answer) == score


def test_choices_are_listed_with_their_letters():
    prompt = Prompt("Capital of France?", references=("A",), choices=("Paris", "Lima"))
    assert format_choices(prompt).splitlines()[1:3] == ["A. Paris", "B. Lima"]


def test_a_prompt_without_a_field_that_the_scorer_needs_is_rejected():
    check_required_fields(exact_match, Prompt("?", references=("a",)))
    with pytest.raises(InputError, match="references"):
        check_required_fields(exact_match, Prompt("?"))
    with pytest.raises(InputError, match="choices"):
        check_required_fields(multiple_choice, Prompt("?", references=("A",)))


@pytest.mark.parametrize("given", [1.5, -0.1, float("nan"), "good", None])
def test_a_score_outside_its_range_is_rejected(given):
    with pytest.raises(InputError, match="from 0 to 1"):
        ScoreResult.from_value(given)


def test_a_bool_and_a_score_result_are_scores():
    assert ScoreResult.from_value(True) == ScoreResult(1.0)
    assert ScoreResult.from_value(ScoreResult(0.5, 0.01)) == ScoreResult(0.5, 0.01)


@pytest.mark.parametrize(
    "answer",
    [
        "Die richtige Antwort ist B.",
        "Antwort: \u201eB\u201c",
        "La réponse est la **B**, car A est fausse.",
        "La respuesta correcta es la B",
        "Правильный ответ: B",
        "Ответ \u2014 \u0412.",  # the Cyrillic letter that looks like B
        "答案是B。",
        "答案\uff1aB",
        "选B",
    ],
)
def test_the_announced_letter_is_read_in_six_languages(answer):
    prompt = Prompt("?", references=("B",), choices=("one", "two", "three"))
    assert multiple_choice(prompt, answer) == 1
    assert multiple_choice(Prompt("?", ("A",), prompt.choices), answer) == 0


@pytest.mark.parametrize("answer", ["Antwort: Bald", "Ответ: Вот", "Die Antwort ist Berlin"])
def test_the_first_letter_of_a_word_is_no_choice(answer):
    prompt = Prompt("?", references=("B",), choices=("one", "two", "three"))
    assert multiple_choice(prompt, answer) == 0


@pytest.mark.parametrize(
    "answer",
    [
        "答案是42。",
        "一共42个",
        "Antwort: 42 (also 40 + 2)",
        "Ответ: **42**",
        "La réponse est 42.",
    ],
)
def test_numbers_are_read_in_other_languages(answer):
    assert numeric(Prompt("?", references=("42",)), answer) == 1


def test_a_fraction_in_latex_is_a_number():
    assert numeric(Prompt("?", references=("3/4",)), r"So it is $\dfrac{3}{4}$.") == 1


def test_the_text_of_a_choice_is_read_only_as_whole_words():
    prompt = Prompt("?", references=("no",), choices=("yes", "no"))
    assert multiple_choice(prompt, "I do not know.") == 0
    assert multiple_choice(prompt, "No, it does not.") == 1
