"""The questions that ship with the package: prompts with checked answers, to measure models on.

They are written by `benchmarks/questions/make.py`, which computes and checks their answers.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage.scoring.formats import final_answer, json_schema, regular_expression
from tryage.scoring.measurement import Prompt
from tryage.scoring.scorers import (
    PassesTests,
    Scorer,
    ScoreResult,
    exact_match,
    multiple_choice,
    numeric,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Level: TypeAlias = Literal["easy", "middle", "hard"]

LEVELS: tuple[Level, ...] = get_args(Level)

_FILE = "questions.jsonl.gz"

_SCORERS: dict[str, Scorer] = {
    "exact_match": exact_match,
    "final_answer": final_answer,
    "json_schema": json_schema,
    "multiple_choice": multiple_choice,
    "numeric": numeric,
    "regular_expression": regular_expression,
}

CODE_SCORER = "passes_tests"

# What a model thinks aloud before it answers: local reasoning models send it as a part of the text.
_REASONING = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt with a checked answer.

    `prompt.text` is all that is sent: choices and the form of the answer are in it. `language` is a
    code of ISO 639-1, `scorer` the name of what rates an answer, `answer` one that is right.
    """

    prompt: Prompt
    kind: str
    level: Level
    language: str
    scorer: str
    answer: str

    @property
    def id(self) -> str:
        """The id of the prompt."""
        return self.prompt.id


class QuestionScorer:
    """Scores an answer to a question with the scorer of that question.

    What a model thinks aloud first, between `<think>` and `</think>`, does not count.

    Args:
        questions: The questions that are asked.
        sandbox: Whether code that a model writes may run on this machine; read
            `tryage.scoring.PassesTests` first.

    Raises:
        InputError: code must run to score an answer, and `sandbox` is not True.
        MissingExtraError: an answer is JSON, and the package `jsonschema` is not installed.
    """

    required_fields = ("references",)

    def __init__(self, questions: Iterable[Question], *, sandbox: bool = False) -> None:
        self._names = {question.id: question.scorer for question in questions}
        self._scorers = dict(_SCORERS)
        if "json_schema" in self._names.values():
            require_extra("jsonschema", "onboard")  # before any answer is paid for
        if CODE_SCORER in self._names.values():
            self._scorers[CODE_SCORER] = PassesTests(sandbox=sandbox)
        self.__name__ = "the scorer of each question"

    def __call__(self, prompt: Prompt, answer: str) -> ScoreResult:
        """Score one answer.

        Raises:
            InputError: the prompt is not one of the questions.
        """
        if prompt.id not in self._names:
            raise InputError(f"{prompt.text!r:.80} is not one of the questions of this scorer.")
        text = _REASONING.sub("", answer, count=1)
        return ScoreResult.from_value(self._scorers[self._names[prompt.id]](prompt, text))


def load_questions(
    *,
    kinds: Collection[str] | None = None,
    levels: Collection[str] | None = None,
    languages: Collection[str] | None = None,
    runs_code: bool = True,
) -> tuple[Question, ...]:
    """Return the questions that ship with the package, in a fixed order.

    Args:
        kinds: Only these kinds, such as "arithmetic"; None means all.
        levels: Only these of "easy", "middle", "hard"; None means all.
        languages: Only these languages, such as "en"; None means all.
        runs_code: Whether to include questions whose answers are code that must run.

    Raises:
        InputError: no question has one of the kinds, levels or languages.
    """
    questions = _all_questions()
    for field, values in (("kind", kinds), ("level", levels), ("language", languages)):
        questions = _select(questions, field, values)
    return tuple(q for q in questions if runs_code or q.scorer != CODE_SCORER)


def _select(
    questions: tuple[Question, ...], field: str, values: Collection[str] | None
) -> tuple[Question, ...]:
    """Return the questions with one of the values in a field."""
    if values is None:
        return questions
    known = sorted({getattr(question, field) for question in _all_questions()})
    if isinstance(values, str) or not set(values) <= set(known):
        raise InputError(f"The {field}s are {values!r:.80}; expected a list of some of {known}.")
    return tuple(question for question in questions if getattr(question, field) in values)


@lru_cache(maxsize=1)
def _all_questions() -> tuple[Question, ...]:
    data = files("tryage.onboarding").joinpath(_FILE).read_bytes()
    return tuple(map(_read, gzip.decompress(data).decode().splitlines()))


def _read(line: str) -> Question:
    """Return the question of a line of the file."""
    row: dict[str, Any] = json.loads(line)
    prompt = Prompt(
        row["prompt"],
        tuple(row["references"]),
        tuple(row.get("choices", ())),
        category=row["kind"],
        source="tryage",
        id=row["id"],
    )
    answer = row.get("answer", prompt.references[0])
    return Question(prompt, row["kind"], row["level"], row["language"], row["scorer"], answer)
