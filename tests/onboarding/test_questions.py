"""The questions that ship: how many of what, and whether scorers know right from wrong."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tryage.errors import InputError, MissingExtraError
from tryage.onboarding.questions import LEVELS, QuestionScorer, load_questions
from tryage.scoring.measurement import Prompt

QUESTIONS = load_questions()
WITHOUT_CODE = load_questions(runs_code=False)
CODE = tuple(question for question in QUESTIONS if question.scorer == "passes_tests")
SOURCES = Path(__file__).resolve().parents[2] / "benchmarks" / "questions"

# Ways in which chat models put a short answer.
PHRASES = {
    "en": ("The answer is **{}**.", "Let me think.\n\nAnswer: {}"),
    "de": ("Die Antwort ist **{}**.", "Kurz nachgedacht.\n\nAntwort: {}"),
    "fr": ("La réponse est **{}**.", "Voyons.\n\nRéponse : {}"),
    "es": ("La respuesta es **{}**.", "Veamos.\n\nRespuesta: {}"),
    "zh": ("答案是**{}**。", "想一想。\n\n答案\uff1a{}"),
    "ru": ("Ответ — **{}**.", "Подумаем.\n\nОтвет: {}"),  # noqa: RUF001 - Russian
}

# Scorers that a model may answer in a sentence; the others ask for the answer alone.
LENIENT = ("numeric", "multiple_choice", "final_answer")


@pytest.fixture(scope="module")
def scorer():
    return QuestionScorer(WITHOUT_CODE)


@pytest.fixture
def mutants(monkeypatch):
    monkeypatch.syspath_prepend(str(SOURCES))
    import mutants

    yield mutants.mutants
    sys.modules.pop("mutants")


def wrong_answers(question):
    """Return three wrong answers that look like the right one."""
    if question.scorer == "multiple_choice":
        letters = "ABCDEFG"[: len(question.prompt.choices)]
        return [letter for letter in letters if letter not in question.prompt.references][:3]
    if question.scorer == "numeric":
        return ["-7654321.5", f"{question.answer}9", "The answer is 0.123"]
    if question.scorer == "json_schema":
        return [json.dumps({"answer": question.answer}), question.answer[:-1], "[]"]
    return [f"{question.answer} zzz", "no idea", question.answer[: len(question.answer) // 2] + "q"]


def test_there_are_at_least_600_questions_of_12_kinds_three_levels_and_six_languages():
    assert len(QUESTIONS) >= 600
    assert len({question.kind for question in QUESTIONS}) >= 12
    levels = Counter(question.level for question in QUESTIONS)
    assert set(levels) == set(LEVELS)
    assert min(levels.values()) >= 0.25 * len(QUESTIONS)
    languages = Counter(question.language for question in QUESTIONS)
    assert set(languages) == {"de", "en", "es", "fr", "ru", "zh"}
    assert min(languages.values()) >= 40
    assert min(Counter(question.kind for question in QUESTIONS).values()) >= 20


def test_no_question_occurs_twice():
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)
    texts = {" ".join(question.prompt.text.casefold().split()) for question in QUESTIONS}
    assert len(texts) == len(QUESTIONS)


def test_every_scorer_accepts_the_right_answer_and_refuses_three_wrong_ones(scorer):
    pytest.importorskip("jsonschema")
    for question in WITHOUT_CODE:
        assert scorer(question.prompt, question.answer).score == 1, question
        wrong = wrong_answers(question)
        assert len(wrong) == 3 or question.scorer == "multiple_choice", question
        for answer in wrong:
            assert scorer(question.prompt, answer).score == 0, (question, answer)


def test_every_scorer_accepts_the_right_answer_as_a_chat_model_puts_it(scorer):
    pytest.importorskip("jsonschema")
    for question in WITHOUT_CODE:
        fenced = f"```\n{question.answer}\n```"
        assert scorer(question.prompt, fenced).score == 1, question
        if question.scorer in LENIENT and "\n" not in question.answer:
            for phrase in PHRASES[question.language]:
                answer = phrase.format(question.answer)
                assert scorer(question.prompt, answer).score == 1, (question, answer)


def test_every_choice_is_in_the_prompt_that_is_sent():
    for question in QUESTIONS:
        assert all(choice in question.prompt.text for choice in question.prompt.choices), question


@pytest.mark.filterwarnings("ignore:Code that a language model wrote")
def test_the_tests_of_code_pass_with_the_right_program_and_fail_with_a_wrong_one(mutants):
    scorer = QuestionScorer(QUESTIONS, sandbox=True)
    for question in CODE[::8]:
        assert scorer(question.prompt, f"Sure:\n```python\n{question.answer}\n```").score == 1
        assert scorer(question.prompt, "def f():\n    return None").score == 0
        assert 0 in (scorer(question.prompt, m).score for m in mutants(question.answer)), question


def test_questions_are_selected_by_kind_level_language_and_whether_code_runs():
    chosen = load_questions(kinds=["arithmetic"], levels=["hard"], languages=["en", "de"])
    assert chosen
    assert {(q.kind, q.level) for q in chosen} == {("arithmetic", "hard")}
    assert {q.language for q in chosen} == {"en", "de"}
    assert CODE
    assert set(WITHOUT_CODE) == set(QUESTIONS) - set(CODE)


@pytest.mark.parametrize(
    "selection", [{"kinds": ["juggling"]}, {"levels": "easy"}, {"languages": ["xx"]}]
)
def test_a_selection_that_no_question_can_meet_is_an_input_error(selection):
    with pytest.raises(InputError, match="expected a list of some of"):
        load_questions(**selection)


def test_code_runs_only_with_consent():
    with pytest.raises(InputError, match="sandbox=True"):
        QuestionScorer(CODE)


def test_a_prompt_that_is_not_among_the_questions_is_an_input_error(scorer):
    with pytest.raises(InputError, match="not one of the questions"):
        scorer(Prompt("something else", references=("1",)), "1")


def test_without_the_package_for_json_nothing_is_asked(monkeypatch):
    monkeypatch.setattr("tryage.core.validation.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"tryage\[onboard\]"):
        QuestionScorer(load_questions(kinds=["extraction"]))
    assert QuestionScorer(load_questions(kinds=["logic"]))


def test_what_a_model_thinks_aloud_before_its_answer_does_not_count(scorer):
    question = next(q for q in WITHOUT_CODE if q.scorer == "regular_expression")
    thoughts = "<think>\nThe answer is **wrong**. {}\n</think>\n\n"
    assert scorer(question.prompt, thoughts + question.answer).score == 1
    assert scorer(question.prompt, thoughts + "no idea").score == 0
